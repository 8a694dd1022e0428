//! The bounded queue of ended spans, and the books: accepted = exported + dropped + pending, at every instant.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::delivery::Wait;
use super::{SpanBooks, SpanLoss};

/// Most spans that wait.
pub const MAX_QUEUED_SPANS: usize = 2048;
/// Most bytes that wait; large spans reach this first.
pub const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Most spans in one message.
pub(super) const MAX_BATCH: usize = 512;
/// Longer than anybody waits.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Most bytes of spans in one message, but for a single one that is larger.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Between those who end spans and the one thread that exports them.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something for the exporter to look at.
    arrived: Condvar,
    /// Spans have been settled.
    settled: Condvar,
    delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// Bytes that wait.
    bytes: usize,
    /// Spans that the exporter has taken and not settled yet.
    taken: usize,
    /// When the first of those that wait came.
    since: Option<Instant>,
    books: Counts,
    /// Until when somebody waits for all to be exported.
    flush: Option<Instant>,
    /// How often somebody began to.
    flushes: u64,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: u64,
    exported: u64,
    dropped: [u64; SpanLoss::ALL.len()],
}

/// What the exporter is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Export(Vec<Vec<u8>>),
    End,
}

impl Queue {
    pub(super) fn new(delay: Duration) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), settled: Condvar::new(), delay }
    }

    /// Takes a span in, or drops and counts it. Never waits.
    pub(super) fn push(&self, span: Vec<u8>) {
        let mut state = self.lock();
        state.books.accepted += 1;
        let is_full = state.waiting.len() + state.taken >= MAX_QUEUED_SPANS;
        if is_full || state.bytes + span.len() > MAX_QUEUED_BYTES || state.is_closed {
            let loss = if state.is_closed { SpanLoss::Closed } else { SpanLoss::QueueFull };
            state.books.dropped[loss as usize] += 1;
            return;
        }
        state.bytes += span.len();
        state.waiting.push_back(span);
        // The first begins the wait, and a full batch ends it; the others need not wake anybody.
        let is_first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        let wakes = is_first || state.waiting.len() == MAX_BATCH || state.bytes >= MAX_BATCH_BYTES;
        drop(state);
        if wakes {
            self.arrived.notify_one();
        }
    }

    /// Waits for a batch that is due: full, old enough, or somebody flushes. For the one exporter.
    pub(super) fn take(&self) -> Turn {
        let mut state = self.lock();
        loop {
            let due = state.since.and_then(|since| since.checked_add(self.delay));
            let is_due = due.is_some_and(|due| due <= Instant::now());
            let is_full = state.waiting.len() >= MAX_BATCH || state.bytes >= MAX_BATCH_BYTES;
            let is_asked = state.is_closed || state.is_flushing();
            if !state.waiting.is_empty() && (is_full || is_due || is_asked) {
                return Turn::Export(state.take_batch());
            }
            if state.is_closed {
                return Turn::End;
            }
            state = self.wait(state, due);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Waits before another try: so long, or until the end, or until there were more flushes than that. What a receiver
    /// asked for is waited for in spite of a flush.
    pub(super) fn pause(&self, wait: Wait, flushes: u64) {
        let (Wait::May(pause) | Wait::Must(pause)) = wait;
        let until = Instant::now() + pause.min(LONGEST);
        let mut state = self.lock();
        while Instant::now() < until && !state.is_closed {
            if state.flushes != flushes && matches!(wait, Wait::May(_)) {
                return;
            }
            state = self.wait(state, Some(until));
        }
    }

    /// How often somebody began to flush.
    pub(super) fn flushes(&self) -> u64 {
        self.lock().flushes
    }

    /// Whether nobody can put anything in any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Enters what became of the spans that were taken: so many of them were lost for this reason, at most all.
    pub(super) fn settle(&self, (reason, lost): (SpanLoss, u64)) {
        let mut state = self.lock();
        let taken = std::mem::take(&mut state.taken) as u64;
        let lost = lost.min(taken);
        state.books.dropped[reason as usize] += lost;
        state.books.exported += taken - lost;
        drop(state);
        self.settled.notify_all();
    }

    /// Has all that waits exported now, and waits for it until then at the latest.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline.min(LONGEST);
        let mut state = self.lock();
        let awaited = state.books.settled() + state.pending();
        state.flush = state.flush.max(Some(end));
        state.flushes += 1;
        self.arrived.notify_all();
        while state.books.settled() < awaited {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.settled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Has the exporter end once it has tried what waits.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    pub(super) fn books(&self) -> SpanBooks {
        let state = self.lock();
        let dropped = SpanLoss::ALL.map(|loss| (loss, state.books.dropped[loss as usize]));
        SpanBooks { accepted: state.books.accepted, exported: state.books.exported, dropped, pending: state.pending() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pending(&self) -> u64 {
        (self.waiting.len() + self.taken) as u64
    }

    fn is_flushing(&self) -> bool {
        self.flush.is_some_and(|until| until > Instant::now())
    }

    fn take_batch(&mut self) -> Vec<Vec<u8>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(span) = self.waiting.front() {
            if batch.len() == MAX_BATCH || (bytes + span.len() > MAX_BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            bytes += span.len();
            batch.extend(self.waiting.pop_front());
        }
        self.bytes -= bytes;
        self.taken = batch.len();
        self.since = if self.waiting.is_empty() { None } else { Some(Instant::now()) };
        batch
    }
}

impl Counts {
    fn settled(&self) -> u64 {
        self.exported + self.dropped.iter().sum::<u64>()
    }
}
