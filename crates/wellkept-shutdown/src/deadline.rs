//! The arithmetic of one deadline: pure, without a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::{Settings, WhenLate};

/// Longer than any sensible shutdown, and short enough that adding it to an instant cannot overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// When each part of a shutdown ends at the latest, as instants on the monotonic clock.
///
/// The ends are cumulative from the trigger, so what one phase leaves goes to the next. Two tails are reserved, each at
/// most a quarter of what is there: the flush at the very end, and one resource's time before it. What does not fit is
/// cut from the earlier phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// When the shutdown was triggered.
    pub began: Instant,
    /// The end of the delay.
    pub delay: Instant,
    /// The end of the announcement.
    pub announce: Instant,
    /// The end of the drain; what is open then is cut.
    pub drain: Instant,
    /// The end of closing resources.
    pub resources: Instant,
    /// The end of everything.
    pub deadline: Instant,
}

impl Budget {
    /// Spreads `settings` over the time from `began`.
    pub fn new(began: Instant, settings: &Settings) -> Self {
        let whole = settings.deadline.min(LONGEST);
        let working = whole.saturating_sub(settings.flush.min(whole / 4));
        let drain_limit = working.saturating_sub(settings.resource.min(working / 4));
        let mut elapsed = Duration::ZERO;
        let mut end_of = |part: Duration| {
            elapsed = elapsed.saturating_add(part).min(drain_limit);
            began + elapsed
        };
        let drain = match settings.when_late {
            WhenLate::Cut => settings.drain,
            WhenLate::Wait => whole,
        };
        Self {
            began,
            delay: end_of(settings.delay),
            announce: end_of(settings.announce),
            drain: end_of(drain),
            resources: began + working,
            deadline: began + whole,
        }
    }

    /// How much of `own` a resource may use when it starts to close at `now`.
    pub fn for_resource(&self, own: Duration, now: Instant) -> Duration {
        own.min(self.resources.saturating_duration_since(now))
    }

    /// How much time is left at `now`.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            (0_u64..60_000).prop_map(Duration::from_millis),
            any::<u64>().prop_map(Duration::from_nanos),
        ]
    }

    prop_compose! {
        fn any_settings()(
            deadline in any_duration(), delay in any_duration(), announce in any_duration(),
            drain in any_duration(), resource in any_duration(), flush in any_duration(), waits in any::<bool>(),
        ) -> Settings {
            let when_late = if waits { WhenLate::Wait } else { WhenLate::Cut };
            Settings { deadline, delay, announce, drain, resource, flush, when_late, ..Settings::default() }
        }
    }

    proptest! {
        #[test]
        fn ends_are_ordered_and_the_tails_are_kept(settings in any_settings()) {
            let began = Instant::now();
            let budget = Budget::new(began, &settings);
            let ends = [began, budget.delay, budget.announce, budget.drain, budget.resources, budget.deadline];
            prop_assert!(ends.is_sorted(), "{ends:?}");
            let whole = settings.deadline.min(LONGEST);
            prop_assert_eq!(budget.deadline - began, whole);
            prop_assert_eq!(budget.deadline - budget.resources, settings.flush.min(whole / 4));
            let working = budget.resources - began;
            prop_assert!(budget.resources - budget.drain >= settings.resource.min(working / 4));
        }

        #[test]
        fn what_fits_is_given_in_full(parts in proptest::array::uniform5(0_u64..60_000), spare in 0_u64..60_000) {
            let [delay, announce, drain, resource, flush] = parts.map(Duration::from_millis);
            let deadline = delay + announce + drain + resource + flush + Duration::from_millis(spare);
            let settings = Settings { deadline, delay, announce, drain, resource, flush, ..Settings::default() };
            let budget = Budget::new(Instant::now(), &settings);
            prop_assert_eq!(budget.delay - budget.began, delay);
            prop_assert_eq!(budget.announce - budget.delay, announce);
            prop_assert_eq!(budget.drain - budget.announce, drain);
            let patient = Budget::new(budget.began, &Settings { when_late: WhenLate::Wait, ..settings });
            prop_assert!(patient.drain >= budget.drain, "who waits has never less time");
            prop_assert_eq!(Budget { drain: budget.drain, ..patient }, budget);
        }

        #[test]
        fn a_resource_never_reaches_into_the_flush(settings in any_settings(), own in any_duration(), late in 0_u64..40_000) {
            let budget = Budget::new(Instant::now(), &settings);
            let now = budget.began + Duration::from_millis(late);
            let given = budget.for_resource(own, now);
            prop_assert!(given <= own);
            prop_assert!(given.is_zero() || now + given <= budget.resources);
        }
    }
}
