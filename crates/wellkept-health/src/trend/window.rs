//! One window of a trend: what its slots add up to.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::direction::{Direction, Point};
use super::tier::Tier;
use crate::outcome::Verdict;
use crate::status::Status;

/// The least change of the median response time that matters: a tenth.
const LEAST_RATIO: f64 = 0.1;
/// The least change in the share of failed runs that matters: one in a hundred.
const LEAST_SHARE: f64 = 0.01;

/// How far back a window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// One hour.
    Hour,
    /// 24 hours.
    Day,
    /// Seven days.
    Week,
    /// 30 days.
    Month,
}

impl Span {
    /// All spans, the shortest first.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    const fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 168,
            Self::Month => 720,
        }
    }

    /// How many whole slots of a tier it has, besides the one that is not over.
    pub const fn slots(self, tier: Tier) -> i64 {
        self.hours() * Tier::Hour.millis() / tier.millis()
    }

    /// The tier that it is read from: its own, or a coarser one when too little of that is kept.
    pub(crate) fn tier(self, kept: &[i64; Tier::ALL.len()]) -> Tier {
        let own = match self {
            Self::Hour => Tier::Minute,
            Self::Day => Tier::TenMinutes,
            Self::Week | Self::Month => Tier::Hour,
        };
        let enough = |tier: &Tier| {
            *tier as usize >= own as usize && kept.get(*tier as usize).is_some_and(|kept| *kept > self.slots(*tier))
        };
        Tier::ALL.into_iter().find(enough).unwrap_or(Tier::Hour)
    }
}

/// What a component's past adds up to over one window.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Window {
    /// The beginning, which is that of a slot: a window is up to a slot longer than its name says.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub from: Timestamp,
    /// The end.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub to: Timestamp,
    /// Time up as a share of the time in which that is known: healthy and degraded, of these and unhealthy. `None`
    /// when nothing is known. Time unknown, in maintenance or not observed counts neither for nor against.
    pub availability: Option<f64>,
    /// The share of the window that was observed at all.
    pub observed: f64,
    /// The window's time by what is known of it. All of it adds up to the window.
    pub seconds: Seconds,
    /// Runs by verdict, before thresholds.
    pub runs: Runs,
    /// Of the runs that had an answer; `None` when there were none.
    pub response_time_ms: Option<Percentiles>,
    /// Which way the median response time goes. A change by less than a tenth is none.
    pub response_time_trend: Direction,
    /// Which way the share of failed runs goes. A change by less than a hundredth of all runs is none.
    pub failures_trend: Direction,
}

/// Time by what is known of it, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Seconds {
    /// Served as healthy.
    pub healthy: f64,
    /// Served as degraded, which is up.
    pub degraded: f64,
    /// Served as unhealthy.
    pub unhealthy: f64,
    /// Observed, and nothing was known: no result yet, or the latest was too old.
    pub unknown: f64,
    /// In maintenance.
    pub maintenance: f64,
    /// Not observed: the process did not run, the machine slept, or the component was not there.
    pub gap: f64,
}

/// Runs by verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Runs {
    /// Runs that passed.
    pub passed: u64,
    /// Runs that warned.
    pub warned: u64,
    /// Runs that failed.
    pub failed: u64,
}

/// Percentiles of response times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Percentiles {
    /// Half of the runs took no longer.
    pub p50: f64,
    /// 95 in a hundred took no longer.
    pub p95: f64,
    /// 99 in a hundred took no longer.
    pub p99: f64,
    /// By how much each may differ from the true one, as a share of it.
    pub relative_error: f64,
}

/// A window's numbers in brief, for lists of components.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Brief {
    /// [`Window::availability`] over the last 24 hours.
    pub availability_24h: Option<f64>,
    /// The same over the last 30 days.
    pub availability_30d: Option<f64>,
    /// 95 in a hundred runs of the last 24 hours took no longer, in milliseconds.
    pub p95_ms_24h: Option<f64>,
    /// For how many seconds of the last 24 hours somebody looked: [`Brief::availability_24h`] is a share of those. From
    /// an older server 0.
    #[serde(default)]
    pub observed_s_24h: u64,
    /// The same of the last 30 days.
    #[serde(default)]
    pub observed_s_30d: u64,
}

impl Brief {
    pub(crate) const SPANS: [Span; 2] = [Span::Day, Span::Month];

    /// Adds up the slots of the last day and of the last 30.
    pub(super) fn of(
        to: Timestamp,
        (day, by_day): (Tier, &BTreeMap<i64, Bucket>),
        (month, by_month): (Tier, &BTreeMap<i64, Bucket>),
    ) -> Self {
        let day = Sum::over(day, to, &within(Span::Day, day, to, by_day));
        let month = Sum::over(month, to, &within(Span::Month, month, to, by_month));
        Self {
            availability_24h: day.availability(),
            availability_30d: month.availability(),
            p95_ms_24h: day.percentiles().map(|times| times.p95),
            observed_s_24h: day.known() / 1000,
            observed_s_30d: month.known() / 1000,
        }
    }

    /// For how long somebody looked in the last 24 hours, when that is notably less: what such a number stands on is to
    /// be shown beside it. `None` when it is at least 99 in a hundred, and of a server that does not tell.
    pub fn short_of_24h(&self) -> Option<Duration> {
        short_of(Span::Day, self.observed_s_24h)
    }

    /// The same of the last 30 days.
    pub fn short_of_30d(&self) -> Option<Duration> {
        short_of(Span::Month, self.observed_s_30d)
    }
}

fn short_of(span: Span, observed: u64) -> Option<Duration> {
    let whole = u64::try_from(span.slots(Tier::Minute)).unwrap_or(0) * 60;
    (observed > 0 && observed < whole / 100 * 99).then(|| Duration::from_secs(observed))
}

fn within(span: Span, tier: Tier, to: Timestamp, slots: &BTreeMap<i64, Bucket>) -> Vec<(i64, &Bucket)> {
    let last = tier.slot(to);
    slots.range(last - span.slots(tier)..=last).map(|(slot, bucket)| (*slot, bucket)).collect()
}

impl Window {
    /// Adds up the slots of a tier that lie in a window that ends at `to`.
    pub(super) fn of(span: Span, tier: Tier, to: Timestamp, slots: &BTreeMap<i64, Bucket>) -> Self {
        let within = within(span, tier, to, slots);
        let sum = Sum::over(tier, to, &within);
        let from = tier.start(tier.slot(to) - span.slots(tier));
        let length = u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0);
        Self {
            from,
            to,
            availability: sum.availability(),
            observed: rounded(sum.known() as f64 / length.max(1) as f64),
            seconds: sum.seconds(length),
            runs: sum.runs(),
            response_time_ms: sum.percentiles(),
            response_time_trend: response_times(&within),
            failures_trend: Direction::of(&failures(&within), LEAST_SHARE),
        }
    }
}

/// What slots add up to; more time than a bucket can hold.
#[derive(Debug, Default)]
struct Sum {
    times: [u64; Status::ALL.len()],
    whole: Bucket,
}

impl Sum {
    /// No slot counts for longer than it has lasted by `to`.
    fn over(tier: Tier, to: Timestamp, slots: &[(i64, &Bucket)]) -> Self {
        let mut sum = Self::default();
        for (slot, bucket) in slots {
            let room = to.as_millisecond().saturating_sub(slot.saturating_mul(tier.millis())).min(tier.millis());
            sum.add(bucket, u64::try_from(room).unwrap_or(0));
        }
        sum
    }

    fn add(&mut self, bucket: &Bucket, room: u64) {
        let mut bucket = bucket.clone();
        bucket.limit(room);
        for (status, time) in Status::ALL.into_iter().zip(&mut self.times) {
            *time += bucket.time(status);
        }
        bucket.limit(0);
        self.whole.merge(&bucket);
    }

    fn time(&self, status: Status) -> u64 {
        Status::ALL.into_iter().zip(self.times).filter(|(one, _)| *one == status).map(|(_, time)| time).sum()
    }

    fn known(&self) -> u64 {
        self.times.iter().sum()
    }

    fn availability(&self) -> Option<f64> {
        let up = self.time(Status::Healthy) + self.time(Status::Degraded);
        let judged = up + self.time(Status::Unhealthy);
        // Cut off, not rounded: what is not always up is not called 1.
        (judged > 0).then(|| (up as f64 / judged as f64 * 1e6).floor() / 1e6)
    }

    fn seconds(&self, length: u64) -> Seconds {
        let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
        let of = |status| seconds(self.time(status));
        Seconds {
            healthy: of(Status::Healthy),
            degraded: of(Status::Degraded),
            unhealthy: of(Status::Unhealthy),
            unknown: of(Status::Unknown),
            maintenance: of(Status::Maintenance),
            gap: seconds(length.saturating_sub(self.known())),
        }
    }

    fn runs(&self) -> Runs {
        let of = |verdict| self.whole.runs(verdict);
        Runs { passed: of(Verdict::Pass), warned: of(Verdict::Warn), failed: of(Verdict::Fail) }
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let times = self.whole.response_times();
        Some(Percentiles {
            p50: rounded(times.quantile(0.5)?),
            p95: rounded(times.quantile(0.95)?),
            p99: rounded(times.quantile(0.99)?),
            relative_error: rounded(times.relative_error()),
        })
    }
}

/// The direction of the slots' medians. On logarithms: what doubles rises as much from 1 ms as from 1 s.
fn response_times(slots: &[(i64, &Bucket)]) -> Direction {
    let median = |bucket: &Bucket| bucket.response_times().quantile(0.5).map(f64::ln);
    let points: Vec<Point> = slots.iter().filter_map(|(slot, bucket)| Some((*slot as f64, median(bucket)?))).collect();
    let direction = Direction::of(&points, (1.0 + LEAST_RATIO).ln());
    Direction { change: direction.change.map(f64::exp_m1), ..direction }
}

fn failures(slots: &[(i64, &Bucket)]) -> Vec<Point> {
    let share = |bucket: &Bucket| {
        let failed = bucket.runs(Verdict::Fail);
        let all = failed + bucket.runs(Verdict::Pass) + bucket.runs(Verdict::Warn);
        (all > 0).then(|| failed as f64 / all as f64)
    };
    slots.iter().filter_map(|(slot, bucket)| Some((*slot as f64, share(bucket)?))).collect()
}

/// Four digits are more than the errors leave.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
