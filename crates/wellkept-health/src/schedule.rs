//! When a check runs: phase spread by a hash of instance and name, a fixed grid, jitter, no piling up.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// How often a check runs and how long one run may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// From one run's start to the next one's. Default 10 s, at least 10 ms.
    pub interval: Duration,
    /// The deadline of one run. Default 2 s.
    pub timeout: Duration,
    /// Wait before the first run. Default 0.
    pub initial_delay: Duration,
    /// Share of the interval by which a run may start later, 0 to 0.5. Default 0.1.
    pub jitter: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            initial_delay: Duration::ZERO,
            jitter: 0.1,
        }
    }
}

/// The instants at which one component is due. The first run comes after the initial delay, so that readiness does
/// not wait for a phase; from then on runs keep to a grid whose phase is a hash of instance and name, so that the
/// replicas of a service and the checks of one replica do not ask at the same moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timetable {
    interval: Duration,
    jitter: f64,
    seed: u64,
    origin: Instant,
    tick: u64,
}

impl Timetable {
    /// A timetable that begins now, and the first due instant.
    pub(crate) fn begin(schedule: Schedule, instance: &str, name: &str, now: Instant) -> (Self, Instant) {
        let seed = hash(&(instance, name));
        let first = now + schedule.initial_delay;
        let origin = first + schedule.interval.mul_f64(fraction(seed));
        (Self { interval: schedule.interval, jitter: schedule.jitter, seed, origin, tick: 0 }, first)
    }

    /// Whether the first run's turn has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.tick > 0
    }

    /// Goes by another schedule from now on: by the grid that it would have had from the beginning, so that many changes
    /// in a row don't put the next run off. What that grid has had before `now` was not missed.
    pub(crate) fn change(&mut self, schedule: Schedule, now: Instant) {
        let (phase, has_begun) = (fraction(self.seed), self.has_begun());
        self.origin = self.origin - self.interval.mul_f64(phase) + schedule.interval.mul_f64(phase);
        (self.interval, self.jitter, self.tick) = (schedule.interval, schedule.jitter, 0);
        if has_begun {
            self.pass(now);
        }
    }

    /// The next due instant after `now`, and how many were missed because a run took too long.
    pub(crate) fn next(&mut self, now: Instant) -> (Instant, u64) {
        let expected = self.tick;
        self.pass(now);
        let missed = self.tick - expected;
        let due = self.due();
        self.tick = self.tick.saturating_add(1);
        (due, missed)
    }

    /// Goes to the first tick that is due after `now`.
    fn pass(&mut self, now: Instant) {
        let interval = self.interval.as_nanos().max(1);
        let late = now.saturating_duration_since(self.due()).as_nanos() / interval;
        self.tick = self.tick.saturating_add(u64::try_from(late).unwrap_or(u64::MAX));
        while self.due() <= now && self.tick < u64::MAX {
            self.tick = self.tick.saturating_add(1);
        }
    }

    fn due(&self) -> Instant {
        let ticks = self.interval.as_secs_f64() * self.tick as f64;
        let jitter = self.interval.mul_f64(self.jitter * fraction(hash(&(self.seed, self.tick))));
        self.origin + Duration::try_from_secs_f64(ticks).unwrap_or(FAR) + jitter
    }
}

/// A year: what an overflow is taken for.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A hash as a number from 0 up to 1.
pub(crate) fn fraction(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(interval: u64, jitter: f64) -> Schedule {
        Schedule { interval: Duration::from_secs(interval), jitter, ..Schedule::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_run_does_not_wait_for_the_phase() {
        let now = Instant::now();
        let (_, first) = Timetable::begin(schedule(3600, 0.1), "host", "db", now);
        assert_eq!(first, now);
    }

    #[tokio::test(start_paused = true)]
    async fn runs_keep_their_interval_within_the_jitter() {
        let now = Instant::now();
        let (mut table, first) = Timetable::begin(schedule(10, 0.1), "host", "db", now);
        let (mut last, missed) = table.next(first);
        assert!(last - first <= Duration::from_secs(11));
        assert_eq!(missed, 0);
        for _ in 0..100 {
            let (due, missed) = table.next(last);
            let gap = (due - last).as_secs_f64();
            assert!((8.99..=11.01).contains(&gap), "gap of {gap} s");
            assert_eq!(missed, 0);
            last = due;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_run_skips_ticks_instead_of_piling_up() {
        let now = Instant::now();
        let (mut table, first) = Timetable::begin(schedule(1, 0.0), "host", "db", now);
        let (due, _) = table.next(first);
        let late = due + Duration::from_millis(5_500);
        let (next, missed) = table.next(late);
        assert!(next > late && next - late <= Duration::from_secs(1));
        assert_eq!(missed, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn another_schedule_has_the_grid_of_one_that_was_always_so() {
        let now = Instant::now();
        let (mut changed, _) = Timetable::begin(schedule(3600, 0.1), "host", "db", now);
        let (always, _) = Timetable::begin(schedule(5, 0.1), "host", "db", now);
        let later = now + Duration::from_secs(12_345);
        changed.next(now);
        for _ in 0..3 {
            changed.change(schedule(5, 0.1), later);
            let mut always = always;
            assert_eq!(changed.next(later).0, always.next(later).0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn runs_from_before_a_change_of_the_schedule_were_not_missed() {
        let now = Instant::now();
        let (mut table, first) = Timetable::begin(schedule(10, 0.0), "host", "db", now);
        table.next(first);
        let due = first + Duration::from_secs(12_345);
        table.change(schedule(1, 0.0), due);
        let (next, missed) = table.next(due);
        assert_eq!(missed, 0);
        assert!(next > due && next <= due + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn phases_spread_over_the_interval() {
        let now = Instant::now();
        let mut quarters = [0; 4];
        for index in 0..1000 {
            let (mut table, first) = Timetable::begin(schedule(4, 0.0), "host", &format!("check-{index}"), now);
            let (due, _) = table.next(first);
            let quarter = (due - now).saturating_sub(Duration::from_nanos(1)).as_secs();
            quarters[usize::try_from(quarter).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|&count| (200..300).contains(&count)), "{quarters:?}");
    }
}
