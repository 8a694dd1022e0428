//! What the stores have in common: how much is kept, the words in the rows, and what a sweep drops.

use std::ops::Range;
use std::sync::Once;
use std::time::SystemTime;

use jiff::Timestamp;
use wellkept_config::{ContentHash, OutcomeKind, Trigger};
use wellkept_health::trend::{Bucket, Retention, Tier};
use wellkept_health::{JobEnd, Status, Sweep, Verdict};

/// Most old rows that one `append` removes beyond those that it replaces, so that a lowered limit stalls nobody.
pub(crate) const PRUNE_BATCH: u64 = 500;

/// Most components that one sweep forgets, so that it stalls nobody.
pub(crate) const FORGOTTEN_AT_ONCE: usize = 32;
/// How many rows one sweep drops for their age before it leaves the rest to the next. A place is dropped as a whole.
pub(crate) const DROPPED_AT_ONCE: usize = 5000;

/// How much is kept. Beyond it the oldest goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Results of each component; [`Retention::RESULTS`] by default.
    pub results: u64,
    /// Status changes of each component, and as many of the service; [`Retention::CHANGES`] by default.
    pub changes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { results: Retention::RESULTS, changes: Retention::CHANGES }
    }
}

pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(crate) fn status(word: &str) -> Option<Status> {
    Status::ALL.into_iter().find(|status| status.as_str() == word)
}

pub(crate) fn verdict(word: &str) -> Option<Verdict> {
    [Verdict::Pass, Verdict::Warn, Verdict::Fail].into_iter().find(|verdict| verdict.as_str() == word)
}

/// The word for how a job ended, with its exit code.
pub(crate) fn ending(end: Option<JobEnd>) -> (Option<&'static str>, Option<i32>) {
    match end {
        None => (None, None),
        Some(JobEnd::Well) => (Some("well"), None),
        Some(JobEnd::Failed(code)) => (Some("failed"), code),
    }
}

/// How a job ended, by the word for it.
pub(crate) fn job_end(word: &str, exit_code: Option<i32>) -> Option<JobEnd> {
    match word {
        "well" => Some(JobEnd::Well),
        "failed" => Some(JobEnd::Failed(exit_code)),
        _ => None,
    }
}

pub(crate) fn trigger(word: &str) -> Option<Trigger> {
    Trigger::ALL.into_iter().find(|trigger| trigger.as_str() == word)
}

pub(crate) fn outcome(word: &str) -> Option<OutcomeKind> {
    OutcomeKind::ALL.into_iter().find(|outcome| outcome.as_str() == word)
}

pub(crate) fn content_hash(bytes: &[u8]) -> Option<ContentHash> {
    bytes.try_into().ok().map(ContentHash)
}

/// In microseconds since 1970. A clock that is further off than any calendar reaches is at its end.
pub(crate) fn microseconds(at: SystemTime) -> i64 {
    let furthest = if at < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::try_from(at).unwrap_or(furthest).as_microsecond()
}

/// What stands for a tier in the rows. Never changed.
pub(crate) fn number(tier: Tier) -> i64 {
    match tier {
        Tier::Minute => 0,
        Tier::TenMinutes => 1,
        Tier::Hour => 2,
    }
}

/// What can't be read is taken as empty, told once: one damaged row must not stop the history of all.
pub(crate) fn decoded(bytes: &[u8]) -> Option<Bucket> {
    static TOLD: Once = Once::new();
    let bucket = Bucket::decode(bytes);
    if bucket.is_none() {
        TOLD.call_once(|| {
            tracing::error!(target: "wellkept::store", "a part of the history can't be read: it is taken as empty");
        });
    }
    bucket
}

/// The slots that still stand in a tier's ring and are older than they may be: none unless the retention is shorter
/// than the ring.
pub(crate) fn too_old(tier: Tier, sweep: &Sweep) -> Range<i64> {
    tier.slot(sweep.now) - tier.slots() + 1..oldest(tier, sweep)
}

/// Which components are no longer to be remembered, the longest gone first. `known` has each one's id, name and latest
/// minute, in the order of these minutes.
pub(crate) fn gone(known: Vec<(i64, String, i64)>, sweep: &Sweep) -> Vec<i64> {
    let oldest = oldest(Tier::Minute, sweep);
    let surplus = known.len().saturating_sub(usize::try_from(sweep.most).unwrap_or(usize::MAX));
    let not_live = known.into_iter().filter(|(_, name, _)| !sweep.live.contains(name.as_str()));
    let gone = not_live.enumerate().filter(|(place, (_, _, seen))| *place < surplus || *seen < oldest);
    gone.map(|(_, (id, _, _))| id).collect()
}

/// The oldest slot that may be kept.
fn oldest(tier: Tier, sweep: &Sweep) -> i64 {
    let keep = i64::try_from(sweep.keep.as_millis()).unwrap_or(i64::MAX);
    sweep.now.as_millisecond().saturating_sub(keep).div_euclid(tier.millis())
}
