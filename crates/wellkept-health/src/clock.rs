//! Which time is meant: ages go on through suspend, wall time is for people, deadlines are tokio's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A source of time. [`SystemClock`] in production, [`TokioClock`] in tests that pause tokio's time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Time since some fixed instant, going on while the machine sleeps. Ages of results are differences of it.
    fn boot(&self) -> Duration;

    /// As [`boot`](Self::boot), cheaper and only to some milliseconds. May stand still while the machine sleeps, and
    /// have another origin. For readings that must cost next to nothing.
    fn coarse(&self) -> Duration {
        self.boot()
    }

    /// The time of day, UTC. May jump; only windows of maintenance, and ends given as times, follow it.
    fn wall(&self) -> Timestamp;
}

/// The machine's clocks: `CLOCK_BOOTTIME` and the system's time of day. A reading costs about 20 ns. Where there is no
/// such clock, as on macOS, `CLOCK_MONOTONIC` stands in its place; macOS' goes on through suspend too.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> Duration {
        read(AGES)
    }

    fn coarse(&self) -> Duration {
        read(COARSE)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[cfg(target_os = "linux")]
const AGES: ClockId = ClockId::Boottime;
#[cfg(target_os = "linux")]
const COARSE: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const AGES: ClockId = ClockId::Monotonic;
#[cfg(not(target_os = "linux"))]
const COARSE: ClockId = ClockId::Monotonic;

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A clock that follows tokio's time, so that `tokio::time::pause` and `advance` drive ages too.
///
/// A test that pauses tokio's time has schedules, timeouts and ages pass as fast as it can sleep:
///
/// ```
/// use std::time::Duration;
/// use wellkept_health::{AnyCheck, Checker, Component, Settings, Status, TokioClock};
///
/// // In a test: `#[tokio::test(start_paused = true)]`.
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
/// checker.register(Component::new("queue", AnyCheck::from_fn(async || ())))?;
/// let engine = tokio::spawn(engine.run(std::future::pending()));
///
/// tokio::time::sleep(Duration::from_secs(3600)).await;
/// assert_eq!(checker.status(), Status::Healthy);
///
/// engine.abort();
/// tokio::time::sleep(Duration::from_secs(60)).await;
/// assert_eq!(checker.status(), Status::Unknown);
/// # Ok::<(), wellkept_health::RegisterError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: Instant,
}

impl TokioClock {
    /// Starts at zero, which is `2026-01-01T00:00:00Z` on the wall.
    pub fn start() -> Arc<Self> {
        Arc::new(Self { origin: Instant::now() })
    }
}

impl Clock for TokioClock {
    fn boot(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> Timestamp {
        const START: i64 = 1_767_225_600;
        let now = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX / 2);
        Timestamp::from_millisecond(START * 1000 + now).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_test_clock_moves_with_tokio() {
        let clock = TokioClock::start();
        assert_eq!(clock.wall().to_string(), "2026-01-01T00:00:00Z");
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.boot(), Duration::from_secs(90));
        assert_eq!(clock.wall().to_string(), "2026-01-01T00:01:30Z");
    }

    #[test]
    fn the_system_clock_does_not_go_back() {
        let first = SystemClock.boot();
        assert!(SystemClock.boot() >= first);
        assert!(first > Duration::ZERO);
    }
}
