//! Thresholds on the served status: it flips after `fall` results that are worse, or `rise` that are better, and it
//! falls also when too many of the latest ones were worse.

use crate::outcome::Verdict;
use crate::status::Status;

/// How many results turn the served status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Consecutive worse results before the status gets worse. At least 1, default 3.
    pub fall: u32,
    /// Consecutive better results before the status gets better. At least 1, default 2.
    pub rise: u32,
    /// How many of the latest results, consecutive or not, make the status worse too. Default: none.
    pub window: Option<Window>,
}

impl Thresholds {
    /// These many consecutive results, and no window.
    pub fn new(fall: u32, rise: u32) -> Self {
        Self { fall, rise, window: None }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::new(3, 2)
    }
}

/// N of M: finds what fails now and then, and never often enough in a row.
///
/// The status falls to a level when the latest result and `failures` or more of the latest `of`, itself among them,
/// are at least that bad: 5 failures of 10 serve unhealthy, and 5 of 10 that are warnings or failures serve degraded.
/// While a window is that full the status does not rise above its level: to rise takes `rise` good results in a row
/// *and* fewer than `failures` bad ones among the latest `of`. Results from before the first one count as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Results at least this bad among the latest [`of`](Self::of). At least 1.
    pub failures: u32,
    /// How many of the latest results are looked at. At least `failures`, at most [`Window::MOST`].
    pub of: u32,
}

impl Window {
    /// Most results that a window spans.
    pub const MOST: u32 = 64;

    /// Whether it is one that can be kept.
    pub(crate) fn is_sound(self) -> bool {
        (1..=Self::MOST).contains(&self.of) && (1..=self.of).contains(&self.failures)
    }

    /// Whether the latest results, newest in the lowest bit, are too many.
    fn is_full(self, results: u64) -> bool {
        (results & (u64::MAX >> (Self::MOST - self.of.clamp(1, Self::MOST)))).count_ones() >= self.failures
    }
}

/// The state machine from verdicts to the served status of one component.
///
/// For each level it counts the latest consecutive results that were at least that bad, and at most that bad. The
/// status falls to the worst level that `fall` results in a row have all reached, so that `warn, fail, fail` with
/// `fall: 3` serves degraded and not unhealthy; it rises to the best level that `rise` results have all kept. For a
/// window it keeps one bit for each of the latest results and level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hysteresis {
    served: Option<Verdict>,
    at_least: [u32; 3],
    at_most: [u32; 3],
    /// For each level the latest results, newest in the lowest bit, set where one was at least that bad.
    latest: [u64; 3],
}

impl Hysteresis {
    /// Takes one result into account and returns the verdict now served. The first result decides at once.
    pub(crate) fn observe(&mut self, verdict: Verdict, thresholds: Thresholds) -> Verdict {
        for level in LEVELS {
            count(&mut self.at_least[level as usize], verdict >= level);
            count(&mut self.at_most[level as usize], verdict <= level);
            let latest = &mut self.latest[level as usize];
            *latest = *latest << 1 | u64::from(verdict >= level);
        }
        let served = match self.served {
            None => verdict,
            Some(served) => {
                self.fallen(served, verdict, thresholds).or_else(|| self.risen(served, thresholds)).unwrap_or(served)
            }
        };
        self.served = Some(served);
        served
    }

    /// How many results in a row agreed with the latest one.
    pub(crate) fn consecutive(&self, latest: Verdict) -> u32 {
        self.at_least[latest as usize].min(self.at_most[latest as usize])
    }

    fn fallen(&self, served: Verdict, latest: Verdict, thresholds: Thresholds) -> Option<Verdict> {
        let in_a_row = |level: Verdict| self.at_least[level as usize] >= thresholds.fall;
        // A good result never makes the status worse, also when the thresholds have just been changed.
        let reached = |level: &Verdict| {
            *level > served && (in_a_row(*level) || (latest >= *level && self.is_held(*level, thresholds)))
        };
        LEVELS.into_iter().rev().find(reached)
    }

    fn risen(&self, served: Verdict, thresholds: Thresholds) -> Option<Verdict> {
        let in_a_row = |level: Verdict| self.at_most[level as usize] >= thresholds.rise;
        let held = |level: Verdict| LEVELS.into_iter().any(|worse| worse > level && self.is_held(worse, thresholds));
        LEVELS.into_iter().find(|level| *level < served && in_a_row(*level) && !held(*level))
    }

    /// Whether the window keeps the status at this level or below.
    fn is_held(&self, level: Verdict, thresholds: Thresholds) -> bool {
        thresholds.window.is_some_and(|window| window.is_full(self.latest[level as usize]))
    }
}

impl From<Verdict> for Status {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Healthy,
            Verdict::Warn => Self::Degraded,
            Verdict::Fail => Self::Unhealthy,
        }
    }
}

const LEVELS: [Verdict; 3] = [Verdict::Pass, Verdict::Warn, Verdict::Fail];

fn count(counter: &mut u32, holds: bool) {
    *counter = if holds { counter.saturating_add(1) } else { 0 };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Verdict::{Fail, Pass, Warn};
    use super::*;

    fn served(results: &[Verdict], thresholds: Thresholds) -> Vec<Verdict> {
        let mut state = Hysteresis::default();
        results.iter().map(|&verdict| state.observe(verdict, thresholds)).collect()
    }

    #[test]
    fn the_first_result_decides_at_once() {
        for verdict in LEVELS {
            assert_eq!(served(&[verdict], Thresholds::default()), [verdict]);
        }
    }

    #[test]
    fn it_falls_after_three_and_rises_after_two() {
        let results = [Pass, Fail, Fail, Pass, Fail, Fail, Fail, Pass, Fail, Pass, Pass];
        let expected = [Pass, Pass, Pass, Pass, Pass, Pass, Fail, Fail, Fail, Fail, Pass];
        assert_eq!(served(&results, Thresholds::default()), expected);
    }

    #[test]
    fn a_mixed_streak_falls_to_what_all_of_it_reached() {
        let results = [Pass, Warn, Fail, Fail, Fail];
        assert_eq!(served(&results, Thresholds::default()), [Pass, Pass, Pass, Warn, Fail]);
        let results = [Fail, Warn, Pass, Pass];
        assert_eq!(served(&results, Thresholds::default()), [Fail, Fail, Warn, Pass]);
    }

    #[test]
    fn what_fails_now_and_then_falls_by_its_window_and_rises_when_it_is_clear() {
        let thresholds = Thresholds { window: Some(Window { failures: 3, of: 5 }), ..Thresholds::default() };
        let results = [Pass, Fail, Pass, Fail, Pass, Fail, Pass, Pass, Pass, Fail];
        let expected = [Pass, Pass, Pass, Pass, Pass, Fail, Fail, Pass, Pass, Pass];
        assert_eq!(served(&results, thresholds), expected, "never two failures in a row");
        assert!(served(&results, Thresholds::default()).iter().all(|served| *served == Pass));
        let mixed = [Pass, Warn, Pass, Fail, Warn];
        assert_eq!(served(&mixed, thresholds).last(), Some(&Warn), "three were at least a warning");
    }

    #[test]
    fn a_good_result_never_makes_the_status_worse() {
        let mut state = Hysteresis::default();
        let loose = Thresholds { fall: 9, rise: 9, window: None };
        for verdict in [Pass, Fail, Fail, Fail] {
            state.observe(verdict, loose);
        }
        let strict = Thresholds { window: Some(Window { failures: 2, of: 4 }), ..loose };
        assert_eq!(state.observe(Pass, strict), Pass, "the window was full before it was asked for");
        assert_eq!(state.observe(Fail, strict), Fail);
    }

    #[test]
    fn flapping_every_run_is_no_news_but_to_a_window() {
        let flapping: Vec<_> = [Pass, Fail].into_iter().cycle().take(1000).collect();
        assert!(served(&flapping, Thresholds::default()).iter().all(|served| *served == Pass));
        let thresholds = Thresholds { window: Some(Window { failures: 5, of: 10 }), ..Thresholds::default() };
        let changes = served(&flapping, thresholds).windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 1, "it falls once and stays");
    }

    /// What is served after each result, by looking back over the whole list instead of counting.
    fn model(results: &[Verdict], thresholds: Thresholds) -> Vec<Verdict> {
        let mut served: Vec<Verdict> = Vec::new();
        for end in 1..=results.len() {
            let latest = |length: u32| results[..end].iter().rev().copied().take(length as usize);
            let all_of =
                |length: u32, fits: &dyn Fn(Verdict) -> bool| end >= length as usize && latest(length).all(fits);
            let full = |level: Verdict| {
                thresholds.window.is_some_and(|window| {
                    latest(window.of).filter(|verdict| *verdict >= level).count() >= window.failures as usize
                })
            };
            let Some(before) = served.last().copied() else {
                served.push(results[0]);
                continue;
            };
            let worse = [Fail, Warn].into_iter().filter(|level| *level > before).find(|level| {
                all_of(thresholds.fall, &|verdict| verdict >= *level) || (results[end - 1] >= *level && full(*level))
            });
            let better = [Pass, Warn].into_iter().filter(|level| *level < before).find(|level| {
                let clear = [Warn, Fail].into_iter().filter(|worse| worse > level).all(|worse| !full(worse));
                all_of(thresholds.rise, &|verdict| verdict <= *level) && clear
            });
            served.push(worse.or(better).unwrap_or(before));
        }
        served
    }

    fn results(longest: usize) -> impl Strategy<Value = Vec<Verdict>> {
        prop::collection::vec(prop::sample::select(LEVELS.to_vec()), 1..longest)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn it_agrees_with_a_model_that_looks_back(results in results(60), fall in 1_u32..5, rise in 1_u32..5) {
            let thresholds = Thresholds { fall, rise, window: None };
            prop_assert_eq!(served(&results, thresholds), model(&results, thresholds));
        }

        #[test]
        fn a_window_agrees_with_a_model_that_looks_back(
            results in results(160),
            fall in 1_u32..8,
            rise in 1_u32..5,
            (of, failures) in (1_u32..=Window::MOST).prop_flat_map(|of| (Just(of), 1..=of)),
        ) {
            let thresholds = Thresholds { fall, rise, window: Some(Window { failures, of }) };
            prop_assert_eq!(served(&results, thresholds), model(&results, thresholds));
        }

        /// Mostly good results and short windows: where windows and not streaks decide.
        #[test]
        fn a_short_window_agrees_with_a_model_that_looks_back(
            results in prop::collection::vec(prop_oneof![3 => Just(Pass), 1 => Just(Warn), 1 => Just(Fail)], 1..80),
            rise in 1_u32..3,
            (of, failures) in (2_u32..12).prop_flat_map(|of| (Just(of), 1..=of)),
        ) {
            let thresholds = Thresholds { fall: 6, rise, window: Some(Window { failures, of }) };
            prop_assert_eq!(served(&results, thresholds), model(&results, thresholds));
        }
    }
}
