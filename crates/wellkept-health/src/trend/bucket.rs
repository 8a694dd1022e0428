//! What is kept of one component over one slot of a tier, or over a part of one.

use std::sync::Arc;

use super::sketch::{Sketch, push_number, take_number};
use super::tier::Tier;
use crate::outcome::Verdict;
use crate::status::Status;

/// What happened to one component within one slot: time by status, runs by verdict, response times, and the latest
/// reading of what may run out. At most 300 bytes in its encoded form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bucket {
    /// Milliseconds in each status, in the order of [`STATUSES`].
    times: [u32; 5],
    /// Runs that passed, warned, failed.
    runs: [u32; 3],
    /// The latest reading of what may run out.
    remaining: Option<f64>,
    /// Of the runs that had an answer. One that failed has none, and its time would say nothing of the others.
    response_times: Sketch,
}

/// A part of a minute of one component, to be joined with what is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct MinutePart {
    /// The component's name.
    pub component: Arc<str>,
    /// The slot of [`Tier::Minute`].
    pub minute: i64,
    /// What happened in it.
    pub bucket: Bucket,
}

/// The order in which times are written. Never changed: it is in files.
const STATUSES: [Status; 5] =
    [Status::Healthy, Status::Degraded, Status::Unhealthy, Status::Unknown, Status::Maintenance];
/// In the first byte of the encoded form, above a bit for each status: there are runs; there is a reading.
const RUNS: u8 = 1 << 5;
const REMAINING: u8 = 1 << 6;

impl Bucket {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Milliseconds in a status.
    pub fn time(&self, status: Status) -> u64 {
        STATUSES.iter().zip(self.times).filter(|(one, _)| **one == status).map(|(_, time)| u64::from(time)).sum()
    }

    /// Milliseconds in any status.
    pub fn known(&self) -> u64 {
        self.times.iter().map(|time| u64::from(*time)).sum()
    }

    /// Runs that ended with a verdict.
    pub fn runs(&self, verdict: Verdict) -> u64 {
        self.runs.get(verdict as usize).copied().map_or(0, u64::from)
    }

    /// The response times of the runs that had an answer: passed or warned.
    pub fn response_times(&self) -> &Sketch {
        &self.response_times
    }

    /// The latest reading of what may run out.
    pub fn remaining(&self) -> Option<f64> {
        self.remaining
    }

    /// Adds time in a status.
    pub fn add_time(&mut self, status: Status, milliseconds: u32) {
        for (one, time) in STATUSES.iter().zip(&mut self.times) {
            if *one == status {
                *time = time.saturating_add(milliseconds);
            }
        }
    }

    /// Adds a run.
    pub fn add_run(&mut self, verdict: Verdict, response_time_ms: f64) {
        if let Some(count) = self.runs.get_mut(verdict as usize) {
            *count = count.saturating_add(1);
        }
        if verdict != Verdict::Fail {
            self.response_times.add(response_time_ms);
        }
    }

    /// Notes a reading of what may run out; the latest counts.
    pub fn set_remaining(&mut self, reading: f64) {
        if reading.is_finite() {
            self.remaining = Some(reading);
        }
    }

    /// Adds a newer part of the same slot of this tier. Time for which the slot has no room was counted before: the
    /// clock was set back, and it is left out.
    pub fn join(&mut self, newer: &Self, tier: Tier) {
        let length = u64::try_from(tier.millis()).unwrap_or(0);
        let mut newer = newer.clone();
        newer.limit(length.saturating_sub(self.known()));
        self.merge(&newer);
    }

    /// Adds all that another one holds, its time included.
    pub(super) fn merge(&mut self, newer: &Self) {
        for (time, more) in self.times.iter_mut().zip(newer.times) {
            *time = time.saturating_add(more);
        }
        for (count, more) in self.runs.iter_mut().zip(newer.runs) {
            *count = count.saturating_add(more);
        }
        self.remaining = newer.remaining.or(self.remaining);
        self.response_times.merge(&newer.response_times);
    }

    /// Shortens its time to this many milliseconds at most, each status by the same share.
    pub(super) fn limit(&mut self, milliseconds: u64) {
        let known = self.known();
        if known > milliseconds {
            for time in &mut self.times {
                *time = u32::try_from(u64::from(*time) * milliseconds / known).unwrap_or(*time);
            }
        }
    }

    /// Its encoded form, for a store.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0];
        let mut present = 0;
        for (place, time) in self.times.iter().enumerate().filter(|(_, time)| **time > 0) {
            present |= 1 << place;
            push_number(&mut bytes, *time);
        }
        if self.runs.iter().any(|count| *count > 0) {
            present |= RUNS;
            for count in self.runs {
                push_number(&mut bytes, count);
            }
        }
        if let Some(reading) = self.remaining {
            present |= REMAINING;
            bytes.extend(reading.to_le_bytes());
        }
        if let Some(first) = bytes.first_mut() {
            *first = present;
        }
        self.response_times.encode(&mut bytes);
        bytes
    }

    /// Reads an encoded form. `None` when it was never one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (present, mut rest) = bytes.split_first()?;
        let mut bucket = Self::default();
        for (place, time) in bucket.times.iter_mut().enumerate() {
            if present & (1 << place) != 0 {
                *time = take_number(&mut rest)?;
            }
        }
        if present & RUNS != 0 {
            for count in &mut bucket.runs {
                *count = take_number(&mut rest)?;
            }
        }
        if present & REMAINING != 0 {
            let (reading, after) = rest.split_first_chunk()?;
            bucket.remaining = Some(f64::from_le_bytes(*reading)).filter(|reading| reading.is_finite());
            rest = after;
        }
        if present & !(REMAINING | (REMAINING - 1)) != 0 {
            return None;
        }
        bucket.response_times = Sketch::decode(rest)?;
        Some(bucket)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buckets() -> impl Strategy<Value = Bucket> {
        let runs = prop::collection::vec((0_u8..3, 0.01_f64..1e5), 0..60);
        (prop::array::uniform5(0_u32..800_000), runs, prop::option::of(0.0_f64..1e15)).prop_map(
            |(times, runs, remaining)| {
                let mut bucket = Bucket { times, ..Bucket::default() };
                for (verdict, time) in runs {
                    let verdicts = [Verdict::Pass, Verdict::Warn, Verdict::Fail];
                    bucket.add_run(verdicts[usize::from(verdict)], time);
                }
                if let Some(reading) = remaining {
                    bucket.set_remaining(reading);
                }
                bucket
            },
        )
    }

    proptest! {
        #[test]
        fn a_bucket_comes_back_from_its_bytes_as_it_was(bucket in buckets()) {
            let bytes = bucket.encode();
            prop_assert!(bytes.len() <= 300);
            prop_assert_eq!(Bucket::decode(&bytes), Some(bucket));
        }

        #[test]
        fn no_slot_holds_more_time_than_it_has(parts in prop::collection::vec(buckets(), 1..5), tier in 0_usize..3) {
            let tier = Tier::ALL[tier];
            let length = u64::try_from(tier.millis()).unwrap();
            let mut joined = Bucket::default();
            let mut whole = 0;
            for part in &parts {
                joined.join(part, tier);
                whole += part.known();
            }
            prop_assert!(joined.known() <= length);
            if whole <= length {
                prop_assert_eq!(joined.known(), whole, "what fits is kept whole");
            }
        }

        #[test]
        fn rubbish_is_no_bucket_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(bucket) = Bucket::decode(&bytes) {
                prop_assert_eq!(Bucket::decode(&bucket.encode()), Some(bucket));
            }
        }
    }

    #[test]
    fn a_failed_run_has_no_response_time() {
        let mut bucket = Bucket::default();
        bucket.add_run(Verdict::Pass, 5.0);
        bucket.add_run(Verdict::Fail, 2000.0);
        assert_eq!((bucket.runs(Verdict::Pass), bucket.runs(Verdict::Fail)), (1, 1));
        assert_eq!(bucket.response_times().count(), 1);
    }
}
