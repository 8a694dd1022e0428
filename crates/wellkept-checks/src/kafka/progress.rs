//! Whether a group gets on: what it has committed and where the partitions end, run after run.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::messages::Partition;

/// What one run found of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) partition: Partition,
    /// Nothing when the group has committed nothing there.
    pub(super) committed: Option<i64>,
    pub(super) end: i64,
}

/// What that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) lag: u64,
    /// For how long there have been messages and none of them was taken. Zero for who has nothing to do.
    pub(super) still: Duration,
}

/// What is remembered from run to run.
#[derive(Debug, Default)]
pub(super) struct Progress {
    partitions: BTreeMap<Partition, Mark>,
    /// When the latest run was that found something out.
    latest: Option<Instant>,
    is_interrupted: bool,
    lag: Option<u64>,
}

/// Where a group stood in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    position: i64,
    /// Since when it stands there with messages before it.
    since: Option<Instant>,
}

impl Progress {
    /// Takes in a run. Time counts only while the group has members: who is not there can't be stuck.
    pub(super) fn note(&mut self, readings: &[Reading], has_members: bool, now: Instant) -> Vec<Standing> {
        let gap = match self.latest.replace(now) {
            Some(latest) if self.is_interrupted => now.saturating_duration_since(latest),
            _ => Duration::ZERO,
        };
        self.is_interrupted = false;
        let mut known = std::mem::take(&mut self.partitions);
        let mut standings = Vec::with_capacity(readings.len());
        for reading in readings {
            let before = known.remove(&reading.partition);
            let before = before.map(|mark| Mark { since: mark.since.map(|since| since + gap), ..mark });
            let (mark, lag) = step(before, reading.committed, reading.end, now);
            let since = mark.since.filter(|_| has_members);
            let still = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            self.partitions.insert(reading.partition.clone(), Mark { since, ..mark });
            standings.push(Standing { lag, still });
        }
        standings
    }

    /// The time up to the next run that finds something out is not the group's fault.
    pub(super) fn interrupted(&mut self) {
        self.is_interrupted = true;
    }

    /// Takes in the lag of all partitions, and gives that of the run before.
    pub(super) fn replace_lag(&mut self, lag: u64) -> Option<u64> {
        self.lag.replace(lag)
    }
}

/// One partition, from one run to the next: where the group stands now, and its lag.
fn step(before: Option<Mark>, committed: Option<i64>, end: i64, now: Instant) -> (Mark, u64) {
    // Where nothing is committed, what was there at first is nobody's task: consumers may begin at the end.
    let position = committed.or(before.map(|mark| mark.position)).unwrap_or(end);
    // A topic that was made anew, or cut, ends before what was committed.
    let position = if committed.is_none() { position.min(end) } else { position };
    let lag = u64::try_from(end.saturating_sub(position)).unwrap_or(0);
    // Who has nothing to do begins to stand still when there is something.
    let since = before.filter(|mark| mark.position == position).and_then(|mark| mark.since).unwrap_or(now);
    (Mark { position, since: (lag > 0).then_some(since) }, lag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reading(committed: Option<i64>, end: i64) -> Reading {
        Reading { partition: ("orders".to_owned(), 0), committed, end }
    }

    /// Runs a second apart, each with what is committed and where the partition ends.
    fn still(runs: &[(i64, i64)]) -> Vec<u64> {
        let (mut progress, mut now) = (Progress::default(), Instant::now());
        let mut seconds = Vec::new();
        for (committed, end) in runs {
            now += SECOND;
            seconds.push(progress.note(&[reading(Some(*committed), *end)], true, now)[0].still.as_secs());
        }
        seconds
    }

    #[test]
    fn standing_still_is_told_from_falling_behind_from_catching_up_and_from_having_nothing_to_do() {
        assert_eq!(still(&[(5, 9), (5, 9), (5, 12), (5, 12)]), [0, 1, 2, 3], "stuck, with more coming or not");
        assert_eq!(still(&[(5, 900), (6, 1000), (7, 2000)]), [0, 0, 0], "falling behind");
        assert_eq!(still(&[(5, 900), (300, 900), (899, 900)]), [0, 0, 0], "catching up");
        assert_eq!(still(&[(9, 9), (9, 9), (9, 9)]), [0, 0, 0], "nothing to do");
        assert_eq!(still(&[(9, 9), (9, 9), (9, 10), (9, 10)]), [0, 0, 0, 1], "after a night without messages");
        assert_eq!(still(&[(5, 9), (5, 9), (2, 9), (2, 9)]), [0, 1, 0, 1], "sent back to take them again");
        assert_eq!(still(&[(50, 9), (50, 9)]), [0, 0], "a topic that was made anew");
    }

    #[test]
    fn time_without_members_or_without_answers_is_not_held_against_a_group() {
        let (mut progress, begun) = (Progress::default(), Instant::now());
        let mut still = |at: u32, has_members: bool, is_interrupted: bool| {
            if is_interrupted {
                progress.interrupted();
            }
            progress.note(&[reading(Some(5), 9)], has_members, begun + SECOND * at)[0].still.as_secs()
        };
        assert_eq!(still(0, true, false), 0);
        assert_eq!(still(10, true, false), 10);
        assert_eq!(still(100, true, true), 10, "the brokers were away for 90 s");
        assert_eq!(still(110, true, false), 20);
        assert_eq!(still(120, false, false), 0, "all have left");
        assert_eq!(still(500, true, false), 0, "one is back");
        assert_eq!(still(501, true, false), 1);
    }

    #[test]
    fn where_nothing_is_committed_only_what_comes_from_then_on_counts() {
        let (mut progress, begun) = (Progress::default(), Instant::now());
        let mut standing = |at: u32, committed: Option<i64>, end: i64| {
            let standing = progress.note(&[reading(committed, end)], true, begun + SECOND * at)[0];
            (standing.lag, standing.still.as_secs())
        };
        assert_eq!(standing(0, None, 100), (0, 0));
        assert_eq!(standing(10, None, 100), (0, 0));
        assert_eq!(standing(20, None, 103), (3, 0));
        assert_eq!(standing(30, None, 104), (4, 10));
        assert_eq!(standing(40, Some(104), 104), (0, 0));
        assert_eq!(standing(50, None, 2), (0, 0), "a topic that was made anew");
    }

    proptest! {
        /// The same, told from the end: how far back the position is the latest one, with messages before it.
        #[test]
        fn a_group_stands_still_for_as_long_as_its_position_and_a_lag_go_back(
            runs in prop::collection::vec((1_u64..30, 0_i64..4, 0_i64..4), 1..40)
        ) {
            let (mut progress, mut now) = (Progress::default(), Instant::now());
            let mut past = Vec::new();
            for (pause, committed, ahead) in runs {
                now += SECOND * u32::try_from(pause).unwrap();
                let end = committed + ahead;
                past.push((now, committed, end));
                let standing = progress.note(&[reading(Some(committed), end)], true, now)[0];
                let same = past.iter().rev().take_while(|(_, position, end)| *position == committed && end > position);
                let expected = same.last().map_or(Duration::ZERO, |(since, ..)| now - *since);
                prop_assert_eq!(standing, Standing { lag: u64::try_from(ahead).unwrap(), still: expected });
            }
        }

        /// Whatever is found, in whatever order: nothing overflows, and nobody without a lag stands still.
        #[test]
        fn no_numbers_are_too_large(
            runs in prop::collection::vec((any::<Option<i64>>(), any::<i64>(), any::<bool>()), 1..20)
        ) {
            let (mut progress, mut now) = (Progress::default(), Instant::now());
            for (committed, end, has_members) in runs {
                now += SECOND;
                let standing = progress.note(&[reading(committed, end)], has_members, now)[0];
                prop_assert!(standing.lag > 0 || standing.still.is_zero());
                prop_assert!(has_members || standing.still.is_zero());
            }
        }
    }
}
