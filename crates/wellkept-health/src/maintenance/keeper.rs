//! The way of maintenances to their store: the latest set in a slot, a thread of its own, and another try while the
//! store fails. Only the latest set matters, so that there is no queue.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Maintenance, MaintenanceStore, SharedMaintenanceStore};
use crate::checker::{Checker, Shared};
use crate::history::{HistoryError, caught};

/// How long the start waits for the store: a file on a disk that does not answer must not hold it.
const FIRST: Duration = Duration::from_secs(2);
/// How often a store that is shared is told and asked, besides at each change.
const EXCHANGE: Duration = Duration::from_secs(2);
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
        Self::start_with(|slot| move || Writer { store, loaded: false, thread: Thread::new(slot, shared) }.run())
    }

    /// The same with a store that others write to as well.
    pub(super) fn start_shared(store: Box<dyn SharedMaintenanceStore>, shared: Weak<Shared>) -> std::io::Result<Self> {
        Self::start_with(|slot| move || Exchanger { store, thread: Thread::new(slot, shared) }.run())
    }

    fn start_with<R: FnOnce() + Send + 'static>(run: impl FnOnce(Arc<Slot>) -> R) -> std::io::Result<Self> {
        let slot = Arc::new(Slot::default());
        std::thread::Builder::new().name("wk-maintenance".to_owned()).spawn(run(Arc::clone(&slot)))?;
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

/// What each of the two threads has.
struct Thread {
    /// Weak: the thread must not keep the checker alive whose end is its own.
    shared: Weak<Shared>,
    slot: Arc<Slot>,
    failing: bool,
}

impl Thread {
    fn new(slot: Arc<Slot>, shared: Weak<Shared>) -> Self {
        Self { shared, slot, failing: false }
    }

    fn checker(&self) -> Option<Checker> {
        self.shared.upgrade().map(|shared| Checker { shared })
    }

    /// Lets go who waits for the start.
    fn asked(&mut self, first: &Result<(), HistoryError>) {
        self.tell(first);
        self.slot.lock().asked = true;
        self.slot.changed.notify_all();
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

/// Writes to a store that is this process's own.
struct Writer {
    store: Box<dyn MaintenanceStore>,
    /// Whether what the store had kept was taken in. Nothing is written before, or that would be lost.
    loaded: bool,
    thread: Thread,
}

impl Writer {
    fn run(mut self) {
        let first = self.load();
        self.thread.asked(&first);
        let slot = Arc::clone(&self.thread.slot);
        let mut tried = 0;
        let mut retry_at = first.is_err().then(|| Instant::now() + RETRY);
        while let Some((number, set)) = slot.next(tried, retry_at) {
            tried = number;
            let (result, is_write) =
                if self.loaded { (self.write(set.as_deref()), true) } else { (self.load(), false) };
            retry_at = result.is_err().then(|| Instant::now() + RETRY);
            self.thread.tell(&result);
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
        if let Some(checker) = self.thread.checker() {
            checker.restore_maintenances(kept);
        }
        Ok(())
    }

    fn write(&mut self, set: Option<&[Maintenance]>) -> Result<(), HistoryError> {
        set.map_or(Ok(()), |set| caught(|| self.store.save(set)))
    }
}

/// Tells and asks a store that others write to as well. It takes what is on from the checker each time, so that the
/// sets in the slot only say that something has changed.
struct Exchanger {
    store: Box<dyn SharedMaintenanceStore>,
    thread: Thread,
}

impl Exchanger {
    fn run(mut self) {
        let first = self.exchange();
        self.thread.asked(&first);
        let slot = Arc::clone(&self.thread.slot);
        let pause = |result: &Result<(), HistoryError>| if result.is_ok() { EXCHANGE } else { RETRY };
        let (mut tried, mut next_at) = (0, Instant::now() + pause(&first));
        while let Some((number, _)) = slot.next(tried, Some(next_at)) {
            tried = number;
            let result = self.exchange();
            next_at = Instant::now() + pause(&result);
            self.thread.tell(&result);
            slot.done(number, &result);
        }
    }

    fn exchange(&mut self) -> Result<(), HistoryError> {
        // The checker is not held while the store is asked, which may take its time.
        let Some(ours) = self.thread.checker().map(|checker| checker.maintenance_books()) else { return Ok(()) };
        let theirs = caught(|| self.store.exchange(&ours))?;
        if let Some(checker) = self.thread.checker() {
            checker.join_maintenances(theirs);
        }
        Ok(())
    }
}
