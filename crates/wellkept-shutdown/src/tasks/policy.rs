//! When a task that ended is started again: the arithmetic, without a clock of its own.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// After which ends a task is started again. The words are those of supervisors in Erlang/OTP, where they are called
/// `permanent`, `transient` and `temporary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Restart {
    /// After each end.
    Always,
    /// After an error or a panic.
    #[default]
    OnFailure,
    /// Never.
    Never,
}

/// How often and how soon a task is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartLimits {
    /// The pause before the first restart; each further one doubles it. Default 100 ms.
    pub first_pause: Duration,
    /// The longest pause. Default 30 s. Each pause is cut by up to a quarter, at random, so that what failed together does
    /// not come back together.
    pub longest_pause: Duration,
    /// This many restarts within `period`, and the next failure is the last. Default 5.
    pub most: usize,
    /// How long a restart counts; a task that ran for so long begins with the first pause again. Default one minute.
    pub period: Duration,
}

impl Default for RestartLimits {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(30),
            most: 5,
            period: Duration::from_secs(60),
        }
    }
}

/// The restarts that still count.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    recent: VecDeque<Instant>,
    in_a_row: u32,
}

impl Restarts {
    /// How long to pause before the next start of a task that ran since `began`, or none to give it up.
    pub(super) fn after(&mut self, limits: &RestartLimits, began: Instant, now: Instant) -> Option<Duration> {
        while self.recent.front().is_some_and(|restart| now.saturating_duration_since(*restart) >= limits.period) {
            self.recent.pop_front();
        }
        if now.saturating_duration_since(began) >= limits.period {
            self.in_a_row = 0;
        }
        if self.recent.len() >= limits.most {
            return None;
        }
        self.recent.push_back(now);
        let doubled = limits.first_pause.saturating_mul(2_u32.saturating_pow(self.in_a_row));
        self.in_a_row = self.in_a_row.saturating_add(1);
        let pause = doubled.min(limits.longest_pause);
        // Up to a quarter, in 256 steps.
        let share = u32::try_from(RandomState::new().hash_one(0) % 256).unwrap_or(0);
        Some(pause.saturating_sub(pause / 1024 * share))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_period_sees_more_restarts_than_allowed_and_each_pause_is_within_its_bounds(
            runs in proptest::collection::vec(0_u64..90_000, 1..60),
            most in 0_usize..8,
            first in 1_u64..5_000,
            longest in 1_u64..60_000,
        ) {
            let limits = RestartLimits {
                first_pause: Duration::from_millis(first),
                longest_pause: Duration::from_millis(longest),
                most,
                period: Duration::from_secs(60),
            };
            let (mut restarts, mut now, mut ends) = (Restarts::default(), Instant::now(), Vec::new());
            for run in runs {
                let began = now;
                now += Duration::from_millis(run);
                let Some(pause) = restarts.after(&limits, began, now) else {
                    let recent = ends.iter().filter(|end| now - **end < limits.period).count();
                    prop_assert_eq!(recent, most, "given up too soon");
                    return Ok(());
                };
                ends.push(now);
                let recent = ends.iter().filter(|end| now - **end < limits.period).count();
                prop_assert!(recent <= most);
                prop_assert!(pause <= limits.longest_pause);
                prop_assert!(pause >= limits.first_pause.min(limits.longest_pause) * 3 / 4);
                now += pause;
            }
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_long_run() {
        let limits = RestartLimits { most: 20, longest_pause: Duration::from_secs(1), ..RestartLimits::default() };
        let mut restarts = Restarts::default();
        let mut now = Instant::now();
        let mut next = |run: Duration| {
            let began = now;
            now += run;
            restarts.after(&limits, began, now).unwrap().as_millis()
        };
        for expected in [100, 200, 400, 800, 1000, 1000] {
            let pause = next(Duration::ZERO);
            assert!(pause <= expected && pause * 4 >= expected * 3, "{pause} for {expected}");
        }
        assert!(next(limits.period) <= 100);
    }
}
