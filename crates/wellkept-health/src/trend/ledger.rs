//! The books of time: which status each component was served in, minute by minute, and what nobody looked at.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::bucket::{Bucket, MinutePart};
use super::tier::Tier;
use super::window::Brief;
use crate::history::RunResult;
use crate::snapshot::Moment;
use crate::status::Status;

/// Between two looks further apart than this nobody looked: the process was stopped, the machine slept, or the engine
/// was stuck. Looks come every second.
const GRACE: Duration = Duration::from_secs(5);
/// How much further than the time that went by the clock may come before it was set forward, in milliseconds.
const STEP: i64 = 1000;
/// A clock that is set back by more than this begins anew; by less, the time that was counted is waited for.
const REWIND: i64 = 3_600_000;
/// Most components that are kept account of.
const MOST_SERIES: usize = 25_000;
/// Most finished minutes that wait to be taken; the oldest are given up, and counted.
const MOST_PARTS: usize = 50_000;

/// What each component is doing since the latest whole minute. Finished minutes wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    series: HashMap<Arc<str>, Series>,
    latest: Option<Moment>,
    /// All time before it is accounted for, in milliseconds since 1970.
    until: i64,
    finished: VecDeque<MinutePart>,
    given_up: u64,
    newcomers: u64,
    /// The number of the latest look, to find who was not seen in it.
    look: u64,
}

#[derive(Debug)]
struct Series {
    /// As of the latest look; `None` before the first.
    status: Option<Status>,
    minute: i64,
    bucket: Bucket,
    look: u64,
    reading: Option<&'static str>,
    brief: Option<Brief>,
}

/// One component at the moment of a look.
#[derive(Debug)]
pub(crate) struct Seen<'c> {
    pub(crate) name: &'c Arc<str>,
    pub(crate) status: Status,
    /// Since when, on the clock of ages.
    pub(crate) since: Duration,
    /// What may run out: the reading's name and value.
    pub(crate) remaining: Option<(&'static str, f64)>,
}

/// A span of time that somebody looked at, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: i64,
    to: i64,
}

impl Ledger {
    /// Accounts for the time since the look before. All components must be among `seen`: those that are not are gone.
    pub(crate) fn look<'c>(&mut self, now: Moment, seen: impl Iterator<Item = Seen<'c>>) {
        let stretch = self.stretch(now);
        self.look += 1;
        for one in seen {
            self.account(&one, now, stretch);
        }
        let (look, finished) = (self.look, &mut self.finished);
        self.series.retain(|name, series| {
            let is_here = series.look == look;
            if !is_here {
                finished.extend(series.finish(name));
            }
            is_here
        });
        self.bound();
    }

    /// Which time counts: none that was counted before, none that nobody looked at, and none that a clock set forward
    /// only seems to have gone by.
    fn stretch(&mut self, now: Moment) -> Stretch {
        let to = now.wall.as_millisecond();
        let Some(before) = self.latest.replace(now) else {
            self.until = to;
            return Stretch { from: to, to };
        };
        let passed = now.boot.saturating_sub(before.boot);
        let counted = std::mem::replace(&mut self.until, to);
        if to < counted - REWIND {
            for (name, series) in &mut self.series {
                self.finished.extend(series.finish(name));
            }
            return Stretch { from: to, to };
        }
        self.until = counted.max(to);
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let from = if passed > GRACE {
            to
        } else if to.saturating_sub(counted) > passed_ms.saturating_add(STEP) {
            to - passed_ms
        } else {
            counted.min(to)
        };
        Stretch { from, to }
    }

    fn account(&mut self, seen: &Seen<'_>, now: Moment, stretch: Stretch) {
        let Some(series) = series(&mut self.series, &mut self.newcomers, seen.name, self.until) else { return };
        let lasting = i64::try_from(now.boot.saturating_sub(seen.since).as_millis()).unwrap_or(i64::MAX);
        let since = now.wall.as_millisecond().saturating_sub(lasting).clamp(stretch.from, stretch.to);
        let before = series.status.replace(seen.status);
        let changed = match before {
            Some(before) if before == seen.status => stretch.from,
            _ => since,
        };
        if let Some(before) = before {
            series.spend(before, Stretch { to: changed, ..stretch }, seen.name, &mut self.finished);
        }
        series.spend(seen.status, Stretch { from: changed, ..stretch }, seen.name, &mut self.finished);
        series.look = self.look;
        if let Some((reading, value)) = seen.remaining {
            series.reading = Some(reading);
            series.bucket.set_remaining(value);
        }
    }

    /// Counts a run, in the minute that is open.
    pub(crate) fn count(&mut self, result: &RunResult) {
        let now = if self.latest.is_some() { self.until } else { result.at.as_millisecond() };
        if let Some(series) = series(&mut self.series, &mut self.newcomers, &result.component, now) {
            series.bucket.add_run(result.verdict, result.response_time_ms);
        }
    }

    /// Until when time is accounted for; `None` before the first look.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.latest.and_then(|_| Timestamp::from_millisecond(self.until).ok())
    }

    /// Takes the finished minutes, oldest first. Under one lock with [`Ledger::open`], or a minute is in both.
    pub(crate) fn take_finished(&mut self) -> VecDeque<MinutePart> {
        std::mem::take(&mut self.finished)
    }

    /// The minutes that are not over yet.
    pub(crate) fn open(&self) -> Vec<MinutePart> {
        self.series.iter().filter_map(|(name, series)| series.part(name)).collect()
    }

    /// One component's minute that is not over yet.
    pub(crate) fn open_of(&self, component: &str) -> Option<MinutePart> {
        self.series.get_key_value(component).and_then(|(name, series)| series.part(name))
    }

    /// Ends all open minutes, for the end of the process: what comes later in them is joined by the store.
    pub(crate) fn finish_all(&mut self) {
        for (name, series) in &mut self.series {
            self.finished.extend(series.finish(name));
        }
    }

    /// The name of the reading of a component that may run out.
    pub(crate) fn reading(&self, component: &str) -> Option<&'static str> {
        self.series.get(component).and_then(|series| series.reading)
    }

    /// Notes what a component's past adds up to, in brief.
    pub(crate) fn set_brief(&mut self, component: &str, brief: Brief) {
        if let Some(series) = self.series.get_mut(component) {
            series.brief = Some(brief);
        }
    }

    /// What the components' pasts added up to when they were last looked at.
    pub(crate) fn briefs(&self) -> impl Iterator<Item = (&Arc<str>, Brief)> {
        self.series.iter().filter_map(|(name, series)| Some((name, series.brief?)))
    }

    /// The names of all components that are there.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.series.keys().cloned().collect()
    }

    /// How many finished minutes were given up, since the last call.
    pub(crate) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// How many components were seen for the first time, since the last call.
    pub(crate) fn take_newcomers(&mut self) -> u64 {
        std::mem::take(&mut self.newcomers)
    }

    fn bound(&mut self) {
        while self.finished.len() > MOST_PARTS {
            self.finished.pop_front();
            self.given_up += 1;
        }
    }
}

/// A component's series, begun when there is none. `None` when there are too many.
fn series<'s>(
    all: &'s mut HashMap<Arc<str>, Series>,
    newcomers: &mut u64,
    name: &Arc<str>,
    at: i64,
) -> Option<&'s mut Series> {
    if !all.contains_key(name) {
        if all.len() >= MOST_SERIES {
            return None;
        }
        *newcomers += 1;
        all.insert(Arc::clone(name), Series::new(at));
    }
    all.get_mut(name)
}

impl Series {
    fn new(at: i64) -> Self {
        let minute = at.div_euclid(Tier::Minute.millis());
        Self { status: None, minute, bucket: Bucket::default(), look: 0, reading: None, brief: None }
    }

    /// Spends a stretch of time in a status, finishing each minute that ends in it.
    fn spend(&mut self, status: Status, stretch: Stretch, name: &Arc<str>, finished: &mut VecDeque<MinutePart>) {
        let mut from = stretch.from;
        while from < stretch.to {
            let minute = from.div_euclid(Tier::Minute.millis());
            if minute != self.minute {
                finished.extend(self.finish(name));
                self.minute = minute;
            }
            let to = stretch.to.min((minute + 1) * Tier::Minute.millis());
            // At most a minute.
            self.bucket.add_time(status, u32::try_from(to - from).unwrap_or(0));
            from = to;
        }
    }

    fn finish(&mut self, name: &Arc<str>) -> Option<MinutePart> {
        let part = self.part(name);
        self.bucket = Bucket::default();
        part
    }

    fn part(&self, name: &Arc<str>) -> Option<MinutePart> {
        let part = || MinutePart { component: Arc::clone(name), minute: self.minute, bucket: self.bucket.clone() };
        (!self.bucket.is_empty()).then(part)
    }
}

#[cfg(test)]
mod tests;
