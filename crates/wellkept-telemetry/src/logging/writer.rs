//! The writer's thread: takes lines from the queue to the destination, and says in the log itself what is missing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Level;
use super::block::Block;
use super::books::Loss;
use super::encode::Encoder;
use super::output::Destination;
use super::sink::{Next, Shared};
use super::upkeep::{EVERY, Upkeep};

/// How often the destination is tended while nothing comes, and how often the log tells of dropped lines while it
/// does not come to rest.
const TEND: Duration = EVERY;

pub(super) struct Writer {
    shared: Arc<Shared>,
    destination: Box<dyn Destination>,
    encoder: Encoder,
    upkeep: Arc<Upkeep>,
    tended: Instant,
    /// How many dropped lines the output has been told of, and when.
    told_dropped: u64,
    told: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        destination: Box<dyn Destination>,
        encoder: Encoder,
        upkeep: Arc<Upkeep>,
    ) -> Self {
        Self { shared, destination, encoder, upkeep, tended: Instant::now(), told_dropped: 0, told: None }
    }

    /// Returns when all is over, also when the destination panics: a program may have written it.
    pub(super) fn run(&mut self) {
        let mut block = Block::default();
        if catch_unwind(AssertUnwindSafe(|| self.work(&mut block))).is_err() {
            self.shared.fail(&mut block);
        }
        self.shared.end();
    }

    fn work(&mut self, block: &mut Block) {
        loop {
            match self.shared.next(block, TEND) {
                Next::Lines => {
                    if !self.write(block) {
                        break;
                    }
                }
                Next::Idle => {}
                Next::Reopen => self.destination.reopen(),
                Next::End => break,
            }
            self.tell();
            self.tend();
        }
        let is_torn = block.is_inside_line();
        self.shared.abandon(block);
        if !is_torn {
            self.say_goodbye();
        }
        self.destination.close(self.shared.end_of_closing());
    }

    /// Hands the block to the destination. Returns false when the time to do it in is over.
    fn write(&mut self, block: &mut Block) -> bool {
        while !block.rest().is_empty() {
            let written = self.destination.write(block.rest());
            if !self.shared.settle(block, written) {
                return false;
            }
            if let Some(pause) = written.again {
                self.shared.pause(pause);
            }
            self.tend();
        }
        true
    }

    fn tend(&mut self) {
        if self.tended.elapsed() >= TEND {
            self.destination.tend();
            self.upkeep.tend();
            self.tended = Instant::now();
        }
    }

    /// Once there is room again, the log itself says what is wrong with it.
    fn tell(&mut self) {
        let mut queue = self.shared.lock();
        let books = queue.books();
        let trouble = queue.aside.as_mut().and_then(|aside| aside.trouble.take());
        drop(queue);
        if let Some(number) = trouble {
            let figures = [("os_error", u64::from(number.unsigned_abs()))];
            self.notice(Level::Warning, "lines can't be put aside on the disk", &figures);
        }
        let is_time = books.pending == 0 || self.told.is_none_or(|told| told.elapsed() >= TEND);
        let dropped = books.dropped.total();
        if dropped > self.told_dropped && is_time {
            self.told = Some(Instant::now());
            let figures = [("dropped", dropped - self.told_dropped)];
            if self.notice(Level::Warning, "log lines were dropped", &figures) {
                self.told_dropped = dropped;
            }
        }
    }

    /// The last line: the books, this line among them.
    fn say_goodbye(&mut self) {
        let books = self.shared.books();
        let figures = [("accepted", books.accepted + 1), ("written", books.written + 1)];
        let dropped = Loss::ALL.map(|loss| (loss.as_str(), books.dropped.of(loss)));
        let rest = [("dropped", books.dropped.total()), ("pending", books.pending), ("spilled", books.spilled)];
        let reasons = dropped.into_iter().filter(|&(_, lines)| lines > 0);
        let figures: Vec<_> = figures.into_iter().chain(rest).chain(reasons).collect();
        self.notice(Level::Info, "log closed", &figures);
    }

    /// Returns whether the line is out.
    fn notice(&mut self, level: Level, message: &str, figures: &[(&str, u64)]) -> bool {
        let mut block = Block::notice(&self.encoder.notice(level, message, self.shared.name(), figures));
        let before = self.shared.books().written;
        self.write(&mut block);
        self.shared.books().written > before
    }
}
