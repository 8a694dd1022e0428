//! The books of maintenance: what was begun by hand, which windows there are, and the plan that follows from both.
//! Plain data; it stands in the checker's table and is changed under its lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    End, EndedMaintenance, Maintenance, MaintenanceBooks, MaintenanceError, MaintenanceOrigin, MaintenanceWindow,
    NewMaintenance, Span, Spans, Target, active, is_line, next_boundary,
};
use crate::snapshot::Moment;

/// How far the two clocks may move apart before the plan is made anew.
const APART: SignedDuration = SignedDuration::from_millis(500);
/// How many of those that were ended, by hand or by their time, are remembered, for the change of status that follows.
const ENDED: usize = 1000;

#[derive(Debug)]
pub(crate) struct Book {
    begun: Vec<Begun>,
    windows: Vec<MaintenanceWindow>,
    longest: Duration,
    plan: Plan,
    /// Ended by hand lately.
    ended: VecDeque<EndedMaintenance>,
    /// Over lately, by their time: a store that is shared may have them for longer, when the time of day was set.
    over: VecDeque<Arc<str>>,
    /// What nobody has in maintenance.
    none: Spans,
    /// Whether what was begun differs from what the store was told.
    unsaved: bool,
    serial: i64,
}

/// One that was begun by hand.
#[derive(Debug, Clone)]
struct Begun {
    what: Arc<Maintenance>,
    from: Duration,
    /// When it ends at the latest, whatever the time of day is.
    until: Duration,
}

/// When what is in maintenance, on the steady clock.
#[derive(Debug)]
struct Plan {
    service: Spans,
    components: HashMap<Arc<str>, Spans>,
    /// When it was made.
    made: Option<Moment>,
    /// When the next span begins or ends: then it is made anew.
    expires: Duration,
}

impl Book {
    pub(crate) fn new(longest: Duration) -> Self {
        let none: Spans = Arc::new([]);
        let plan = Plan { service: Arc::clone(&none), components: HashMap::new(), made: None, expires: Duration::MAX };
        Self {
            begun: Vec::new(),
            windows: Vec::new(),
            longest,
            plan,
            ended: VecDeque::new(),
            over: VecDeque::new(),
            none,
            unsaved: false,
            serial: 0,
        }
    }

    /// The spans of the service as a whole.
    pub(crate) fn service(&self) -> &Spans {
        &self.plan.service
    }

    /// The spans of one component.
    pub(crate) fn of(&self, component: &str) -> &Spans {
        self.plan.components.get(component).unwrap_or(&self.none)
    }

    /// Begins what is wanted; the components are known to exist.
    pub(super) fn begin(
        &mut self,
        wanted: NewMaintenance,
        now: Moment,
    ) -> Result<Vec<Arc<Maintenance>>, MaintenanceError> {
        let NewMaintenance { target, end, reason, author } = wanted;
        if reason.trim().is_empty() || !is_line(&reason, Maintenance::MAX_REASON) {
            return Err(MaintenanceError::Reason);
        }
        if !is_line(&author, Maintenance::MAX_AUTHOR) {
            return Err(MaintenanceError::Author);
        }
        let (lasts, origin) = self.length(end, now)?;
        let mut names: Vec<Option<Arc<str>>> = match target {
            Target::Service => vec![None],
            Target::Components(names) => names.into_iter().map(Some).collect(),
        };
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Err(MaintenanceError::NoComponent);
        }
        if self.begun.len() + names.len() > Maintenance::MAX_BEGUN {
            return Err(MaintenanceError::TooMany { limit: Maintenance::MAX_BEGUN });
        }
        let (reason, author): (Arc<str>, Arc<str>) = (reason.trim().into(), author.trim().into());
        // Neither can fail for a clock that is right: the length has a limit.
        let since = Timestamp::from_millisecond(now.wall.as_millisecond()).unwrap_or(now.wall);
        let until = since.checked_add(lasts).map_err(|_| MaintenanceError::Past)?;
        let until_boot = match end {
            End::After(lasts) => now.boot.saturating_add(lasts),
            End::At(_) | End::Open => now.boot.saturating_add(self.longest),
        };
        let mut begun = Vec::new();
        for component in names {
            let (reason, author) = (Arc::clone(&reason), Arc::clone(&author));
            let id = self.next_id(now.wall);
            let what = Arc::new(Maintenance { id, component, reason, author, since, until, origin });
            self.begun.push(Begun { what: Arc::clone(&what), from: now.boot, until: until_boot });
            begun.push(what);
        }
        self.unsaved = true;
        self.replan(now);
        Ok(begun)
    }

    fn length(&self, end: End, now: Moment) -> Result<(SignedDuration, MaintenanceOrigin), MaintenanceError> {
        let longest = self.longest;
        let of = |duration| SignedDuration::try_from(duration).map_err(|_| MaintenanceError::Length { longest });
        match end {
            End::Open => Ok((of(longest)?, MaintenanceOrigin::Duration)),
            End::After(lasts) if lasts < Duration::from_secs(1) || lasts > longest => {
                Err(MaintenanceError::Length { longest })
            }
            End::After(lasts) => Ok((of(lasts)?, MaintenanceOrigin::Duration)),
            End::At(until) if until <= now.wall => Err(MaintenanceError::Past),
            End::At(until) => {
                let lasts = until.duration_since(now.wall);
                if lasts > of(longest)? {
                    Err(MaintenanceError::Length { longest })
                } else {
                    Ok((lasts, MaintenanceOrigin::Time))
                }
            }
        }
    }

    /// An id that none has: of the time, so that it differs from those before a restart too.
    fn next_id(&mut self, now: Timestamp) -> Arc<str> {
        self.serial = now.as_microsecond().max(self.serial + 1);
        loop {
            let id = id_of(self.serial);
            if self.begun.iter().all(|begun| *begun.what.id != *id) {
                return id.into();
            }
            self.serial += 1;
        }
    }

    /// Ends one that was begun by hand.
    pub(super) fn end(&mut self, id: &str, author: &str, now: Moment) -> Result<Arc<Maintenance>, MaintenanceError> {
        if !is_line(author, Maintenance::MAX_AUTHOR) {
            return Err(MaintenanceError::Author);
        }
        let Some(index) = self.begun.iter().position(|begun| *begun.what.id == *id) else {
            let of_window =
                id.strip_prefix(OF_WINDOW).is_some_and(|name| self.windows.iter().any(|one| &*one.name == name));
            return Err(if of_window { MaintenanceError::OfWindow } else { MaintenanceError::Unknown });
        };
        let Begun { what, .. } = self.begun.remove(index);
        self.remember_end(EndedMaintenance { id: Arc::clone(&what.id), author: author.trim().into() });
        self.unsaved = true;
        self.replan(now);
        Ok(what)
    }

    /// Makes these the whole set of windows, or changes nothing.
    pub(super) fn set_windows(&mut self, windows: Vec<MaintenanceWindow>, now: Moment) -> Result<(), MaintenanceError> {
        if windows.len() > Maintenance::MAX_WINDOWS {
            return Err(MaintenanceError::TooMany { limit: Maintenance::MAX_WINDOWS });
        }
        let covered = windows.iter().map(|window| window.component_names().len());
        if covered.sum::<usize>() > Maintenance::MAX_NAMED {
            return Err(MaintenanceError::TooMany { limit: Maintenance::MAX_NAMED });
        }
        windows.iter().try_for_each(MaintenanceWindow::validate)?;
        let mut names: Vec<&str> = windows.iter().map(MaintenanceWindow::name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let problem = "there are two of that name".to_owned();
            return Err(MaintenanceError::Window { name: super::shown(pair[0]), problem });
        }
        self.windows = windows;
        self.replan(now);
        Ok(())
    }

    /// Takes in what a store has kept. What is over is dropped, and nothing lasts longer than it was begun for: the
    /// time of day may have been set back while the process was not there.
    pub(super) fn restore(&mut self, kept: Vec<Maintenance>, now: Moment) {
        for what in kept {
            self.take_in(what, now);
        }
        self.unsaved = true;
        self.replan(now);
    }

    /// What is in these books and not in ours: what others began that is not over or ended here, and what they ended
    /// that is on here.
    pub(super) fn news(&self, theirs: MaintenanceBooks, now: Moment) -> MaintenanceBooks {
        let is_on = |id: &Arc<str>| self.begun.iter().any(|begun| begun.what.id == *id);
        let is_ended = |id: &Arc<str>| self.ended.iter().any(|ended| ended.id == *id);
        let MaintenanceBooks { mut begun, mut ended } = theirs;
        let is_over = |what: &Maintenance| what.until <= now.wall || self.over.contains(&what.id);
        begun.retain(|what| !is_on(&what.id) && !is_ended(&what.id) && !is_over(what));
        begun.truncate(Maintenance::MAX_BEGUN.saturating_sub(self.begun.len()));
        ended.retain(|ended| is_on(&ended.id));
        MaintenanceBooks { begun, ended }
    }

    /// Takes in what others have begun and ended.
    pub(super) fn join(&mut self, news: MaintenanceBooks, now: Moment) {
        for ended in news.ended {
            self.begun.retain(|begun| begun.what.id != ended.id);
            self.remember_end(ended);
        }
        for what in news.begun {
            self.take_in(what, now);
        }
        self.replan(now);
    }

    /// What all that share a store are told.
    pub(super) fn books(&self) -> MaintenanceBooks {
        let begun = self.begun.iter().map(|begun| (*begun.what).clone()).collect();
        MaintenanceBooks { begun, ended: self.ended.iter().cloned().collect() }
    }

    fn remember_end(&mut self, ended: EndedMaintenance) {
        if self.ended.len() >= ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(ended);
    }

    fn take_in(&mut self, what: Maintenance, now: Moment) {
        let known = self.begun.iter().any(|begun| begun.what.id == what.id);
        let left = what.until.duration_since(now.wall);
        if known || left <= SignedDuration::ZERO || self.begun.len() >= Maintenance::MAX_BEGUN {
            return;
        }
        let most = match what.origin {
            MaintenanceOrigin::Duration | MaintenanceOrigin::Window => {
                let left = left.min(what.until.duration_since(what.since));
                Duration::try_from(left).unwrap_or_default().min(self.longest)
            }
            // Its end is the time of day; how long that may take counts from here.
            MaintenanceOrigin::Time => self.longest,
        };
        self.begun.push(Begun { what: Arc::new(what), from: now.boot, until: now.boot.saturating_add(most) });
    }

    /// Whether the plan is of another time: something begins or ends, or the time of day was set.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        let Some(made) = self.plan.made else { return false };
        if self.begun.is_empty() && self.windows.is_empty() {
            return false;
        }
        now.boot >= self.plan.expires || apart(made, now).abs() >= APART
    }

    /// Plans anew, and drops what is over.
    pub(crate) fn replan(&mut self, now: Moment) {
        let before = self.begun.len();
        let mut service = Vec::new();
        let mut components: HashMap<Arc<str>, Vec<Span>> = HashMap::new();
        let mut plan = |span: Span| match &span.what.component {
            None => service.push(span),
            Some(name) => components.entry(Arc::clone(name)).or_default().push(span),
        };
        self.begun.retain_mut(|begun| {
            let until = match begun.what.origin {
                MaintenanceOrigin::Duration | MaintenanceOrigin::Window => begun.until,
                MaintenanceOrigin::Time => steady(begun.what.until, now).min(begun.until),
            };
            if until <= now.boot {
                tracing::info!(
                    target: "wellkept::health", id = &*begun.what.id, component = begun.what.component.as_deref(),
                    "maintenance is over: its time has come"
                );
                if self.over.len() >= ENDED {
                    self.over.pop_front();
                }
                self.over.push_back(Arc::clone(&begun.what.id));
                return false;
            }
            if begun.what.origin == MaintenanceOrigin::Duration {
                self.unsaved |= begun.follow(now);
            }
            plan(Span { from: begun.from, until, what: Arc::clone(&begun.what) });
            true
        });
        for window in &self.windows {
            window_spans(window, now).for_each(&mut plan);
        }
        self.unsaved |= self.begun.len() != before;
        let components: HashMap<_, Spans> = components.into_iter().map(|(name, spans)| (name, spans.into())).collect();
        let all = std::iter::once(&service[..]).chain(components.values().map(|spans| &**spans));
        let expires = all.filter_map(|spans| next_boundary(spans, now.boot)).min().unwrap_or(Duration::MAX);
        self.plan = Plan { service: service.into(), components, made: Some(now), expires };
    }

    /// Whether nothing is announced of the components: the whole service is in maintenance.
    pub(crate) fn is_quiet(&self, now: Duration) -> bool {
        active(&self.plan.service, now).is_some()
    }

    /// Why something went into maintenance, or out of it, for operators.
    pub(crate) fn cause(&self, left: Option<&Maintenance>, entered: Option<&Maintenance>) -> Option<String> {
        entered.map(Maintenance::cause).or_else(|| left.map(|what| self.how_it_ended(what)))
    }

    fn how_it_ended(&self, what: &Maintenance) -> String {
        match self.ended.iter().rev().find(|ended| ended.id == what.id) {
            Some(ended) if ended.author.is_empty() => "ended by hand".to_owned(),
            Some(ended) => format!("ended by {}", ended.author),
            None if what.origin == MaintenanceOrigin::Window => "its window is over".to_owned(),
            None => "its time has come".to_owned(),
        }
    }

    /// All that is planned: what is on, and of each window the next occurrence.
    pub(super) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.plan.service.iter().chain(self.plan.components.values().flat_map(|spans| spans.iter()))
    }

    /// What a store has to be told, when something changed since the last time.
    pub(crate) fn take_unsaved(&mut self) -> Option<Vec<Maintenance>> {
        std::mem::take(&mut self.unsaved).then(|| self.begun.iter().map(|begun| (*begun.what).clone()).collect())
    }
}

impl Begun {
    /// Moves the times that are shown when the time of day was set: it is the duration that counts. Says whether they
    /// moved.
    fn follow(&mut self, now: Moment) -> bool {
        let left = SignedDuration::try_from(self.until.saturating_sub(now.boot)).unwrap_or(SignedDuration::MAX);
        let Ok(until) = now.wall.checked_add(left) else { return false };
        let moved = until.duration_since(self.what.until);
        if moved.abs() < APART {
            return false;
        }
        let by = SignedDuration::from_millis(i64::try_from(moved.as_millis()).unwrap_or(0));
        let (Ok(since), Ok(until)) = (self.what.since.checked_add(by), self.what.until.checked_add(by)) else {
            return false;
        };
        self.what = Arc::new(Maintenance { since, until, ..(*self.what).clone() });
        true
    }
}

const OF_WINDOW: &str = "window:";

fn window_spans(window: &MaintenanceWindow, now: Moment) -> impl Iterator<Item = Span> {
    let names: Vec<Option<Arc<str>>> = match &window.target {
        Target::Service => vec![None],
        Target::Components(names) => names.iter().cloned().map(Some).collect(),
    };
    let id: Arc<str> = format!("{OF_WINDOW}{}", window.name).into();
    window.occurrences(now.wall).into_iter().flat_map(move |(since, until)| {
        let (id, reason) = (Arc::clone(&id), Arc::clone(&window.reason));
        let spans = names.clone().into_iter().map(move |component| {
            let (id, reason) = (Arc::clone(&id), Arc::clone(&reason));
            let what = Maintenance {
                id,
                component,
                reason,
                author: "".into(),
                since,
                until,
                origin: MaintenanceOrigin::Window,
            };
            Span { from: steady(since, now), until: steady(until, now), what: Arc::new(what) }
        });
        spans.collect::<Vec<_>>()
    })
}

/// Where a time of day lies on the steady clock, as the two stand to each other now.
fn steady(time: Timestamp, now: Moment) -> Duration {
    let ahead = time.duration_since(now.wall);
    match Duration::try_from(ahead) {
        Ok(ahead) => now.boot.saturating_add(ahead),
        Err(_) => now.boot.saturating_sub(ahead.unsigned_abs()),
    }
}

/// How far the two clocks have moved apart from one moment to the next.
fn apart(before: Moment, now: Moment) -> SignedDuration {
    let steady = now.boot.saturating_sub(before.boot);
    let steady = SignedDuration::try_from(steady).unwrap_or(SignedDuration::MAX);
    now.wall.duration_since(before.wall).saturating_sub(steady)
}

fn id_of(serial: i64) -> String {
    format!("m{serial:x}")
}
