//! Thresholds on the served status: it flips after `fall` results that are worse, or `rise` that are better.

use crate::outcome::Verdict;
use crate::status::Status;

/// How many consecutive results turn the served status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Consecutive worse results before the status gets worse. At least 1, default 3.
    pub fall: u32,
    /// Consecutive better results before the status gets better. At least 1, default 2.
    pub rise: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { fall: 3, rise: 2 }
    }
}

/// The state machine from verdicts to the served status of one component.
///
/// For each level it counts the latest consecutive results that were at least that bad, and at most that bad. The
/// status falls to the worst level that `fall` results in a row have all reached, so that `warn, fail, fail` with
/// `fall: 3` serves degraded and not unhealthy; it rises to the best level that `rise` results have all kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Hysteresis {
    served: Option<Verdict>,
    at_least: [u32; 3],
    at_most: [u32; 3],
}

impl Hysteresis {
    /// Takes one result into account and returns the verdict now served. The first result decides at once.
    pub(crate) fn observe(&mut self, verdict: Verdict, thresholds: Thresholds) -> Verdict {
        for level in LEVELS {
            count(&mut self.at_least[level as usize], verdict >= level);
            count(&mut self.at_most[level as usize], verdict <= level);
        }
        let served = match self.served {
            None => verdict,
            Some(served) => {
                self.fallen(served, thresholds).or_else(|| self.risen(served, thresholds)).unwrap_or(served)
            }
        };
        self.served = Some(served);
        served
    }

    /// How many results in a row agreed with the latest one.
    pub(crate) fn consecutive(&self, latest: Verdict) -> u32 {
        self.at_least[latest as usize].min(self.at_most[latest as usize])
    }

    fn fallen(&self, served: Verdict, thresholds: Thresholds) -> Option<Verdict> {
        let reached = |level: &Verdict| *level > served && self.at_least[*level as usize] >= thresholds.fall;
        LEVELS.into_iter().rev().find(reached)
    }

    fn risen(&self, served: Verdict, thresholds: Thresholds) -> Option<Verdict> {
        let kept = |level: &Verdict| *level < served && self.at_most[*level as usize] >= thresholds.rise;
        LEVELS.into_iter().find(kept)
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

    proptest! {
        /// The reference looks back over the whole list instead of counting.
        #[test]
        fn it_agrees_with_a_model_that_looks_back(
            results in prop::collection::vec(prop::sample::select(LEVELS.to_vec()), 1..60),
            fall in 1_u32..5,
            rise in 1_u32..5,
        ) {
            let thresholds = Thresholds { fall, rise };
            let got = served(&results, thresholds);
            let mut expected = results[0];
            for end in 1..=results.len() {
                let tail = |length: u32| results[..end].iter().rev().take(length as usize).collect::<Vec<_>>();
                let worst_of_all = tail(fall).into_iter().min().copied().filter(|_| end >= fall as usize);
                let best_of_all = tail(rise).into_iter().max().copied().filter(|_| end >= rise as usize);
                if end > 1 {
                    match (worst_of_all, best_of_all) {
                        (Some(level), _) if level > expected => expected = level,
                        (_, Some(level)) if level < expected => expected = level,
                        _ => {}
                    }
                }
                prop_assert_eq!(got[end - 1], expected, "after {} results", end);
            }
        }
    }
}
