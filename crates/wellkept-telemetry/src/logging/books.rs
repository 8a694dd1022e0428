//! The books of one sink: what became of every line, so that what is missing is known.

use std::fmt;
use std::iter::Sum;

/// What became of the lines of one sink since the start. At every instant
/// `accepted = written + dropped + pending`: all figures of one reading were taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Books {
    /// Lines handed to the sink, its own notices and what an earlier run had put aside among them.
    pub accepted: u64,
    /// Lines that an earlier run had put aside on the disk, and that this one found there.
    pub recovered: u64,
    /// Lines that the output took.
    pub written: u64,
    /// Lines that reach nobody, by the reason.
    pub dropped: Dropped,
    /// Lines that wait: in the queue, in the writer's hand, or put aside on the disk.
    pub pending: u64,
    /// Lines that were put aside on the disk, whether or not they have been written since.
    pub spilled: u64,
    /// Lines that were cut at [`MAX_LINE_BYTES`](super::MAX_LINE_BYTES); they are accepted like others.
    pub truncated: u64,
}

/// The books of one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkBooks {
    /// The sink's name, for example `stdout`.
    pub sink: String,
    /// What became of its lines.
    pub books: Books,
}

/// Lines that reach nobody, by the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Dropped {
    /// See [`Loss::QueueFull`].
    pub queue_full: u64,
    /// See [`Loss::OutputFailed`].
    pub output_failed: u64,
    /// See [`Loss::TooLarge`].
    pub too_large: u64,
    /// See [`Loss::Closing`].
    pub closing: u64,
    /// See [`Loss::SpillFull`].
    pub spill_full: u64,
}

/// Why a line reaches nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The queue had no room for a line of its level: the output is slower than what is logged, or takes nothing.
    QueueFull,
    /// The output refused the line: a closed pipe, a full disk.
    OutputFailed,
    /// The line is longer than the output can take.
    TooLarge,
    /// The log was being closed, or closed already.
    Closing,
    /// What is put aside on the disk has reached its limit, or that disk does not take it or give it back.
    SpillFull,
}

impl Loss {
    /// Every reason, in the order of the books.
    pub const ALL: [Self; 5] = [Self::QueueFull, Self::OutputFailed, Self::TooLarge, Self::Closing, Self::SpillFull];

    /// The stable word, for example `queue_full`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::OutputFailed => "output_failed",
            Self::TooLarge => "too_large",
            Self::Closing => "closing",
            Self::SpillFull => "spill_full",
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Dropped {
    /// How many lines were lost for this reason.
    pub fn of(&self, loss: Loss) -> u64 {
        match loss {
            Loss::QueueFull => self.queue_full,
            Loss::OutputFailed => self.output_failed,
            Loss::TooLarge => self.too_large,
            Loss::Closing => self.closing,
            Loss::SpillFull => self.spill_full,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        Loss::ALL.iter().map(|&loss| self.of(loss)).sum()
    }

    pub(super) fn add(&mut self, loss: Loss, lines: u64) {
        match loss {
            Loss::QueueFull => self.queue_full += lines,
            Loss::OutputFailed => self.output_failed += lines,
            Loss::TooLarge => self.too_large += lines,
            Loss::Closing => self.closing += lines,
            Loss::SpillFull => self.spill_full += lines,
        }
    }
}

impl Books {
    /// Whether each accepted line is accounted for.
    pub fn balance(&self) -> bool {
        self.accepted == self.written + self.dropped.total() + self.pending
    }
}

impl Sum for Books {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, books| {
            sum.accepted += books.accepted;
            sum.recovered += books.recovered;
            sum.written += books.written;
            sum.pending += books.pending;
            sum.spilled += books.spilled;
            sum.truncated += books.truncated;
            for loss in Loss::ALL {
                sum.dropped.add(loss, books.dropped.of(loss));
            }
            sum
        })
    }
}
