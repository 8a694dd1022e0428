//! The writer's thread: takes lines from the queue to the destination, and says in the log itself what is missing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Level;
use super::encode::Encoder;
use super::output::Destination;
use super::queue::{Block, Next, Shared};
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

    pub(super) fn run(&mut self) {
        let mut block = Block::default();
        let until = loop {
            match self.shared.next(&mut block, TEND) {
                Next::Lines => {
                    if !self.write_block(&mut block) {
                        break Instant::now();
                    }
                }
                Next::Idle => {}
                Next::Reopen => self.destination.reopen(),
                Next::End { until } => break until,
            }
            self.tell_dropped();
            if self.tended.elapsed() >= TEND {
                self.tend();
            }
        };
        self.say_goodbye();
        self.destination.close(until);
        self.shared.end();
    }

    fn tend(&mut self) {
        self.destination.tend();
        self.upkeep.tend();
        self.tended = Instant::now();
    }

    /// Returns false when the time to do it in is over.
    fn write_block(&mut self, block: &mut Block) -> bool {
        while !block.rest().is_empty() {
            let written = self.destination.write(block.rest());
            self.shared.settle(block, written);
            if let Some(pause) = written.again
                && !self.shared.pause(pause.min(TEND))
            {
                return false;
            }
            if self.tended.elapsed() >= TEND {
                self.tend();
            }
        }
        true
    }

    /// Once there is room again, the log itself says that lines are missing.
    fn tell_dropped(&mut self) {
        let books = self.shared.read_books();
        let dropped = books.dropped.total();
        let is_time = books.pending == 0 || self.told.is_none_or(|told| told.elapsed() >= TEND);
        if dropped > self.told_dropped && is_time {
            self.told = Some(Instant::now());
            let line = self.encoder.notice(
                Level::Warning,
                "log lines were dropped",
                self.shared.name(),
                &[("dropped", dropped - self.told_dropped)],
            );
            if self.write_notice(&line) {
                self.shared.enter_notice();
                self.told_dropped = dropped;
            }
        }
    }

    /// The last line: the books, this line among them.
    fn say_goodbye(&mut self) {
        let books = self.shared.read_books();
        let line = self.encoder.notice(
            Level::Info,
            "log closed",
            self.shared.name(),
            &[
                ("accepted", books.accepted + 1),
                ("written", books.written + 1),
                ("dropped", books.dropped.total()),
                ("pending", books.pending),
                ("spilled", books.spilled),
            ],
        );
        if self.write_notice(&line) {
            self.shared.enter_notice();
        }
    }

    fn write_notice(&mut self, line: &str) -> bool {
        let mut block = Block::of(line);
        loop {
            let written = self.destination.write(block.rest());
            block.advance(written.bytes);
            if block.rest().is_empty() {
                return written.failed == 0;
            }
            if let Some(pause) = written.again
                && !self.shared.pause(pause.min(TEND))
            {
                return false;
            }
        }
    }
}
