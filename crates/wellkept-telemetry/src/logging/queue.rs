//! The lines that wait for one output, the room that each level has there, and the books. No clock, no thread, no
//! lock: those are the sink's.

use std::collections::VecDeque;
use std::time::Instant;

use super::Level;
use super::block::{Block, Source};
use super::books::{Books, Loss};
use super::encode::{Line, LineKind};
use super::output::Written;
use super::spill::Aside;

/// Most lines that wait.
pub(super) const MAX_QUEUED_LINES: usize = 8192;
/// Most bytes that wait; long lines reach this first.
pub(super) const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Most bytes in the writer's hand, so that a slow output frees the queue step by step.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// After so many blocks of the queue comes one of what was put aside, though the queue is never empty.
const TURN: u32 = 16;

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
    pub(super) fn eighths(self) -> usize {
        match self {
            Self::Chatter => 4,
            Self::Ordinary => 6,
            Self::Warning => 7,
            Self::Severe => 8,
        }
    }
}

/// The lines that wait, and the books.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: VecDeque<u8>,
    /// Of each line its length and class.
    lines: VecDeque<(u32, Class)>,
    /// What the writer has taken and not settled yet.
    hand_lines: usize,
    hand_bytes: usize,
    /// All but what is pending, which is counted where it is.
    pub(super) books: Books,
    /// Lines taken into the queue since the start, and those that have left it.
    pub(super) admitted: u64,
    pub(super) settled: u64,
    /// What was put aside on the disk or is on the way there.
    pub(super) aside: Option<Aside>,
    /// Blocks of the queue since the last one of what was put aside.
    turn: u32,
    /// An important line has waited in vain since the writer last made progress: no other waits.
    pub(super) is_stuck: bool,
    pub(super) state: State,
    /// Why lines are lost that nobody writes any more.
    at_end: Loss,
    /// Whether lines were left at the end that nobody wrote.
    pub(super) is_abandoned: bool,
    pub(super) writer: WriterState,
    /// How many wait for the queue to empty: the writer does not leave the output alone meanwhile.
    pub(super) hurried: usize,
    pub(super) wants_reopen: bool,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// No line is taken any more; lines are written until then, and all must be over at the end.
    Closing {
        until: Instant,
        end: Instant,
    },
    /// Nothing is written any more.
    Closed,
}

/// What the writer's thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriterState {
    /// It looks at the queue by itself.
    Awake,
    /// Only then is it worth a system call to wake it.
    Asleep,
    Ended,
}

impl Queue {
    pub(super) fn new(aside: Option<Aside>) -> Self {
        Self {
            // All of it at once, so that no caller ever allocates; pages that are not touched cost nothing.
            bytes: VecDeque::with_capacity(MAX_QUEUED_BYTES),
            lines: VecDeque::with_capacity(MAX_QUEUED_LINES),
            hand_lines: 0,
            hand_bytes: 0,
            books: Books::default(),
            admitted: 0,
            settled: 0,
            aside,
            turn: 0,
            is_stuck: false,
            state: State::Open,
            at_end: Loss::Closing,
            is_abandoned: false,
            writer: WriterState::Awake,
            hurried: 0,
            wants_reopen: false,
        }
    }

    /// Takes a line in if there is room for one of its class.
    pub(super) fn admit(&mut self, line: &[u8], class: Class) -> bool {
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

    /// What becomes of a line that found no room: an important one is put aside, if that is wanted and possible.
    /// Returns whether it was.
    pub(super) fn refuse(&mut self, line: &[u8], class: Class) -> bool {
        let loss = match &mut self.aside {
            Some(aside) if class.is_important() => {
                if aside.put(line) {
                    return true;
                }
                Loss::SpillFull
            }
            _ => Loss::QueueFull,
        };
        self.books.dropped.add(loss, 1);
        false
    }

    /// Moves lines into the writer's hand, as many as fit, at least one. Returns false if there are none.
    pub(super) fn take(&mut self, block: &mut Block) -> bool {
        if let Some(aside) = &mut self.aside
            && (self.lines.is_empty() || self.turn >= TURN)
            && let Some(lines) = aside.take_offer()
        {
            self.turn = 0;
            block.refill(Source::Spill);
            block.push_lines(&lines, Class::Severe);
            return true;
        }
        self.turn = self.turn.saturating_add(1);
        block.refill(Source::Queue);
        let mut bytes = 0;
        while let Some(&(length, class)) = self.lines.front() {
            if bytes > 0 && bytes + length as usize > BLOCK_BYTES {
                break;
            }
            self.lines.pop_front();
            block.expect_line(length, class);
            bytes += length as usize;
        }
        block.fill(&mut self.bytes, bytes);
        self.hand_lines += block.lines();
        self.hand_bytes += block.len();
        !block.is_empty()
    }

    /// Enters what became of the front of the writer's block.
    pub(super) fn settle(&mut self, block: &mut Block, written: Written) {
        let (lines, bytes) = block.advance(written.bytes);
        let ended = lines as u64;
        let failed = written.failed.min(ended);
        match block.source() {
            // Such a line enters the books once it is out, and not at all otherwise.
            Source::Notice => {
                self.books.accepted += ended - failed;
                self.books.written += ended - failed;
                return;
            }
            Source::Queue => {
                self.hand_lines = self.hand_lines.saturating_sub(lines);
                self.hand_bytes = self.hand_bytes.saturating_sub(bytes);
                self.settled += ended;
            }
            Source::Spill => {
                if let Some(aside) = &mut self.aside {
                    aside.settle(ended, bytes, block.rest().is_empty());
                }
            }
        }
        self.books.written += ended - failed;
        self.books.dropped.add(written.why.unwrap_or(Loss::OutputFailed), failed);
        self.is_stuck &= lines == 0;
    }

    /// The time for writing is over: what waits in the queue, and what the writer still has in its hand, is put aside
    /// if it is important and dropped otherwise.
    pub(super) fn abandon(&mut self, block: Option<&mut Block>) {
        if let Some(block) = block
            && block.source() == Source::Queue
        {
            for (line, class) in block.unsettled() {
                Self::leave(&mut self.aside, &mut self.books, line, class, self.at_end);
            }
            let (lines, bytes) = block.give_up();
            self.hand_lines = self.hand_lines.saturating_sub(lines);
            self.hand_bytes = self.hand_bytes.saturating_sub(bytes);
            self.settled += lines as u64;
            self.is_abandoned |= lines > 0;
        }
        self.is_abandoned |= !self.lines.is_empty();
        let bytes = self.bytes.make_contiguous();
        let mut start = 0;
        for (length, class) in self.lines.drain(..) {
            let end = start + length as usize;
            Self::leave(&mut self.aside, &mut self.books, bytes.get(start..end), class, self.at_end);
            self.settled += 1;
            start = end;
        }
        self.bytes.clear();
    }

    /// The output is broken for good: as [`abandon`](Self::abandon), but that is why lines are lost from now on.
    pub(super) fn fail(&mut self, block: &mut Block) {
        (self.state, self.at_end) = (State::Closed, Loss::OutputFailed);
        self.abandon(Some(block));
    }

    /// Counts a line that comes when none is taken any more.
    pub(super) fn drop_at_end(&mut self) {
        self.books.dropped.add(self.at_end, 1);
    }

    fn leave(aside: &mut Option<Aside>, books: &mut Books, line: Option<&[u8]>, class: Class, why: Loss) {
        match (aside, line) {
            (Some(aside), Some(line)) if class.is_important() => aside.put_last(line),
            _ => books.dropped.add(why, 1),
        }
    }

    /// Whether lines wait that the writer could take.
    pub(super) fn has_lines(&self) -> bool {
        !self.lines.is_empty() || self.aside.as_ref().is_some_and(Aside::has_offer)
    }

    /// Whether everything that was accepted has been settled.
    pub(super) fn is_settled(&self) -> bool {
        self.lines.is_empty() && self.hand_lines == 0 && self.aside.as_ref().is_none_or(|aside| aside.lines() == 0)
    }

    /// All figures as they are now.
    pub(super) fn books(&self) -> Books {
        let aside = self.aside.as_ref().map_or(0, Aside::lines);
        Books { pending: (self.lines.len() + self.hand_lines) as u64 + aside, ..self.books }
    }
}

#[cfg(test)]
mod tests;
