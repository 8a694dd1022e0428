//! The way of records to their store: a bounded queue, a thread of its own, a backlog while the store fails.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::check::{AnyCheck, Scope};
use crate::component::Component;
use crate::history::{HistoryError, HistoryStore, Record, RunResult, StatusChange, Sweep, Swept, caught};
use crate::outcome::{Outcome, Reason};
use crate::snapshot::{Moment, Snapshot};
use crate::status::Status;
use crate::trend::{Brief, Ledger, MinutePart, Past, Retention, Seen, Span, Tier, Trend};

/// Records and questions that may wait for the thread.
const QUEUE: usize = 4096;
/// Longest wait for an answer: what more is asked for is taken as this.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Records that wait for a store that fails; the oldest are given up, and counted.
const BACKLOG: usize = 10_000;
/// Records written in one transaction.
const BATCH: usize = 512;
/// How long records are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// How long a failing store is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// How often the minute that is not over is put aside: a process that is killed loses no more than that.
const CHECKPOINT: Duration = Duration::from_secs(5);
/// How often the store is swept, besides whenever a component is new.
const SWEEP: Duration = Duration::from_secs(3600);
/// Minutes that are over and wait for a store that fails; the oldest are given up, and counted.
const WAITING: usize = 50_000;
/// How often the components are summed up in brief, and for how long the thread does so between two checkpoints.
const SUM_UP: Duration = Duration::from_secs(60);
const SUMMING: Duration = Duration::from_millis(50);
/// Changes shown with a trend.
const CHANGES: usize = 10;

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
    /// Kept by whoever looks and records, so that a slow store loses no time; the thread takes what is finished.
    ledger: Mutex<Ledger>,
    retention: Retention,
}

impl State {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Sums that a panic left are whole numbers all the same.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Message {
    Record(Record),
    Changes { component: Option<String>, limit: usize, reply: SyncSender<Vec<StatusChange>> },
    Results { component: String, limit: usize, reply: SyncSender<Vec<RunResult>> },
    Past { component: String, at: Timestamp, reply: SyncSender<Past> },
    Flush { reply: SyncSender<()> },
}

impl History {
    /// Starts the thread that writes to `store`, with the default [`Retention`]. It ends when the last clone of the
    /// handle is dropped.
    pub fn start(store: impl HistoryStore) -> std::io::Result<Self> {
        Self::start_with(store, Retention::default())
    }

    /// As [`History::start`], with a retention.
    pub fn start_with(store: impl HistoryStore, retention: Retention) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let state = Arc::new(State { retention, ..State::default() });
        let writer = Writer::new(Box::new(store), Arc::clone(&state));
        std::thread::Builder::new().name("wk-history".to_owned()).spawn(move || writer.run(&messages))?;
        Ok(Self { queue, state })
    }

    /// Remembers one record. Never blocks.
    pub fn record(&self, record: Record) {
        if let Record::Result(result) = &record {
            self.state.ledger().count(result);
        }
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

    /// Accounts for the time since the look before: every component of the snapshot was in the status that it is
    /// served in, or in maintenance while the whole service is. To be called about once a second; what lies between two calls more than five seconds apart is a gap.
    pub(crate) fn look(&self, snapshot: &Snapshot, now: Moment) {
        let all_in_maintenance = snapshot.maintenance().is_some();
        let seen = snapshot.components().map(|component| {
            let seen = component.seen(now.boot);
            if all_in_maintenance { Seen { status: Status::Maintenance, ..seen } } else { seen }
        });
        self.state.ledger().look(now, seen);
    }

    /// What one component's past adds up to, up to the latest look. Blocks as [`History::changes`] does, then adds
    /// up for about a millisecond. It reads about a thousand rows, after a day as after a year. Of a component that
    /// nobody knows it is empty.
    pub fn trend(&self, component: &str, wait: Duration) -> Option<Trend> {
        let at = self.state.ledger().until().unwrap_or_else(Timestamp::now);
        let past = self.ask(wait, |reply| Message::Past { component: component.to_owned(), at, reply })?;
        Some(past.sum_up(component, at))
    }

    /// What each component's past adds up to in brief, as of a minute ago, with a thousand components five. Waits for
    /// nobody; a component that was not summed up yet is not among them.
    pub fn briefs(&self) -> BTreeMap<Arc<str>, Brief> {
        self.state.ledger().briefs().map(|(name, brief)| (Arc::clone(name), brief)).collect()
    }

    /// How long history is kept, and in how many bytes.
    pub fn retention(&self) -> Retention {
        self.state.retention
    }

    /// Waits until all that was recorded before is written, at most `wait` (an hour at most). Says whether it is.
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
        let until = Instant::now() + wait.min(LONGEST_WAIT);
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
    /// Minutes that are over and not yet written.
    minutes: VecDeque<MinutePart>,
    retry_at: Option<Instant>,
    checkpoint_at: Instant,
    sweep_at: Instant,
    /// Who is to be summed up in brief, and when all are again.
    to_sum_up: Vec<Arc<str>>,
    sum_up_at: Instant,
    state: Arc<State>,
}

impl Writer {
    fn new(store: Box<dyn HistoryStore>, state: Arc<State>) -> Self {
        let checkpoint_at = Instant::now() + CHECKPOINT;
        // Once the first look has told who is there.
        let sweep_at = checkpoint_at;
        Self {
            store,
            pending: VecDeque::new(),
            minutes: VecDeque::new(),
            retry_at: None,
            checkpoint_at,
            sweep_at,
            to_sum_up: Vec::new(),
            sum_up_at: checkpoint_at,
            state,
        }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        let mut write_at: Option<Instant> = None;
        loop {
            let wake_at = write_at.map_or(self.checkpoint_at, |at| at.min(self.checkpoint_at));
            match messages.recv_timeout(wake_at.saturating_duration_since(Instant::now())) {
                Ok(Message::Record(record)) => {
                    self.keep(record);
                    write_at.get_or_insert_with(|| Instant::now() + GATHER);
                }
                Ok(question) => {
                    if matches!(question, Message::Flush { .. }) {
                        // The last chance, whatever failed a moment ago.
                        self.retry_at = None;
                        self.checkpoint();
                    }
                    self.write();
                    self.answer(question);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.retry_at = None;
                    self.state.ledger().finish_all();
                    self.write();
                    self.checkpoint();
                    return;
                }
            }
            if self.pending.len() >= BATCH || write_at.is_some_and(|at| at <= Instant::now()) {
                self.write();
                write_at = (!self.pending.is_empty()).then(|| Instant::now() + RETRY);
            }
            if self.checkpoint_at <= Instant::now() {
                self.checkpoint();
                self.sweep();
                self.sum_up();
            }
        }
    }

    /// Sums up as many components as there is time for, each in its turn.
    fn sum_up(&mut self) {
        let began = Instant::now();
        if self.to_sum_up.is_empty() && self.sum_up_at <= began {
            self.sum_up_at = began + SUM_UP;
            self.to_sum_up = self.state.ledger().names();
        }
        let Some(at) = self.state.ledger().until() else { return };
        while began.elapsed() < SUMMING
            && let Some(name) = self.to_sum_up.pop()
        {
            let brief = self.past(&name, at, &Brief::SPANS).brief(at);
            self.state.ledger().set_brief(&name, brief);
        }
    }

    /// Writes the minutes that are over, and puts aside those that are not.
    fn checkpoint(&mut self) {
        self.checkpoint_at = Instant::now() + CHECKPOINT;
        let open = self.take_minutes(Ledger::open);
        self.write_minutes(&open);
    }

    /// Takes the minutes that are over, and at the same moment what `also` asks for: between two moments a look may
    /// end a minute, which would be in both or in neither.
    fn take_minutes<T>(&mut self, also: impl FnOnce(&Ledger) -> T) -> T {
        let state = Arc::clone(&self.state);
        let (given_up, also) = {
            let mut ledger = state.ledger();
            self.minutes.extend(ledger.take_finished());
            (ledger.take_given_up(), also(&ledger))
        };
        let surplus = self.minutes.len().saturating_sub(WAITING);
        self.minutes.drain(..surplus);
        state.dropped.fetch_add(given_up + surplus as u64, Ordering::Relaxed);
        also
    }

    fn write_minutes(&mut self, open: &[MinutePart]) {
        let nothing_to_do = self.minutes.is_empty() && open.is_empty();
        if nothing_to_do || self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        match caught(|| self.store.keep_time(self.minutes.make_contiguous(), open)) {
            Ok(()) => {
                self.minutes.clear();
                // What still waits is tried next, and may be what the store has no room for.
                if self.pending.is_empty() {
                    self.recovered();
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn sweep(&mut self) {
        let (live, until) = {
            let mut ledger = self.state.ledger();
            if ledger.take_newcomers() > 0 {
                self.sweep_at = Instant::now();
            }
            if self.retry_at.is_some() || self.sweep_at > Instant::now() {
                return;
            }
            (ledger.names(), ledger.until())
        };
        let retention = self.state.retention;
        // Without a look nobody knows who is there.
        let Some(now) = until else { return };
        let most = retention.footprint(live.len()).components;
        let sweep = Sweep { live: live.into_iter().collect(), most, now, keep: retention.keep };
        self.sweep_at = Instant::now() + SWEEP;
        match caught(|| self.store.forget(&sweep)) {
            Ok(Swept::Whole) => {}
            Ok(Swept::InPart) => self.sweep_at = Instant::now(),
            Err(error) => self.failed(&error),
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
            match caught(|| self.store.append(batch)) {
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
                drop(reply.send(self.changes(component.as_deref(), limit)));
            }
            Message::Results { component, limit, reply } => {
                let stored = self.usable().and_then(|store| caught(|| store.results(&component, limit)).ok());
                drop(reply.send(stored.unwrap_or_else(|| self.pending_results(&component, limit))));
            }
            Message::Past { component, at, reply } => {
                self.take_minutes(|_| ());
                self.write_minutes(&[]);
                let mut past = self.past(&component, at, &Span::ALL);
                past.changes = self.changes(Some(&component), CHANGES);
                drop(reply.send(past));
            }
            Message::Flush { reply } => drop(reply.send(())),
        }
    }

    /// The store, unless it fails just now: then what waits for it says more.
    fn usable(&mut self) -> Option<&mut dyn HistoryStore> {
        self.retry_at.is_none().then_some(&mut *self.store)
    }

    fn changes(&mut self, component: Option<&str>, limit: usize) -> Vec<StatusChange> {
        let stored = self.usable().and_then(|store| caught(|| store.changes(component, limit)).ok());
        stored.unwrap_or_else(|| self.pending_changes(component, limit))
    }

    /// What the store and the books hold of one component.
    fn past(&mut self, component: &str, at: Timestamp, spans: &[Span]) -> Past {
        let kept = Tier::ALL.map(|tier| caught(|| Ok(self.store.slots(tier))).unwrap_or(0));
        let mut past = Past { kept, ..Past::default() };
        for (tier, slots) in Tier::ALL.into_iter().zip(&mut past.tiers) {
            let last = tier.slot(at);
            let reach = spans.iter().filter(|span| span.tier(&past.kept) == tier).map(|span| span.slots(tier));
            let Some(reach) = reach.max() else { continue };
            let read =
                self.usable().and_then(|store| caught(|| store.buckets(component, tier, last - reach..=last)).ok());
            slots.extend(read.unwrap_or_default());
        }
        let (open, reading) = self.take_minutes(|ledger| (ledger.open_of(component), ledger.reading(component)));
        past.open = self.minutes.iter().filter(|part| &*part.component == component).cloned().chain(open).collect();
        past.reading = reading;
        past
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

#[cfg(test)]
mod tests;
