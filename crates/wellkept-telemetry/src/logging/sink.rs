//! The bounded queue and the thread that writes: whoever logs only ever copies a line into memory.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::encode::{Encoder, Line};
use super::{Level, LoggingStats};

/// Most lines that wait.
pub(super) const MAX_QUEUED_LINES: u64 = 8192;
/// Most bytes that wait; long lines reach this first.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Most bytes handed to the output at once, so that a slow one frees the queue step by step.
const BLOCK_BYTES: usize = 64 << 10;
/// A buffer that grew past this in a burst is given back.
const KEPT_BYTES: usize = 1 << 20;
/// How long the writer stays awake after a line. Who logs within that time need not wake it, which costs a system call.
const LINGER: Duration = Duration::from_millis(1);
/// How long an output that takes nothing (a full pipe that does not block) is left alone.
const PAUSE: Duration = Duration::from_millis(5);

/// The sending end. Dropping the last one lets the writer finish what waits, and end.
pub(super) struct Sink {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A line has come, or the end.
    arrived: Condvar,
    /// Lines have been settled.
    progressed: Condvar,
    dropped: AtomicU64,
    truncated: AtomicU64,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Bytes that the writer has taken and not settled yet.
    taken_bytes: usize,
    /// Lines taken in since the start.
    accepted: u64,
    written: u64,
    failed: u64,
    /// Only then is it worth a system call to wake the writer.
    writer_waits: bool,
    is_closed: bool,
}

impl Queue {
    fn settled(&self) -> u64 {
        self.written + self.failed
    }
}

impl Sink {
    /// Starts the writer's thread.
    pub(super) fn start(output: Box<dyn Write + Send>, encoder: Encoder) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut writer = Writer { shared: Arc::clone(&shared), output, encoder, is_torn: false, told_dropped: 0 };
        thread::Builder::new().name("wellkept-log".into()).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    /// Queues a line, or drops and counts it.
    pub(super) fn push(&self, line: Line<'_>) {
        let shared = &*self.shared;
        if line.is_truncated {
            shared.truncated.fetch_add(1, Ordering::Relaxed);
        }
        let mut queue = shared.lock();
        let bytes = queue.lines.len() + queue.taken_bytes + line.text.len();
        if queue.accepted - queue.settled() >= MAX_QUEUED_LINES || bytes > MAX_QUEUED_BYTES {
            drop(queue);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.lines.extend_from_slice(line.text.as_bytes());
        queue.accepted += 1;
        let wake = std::mem::take(&mut queue.writer_waits);
        drop(queue);
        if wake {
            shared.arrived.notify_one();
        }
    }

    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let end = Instant::now().checked_add(deadline);
        let mut queue = self.shared.lock();
        let awaited = queue.accepted;
        self.shared.arrived.notify_one();
        while queue.settled() < awaited {
            // A deadline past the end of time is none.
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            queue = self.shared.progressed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn stats(&self) -> LoggingStats {
        let queue = self.shared.lock();
        LoggingStats {
            written: queue.written,
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            failed: queue.failed,
            truncated: self.shared.truncated.load(Ordering::Relaxed),
            queued: queue.accepted - queue.settled(),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.arrived.notify_one();
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sink").field("stats", &self.stats()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    shared: Arc<Shared>,
    output: Box<dyn Write + Send>,
    encoder: Encoder,
    /// Whether the last line written was cut off by an error.
    is_torn: bool,
    /// How many dropped lines the output has been told of.
    told_dropped: u64,
}

impl Writer {
    fn run(&mut self) {
        let mut lines = Vec::new();
        while self.take(&mut lines) {
            let mut rest = lines.as_slice();
            while !rest.is_empty() {
                let (block, later) = rest.split_at(block_length(rest));
                self.write_block(block);
                rest = later;
            }
            self.tell_dropped();
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
        }
        self.output.flush().ok();
    }

    /// Waits for lines and takes all of them. Returns false at the end.
    fn take(&mut self, lines: &mut Vec<u8>) -> bool {
        let mut queue = self.shared.lock();
        if queue.lines.is_empty() && !queue.is_closed {
            queue = self.shared.arrived.wait_timeout(queue, LINGER).unwrap_or_else(PoisonError::into_inner).0;
        }
        while queue.lines.is_empty() {
            if queue.is_closed {
                return false;
            }
            queue.writer_waits = true;
            queue = self.shared.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut queue.lines, lines);
        queue.taken_bytes = lines.len();
        true
    }

    fn write_block(&mut self, block: &[u8]) {
        let written = self.write(block);
        let settled = count_lines(block);
        let written = count_lines(&block[..written]);
        let mut queue = self.shared.lock();
        queue.taken_bytes = queue.taken_bytes.saturating_sub(block.len());
        queue.written += written;
        queue.failed += settled - written;
        drop(queue);
        self.shared.progressed.notify_all();
    }

    /// Writes until all is written or an error ends it; returns how many bytes went out.
    fn write(&mut self, bytes: &[u8]) -> usize {
        // The line that an error cut off must not run into the next one.
        if self.is_torn {
            match self.output.write(b"\n") {
                Ok(1..) => self.is_torn = false,
                _ => return 0,
            }
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Err(_) => break,
            }
        }
        if written == bytes.len() && self.output.flush().is_err() {
            return 0;
        }
        self.is_torn = written > 0 && bytes.get(written - 1) != Some(&b'\n');
        written
    }

    /// Once there is room again, the log itself says that lines are missing.
    fn tell_dropped(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.told_dropped {
            let figures = [("dropped", dropped - self.told_dropped)];
            let line = self.encoder.notice(Level::Warning, "log lines were dropped", &figures);
            if self.write(line.as_bytes()) == line.len() {
                self.told_dropped = dropped;
            }
        }
    }
}

/// The length of the first block: whole lines, as many as fit, at least one.
fn block_length(lines: &[u8]) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    if lines.len() <= BLOCK_BYTES {
        return lines.len();
    }
    match lines[..BLOCK_BYTES].iter().rposition(is_end) {
        Some(end) => end + 1,
        None => lines.iter().position(is_end).map_or(lines.len(), |end| end + 1),
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}
