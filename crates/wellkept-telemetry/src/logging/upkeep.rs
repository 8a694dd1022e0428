//! What a log does about once a second besides writing: levels end, lines that repeated are told of. A writer's thread
//! does it, so that there is none of its own.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::dispatcher::WeakDispatch;
use tracing::{Dispatch, Event};

use super::Level;
use super::levels::{Ended, Levels, OWN_TARGET};
use super::limit::{Due, Repeats};

/// How often it is done.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// The parts of a log that change by themselves.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) levels: Levels,
    pub(super) repeats: Option<Repeats>,
    /// The log itself, to say something in it.
    log: OnceLock<WeakDispatch>,
}

impl Upkeep {
    pub(super) fn new(levels: Levels, repeats: Option<Repeats>) -> Self {
        Self { levels, repeats, log: OnceLock::new() }
    }

    /// Learns which log it is of.
    pub(super) fn is_of(&self, log: &Dispatch) {
        // The first one stays: a subscriber is made into one dispatcher.
        let _ = self.log.set(log.downgrade());
    }

    /// Whether an event is written, as far as repeating goes.
    pub(super) fn admits(&self, event: &Event<'_>, level: Level) -> bool {
        self.repeats.as_ref().is_none_or(|repeats| repeats.admits(event, level, coarse()))
    }

    /// Does what is due. Never waits for whoever logs.
    pub(super) fn tend(&self) {
        let ended = self.levels.tend(boot());
        if !ended.is_empty() {
            self.say(|| ended.iter().for_each(tell_end));
        }
        self.tell_repeats(Due::Over);
    }

    /// Tells of lines that repeated, where it is due.
    pub(super) fn tell_repeats(&self, due: Due) {
        let Some(repeats) = &self.repeats else { return };
        let summaries = repeats.take_due(due, coarse());
        if !summaries.is_empty() {
            self.say(|| summaries.iter().for_each(super::limit::Summary::log));
        }
    }

    /// Has what `words` logs go to this log, from whichever thread.
    pub(super) fn say(&self, words: impl FnOnce()) {
        if let Some(log) = self.log.get().and_then(WeakDispatch::upgrade) {
            tracing::dispatcher::with_default(&log, words);
        }
    }
}

fn tell_end(Ended { module, was, level }: &Ended) {
    let module = module.as_deref();
    tracing::info!(target: OWN_TARGET, module, log_level = %level, was = %was, "a level that was set for a while has ended");
}

/// Time since some fixed instant, going on while the machine sleeps: a level for ten minutes is not on for the night
/// that a laptop was closed.
pub(super) fn boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    read(CLOCK)
}

/// As [`boot`], cheaper and to some milliseconds: asked for each event where repeating is limited.
fn coarse() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    read(CLOCK)
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
