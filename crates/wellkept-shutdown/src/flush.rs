//! The last words of a process: logs, traces and metrics leave on threads of their own, whatever hangs elsewhere.

use crate::closer::{Apart, Closed};
use crate::handle::Shared;

/// A flush by its name, and its thread or why it has none.
pub(crate) type Started = (String, Result<Apart, Closed>);

/// Starts all flushes that nobody has started yet: the sequence does in its turn, and the watchdog where the sequence never
/// gets there.
pub(crate) fn start(shared: &Shared) -> Vec<Started> {
    let flushes = std::mem::take(&mut shared.lock().flushes);
    flushes.into_iter().map(|hook| (hook.name, hook.call.start_apart("wellkept-flush"))).collect()
}
