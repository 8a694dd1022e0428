//! The checker's books: every component's definition and state. Plain data, changed under a lock that nobody holds
//! for longer than one change.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::announce::Announcement;
use crate::changes::Changes;
use crate::clock::Clock;
use crate::component::{Component, RegisterError};
use crate::dependencies;
use crate::history::{RunResult, StatusChange};
use crate::hysteresis::Hysteresis;
use crate::maintenance::{Book, Maintenance, Spans, active};
use crate::origin::Origins;
use crate::outcome::{Outcome, Reason};
use crate::run::Finished;
use crate::snapshot::{Activity, Belonging, ComponentHealth, Moment, RunTotals, Served, Snapshot, Standing};
use crate::status::Status;
use crate::table::control::Orders;
use crate::table::entries::Entries;

mod control;
mod entries;
mod replacement;

pub(crate) use control::{Answer, Answered, Ask, Generation, Plan};
pub use replacement::Replaced;
pub(crate) use replacement::Replacement;

/// Warnings that are told of components that were registered together.
const MOST_WARNINGS: usize = 20;

/// Names one registration for its whole life: a component removed and added again has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(u64);

#[derive(Debug)]
pub(crate) struct Table {
    entries: Entries,
    names: HashMap<Arc<str>, Id>,
    next_id: u64,
    limit: usize,
    /// Registered since the engine last looked.
    fresh: Vec<Id>,
    maintenance: Book,
    /// Whether the plan of maintenance changed since the engine last looked.
    maintenance_changed: bool,
    /// Whether the start is complete: what is registered from then on is left out until its first result.
    started: bool,
    orders: Orders,
    /// Those who wait for a result, by component: at most one answer for all who ask for the same.
    asked: HashMap<Id, Answer>,
    engine: EngineState,
    /// Sets that may yet take the place of this one.
    prepared: Vec<Weak<Replacement>>,
}

/// Whether there is an engine that runs the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineState {
    NotStarted,
    Running,
    Ended,
}

/// What a result came to.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) result: RunResult,
    pub(crate) announcement: Option<Announcement>,
    /// Those who asked for it, and what they are told.
    pub(crate) answer: Option<(Answer, Arc<ComponentHealth>)>,
}

#[derive(Debug)]
struct Entry {
    component: Arc<Component>,
    /// As it came, once it was tuned.
    defined: Option<Arc<Component>>,
    generation: Generation,
    hysteresis: Hysteresis,
    /// As last told to readers; replaced, never changed, when a result comes.
    health: Arc<ComponentHealth>,
    /// As last announced, so that growing stale is an event too.
    announced: Option<Status>,
    /// As it last stood, announced or not.
    stood: Option<Status>,
    /// What it was in at its latest announcement, for the end of it.
    maintenance: Option<Arc<Maintenance>>,
    /// Why the latest pass, warning and failure were such, for whichever of them is served. Most have nothing to say.
    causes: [Option<Box<Cause>>; 3],
}

/// Why a run ended as it did, for everyone.
#[derive(Debug, Clone, Default)]
struct Cause {
    reason: Option<Reason>,
    message: Arc<str>,
    origins: Option<Arc<Origins>>,
}

impl Cause {
    fn of(outcome: &Outcome) -> Option<Self> {
        let cause = Self {
            reason: outcome.reason().cloned(),
            message: shared_text(outcome.message()),
            origins: outcome.origins().cloned(),
        };
        let says_something = cause.reason.is_some() || !cause.message.is_empty() || cause.origins.is_some();
        says_something.then_some(cause)
    }
}

impl Table {
    /// Books for at most `limit` components; `longest` is how long a maintenance begun by hand may last.
    pub(crate) fn new(limit: usize, longest: Duration) -> Self {
        Self {
            entries: Entries::default(),
            names: HashMap::new(),
            next_id: 0,
            limit,
            fresh: Vec::new(),
            maintenance: Book::new(longest),
            maintenance_changed: false,
            started: false,
            orders: Orders::default(),
            asked: HashMap::new(),
            engine: EngineState::NotStarted,
            prepared: Vec::new(),
        }
    }

    /// Adds a component. A caller that keeps it beyond the lock has what the check brings dropped outside of it.
    pub(crate) fn insert(
        &mut self,
        component: impl Into<Arc<Component>>,
        belongs: Belonging,
        clock: &dyn Clock,
    ) -> Result<(), RegisterError> {
        let component = component.into();
        component.validate()?;
        if self.names.contains_key(&component.name) {
            return Err(RegisterError::Duplicate { name: component.name.to_string() });
        }
        if self.entries.len() >= self.limit {
            return Err(RegisterError::TooMany { limit: self.limit });
        }
        if let Some(path) = dependencies::circle_through(&component, |name| self.component_named(name)) {
            return Err(RegisterError::Cycle { path });
        }
        if belongs != Belonging::Set {
            self.fits_what_is_prepared(&component)?;
        }
        let id = Id(self.next_id);
        self.next_id += 1;
        self.names.insert(Arc::clone(&component.name), id);
        let spans = Arc::clone(self.maintenance.of(&component.name));
        self.entries.insert(id, Entry::new(component, belongs, self.started, spans, clock));
        self.fresh.push(id);
        Ok(())
    }

    /// Removes a component and hands it out, to be dropped outside the lock: its check may do anything then.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Arc<Component>> {
        let removed = self.names.remove(name).and_then(|id| self.entries.remove(id));
        self.forget_removed();
        removed.map(|entry| entry.component)
    }

    /// What was registered since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.fresh)
    }

    /// What is allowed and seldom meant in these components, in words; bounded.
    pub(crate) fn warnings(&self, ids: &[Id]) -> Vec<String> {
        let components = ids.iter().filter_map(|id| self.component(*id));
        let all = components.flat_map(|one| {
            let unknown = one.depends_on.iter().filter(|name| !self.has(name)).map(|name| {
                format!("component `{}`: it depends on `{}`, which is not registered", one.name, name.escape_debug())
            });
            one.warnings().into_iter().chain(unknown)
        });
        let mut warnings: Vec<_> = all.take(MOST_WARNINGS + 1).collect();
        if warnings.len() > MOST_WARNINGS {
            warnings.truncate(MOST_WARNINGS);
            warnings.push("there is more of this kind: only the first are told".to_owned());
        }
        warnings
    }

    pub(crate) fn component(&self, id: Id) -> Option<&Arc<Component>> {
        self.entries.get(id).map(|entry| &entry.component)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What readers are to see from now on.
    pub(crate) fn snapshot(&mut self, clock: &Arc<dyn Clock>) -> Snapshot {
        let maintenance = Arc::clone(self.maintenance.service());
        Snapshot::new(self.entries.publish(clock.boot()), maintenance, Arc::clone(clock))
    }

    /// Takes a result into account. `None` when the component has gone meanwhile, or was disabled since the run began.
    pub(crate) fn apply(
        &mut self,
        id: Id,
        generation: Generation,
        finished: Finished,
        clock: &dyn Clock,
    ) -> Option<Applied> {
        self.entries.get(id).filter(|entry| entry.generation.life == generation.life)?;
        let entry = self.entries.get_mut(id)?;
        let (result, announcement) = entry.apply(finished, self.started, &self.maintenance, clock);
        let answers = entry.generation == generation;
        let answer = if answers { self.asked.remove(&id) } else { None };
        let answer = answer.map(|answer| (answer, Arc::clone(&entry.health)));
        let announcement = announcement.map(|told| self.with_root(id, told, clock.boot()));
        Some(Applied { result, announcement, answer })
    }

    pub(crate) fn missed(&mut self, id: Id, runs: u64) {
        if let Some(entry) = self.entries.get_mut(id) {
            Arc::make_mut(&mut entry.health).totals.missed += runs;
        }
    }

    /// What changed by the passing of time alone: results that grew stale, maintenances that began or ended.
    pub(crate) fn sweep(&mut self, clock: &dyn Clock) -> Vec<Announcement> {
        let now = Moment::now(clock);
        if self.maintenance.is_due(now) {
            self.maintain(|book| book.replan(now));
        }
        let quiet = self.maintenance.is_quiet(now.boot);
        let news = self.entries.iter().filter(|(_, entry)| entry.has_news(now, quiet));
        let news: Vec<Id> = news.map(|(id, _)| id).collect();
        let mut told = Vec::new();
        for id in news {
            let announcement = self.entries.get_mut(id).and_then(|entry| entry.announce(now, &self.maintenance));
            told.extend(announcement.map(|announcement| (id, announcement)));
        }
        // Once all that time changed is known.
        told.into_iter().map(|(id, announcement)| self.with_root(id, announcement, now.boot)).collect()
    }

    /// Names the root of the trouble in what is told of a component, as all components stand now.
    fn with_root(&self, id: Id, mut announcement: Announcement, now: Duration) -> Announcement {
        let health = |id: Id| self.entries.get(id).map(|entry| &*entry.health);
        let find = |name: &str| self.names.get(name).and_then(|id| health(*id));
        let root = health(id).and_then(|component| dependencies::root_of_trouble(component, find, now));
        announcement.change.caused_by = root.map(|root| Arc::clone(&root.name));
        announcement
    }

    fn component_named(&self, name: &str) -> Option<&Component> {
        self.names.get(name).and_then(|id| self.entries.get(*id)).map(|entry| &*entry.component)
    }

    /// Whether there is a component of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub(crate) fn maintenance(&self) -> &Book {
        &self.maintenance
    }

    /// Changes the books of maintenance, and tells every component what they now say of it.
    pub(crate) fn maintain<T>(&mut self, change: impl FnOnce(&mut Book) -> T) -> T {
        let result = change(&mut self.maintenance);
        let differs = |entry: &Entry| entry.health.maintenance != *self.maintenance.of(&entry.component.name);
        let differing: Vec<Id> = self.entries.iter().filter(|(_, entry)| differs(entry)).map(|(id, _)| id).collect();
        for id in differing {
            if let Some(entry) = self.entries.get_mut(id) {
                let spans = Arc::clone(self.maintenance.of(&entry.component.name));
                Arc::make_mut(&mut entry.health).maintenance = spans;
            }
        }
        self.maintenance_changed = true;
        result
    }

    /// Whether the plan of maintenance changed since the last call.
    pub(crate) fn take_maintenance_changed(&mut self) -> bool {
        std::mem::take(&mut self.maintenance_changed)
    }

    /// What a store of maintenances has to be told.
    pub(crate) fn take_unsaved_maintenances(&mut self) -> Option<Vec<Maintenance>> {
        self.maintenance.take_unsaved()
    }
}

impl Entry {
    fn new(
        component: Arc<Component>,
        belongs: Belonging,
        started: bool,
        maintenance: Spans,
        clock: &dyn Clock,
    ) -> Self {
        let health = ComponentHealth {
            name: Arc::clone(&component.name),
            kind: component.kind,
            criticality: component.criticality,
            shared: component.shared,
            groups: component.effective_groups(),
            activity: component.activity,
            tuned: false,
            belongs,
            counted: component.activity == Activity::Enabled && !started && component.holds_start(),
            served: None,
            raw: None,
            raw_reason: None,
            detail: Arc::default(),
            metadata: Arc::clone(&NO_READINGS),
            parts: None,
            remaining: None,
            response_time: None,
            checked: None,
            since: Moment::now(clock),
            consecutive: 0,
            max_age: component.effective_max_age(),
            interval: component.schedule.interval,
            timeout: component.schedule.timeout,
            thresholds: component.thresholds,
            depends_on: shared_list(component.depends_on.clone()),
            maintenance,
            totals: RunTotals::default(),
            changes: Arc::clone(&NO_CHANGES),
        };
        let mut entry = Self {
            component,
            defined: None,
            generation: Generation::default(),
            hysteresis: Hysteresis::default(),
            health: Arc::new(health),
            announced: None,
            stood: None,
            maintenance: None,
            causes: Default::default(),
        };
        if started {
            entry.complete_start();
        }
        entry
    }

    /// Takes over what was last known of the component under its old definition: until the new one has its first
    /// result, which then decides at once, a component that was down is not thought to be up.
    fn inherit(&mut self, old: &Self) {
        self.announced = old.announced;
        self.stood = old.stood;
        self.maintenance.clone_from(&old.maintenance);
        if old.health.activity == Activity::Disabled {
            // What was known of it then counts for nothing now.
            let health = Arc::make_mut(&mut self.health);
            (health.totals, health.changes) = (old.health.totals, Arc::clone(&old.health.changes));
            return;
        }
        // Without a result it is the new definition that says whether the start waits for one.
        let counted = if old.health.served.is_some() { old.health.counted } else { self.health.counted };
        let health = ComponentHealth {
            kind: self.health.kind,
            activity: self.health.activity,
            tuned: false,
            belongs: self.health.belongs,
            counted: self.health.activity == Activity::Enabled && counted,
            criticality: self.health.criticality,
            shared: self.health.shared,
            groups: Arc::clone(&self.health.groups),
            max_age: self.health.max_age,
            interval: self.health.interval,
            timeout: self.health.timeout,
            thresholds: self.health.thresholds,
            depends_on: Arc::clone(&self.health.depends_on),
            ..(*old.health).clone()
        };
        self.health = Arc::new(health);
    }

    /// The set has its name from now on.
    fn belong_to_the_set(&mut self) {
        if self.health.belongs != Belonging::Set {
            Arc::make_mut(&mut self.health).belongs = Belonging::Set;
        }
    }

    fn is_same(&self, component: &Component) -> bool {
        self.component.fingerprint.is_some() && self.component.fingerprint == component.fingerprint
    }

    fn apply(
        &mut self,
        finished: Finished,
        started: bool,
        book: &Book,
        clock: &dyn Clock,
    ) -> (RunResult, Option<Announcement>) {
        let Finished { outcome, elapsed } = finished;
        let now = Moment::now(clock);
        let verdict = outcome.verdict();
        let served = self.hysteresis.observe(verdict, self.component.thresholds);
        let counted = !(started && self.is_for_start_only());
        let health = Arc::make_mut(&mut self.health);
        health.counted = counted;
        health.raw = Some(verdict);
        health.raw_reason = outcome.reason().cloned();
        health.detail = shared_text(outcome.detail());
        health.metadata = readings(outcome.metadata());
        health.remaining = outcome.remaining();
        health.response_time = Some(elapsed);
        health.checked = Some(now);
        health.consecutive = self.hysteresis.consecutive(verdict);
        health.totals.add(verdict, elapsed);
        health.parts = outcome.parts().cloned();
        self.causes[verdict as usize] = Cause::of(&outcome).map(Box::new);
        // While the latest run disagrees, what is served keeps its own reason.
        let Cause { reason, message, origins } = self.causes[served as usize].as_deref().cloned().unwrap_or_default();
        health.served = Some(Served { status: served.into(), reason, message, origins });
        let result = RunResult {
            component: Arc::clone(&health.name),
            verdict,
            reason: outcome.reason().map(ToString::to_string),
            response_time_ms: milliseconds(elapsed),
            at: now.wall,
        };
        (result, self.announce(now, book))
    }

    /// Whether it stands otherwise than before, or than was announced. While it is `quiet` nothing is announced.
    fn has_news(&self, now: Moment, quiet: bool) -> bool {
        let status = Some(self.health.status(now.boot));
        self.health.served.is_some() && (self.stood != status || (!quiet && self.announced != status))
    }

    /// The change since the last announcement, if there is one. While the whole service is in maintenance nothing is
    /// announced of its components; what then differs is once it is over.
    fn announce(&mut self, now: Moment, book: &Book) -> Option<Announcement> {
        let quiet = book.is_quiet(now.boot);
        if !self.has_news(now, quiet) {
            return None;
        }
        let Standing { status, reason, message } = self.health.standing(now.boot);
        let health = Arc::make_mut(&mut self.health);
        if self.stood.replace(status) != Some(status) {
            health.since = now;
        }
        if quiet || self.announced == Some(status) {
            return None;
        }
        let from = self.announced.replace(status);
        health.totals.changes += u64::from(from.is_some());
        health.changes = with_change(&health.changes, status, reason.as_ref());
        let entered = active(&health.maintenance, now.boot).cloned();
        let cause = book.cause(self.maintenance.as_deref(), entered.as_deref());
        self.maintenance = entered;
        Some(Announcement {
            detail: Arc::clone(&health.detail),
            change: StatusChange {
                component: Some(Arc::clone(&health.name)),
                from,
                to: status,
                reason: reason.as_ref().map(ToString::to_string),
                message: message.to_string(),
                caused_by: None,
                detail: cause,
                at: now.wall,
            },
            reason,
        })
    }
}

// Most texts, lists and readings are empty, there are many of them, and one allocation serves all that are.

static NO_CHANGES: LazyLock<Arc<Changes>> = LazyLock::new(Arc::default);

/// What most components have.
static BECAME_HEALTHY: LazyLock<Arc<Changes>> = LazyLock::new(|| counted(Changes::default(), Status::Healthy, None));

fn with_change(before: &Arc<Changes>, to: Status, reason: Option<&Reason>) -> Arc<Changes> {
    if (to, reason) == (Status::Healthy, None) && Arc::ptr_eq(before, &NO_CHANGES) {
        return Arc::clone(&BECAME_HEALTHY);
    }
    counted(Changes::clone(before), to, reason)
}

fn counted(mut changes: Changes, to: Status, reason: Option<&Reason>) -> Arc<Changes> {
    changes.add(to.as_str(), reason);
    Arc::new(changes)
}

static NO_READINGS: LazyLock<Arc<Map<String, Value>>> = LazyLock::new(Arc::default);

fn readings(readings: &Map<String, Value>) -> Arc<Map<String, Value>> {
    if readings.is_empty() { Arc::clone(&NO_READINGS) } else { Arc::new(readings.clone()) }
}

fn shared_text(text: &str) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { text.into() }
}

fn shared_list<T>(list: Vec<T>) -> Arc<[T]> {
    if list.is_empty() { Arc::default() } else { list.into() }
}

/// A duration in milliseconds, to a microsecond.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
