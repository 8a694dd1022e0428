//! The way of records to their store: a bounded queue, a thread of its own, a backlog while the store fails.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::check::{AnyCheck, Scope};
use crate::component::Component;
use crate::history::{HistoryError, HistoryStore, Record, RunResult, StatusChange};
use crate::outcome::{Outcome, Reason};

/// Records and questions that may wait for the thread.
const QUEUE: usize = 4096;
/// Records that wait for a store that fails; the oldest are given up, and counted.
const BACKLOG: usize = 10_000;
/// Records written in one transaction.
const BATCH: usize = 512;
/// How long records are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// How long a failing store is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// The handle on what is remembered. Cheap to clone. Recording never blocks: a full queue drops and counts.
#[derive(Clone)]
pub struct History {
    queue: SyncSender<Message>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    written: AtomicU64,
    dropped: AtomicU64,
    backlog: AtomicU64,
    failure: Mutex<Option<String>>,
}

enum Message {
    Record(Record),
    Changes { component: Option<String>, limit: usize, reply: SyncSender<Vec<StatusChange>> },
    Results { component: String, limit: usize, reply: SyncSender<Vec<RunResult>> },
    Flush { reply: SyncSender<()> },
}

impl History {
    /// Starts the thread that writes to `store`. It ends when the last clone of the handle is dropped.
    pub fn start(store: impl HistoryStore) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let state = Arc::new(State::default());
        let writer =
            Writer { store: Box::new(store), pending: VecDeque::new(), retry_at: None, state: Arc::clone(&state) };
        std::thread::Builder::new().name("wk-history".to_owned()).spawn(move || writer.run(&messages))?;
        Ok(Self { queue, state })
    }

    /// Remembers one record. Never blocks.
    pub fn record(&self, record: Record) {
        if self.queue.try_send(Message::Record(record)).is_err() {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The latest changes, newest first, of one component or of everything. Blocks for at most `wait`; `None` when
    /// there was no answer by then. While the store fails, what waits for it.
    pub fn changes(&self, component: Option<&str>, limit: usize, wait: Duration) -> Option<Vec<StatusChange>> {
        let component = component.map(ToOwned::to_owned);
        self.ask(wait, |reply| Message::Changes { component, limit, reply })
    }

    /// The latest results of one component, newest first. Blocks as [`History::changes`] does.
    pub fn results(&self, component: &str, limit: usize, wait: Duration) -> Option<Vec<RunResult>> {
        let component = component.to_owned();
        self.ask(wait, |reply| Message::Results { component, limit, reply })
    }

    /// Waits until all that was recorded before is written, at most `wait`. Says whether it is.
    pub fn flush(&self, wait: Duration) -> bool {
        self.ask(wait, |reply| Message::Flush { reply }).is_some() && self.failure().is_none()
    }

    /// Why the store fails, when it does; records are then kept in memory.
    pub fn failure(&self) -> Option<String> {
        self.state.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The recorder's own figures.
    pub fn stats(&self) -> HistoryStats {
        HistoryStats {
            written_total: self.state.written.load(Ordering::Relaxed),
            dropped_total: self.state.dropped.load(Ordering::Relaxed),
            backlog: self.state.backlog.load(Ordering::Relaxed),
        }
    }

    /// The store as an optional component in no group: degraded while history is kept in memory only.
    pub fn component(&self, name: &str) -> Component {
        let history = self.clone();
        let check = AnyCheck::from_fn(move || {
            let outcome = match history.failure() {
                None => Outcome::pass(),
                Some(failure) => Outcome::warn(Reason::Internal, "history is kept in memory only").with_detail(failure),
            };
            let stats = history.stats();
            let outcome = outcome.with("written", stats.written_total).with("dropped", stats.dropped_total);
            async move { outcome.with("backlog", stats.backlog) }
        });
        Component::new(name, check).scope(Scope::Process).optional()
    }

    fn ask<T>(&self, wait: Duration, message: impl FnOnce(SyncSender<T>) -> Message) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        let until = Instant::now() + wait;
        let mut message = message(reply);
        // The queue is full when the store is slow, which is just when an answer is worth waiting for.
        while let Err(refused) = self.queue.try_send(message) {
            let TrySendError::Full(kept) = refused else { return None };
            if Instant::now() >= until {
                return None;
            }
            message = kept;
            std::thread::park_timeout(Duration::from_millis(1));
        }
        answer.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

impl fmt::Debug for History {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("History").field("state", &self.state).finish_non_exhaustive()
    }
}

/// The recorder's own figures, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryStats {
    /// Records that the store has taken.
    pub written_total: u64,
    /// Records given up because a queue was full.
    pub dropped_total: u64,
    /// Records that wait for a store that fails.
    pub backlog: u64,
}

struct Writer {
    store: Box<dyn HistoryStore>,
    pending: VecDeque<Record>,
    retry_at: Option<Instant>,
    state: Arc<State>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut write_at: Option<Instant> = None;
        loop {
            let wait = write_at.map_or(RETRY, |at| at.saturating_duration_since(Instant::now()));
            match messages.recv_timeout(wait) {
                Ok(Message::Record(record)) => {
                    self.keep(record);
                    write_at.get_or_insert_with(|| Instant::now() + GATHER);
                }
                Ok(question) => {
                    if matches!(question, Message::Flush { .. }) {
                        // The last chance, whatever failed a moment ago.
                        self.retry_at = None;
                    }
                    self.write();
                    self.answer(question);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.retry_at = None;
                    self.write();
                    return;
                }
            }
            if self.pending.len() >= BATCH || write_at.is_some_and(|at| at <= Instant::now()) {
                self.write();
                write_at = (!self.pending.is_empty()).then(|| Instant::now() + RETRY);
            }
        }
    }

    fn keep(&mut self, record: Record) {
        if self.pending.len() >= BACKLOG {
            self.pending.pop_front();
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.pending.push_back(record);
    }

    fn write(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            self.state.backlog.store(self.pending.len() as u64, Ordering::Relaxed);
            return;
        }
        while !self.pending.is_empty() {
            let count = self.pending.len().min(BATCH);
            let batch = &self.pending.make_contiguous()[..count];
            match self.store.append(batch) {
                Ok(()) => {
                    self.pending.drain(..count);
                    self.state.written.fetch_add(count as u64, Ordering::Relaxed);
                    self.recovered();
                }
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
        self.state.backlog.store(self.pending.len() as u64, Ordering::Relaxed);
    }

    fn failed(&mut self, error: &HistoryError) {
        self.retry_at = Some(Instant::now() + RETRY);
        let mut failure = self.state.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            tracing::error!(
                target: "wellkept::health", code = error.code, error = %error,
                "history can't be written: it is kept in memory and tried again"
            );
        }
        *failure = Some(error.to_string());
    }

    fn recovered(&mut self) {
        self.retry_at = None;
        let failure = self.state.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        if failure.is_some() {
            tracing::info!(target: "wellkept::health", "history is written again");
        }
    }

    fn answer(&mut self, question: Message) {
        // Whoever asked may have given up: then the answer is nobody's.
        match question {
            Message::Record(record) => self.keep(record),
            Message::Changes { component, limit, reply } => {
                let component = component.as_deref();
                let stored = self.usable().and_then(|store| store.changes(component, limit).ok());
                drop(reply.send(stored.unwrap_or_else(|| self.pending_changes(component, limit))));
            }
            Message::Results { component, limit, reply } => {
                let stored = self.usable().and_then(|store| store.results(&component, limit).ok());
                drop(reply.send(stored.unwrap_or_else(|| self.pending_results(&component, limit))));
            }
            Message::Flush { reply } => drop(reply.send(())),
        }
    }

    /// The store, unless it fails just now: then what waits for it says more.
    fn usable(&mut self) -> Option<&mut dyn HistoryStore> {
        self.retry_at.is_none().then_some(&mut *self.store)
    }

    fn pending_changes(&self, component: Option<&str>, limit: usize) -> Vec<StatusChange> {
        let changes = self.pending.iter().rev().filter_map(|record| match record {
            Record::Change(change) if component.is_none() || change.component.as_deref() == component => Some(change),
            _ => None,
        });
        changes.take(limit).cloned().collect()
    }

    fn pending_results(&self, component: &str, limit: usize) -> Vec<RunResult> {
        let results = self.pending.iter().rev().filter_map(|record| match record {
            Record::Result(result) if &*result.component == component => Some(result),
            _ => None,
        });
        results.take(limit).cloned().collect()
    }
}

/// The latest records in memory, for those who want no file: 1,000 changes, and 60 results of each component.
#[derive(Debug, Default)]
pub struct Memory {
    changes: VecDeque<StatusChange>,
    results: HashMap<Arc<str>, VecDeque<RunResult>>,
}

impl Memory {
    const CHANGES: usize = 1000;
    const RESULTS: usize = 60;
    const COMPONENTS: usize = 20_000;

    fn keep(&mut self, record: &Record) {
        match record {
            Record::Change(change) => push_bounded(&mut self.changes, change.clone(), Self::CHANGES),
            Record::Result(result) => {
                if self.results.len() < Self::COMPONENTS || self.results.contains_key(&result.component) {
                    let results = self.results.entry(Arc::clone(&result.component)).or_default();
                    push_bounded(results, result.clone(), Self::RESULTS);
                }
            }
        }
    }

    fn changes(&self, component: Option<&str>, limit: usize) -> Vec<StatusChange> {
        let wanted = |change: &&StatusChange| component.is_none() || change.component.as_deref() == component;
        self.changes.iter().rev().filter(wanted).take(limit).cloned().collect()
    }

    fn results(&self, component: &str, limit: usize) -> Vec<RunResult> {
        self.results.get(component).into_iter().flatten().rev().take(limit).cloned().collect()
    }
}

impl HistoryStore for Memory {
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        for record in records {
            self.keep(record);
        }
        Ok(())
    }

    fn changes(&mut self, component: Option<&str>, limit: usize) -> Result<Vec<StatusChange>, HistoryError> {
        Ok(Memory::changes(self, component, limit))
    }

    fn results(&mut self, component: &str, limit: usize) -> Result<Vec<RunResult>, HistoryError> {
        Ok(Memory::results(self, component, limit))
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    if list.len() >= limit {
        list.pop_front();
    }
    list.push_back(item);
}
