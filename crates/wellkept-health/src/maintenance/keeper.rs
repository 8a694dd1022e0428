//! The way of maintenances to their store: the latest set in a slot, a thread of its own, and another try while the
//! store fails. Only the latest set matters, so that there is no queue.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Maintenance, MaintenanceStore};
use crate::checker::{Checker, Shared};
use crate::history::{HistoryError, caught};

/// How long the start waits for the store: a file on a disk that does not answer must not hold it.
const FIRST: Duration = Duration::from_secs(2);
/// How long a failing store is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// Whether what was begun survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The store has it.
    Stored,
    /// It is in memory only: there is no store, or it fails or is slow.
    InMemory,
}

impl Kept {
    /// The stable word: `stored`, `memory`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::InMemory => "memory",
        }
    }
}

/// The handle; the thread ends when it is dropped.
pub(crate) struct Keeper {
    slot: Arc<Slot>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be kept; nothing before the first.
    latest: Option<Arc<[Maintenance]>>,
    /// The number of the latest set.
    given: u64,
    /// The number of the latest set that the store has taken.
    written: u64,
    /// The number of the latest set that it could not take.
    failed: u64,
    /// Whether the store was asked once what it has.
    asked: bool,
    closed: bool,
}

impl Keeper {
    /// Starts the thread, and waits a bounded time until it has asked the store once.
    pub(super) fn start(store: Box<dyn MaintenanceStore>, shared: Weak<Shared>) -> std::io::Result<Self> {
        let slot = Arc::new(Slot::default());
        let writer = Writer { store, shared, slot: Arc::clone(&slot), loaded: false, failing: false };
        std::thread::Builder::new().name("wk-maintenance".to_owned()).spawn(move || writer.run())?;
        let waited = slot.changed.wait_timeout_while(slot.lock(), FIRST, |state| !state.asked);
        let asked = waited.unwrap_or_else(PoisonError::into_inner).0.asked;
        if !asked {
            tracing::error!(
                target: "wellkept::health", "the store does not say which maintenances were on: they begin once it does"
            );
        }
        Ok(Self { slot })
    }

    /// Has this set written instead of any that still waits. Never blocks.
    pub(super) fn save(&self, maintenances: Vec<Maintenance>) {
        let mut state = self.slot.lock();
        state.latest = Some(maintenances.into());
        state.given += 1;
        self.slot.changed.notify_all();
    }

    pub(super) fn wait(&self, patience: Duration) -> Kept {
        let state = self.slot.lock();
        let number = state.given;
        let is_open = |state: &mut State| state.written < number && state.failed < number;
        let waited = self.slot.changed.wait_timeout_while(state, patience, is_open);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.written >= number { Kept::Stored } else { Kept::InMemory }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.slot.lock().closed = true;
        self.slot.changed.notify_all();
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a set newer than the one tried last, or for the time of the next try. `None` when nobody will give
    /// one any more.
    fn next(&self, tried: u64, retry_at: Option<Instant>) -> Option<(u64, Option<Arc<[Maintenance]>>)> {
        let mut state = self.lock();
        loop {
            let left = retry_at.map(|at| at.saturating_duration_since(Instant::now()));
            // What was given before the end is tried once.
            if state.given > tried {
                return Some((state.given, state.latest.clone()));
            }
            if state.closed {
                return None;
            }
            if left == Some(Duration::ZERO) {
                return Some((state.given, state.latest.clone()));
            }
            state = match left {
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn done(&self, number: u64, result: &Result<(), HistoryError>) {
        let mut state = self.lock();
        match result {
            Ok(()) => state.written = number,
            Err(_) => state.failed = number,
        }
        self.changed.notify_all();
    }
}

struct Writer {
    store: Box<dyn MaintenanceStore>,
    /// Weak: the thread must not keep the checker alive whose end is its own.
    shared: Weak<Shared>,
    slot: Arc<Slot>,
    /// Whether what the store had kept was taken in. Nothing is written before, or that would be lost.
    loaded: bool,
    failing: bool,
}

impl Writer {
    fn run(mut self) {
        let first = self.load();
        self.tell(&first);
        let slot = Arc::clone(&self.slot);
        slot.lock().asked = true;
        slot.changed.notify_all();
        let mut tried = 0;
        let mut retry_at = first.is_err().then(|| Instant::now() + RETRY);
        while let Some((number, set)) = slot.next(tried, retry_at) {
            tried = number;
            let (result, is_write) =
                if self.loaded { (self.write(set.as_deref()), true) } else { (self.load(), false) };
            retry_at = result.is_err().then(|| Instant::now() + RETRY);
            self.tell(&result);
            // A set is not written by what was loaded before it: the next one, which has both, will be.
            if is_write || result.is_err() {
                slot.done(number, &result);
            }
        }
    }

    /// Takes in what the store had kept. The checker then gives a set that has both, what was kept and what is new.
    fn load(&mut self) -> Result<(), HistoryError> {
        let kept = caught(|| self.store.load())?;
        self.loaded = true;
        if let Some(shared) = self.shared.upgrade() {
            Checker { shared }.restore_maintenances(kept);
        }
        Ok(())
    }

    fn write(&mut self, set: Option<&[Maintenance]>) -> Result<(), HistoryError> {
        set.map_or(Ok(()), |set| caught(|| self.store.save(set)))
    }

    fn tell(&mut self, result: &Result<(), HistoryError>) {
        match result {
            Err(error) if !self.failing => {
                tracing::error!(
                    target: "wellkept::health", code = error.code, error = %error,
                    "maintenances can't be kept: they are in memory only and end with the process; tried again"
                );
            }
            Ok(()) if self.failing => {
                tracing::info!(target: "wellkept::health", "maintenances are kept again");
            }
            _ => {}
        }
        self.failing = result.is_err();
    }
}
