//! All components at one instant, immutable; what every reader sees.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::changes::Changes;
use crate::clock::Clock;
use crate::component::Group;
use crate::dependencies;
use crate::hysteresis::Thresholds;
use crate::maintenance::{Maintenance, Spans, active, next_boundary};
use crate::origin::Origins;
use crate::outcome::{Reason, Verdict};
use crate::part::Parts;
use crate::snapshot::totals::{Total, Totals};
use crate::status::{Criticality, Status};
use crate::trend::Seen;

mod causes;
mod chunk;
mod groups;
mod totals;

pub(crate) use causes::Causes;
pub(crate) use chunk::{CHUNK, Chunk, Chunks, Index};

/// The components of a service at one instant. Cheap to share; never changes.
///
/// A result has an age: what a reader is told is computed against the clock at the time of reading, so that a
/// snapshot that nobody renews turns unknown by itself.
#[derive(Clone)]
pub struct Snapshot {
    chunks: Chunks,
    /// `None` before the engine has looked at anything.
    totals: Option<Totals>,
    /// When the whole service is in maintenance.
    maintenance: Spans,
    taken: Timestamp,
    oldest: Option<Timestamp>,
    clock: Arc<dyn Clock>,
}

impl Snapshot {
    pub(crate) fn new(chunks: Chunks, maintenance: Spans, clock: Arc<dyn Clock>) -> Self {
        let (totals, oldest, taken) = (Some(chunks.totals()), chunks.oldest(), clock.wall());
        Self { chunks, totals, maintenance, taken, oldest, clock }
    }

    /// What is known before the engine has looked at anything: nothing.
    pub(crate) fn before_the_first(clock: Arc<dyn Clock>) -> Self {
        let (chunks, maintenance) = (Chunks::default(), Arc::new([]));
        Self { chunks, totals: None, maintenance, taken: clock.wall(), oldest: None, clock }
    }

    /// When it was taken.
    pub fn taken(&self) -> Timestamp {
        self.taken
    }

    /// All components, in the order of their registration.
    pub fn components(&self) -> impl ExactSizeIterator<Item = &ComponentHealth> {
        self.chunks.iter()
    }

    /// One component, by name.
    pub fn component(&self, name: &str) -> Option<&ComponentHealth> {
        self.chunks.find(name)
    }

    /// The components that a group's probe sees.
    pub fn group<'s>(&'s self, group: &'s Group) -> impl Iterator<Item = &'s ComponentHealth> {
        self.components().filter(move |component| component.groups.contains(group))
    }

    /// What all components add up to, now.
    pub fn overall(&self) -> Status {
        self.total(None, self.clock.boot())
    }

    /// What the components of a group add up to, now. A group without components is healthy: nothing that it waits
    /// for is missing (`MicroProfile` Health, "Readiness").
    pub fn status(&self, group: &Group) -> Status {
        self.total(Some(group), self.clock.boot())
    }

    /// What one component's readers are told now, its age taken into account.
    pub fn standing(&self, component: &ComponentHealth) -> Standing {
        component.standing(self.clock.boot())
    }

    /// What a component counts for a group now, or for the service as a whole; `None` when it is left out.
    pub fn counts_as(&self, component: &ComponentHealth, group: Option<&Group>) -> Option<Status> {
        let status = component.status(self.clock.boot());
        component.weigh(status, group).filter(|_| component.counted)
    }

    /// The maintenance that the whole service is in now.
    pub fn maintenance(&self) -> Option<&Arc<Maintenance>> {
        active(&self.maintenance, self.clock.boot())
    }

    /// The maintenance that a component is in now; not the whole service's.
    pub fn maintenance_of<'s>(&self, component: &'s ComponentHealth) -> Option<&'s Arc<Maintenance>> {
        active(&component.maintenance, self.clock.boot())
    }

    /// Whether it was made of this plan of maintenance, or after it.
    pub(crate) fn is_of_plan(&self, service: &Spans) -> bool {
        Arc::ptr_eq(&self.maintenance, service)
    }

    /// Whether nobody is to be woken for a component now: it or the whole service is in maintenance.
    pub fn is_silenced(&self, component: &ComponentHealth) -> bool {
        self.maintenance().is_some() || self.maintenance_of(component).is_some()
    }

    /// The component at the root of this one's trouble: while it is not healthy itself, the farthest component that it
    /// depends on, directly or not, that is down or in maintenance.
    pub fn root_cause<'s>(&'s self, component: &'s ComponentHealth) -> Option<&'s ComponentHealth> {
        dependencies::root_of_trouble(component, |name| self.component(name), self.clock.boot())
    }

    /// How old a component's latest result is.
    pub fn age(&self, component: &ComponentHealth) -> Option<Duration> {
        component.checked.map(|checked| self.clock.boot().saturating_sub(checked.boot))
    }

    /// How long a component has been in its status.
    pub fn lasting(&self, component: &ComponentHealth) -> Duration {
        self.clock.boot().saturating_sub(component.since.boot)
    }

    /// When the oldest result that counts was taken; `None` before the first results.
    pub fn oldest_result(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// The service's status and until which reading of the boot clock it holds.
    pub(crate) fn overall_total(&self) -> (Status, Duration) {
        let now = self.clock.boot();
        let total = self.totals.as_ref().and_then(|totals| totals.kept(None));
        let valid_until = total.map_or(Duration::ZERO, |total| total.valid_until);
        let boundary = next_boundary(&self.maintenance, now).unwrap_or(Duration::MAX);
        (self.total(None, now), valid_until.min(boundary))
    }

    /// Whether every component that counts has had a result.
    pub(crate) fn all_sampled(&self) -> bool {
        self.chunks.all_sampled()
    }

    fn total(&self, group: Option<&Group>, now: Duration) -> Status {
        // Whether this process lives, and whether it has started, is so whatever it is used for.
        let overrides = !matches!(group, Some(Group::Live | Group::Startup));
        if overrides && active(&self.maintenance, now).is_some() {
            return Status::Maintenance;
        }
        match self.totals.as_ref().map(|totals| totals.kept(group)) {
            None => Status::Unknown,
            Some(Some(kept)) if now < kept.valid_until => kept.status,
            Some(_) => self.chunks.total(group, now).status,
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.clock.boot();
        let statuses = self.components().map(|one| (&*one.name, one.status(now)));
        formatter.debug_map().entries(statuses).finish()
    }
}

/// One component in a snapshot.
#[derive(Debug, Clone)]
pub struct ComponentHealth {
    /// Its name.
    pub name: Arc<str>,
    /// The kind of its check, where a configuration named one.
    pub kind: Option<&'static str>,
    /// What its failure means for the service.
    pub criticality: Criticality,
    /// Whether all replicas share it, so that its failure degrades instead of making unready.
    pub shared: bool,
    /// The groups that see it.
    pub groups: Arc<[Group]>,
    /// Whether its check runs.
    pub activity: Activity,
    /// Whether its settings were changed at run time.
    pub tuned: bool,
    /// Whose it is.
    pub belongs: Belonging,
    /// Whether it counts: not when it has no result yet, unless the start waits for it; not when it is disabled, and
    /// not when it is for the start only, which is complete.
    pub counted: bool,
    /// The result after thresholds; `None` before the first one.
    pub served: Option<Served>,
    /// The latest run's verdict, before thresholds.
    pub raw: Option<Verdict>,
    /// The latest run's reason.
    pub raw_reason: Option<Reason>,
    /// The latest run's private detail.
    pub detail: Arc<str>,
    /// The latest run's readings.
    pub metadata: Arc<Map<String, Value>>,
    /// What it consists of, as the latest run was told; `None` when it was told nothing.
    pub parts: Option<Arc<Parts>>,
    /// What is left of something that runs out at zero: the reading's name and value.
    pub remaining: Option<(&'static str, f64)>,
    /// How long the latest run took.
    pub response_time: Option<Duration>,
    /// When the latest run ended.
    pub checked: Option<Moment>,
    /// Since when the served status is what it is.
    pub since: Moment,
    /// How many results in a row agreed with the latest one.
    pub consecutive: u32,
    /// Past this age the result counts no more.
    pub max_age: Duration,
    /// From one run's start to the next one's, as it is now.
    pub interval: Duration,
    /// The deadline of one run, as it is now.
    pub timeout: Duration,
    /// How many results turn its status, as it is now.
    pub thresholds: Thresholds,
    /// The names of the components that it can't work without.
    pub depends_on: Arc<[Arc<str>]>,
    /// When it is in maintenance.
    pub(crate) maintenance: Spans,
    /// Books of all its runs.
    pub totals: RunTotals,
    /// Its changes of status that were told, the first one included.
    pub changes: Arc<Changes>,
}

/// Whose a component is, which decides what becomes of it when the set is replaced
/// ([`Checker::replace`](crate::Checker::replace)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belonging {
    /// It is of the set, and goes with it.
    Set,
    /// It is a loop of the code's: it stays.
    Loop,
    /// It was added while the process ran: it stays until a set has its name.
    Addition,
}

/// Whether a component's check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activity {
    /// It runs, and its results count.
    #[default]
    Enabled,
    /// An operator, or its definition, left it out.
    Disabled,
}

/// A status after thresholds, with its cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// The status.
    pub status: Status,
    /// Why it is not healthy.
    pub reason: Option<Reason>,
    /// One line for everyone.
    pub message: Arc<str>,
    /// Which other services it comes from, when one of them has told so.
    pub origins: Option<Arc<Origins>>,
}

/// What readers are told of a component at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The status, unknown when there is no result or the latest is too old.
    pub status: Status,
    /// Why it is not healthy.
    pub reason: Option<Reason>,
    /// One line for everyone.
    pub message: Arc<str>,
}

/// What everyone may read of a maintenance.
pub(crate) const IN_MAINTENANCE: &str = "in maintenance";

/// An instant on both clocks: one for ages, one for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// On the clock that ages are taken from.
    pub boot: Duration,
    /// Of day, UTC.
    pub wall: Timestamp,
}

impl Moment {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { boot: clock.boot(), wall: clock.wall() }
    }
}

/// What is known of a component at one instant.
#[derive(Debug, Clone, Copy)]
enum Known<'c> {
    Disabled,
    Maintenance,
    Pending,
    Stale,
    Served(&'c Served),
}

impl ComponentHealth {
    pub(crate) fn standing(&self, now: Duration) -> Standing {
        let (reason, message) = match self.known(now) {
            Known::Disabled => (Some(Reason::Disabled), "disabled".into()),
            Known::Maintenance => (Some(Reason::Maintenance), IN_MAINTENANCE.into()),
            Known::Pending => (Some(Reason::Pending), "no result yet".into()),
            Known::Stale => (Some(Reason::Stale), "the latest result is too old".into()),
            Known::Served(served) => (served.reason.clone(), Arc::clone(&served.message)),
        };
        Standing { status: self.status(now), reason, message }
    }

    /// The status of its standing, without the words.
    pub(crate) fn status(&self, now: Duration) -> Status {
        match self.known(now) {
            Known::Maintenance => Status::Maintenance,
            Known::Disabled | Known::Pending | Known::Stale => Status::Unknown,
            Known::Served(served) => served.status,
        }
    }

    fn known(&self, now: Duration) -> Known<'_> {
        match active(&self.maintenance, now) {
            Some(_) => Known::Maintenance,
            None => self.known_besides_maintenance(now),
        }
    }

    fn known_besides_maintenance(&self, now: Duration) -> Known<'_> {
        match &self.served {
            _ if self.activity == Activity::Disabled => Known::Disabled,
            None => Known::Pending,
            Some(_) if self.stale_at().is_some_and(|stale_at| now >= stale_at) => Known::Stale,
            Some(served) => Known::Served(served),
        }
    }

    /// What the history sees of it at one instant.
    pub(crate) fn seen(&self, now: Duration) -> Seen<'_> {
        // What nobody measures any more is no reading of now.
        let is_current = matches!(self.known_besides_maintenance(now), Known::Served(_));
        let remaining = self.remaining.filter(|_| is_current);
        Seen { name: &self.name, status: self.status(now), since: self.since.boot, remaining }
    }

    /// When what it watches ends by itself, such as a certificate: its reading `not_after`, in RFC 3339.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.metadata.get("not_after")?.as_str()?.parse().ok()
    }

    /// Its status, and until when it stays that by the passing of time alone.
    fn lasting_status(&self, now: Duration) -> Total {
        let stale_at = self.stale_at().filter(|stale_at| *stale_at > now);
        let changes = stale_at.into_iter().chain(next_boundary(&self.maintenance, now));
        Total { status: self.status(now), valid_until: changes.min().unwrap_or(Duration::MAX) }
    }

    /// What its status adds to a group's total, or to that of the service as a whole.
    fn counts(&self, lasting: Total, group: Option<&Group>) -> Total {
        Total { status: self.weigh(lasting.status, group).unwrap_or(Total::NOTHING.status), ..lasting }
    }

    /// What it counts for a group, or for the service as a whole, which is told the truth also about what is shared.
    pub(crate) fn weigh(&self, status: Status, group: Option<&Group>) -> Option<Status> {
        let criticality = if self.shared && group.is_some() { Criticality::Optional } else { self.criticality };
        criticality.weigh(status)
    }

    fn stale_at(&self) -> Option<Duration> {
        self.checked.map(|checked| checked.boot.saturating_add(self.max_age))
    }
}

/// Counts over all runs of a component since it was registered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RunTotals {
    /// Runs that passed, warned, failed.
    pub runs: [u64; 3],
    /// Changes of the served status.
    pub changes: u64,
    /// Runs that were due while the one before was still going on.
    pub missed: u64,
    /// How many runs took longer than the bucket before and at most [`RunTotals::BUCKETS`] seconds.
    pub buckets: [u64; Self::BUCKETS.len()],
    /// All runs' time, in seconds.
    pub seconds: f64,
}

impl RunTotals {
    /// Upper bounds of the duration's buckets, in seconds.
    pub const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, f64::INFINITY];

    /// Runs of any verdict.
    pub fn count(&self) -> u64 {
        self.runs.iter().sum()
    }

    pub(crate) fn add(&mut self, verdict: Verdict, elapsed: Duration) {
        self.runs[verdict as usize] += 1;
        self.seconds += elapsed.as_secs_f64();
        let bucket = Self::BUCKETS.iter().position(|bound| elapsed.as_secs_f64() <= *bound);
        if let Some(count) = bucket.and_then(|bucket| self.buckets.get_mut(bucket)) {
            *count += 1;
        }
    }
}
