//! The last words of a process: logs, traces and metrics leave on threads of their own, whatever hangs elsewhere.

use std::sync::{MutexGuard, PoisonError};

use crate::closer::{Apart, Closed};
use crate::handle::Shared;

/// A flush by its name, and its thread or why it has none.
pub(crate) type Started = (String, Result<Apart, Closed>);

/// Starts all flushes that nobody has started yet, in their turn. Gives them, and those that the watchdog has started for a
/// sequence that was stuck and has come loose.
pub(crate) fn start(shared: &Shared) -> Vec<Started> {
    let mut flushing = lock(shared);
    let mut started = std::mem::take(&mut *flushing);
    started.extend(start_rest(shared));
    started
}

/// Starts all flushes that nobody has started yet, for a sequence that may never get there. Tells how many.
pub(crate) fn start_for_the_stuck(shared: &Shared) -> usize {
    // Held until they are listed: a sequence that comes loose meanwhile waits for them.
    let mut flushing = lock(shared);
    let started = start_rest(shared);
    let count = started.len();
    flushing.extend(started);
    count
}

fn start_rest(shared: &Shared) -> Vec<Started> {
    let flushes = std::mem::take(&mut shared.lock().flushes);
    flushes.into_iter().map(|hook| (hook.name, hook.call.start_apart("wellkept-flush"))).collect()
}

fn lock(shared: &Shared) -> MutexGuard<'_, Vec<Started>> {
    shared.flushing.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hook, Settings, Shutdown};

    #[test]
    fn a_sequence_that_comes_loose_waits_for_the_flushes_that_were_started_for_it() {
        let (shutdown, _sequence) = Shutdown::new(Settings::default());
        shutdown.on_flush(Hook::blocking("logs", || Ok::<_, String>(())));
        assert_eq!(start_for_the_stuck(shutdown.shared()), 1);
        shutdown.on_flush(Hook::blocking("traces", || Ok::<_, String>(())));
        let started: Vec<_> = start(shutdown.shared()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(started, ["logs", "traces"]);
        assert!(start(shutdown.shared()).is_empty());
    }
}
