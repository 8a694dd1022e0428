//! How much history may be kept, and how many bytes that takes, before the first of them is written.

use std::time::Duration;

use super::tier::Tier;

/// What a bucket takes in a store, its key and the space that the store leaves between rows included; measured on the
/// largest that there can be.
const BUCKET: u64 = 320;
/// What a result takes likewise, and what a status change takes with the longest message or detail.
const RESULT: u64 = 96;
const CHANGE: u64 = 960;
/// What a store takes besides: its journal, its schema, its own pages.
const STORE: u64 = 8 << 20;
/// What is too old is swept once an hour, so that a tier may be an hour longer than what is kept.
const SWEPT_EVERY: Duration = Duration::from_secs(3600);

/// How long history is kept, and in how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What is older is dropped. From an hour to 31 days, which is the default.
    pub keep: Duration,
    /// The most bytes on disk. Without it, what the components need, and as much again for those that are gone.
    pub budget: Option<u64>,
}

/// What history takes, in bytes. An upper bound: with ordinary response times, messages and reasons it is a fourth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Of one component.
    pub component: u64,
    /// Components that are remembered, those that are gone included; beyond it the longest gone is forgotten.
    pub components: u64,
    /// Of all of them, with what the store itself takes.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: Self::LONGEST, budget: None }
    }
}

impl Retention {
    /// The longest time that is kept.
    pub const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);
    /// The shortest time that can be asked for.
    pub const SHORTEST: Duration = Duration::from_secs(3600);
    /// Results kept of each component; the latest.
    pub const RESULTS: u64 = 2000;
    /// Status changes kept of each component, and as many of the service; the latest.
    pub const CHANGES: u64 = 250;

    /// How many slots of a tier are kept at most.
    pub fn slots(&self, tier: Tier) -> u64 {
        let kept = self.keep.saturating_add(SWEPT_EVERY).as_millis();
        let slots = u64::try_from(kept.div_ceil(tier.millis().unsigned_abs().into())).unwrap_or(u64::MAX);
        slots.saturating_add(1).min(tier.slots().unsigned_abs())
    }

    /// What history of so many components takes at most. With a budget it is that, or more if it is too small for
    /// them: see [`fits`](Self::fits).
    pub fn footprint(&self, components: usize) -> Footprint {
        let slots: u64 = Tier::ALL.iter().map(|tier| self.slots(*tier)).sum();
        let component = slots * BUCKET + Self::RESULTS * RESULT + Self::CHANGES * CHANGE;
        let live = components as u64;
        let remembered = match self.budget {
            None => live.saturating_mul(2).saturating_add(32),
            // One share is the service's own.
            Some(budget) => (budget.saturating_sub(STORE) / component).saturating_sub(1).max(live),
        };
        let bytes = remembered.saturating_add(1).saturating_mul(component).saturating_add(STORE);
        Footprint { component, components: remembered, bytes }
    }

    /// Whether the history of so many components fits into the budget.
    pub fn fits(&self, components: usize) -> bool {
        self.budget.is_none_or(|budget| self.footprint(components).bytes <= budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_bounds_the_components_and_not_the_other_way_round() {
        let free = Retention::default();
        let ten = free.footprint(10);
        assert_eq!(ten.components, 52);
        assert!(free.fits(20_000));
        let bounded = Retention { budget: Some(64 << 20), ..free };
        let most = bounded.footprint(10).components;
        assert!(most > 50 && bounded.footprint(10).bytes <= 64 << 20, "{most}");
        assert!(bounded.fits(usize::try_from(most).unwrap()));
        assert!(!bounded.fits(usize::try_from(most).unwrap() + 1));
        assert!(!Retention { budget: Some(1), ..free }.fits(0));
    }

    #[test]
    fn a_shorter_time_takes_fewer_bytes() {
        let slots = |days: u64, tier| Retention { keep: Duration::from_secs(days * 86_400), budget: None }.slots(tier);
        assert_eq!([Tier::Minute, Tier::TenMinutes, Tier::Hour].map(|tier| slots(31, tier)), [120, 288, 744]);
        assert_eq!(slots(7, Tier::Hour), 170);
        let week = Retention { keep: Duration::from_secs(7 * 86_400), budget: None };
        assert!(week.footprint(1).component < Retention::default().footprint(1).component);
    }
}
