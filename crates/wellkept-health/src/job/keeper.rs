//! The way of what jobs report to their store: a thread of its own, which takes what holds from the table each time, so
//! that there is no queue, and another try while the store fails.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Job, JobRecord, JobStore};
use crate::checker::{Checker, Shared};
use crate::history::{HistoryError, caught};

/// How long the start waits for the store: a disk or a server that does not answer must not hold it.
const FIRST: Duration = Duration::from_secs(2);
/// How often a store that is shared is told and asked, besides at each report.
const SHARED: Duration = Duration::from_secs(2);
/// The same for one that is this process's own: so that it knows which jobs are still there.
const OWN: Duration = Duration::from_secs(3600);
/// How long reports are gathered, at most: many of them are one write.
const GATHER: Duration = Duration::from_millis(100);
/// How long a failing store is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// The handle; the thread ends when it is dropped.
pub(crate) struct JobKeeper {
    slot: Arc<Slot>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts what was reported or registered.
    given: u64,
    /// How much of it the store was told, whether it took it or not.
    tried: u64,
    /// How much of it the store has taken.
    written: u64,
    /// Whether somebody waits for it to be taken.
    urgent: bool,
    closed: bool,
}

impl Checker {
    /// Remembers in `store` what jobs report, and takes back what it knows of them: after a restart a job that is
    /// missing is missed at once. A store that fails is tried again every 5 s, on a thread of its own that starts here;
    /// until it works reports are in memory only, which one line of the log says. Of a process that is killed the
    /// reports of the last 100 ms may be lost.
    ///
    /// Blocks until the store was asked once, for 2 s at most, if a job is registered already. What the store knows of
    /// those that are registered later counts a moment after that.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn keep_jobs(&self, store: impl JobStore) -> std::io::Result<()> {
        self.remember_jobs(Box::new(store), OWN)
    }

    /// As [`keep_jobs`](Self::keep_jobs), with a store that other instances of the service share: a report that reaches
    /// one of them is known to all others within 2 s, while the store answers.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn share_jobs(&self, store: impl JobStore) -> std::io::Result<()> {
        self.remember_jobs(Box::new(store), SHARED)
    }

    fn remember_jobs(&self, store: Box<dyn JobStore>, every: Duration) -> std::io::Result<()> {
        let has_jobs = !self.table().jobs().is_empty();
        let keeper = JobKeeper::start(store, every, Arc::downgrade(&self.shared))?;
        if has_jobs && !keeper.slot.wait(FIRST, |state| state.tried < 1) {
            tracing::error!(
                target: "wellkept::health", "the store does not say what jobs have reported: they count from now until it does"
            );
        }
        self.shared.job_keeper.store(Some(Arc::new(keeper)));
        // What was registered meanwhile goes there too.
        self.jobs_changed();
        Ok(())
    }

    /// Has the store told, soon, that a job has reported or is new. Never blocks.
    pub(crate) fn jobs_changed(&self) {
        if let Some(keeper) = &*self.shared.job_keeper.load() {
            keeper.slot.lock().given += 1;
            keeper.slot.changed.notify_all();
        }
    }

    /// Waits until the store has taken all that jobs have reported so far, at most `wait`. Says whether it has; where
    /// there is no store, nothing is left. Blocks.
    pub fn flush_jobs(&self, wait: Duration) -> bool {
        let Some(keeper) = self.shared.job_keeper.load_full() else { return true };
        let slot = &keeper.slot;
        let number = {
            let mut state = slot.lock();
            // The last chance, whatever failed a moment ago.
            state.urgent = state.written < state.given;
            state.given
        };
        slot.changed.notify_all();
        slot.wait(wait, |state| state.urgent && state.written < number);
        slot.lock().written >= number
    }

    /// Has those jobs whose record is news take it in, and their components told.
    fn take_in(&self, known: &[JobRecord], jobs: &HashMap<Arc<str>, Job>) {
        let mut is_news = false;
        for record in known {
            if jobs.get(&record.name).is_some_and(|job| job.take_in(record)) {
                is_news = true;
                // A component that does not run now is asked for nothing.
                drop(self.table().ask(&record.name, Duration::ZERO, self.clock()));
            }
        }
        if is_news {
            self.shared.wake.notify_one();
        }
    }
}

impl JobKeeper {
    fn start(store: Box<dyn JobStore>, every: Duration, shared: Weak<Shared>) -> std::io::Result<Self> {
        let slot = Arc::new(Slot { state: Mutex::new(State { given: 1, ..State::default() }), ..Slot::default() });
        let remembering = Remembering { store, every, shared, slot: Arc::clone(&slot), failing: false };
        std::thread::Builder::new().name("wk-jobs".to_owned()).spawn(move || remembering.run())?;
        Ok(Self { slot })
    }
}

impl Drop for JobKeeper {
    fn drop(&mut self) {
        self.slot.lock().closed = true;
        self.slot.changed.notify_all();
    }
}

impl fmt::Debug for JobKeeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("JobKeeper").finish_non_exhaustive()
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while this is so. Says whether it no longer is.
    fn wait(&self, patience: Duration, is_open: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |state| is_open(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits for what the store was not told yet, until `soonest` at least, unless somebody waits for it; until `latest`
    /// at most. Returns how much there is, `None` when nobody will give any more.
    fn next(&self, soonest: Instant, latest: Instant) -> Option<u64> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let is_news = state.given > state.tried;
            let due = if is_news { soonest.min(latest) } else { latest };
            if state.closed {
                return None;
            }
            if now >= due || state.urgent {
                return Some(state.given);
            }
            state = self.changed.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn done(&self, number: u64, result: &Result<(), HistoryError>) {
        let mut state = self.lock();
        state.tried = number;
        if result.is_ok() {
            state.written = number;
        }
        // Who waits has waited for more than this, if it came meanwhile.
        state.urgent = result.is_ok() && state.urgent && state.given > number;
        self.changed.notify_all();
    }
}

/// What the thread has.
struct Remembering {
    store: Box<dyn JobStore>,
    every: Duration,
    /// Weak: the thread must not keep the checker alive whose end is its own.
    shared: Weak<Shared>,
    slot: Arc<Slot>,
    failing: bool,
}

impl Remembering {
    fn run(mut self) {
        let slot = Arc::clone(&self.slot);
        let (mut soonest, mut latest) = (Instant::now(), Instant::now());
        while let Some(number) = slot.next(soonest, latest) {
            let result = self.exchange();
            let now = Instant::now();
            (soonest, latest) = match &result {
                Ok(()) => (now + GATHER, now + self.every),
                Err(_) => (now + RETRY, now + RETRY),
            };
            self.tell(&result);
            slot.done(number, &result);
        }
    }

    fn exchange(&mut self) -> Result<(), HistoryError> {
        // The checker is not held while the store is asked, which may take its time.
        let Some(jobs) = self.checker().map(|checker| checker.table().jobs()) else { return Ok(()) };
        if jobs.is_empty() {
            return Ok(());
        }
        let ours: Vec<JobRecord> = jobs.iter().map(|(name, job)| job.record(Arc::clone(name))).collect();
        let known = caught(|| self.store.exchange(&ours))?;
        if let Some(checker) = self.checker() {
            checker.take_in(&known, &jobs.into_iter().collect());
        }
        Ok(())
    }

    fn checker(&self) -> Option<Checker> {
        self.shared.upgrade().map(|shared| Checker { shared })
    }

    fn tell(&mut self, result: &Result<(), HistoryError>) {
        match result {
            Err(error) if !self.failing => tracing::error!(
                target: "wellkept::health", code = error.code, error = %error,
                "what jobs report can't be kept: it is in memory only and ends with the process; tried again"
            ),
            Ok(()) if self.failing => tracing::info!(target: "wellkept::health", "what jobs report is kept again"),
            _ => {}
        }
        self.failing = result.is_err();
    }
}
