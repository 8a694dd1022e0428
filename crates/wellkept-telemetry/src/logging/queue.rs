//! The bounded queue between whoever logs and the writer's thread, and the policy per level: whoever logs only ever
//! copies a line into memory, and waits, within a bound, for important ones alone.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Level;
use super::books::{Books, Loss};
use super::encode::{Encoder, Line, LineKind};
use super::output::{Destination, Written};
use super::upkeep::Upkeep;
use super::writer::Writer;

/// Most lines that wait.
pub(super) const MAX_QUEUED_LINES: usize = 8192;
/// Most bytes that wait; long lines reach this first.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Most bytes in the writer's hand, so that a slow output frees the queue step by step.
const BLOCK_BYTES: usize = 64 << 10;
/// How long an important line waits for room unless said otherwise.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_millis(10);
/// How long the writer stays awake after a line. Who logs within that time need not wake it, which costs a system call.
const LINGER: Duration = Duration::from_millis(1);

/// How much of the queue lines of a level may fill: what comes below leaves room for what comes above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Trace and debug: half of it.
    Chatter,
    /// Info: three quarters.
    Ordinary,
    /// Warnings: seven eighths.
    Warning,
    /// Errors, critical and security: all of it.
    Severe,
}

impl Class {
    pub(super) fn of(line: &Line<'_>) -> Self {
        match (line.kind, line.level) {
            (LineKind::Ordinary, Level::Trace | Level::Debug) => Self::Chatter,
            (LineKind::Ordinary, Level::Info) => Self::Ordinary,
            (LineKind::Ordinary, Level::Warning) => Self::Warning,
            _ => Self::Severe,
        }
    }

    /// Whether it waits for room, and is put aside on the disk when there is none.
    pub(super) fn is_important(self) -> bool {
        matches!(self, Self::Warning | Self::Severe)
    }

    /// How many eighths of the queue it may fill.
    fn eighths(self) -> usize {
        match self {
            Self::Chatter => 4,
            Self::Ordinary => 6,
            Self::Warning => 7,
            Self::Severe => 8,
        }
    }
}

/// The sending end. Dropping the last one lets the writer finish what waits, and end.
pub(super) struct Sink {
    shared: Arc<Shared>,
}

/// What the sending end and the writer's thread have in common.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// A line has come, or an order.
    arrived: Condvar,
    /// Lines have been settled.
    progressed: Condvar,
    name: String,
    wait: Duration,
}

/// The lines that wait, and the books.
pub(super) struct Queue {
    bytes: VecDeque<u8>,
    /// Of each line its length and class.
    lines: VecDeque<(u32, Class)>,
    /// What the writer has taken and not settled yet.
    hand_lines: usize,
    hand_bytes: usize,
    books: Books,
    /// Lines taken into the queue since the start, and those that have left it.
    admitted: u64,
    settled: u64,
    /// Only then is it worth a system call to wake the writer.
    writer_waits: bool,
    /// An important line has waited in vain since the writer last made progress: no other waits.
    is_stuck: bool,
    /// How many wait for the queue to empty: the writer does not leave the output alone meanwhile.
    flushing: usize,
    wants_reopen: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// No line is taken any more; the writer finishes what it can until then.
    Closing {
        until: Instant,
    },
    /// The writer has ended.
    Closed,
}

/// What the writer has in its hand: whole lines.
#[derive(Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    /// How many of the lengths are settled.
    settled: usize,
    /// How many bytes, and how many of those beyond the settled lines, are done with.
    done: usize,
    beyond: usize,
}

impl Block {
    pub(super) fn of(line: &str) -> Self {
        let length = u32::try_from(line.len()).expect("a line is short");
        Self { bytes: line.as_bytes().to_vec(), lengths: vec![length], ..Self::default() }
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    /// Goes on by what was written; returns how many lines ended, and how many bytes those have.
    pub(super) fn advance(&mut self, bytes: usize) -> (usize, usize) {
        let before = self.done;
        self.done = (self.done + bytes).min(self.bytes.len());
        self.beyond += self.done - before;
        let (mut lines, mut ended) = (0, 0);
        while let Some(&length) = self.lengths.get(self.settled) {
            if (length as usize) > self.beyond {
                break;
            }
            self.beyond -= length as usize;
            self.settled += 1;
            lines += 1;
            ended += length as usize;
        }
        (lines, ended)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        (self.settled, self.done, self.beyond) = (0, 0, 0);
    }
}

/// What the writer is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// To write the block.
    Lines,
    /// Nothing for now.
    Idle,
    Reopen,
    /// To say goodbye and to end until then.
    End {
        until: Instant,
    },
}

impl Queue {
    fn new() -> Self {
        Self {
            // All of it at once, so that no caller ever allocates; pages that are not touched cost nothing.
            bytes: VecDeque::with_capacity(MAX_QUEUED_BYTES),
            lines: VecDeque::with_capacity(MAX_QUEUED_LINES),
            hand_lines: 0,
            hand_bytes: 0,
            books: Books::default(),
            admitted: 0,
            settled: 0,
            writer_waits: false,
            is_stuck: false,
            flushing: 0,
            wants_reopen: false,
            state: State::Open,
        }
    }

    /// Takes a line in if there is room for one of its class.
    fn admit(&mut self, line: &[u8], class: Class) -> bool {
        let lines = self.lines.len() + self.hand_lines + 1;
        let bytes = self.bytes.len() + self.hand_bytes + line.len();
        if lines * 8 > MAX_QUEUED_LINES * class.eighths() || bytes * 8 > MAX_QUEUED_BYTES * class.eighths() {
            return false;
        }
        let Ok(length) = u32::try_from(line.len()) else { return false };
        self.bytes.extend(line);
        self.lines.push_back((length, class));
        self.admitted += 1;
        true
    }

    /// Moves lines into the writer's hand, as many as fit, at least one.
    fn take(&mut self, block: &mut Block) {
        block.clear();
        let mut bytes = 0;
        while let Some(&(length, _)) = self.lines.front() {
            if bytes > 0 && bytes + length as usize > BLOCK_BYTES {
                break;
            }
            self.lines.pop_front();
            block.lengths.push(length);
            bytes += length as usize;
        }
        let (front, back) = self.bytes.as_slices();
        let from_front = bytes.min(front.len());
        block.bytes.extend_from_slice(&front[..from_front]);
        block.bytes.extend_from_slice(&back[..bytes - from_front]);
        self.bytes.drain(..bytes);
        self.hand_lines += block.lengths.len();
        self.hand_bytes += bytes;
    }

    /// Enters what became of lines in the writer's hand.
    fn settle(&mut self, lines: usize, bytes: usize, failed: u64, why: Option<Loss>) {
        self.hand_lines = self.hand_lines.saturating_sub(lines);
        self.hand_bytes = self.hand_bytes.saturating_sub(bytes);
        let lines = lines as u64;
        let failed = failed.min(lines);
        self.settled += lines;
        self.books.written += lines - failed;
        self.books.dropped.add(why.unwrap_or(Loss::OutputFailed), failed);
        self.is_stuck &= lines == 0;
    }

    /// Whether there is nothing for the writer to do.
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && !self.wants_reopen && self.state == State::Open
    }

    fn books(&self) -> Books {
        Books { pending: (self.lines.len() + self.hand_lines) as u64, ..self.books }
    }
}

impl Sink {
    /// Starts the writer's thread. `name` is that of the sink, `wait` how long an important line waits for room.
    pub(super) fn start(
        name: &str,
        destination: Box<dyn Destination>,
        encoder: Encoder,
        wait: Duration,
        upkeep: Arc<Upkeep>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new()),
            arrived: Condvar::new(),
            progressed: Condvar::new(),
            name: name.to_owned(),
            wait,
        });
        let mut writer = Writer::new(Arc::clone(&shared), destination, encoder, upkeep);
        thread::Builder::new().name("wellkept-log".into()).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Queues a line, or drops and counts it. Only an important one waits for room, and within a bound.
    pub(super) fn push(&self, line: Line<'_>) {
        let class = Class::of(&line);
        let mut queue = self.shared.lock();
        queue.books.accepted += 1;
        queue.books.truncated += u64::from(line.is_truncated);
        if queue.state != State::Open {
            queue.books.dropped.add(Loss::Closing, 1);
            return;
        }
        let text = line.text.as_bytes();
        if !queue.admit(text, class) {
            let admitted;
            (queue, admitted) = self.shared.insist(queue, text, class);
            if !admitted {
                queue.books.dropped.add(Loss::QueueFull, 1);
                return;
            }
        }
        let wake = std::mem::take(&mut queue.writer_waits);
        drop(queue);
        if wake {
            self.shared.arrived.notify_one();
        }
    }

    /// Waits until all that was taken in before has left the queue, at most for `deadline`.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let end = Instant::now().checked_add(deadline);
        let mut queue = self.shared.lock();
        let awaited = queue.admitted;
        queue.flushing += 1;
        self.shared.arrived.notify_one();
        let has_settled = |queue: &Queue| queue.settled >= awaited;
        let (mut queue, is_done) = self.shared.wait_for(queue, end, has_settled);
        queue.flushing -= 1;
        is_done
    }

    /// Takes no further line, and has the writer finish until `end`.
    pub(super) fn begin_to_close(&self, end: Option<Instant>) {
        let mut queue = self.shared.lock();
        if queue.state == State::Open {
            queue.state = State::Closing { until: end.unwrap_or_else(|| Instant::now() + FOREVER) };
        }
        drop(queue);
        self.shared.arrived.notify_one();
    }

    /// Waits for the writer to finish. Returns whether it did.
    pub(super) fn close(&self, end: Option<Instant>) -> bool {
        self.begin_to_close(end);
        self.shared.wait_for(self.shared.lock(), end, |queue| queue.state == State::Closed).1
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    /// Has the destination opened anew what it writes to.
    pub(super) fn reopen(&self) {
        self.shared.lock().wants_reopen = true;
        self.shared.arrived.notify_one();
    }

    pub(super) fn books(&self) -> Books {
        self.shared.lock().books()
    }
}

/// Stands for a deadline past the end of time.
const FOREVER: Duration = Duration::from_secs(86_400);

impl Drop for Sink {
    fn drop(&mut self) {
        self.begin_to_close(None);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sink").field("books", &self.books()).finish()
    }
}

impl Shared {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for progress until the condition holds or the end has come; without an end as long as it takes.
    fn wait_for<'q>(
        &self,
        mut queue: MutexGuard<'q, Queue>,
        end: Option<Instant>,
        holds: impl Fn(&Queue) -> bool,
    ) -> (MutexGuard<'q, Queue>, bool) {
        while !holds(&queue) {
            let left = end.map_or(FOREVER, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return (queue, false);
            }
            queue = self.progressed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        (queue, true)
    }

    /// An important line found no room: waits for some, unless another has waited in vain before.
    fn insist<'q>(&self, mut queue: MutexGuard<'q, Queue>, line: &[u8], class: Class) -> (MutexGuard<'q, Queue>, bool) {
        if !class.is_important() || self.wait.is_zero() {
            return (queue, false);
        }
        let end = Instant::now() + self.wait;
        while !queue.is_stuck && queue.state == State::Open {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                queue.is_stuck = true;
                break;
            }
            queue = self.progressed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            if queue.admit(line, class) {
                return (queue, true);
            }
        }
        (queue, false)
    }

    /// For the writer: waits for lines, an order or the end, at most for `patience`.
    pub(super) fn next(&self, block: &mut Block, patience: Duration) -> Next {
        let mut queue = self.lock();
        // First a moment awake, in which nobody need wake it.
        if queue.is_idle() {
            queue = self.arrived.wait_timeout(queue, LINGER).unwrap_or_else(PoisonError::into_inner).0;
        }
        if queue.is_idle() {
            queue.writer_waits = true;
            let wait = self.arrived.wait_timeout_while(queue, patience, |queue| queue.is_idle());
            queue = wait.unwrap_or_else(PoisonError::into_inner).0;
            queue.writer_waits = false;
        }
        if std::mem::take(&mut queue.wants_reopen) {
            Next::Reopen
        } else if !queue.lines.is_empty() {
            queue.take(block);
            Next::Lines
        } else if let State::Closing { until } = queue.state {
            Next::End { until }
        } else {
            Next::Idle
        }
    }

    /// For the writer: enters what became of the block's front.
    pub(super) fn settle(&self, block: &mut Block, written: Written) {
        let (lines, bytes) = block.advance(written.bytes);
        self.lock().settle(lines, bytes, written.failed, written.why);
        self.progressed.notify_all();
    }

    /// For the writer: leaves the output alone for that time, unless somebody waits for the log to be flushed.
    /// Returns false when nothing is to be tried any more.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        const WHILE_FLUSHING: Duration = Duration::from_millis(20);
        let end = Instant::now() + pause.min(FOREVER);
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            let mut left = end.saturating_duration_since(now);
            if let State::Closing { until } = queue.state {
                if now >= until {
                    return false;
                }
                left = left.min(until - now).min(WHILE_FLUSHING);
            }
            if queue.flushing > 0 {
                left = left.min(WHILE_FLUSHING);
            }
            if left.is_zero() {
                return true;
            }
            let is_hurried = queue.flushing > 0 || queue.state != State::Open;
            queue = self.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            if is_hurried {
                return true;
            }
        }
    }

    /// For the writer: the books after a line of its own has gone out, and without it.
    pub(super) fn enter_notice(&self) {
        let mut queue = self.lock();
        queue.books.accepted += 1;
        queue.books.written += 1;
    }

    pub(super) fn read_books(&self) -> Books {
        self.lock().books()
    }

    /// For the writer: it has ended.
    pub(super) fn end(&self) {
        let mut queue = self.lock();
        queue.state = State::Closed;
        drop(queue);
        self.progressed.notify_all();
    }
}
