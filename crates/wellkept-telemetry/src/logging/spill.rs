//! What is put aside on the disk while an output takes nothing: important lines, to be written once it does, if need be
//! after the next start. A thread of its own does it, so that a disk that hangs holds up nobody.

mod file;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::file::{SpillFile, count_lines};
use super::books::Loss;
use super::queue::{State, WriterState};
use super::sink::Shared;

/// Most bytes that wait for the disk.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// How long a disk that failed is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// Where important lines are put aside while their output takes nothing. They are written to the output, each once,
/// when it takes lines again, after the next start if need be; a process that is killed meanwhile may have them
/// written twice. Later lines don't wait for them: the time of each tells the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpillOptions {
    /// The folder, made when it isn't there. The files, `SINK.1.spill` and so on, can be read by their owner alone.
    pub folder: PathBuf,
    /// Most bytes in one sink's file; what comes then is dropped and counted. Default: 64 MiB.
    pub max_bytes: u64,
}

impl SpillOptions {
    /// With the defaults.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), max_bytes: 64 << 20 }
    }
}

/// What has been put aside, as the queue's lock sees it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// On the way to the disk.
    waiting: Vec<u8>,
    /// Lines put aside since the start, and those that the books have settled.
    pub(super) entered: u64,
    pub(super) left: u64,
    /// Lines from the disk for the writer; and whether they are offered or in its hand.
    offer: Option<Vec<u8>>,
    is_offered: bool,
    /// Lines and bytes of the offer that are settled and that the file does not know of yet.
    settled: (u64, usize),
    /// Whether the files are up to date and given back, since all is over.
    pub(super) is_released: bool,
    /// The system's number of what is wrong with the disk, until the log has told of it.
    pub(super) trouble: Option<i32>,
}

impl Aside {
    /// Takes a line if there is room for it.
    pub(super) fn put(&mut self, line: &[u8]) -> bool {
        if self.waiting.len() + line.len() > MAX_WAITING_BYTES {
            return false;
        }
        self.put_last(line);
        true
    }

    /// Takes a line that waited in the queue, which is bounded too, when that is given up.
    pub(super) fn put_last(&mut self, line: &[u8]) {
        self.waiting.extend_from_slice(line);
        self.entered += 1;
    }

    /// How many lines there are.
    pub(super) fn lines(&self) -> u64 {
        self.entered - self.left
    }

    pub(super) fn has_offer(&self) -> bool {
        self.offer.is_some()
    }

    pub(super) fn take_offer(&mut self) -> Option<Vec<u8>> {
        self.offer.take()
    }

    /// Lines of the offer have reached the output, or are lost; with `is_over` those were its last.
    pub(super) fn settle(&mut self, lines: u64, bytes: usize, is_over: bool) {
        self.left += lines;
        self.settled.0 += lines;
        self.settled.1 += bytes;
        self.is_offered &= !is_over;
    }

    /// For the disk: what waits for it.
    pub(super) fn take_waiting(&mut self) -> Option<Vec<u8>> {
        (!self.waiting.is_empty()).then(|| std::mem::take(&mut self.waiting))
    }

    /// From the disk: lines that it holds, for the writer.
    pub(super) fn make_offer(&mut self, lines: Vec<u8>) {
        self.offer = Some(lines);
        self.is_offered = true;
    }

    /// Whether lines from the disk are offered, or in the writer's hand.
    pub(super) fn is_offered(&self) -> bool {
        self.is_offered
    }

    /// So many lines are lost on the way to the disk, or on it.
    pub(super) fn lose(&mut self, lines: u64) {
        self.left += lines;
    }
}

/// The thread that has the files.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    options: SpillOptions,
    /// The first takes what comes; lines are given back from the first that has some.
    files: Vec<SpillFile>,
    /// Which one the offered lines are from.
    offered: usize,
    tried: Option<Instant>,
}

/// What there is to do.
enum Work {
    Append(Vec<u8>),
    Advance(u64, usize),
    Offer,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, options: SpillOptions) -> Self {
        Self { shared, options, files: Vec::new(), offered: 0, tried: None }
    }

    pub(super) fn run(&mut self) {
        self.open();
        while let Some(work) = self.next() {
            match work {
                Work::Append(lines) => self.append(&lines),
                Work::Advance(lines, bytes) => self.advance(lines, bytes),
                Work::Offer => self.offer(),
            }
            self.shared.tell_progress();
        }
        // Another process may have them now.
        self.files.clear();
        if let Some(aside) = &mut self.shared.lock().aside {
            aside.is_released = true;
        }
        self.shared.tell_progress();
    }

    fn next(&self) -> Option<Work> {
        let mut queue = self.shared.lock();
        loop {
            let (is_closed, has_ended) = (queue.state == State::Closed, queue.writer == WriterState::Ended);
            let aside = queue.aside.as_mut()?;
            if let Some(lines) = aside.take_waiting() {
                return Some(Work::Append(lines));
            }
            if aside.settled.0 > 0 {
                let (lines, bytes) = std::mem::take(&mut aside.settled);
                return Some(Work::Advance(lines, bytes));
            }
            // Until then the writer may give back what it has in its hand.
            if has_ended {
                return None;
            }
            if !is_closed && !aside.is_offered() && self.files.iter().any(|file| !file.is_empty()) {
                return Some(Work::Offer);
            }
            queue = self.shared.wait_for_aside(queue);
        }
    }

    /// Opens the files, and enters what an earlier run left there.
    fn open(&mut self) {
        self.tried = Some(Instant::now());
        let files = SpillFile::open_all(&self.options.folder, self.shared.name());
        let mut queue = self.shared.lock();
        match files {
            Ok(files) => {
                let lines = files.iter().map(SpillFile::lines).sum::<u64>();
                self.files = files;
                queue.books.accepted += lines;
                queue.books.recovered += lines;
                if let Some(aside) = &mut queue.aside {
                    aside.entered += lines;
                }
            }
            Err(error) => {
                if let Some(aside) = &mut queue.aside {
                    aside.trouble = Some(number(&error));
                }
            }
        }
    }

    fn append(&mut self, lines: &[u8]) {
        if self.files.is_empty() && self.tried.is_none_or(|tried| tried.elapsed() >= PAUSE) {
            self.open();
        }
        let (kept, error) = match self.files.first_mut() {
            Some(file) => file.append(lines, self.options.max_bytes),
            None => (0, None),
        };
        let lost = count_lines(lines.get(kept..).unwrap_or_default());
        let mut queue = self.shared.lock();
        queue.books.spilled += count_lines(lines.get(..kept).unwrap_or_default());
        queue.books.dropped.add(Loss::SpillFull, lost);
        if let Some(aside) = &mut queue.aside {
            aside.lose(lost);
        }
        drop(queue);
        if let Some(error) = error {
            self.complain(&error);
        }
    }

    fn advance(&mut self, lines: u64, bytes: usize) {
        let Some(file) = self.files.get_mut(self.offered) else { return };
        let advanced = file.advance(lines, bytes);
        if self.offered > 0 && file.is_empty() {
            self.files.remove(self.offered).remove();
        }
        if let Err(error) = advanced {
            self.complain(&error);
        }
    }

    fn offer(&mut self) {
        let Some(from) = self.files.iter().position(|file| !file.is_empty()) else { return };
        let Some(file) = self.files.get_mut(from) else { return };
        let read = file.next();
        let mut queue = self.shared.lock();
        let queue_now = &mut *queue;
        let Some(aside) = &mut queue_now.aside else { return };
        match read {
            Ok(lines) => {
                self.offered = from;
                aside.make_offer(lines);
                drop(queue);
                self.shared.wake_writer();
            }
            Err(error) => {
                // What can't be read can't be written either, and would be in the way for ever.
                aside.trouble = Some(number(&error));
                aside.lose(file.lines());
                queue_now.books.dropped.add(Loss::SpillFull, file.lines());
                drop(queue);
                file.empty().ok();
            }
        }
    }

    fn complain(&self, error: &io::Error) {
        if let Some(aside) = &mut self.shared.lock().aside {
            aside.trouble = Some(number(error));
        }
    }
}

/// What the system calls the error by; 0 for one that it does not know.
fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}
