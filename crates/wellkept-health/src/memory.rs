//! History without a file: the latest records, and the tiers that a day needs.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::history::{HistoryError, HistoryStore, Record, RunResult, StatusChange, Sweep, Swept};
use crate::trend::{Bucket, MinutePart, Tier};

/// History in memory, for those who want no file: the latest 1,000 changes; of each component the latest 60 results,
/// the last hour by ten minutes and the last day by hours. At most 20,000 components, about 8 KiB each.
#[derive(Debug, Default)]
pub struct Memory {
    changes: VecDeque<StatusChange>,
    components: HashMap<Arc<str>, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    results: VecDeque<RunResult>,
    /// Encoded buckets with their slots, for each tier, oldest first.
    tiers: [VecDeque<(i64, Box<[u8]>)>; Tier::ALL.len()],
}

impl Memory {
    const CHANGES: usize = 1000;
    const RESULTS: usize = 60;
    const COMPONENTS: usize = 20_000;

    /// The slots that the last hour and the last day have, and the one that is not over.
    const fn length(tier: Tier) -> usize {
        match tier {
            Tier::Minute => 0,
            Tier::TenMinutes => 7,
            Tier::Hour => 25,
        }
    }

    fn of(&mut self, component: &Arc<str>) -> Option<&mut Kept> {
        if self.components.len() >= Self::COMPONENTS && !self.components.contains_key(component) {
            return None;
        }
        Some(self.components.entry(Arc::clone(component)).or_default())
    }

    fn keep(&mut self, record: &Record) {
        match record {
            Record::Change(change) => push_bounded(&mut self.changes, change.clone(), Self::CHANGES),
            Record::Result(result) => {
                if let Some(kept) = self.of(&result.component) {
                    push_bounded(&mut kept.results, result.clone(), Self::RESULTS);
                }
            }
        }
    }
}

impl Kept {
    fn join(&mut self, tier: Tier, part: &MinutePart) {
        let (slot, length) = (tier.slot_of_minute(part.minute), Memory::length(tier));
        let Some(ring) = self.tiers.get_mut(tier as usize).filter(|_| length > 0) else { return };
        let place = ring.partition_point(|(kept, _)| *kept < slot);
        let found = ring.get_mut(place).filter(|(kept, _)| *kept == slot);
        let mut bucket = found.as_ref().and_then(|(_, bytes)| Bucket::decode(bytes)).unwrap_or_default();
        bucket.join(&part.bucket, tier);
        let bytes = bucket.encode().into_boxed_slice();
        match found {
            Some((_, kept)) => *kept = bytes,
            None => ring.insert(place, (slot, bytes)),
        }
        while ring.len() > length {
            ring.pop_front();
        }
    }
}

impl HistoryStore for Memory {
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        for record in records {
            self.keep(record);
        }
        Ok(())
    }

    fn changes(&mut self, component: Option<&str>, limit: usize) -> Result<Vec<StatusChange>, HistoryError> {
        let wanted = |change: &&StatusChange| component.is_none() || change.component.as_deref() == component;
        Ok(self.changes.iter().rev().filter(wanted).take(limit).cloned().collect())
    }

    fn results(&mut self, component: &str, limit: usize) -> Result<Vec<RunResult>, HistoryError> {
        let kept = self.components.get(component);
        Ok(kept.into_iter().flat_map(|kept| kept.results.iter().rev()).take(limit).cloned().collect())
    }

    fn keep_time(&mut self, over: &[MinutePart], _open: &[MinutePart]) -> Result<(), HistoryError> {
        for part in over {
            if let Some(kept) = self.of(&part.component) {
                for tier in Tier::ALL {
                    kept.join(tier, part);
                }
            }
        }
        Ok(())
    }

    fn buckets(
        &mut self,
        component: &str,
        tier: Tier,
        slots: RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Bucket)>, HistoryError> {
        let ring = self.components.get(component).and_then(|kept| kept.tiers.get(tier as usize));
        let within = ring.into_iter().flatten().filter(|(slot, _)| slots.contains(slot));
        Ok(within.filter_map(|(slot, bytes)| Some((*slot, Bucket::decode(bytes)?))).collect())
    }

    fn slots(&self, tier: Tier) -> i64 {
        i64::try_from(Self::length(tier)).unwrap_or(0)
    }

    fn forget(&mut self, sweep: &Sweep) -> Result<Swept, HistoryError> {
        let oldest = Tier::Hour.slot(sweep.now) - self.slots(Tier::Hour);
        self.components.retain(|name, kept| {
            let latest = kept.tiers.last().and_then(|hours| hours.back()).map(|(slot, _)| *slot);
            sweep.live.contains(name) || latest.is_some_and(|slot| slot > oldest)
        });
        Ok(Swept::Whole)
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    if list.len() >= limit {
        list.pop_front();
    }
    list.push_back(item);
}
