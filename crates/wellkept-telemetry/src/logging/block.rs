//! What the writer has in its hand: whole lines, and how far the output has come with them.

use std::collections::VecDeque;

use super::queue::Class;

/// Some lines on the way to the output.
#[derive(Debug)]
pub(super) struct Block {
    source: Source,
    bytes: Vec<u8>,
    lines: Vec<(u32, Class)>,
    /// How many of the lines have ended.
    ended: usize,
    /// How many bytes are done with, and how many of those are of the line that has not ended yet.
    done: usize,
    begun: usize,
}

/// Where the lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Queue,
    /// What was put aside on the disk.
    Spill,
    /// The log itself.
    Notice,
}

impl Default for Block {
    fn default() -> Self {
        Self { source: Source::Queue, bytes: Vec::new(), lines: Vec::new(), ended: 0, done: 0, begun: 0 }
    }
}

impl Block {
    /// A line of the log about itself.
    pub(super) fn notice(line: &str) -> Self {
        let mut block = Self { source: Source::Notice, ..Self::default() };
        block.push_lines(line.as_bytes(), Class::Ordinary);
        block
    }

    /// Empties it, to be filled from there.
    pub(super) fn refill(&mut self, source: Source) {
        self.bytes.clear();
        self.lines.clear();
        (self.source, self.ended, self.done, self.begun) = (source, 0, 0, 0);
    }

    /// Announces a line of that length, whose bytes come by [`Self::fill`].
    pub(super) fn expect_line(&mut self, length: u32, class: Class) {
        self.lines.push((length, class));
    }

    /// Moves so many bytes here from the front of the queue's.
    pub(super) fn fill(&mut self, queue: &mut VecDeque<u8>, bytes: usize) {
        let bytes = bytes.min(queue.len());
        let (front, back) = queue.as_slices();
        let from_front = bytes.min(front.len());
        self.bytes.extend_from_slice(front.get(..from_front).unwrap_or_default());
        self.bytes.extend_from_slice(back.get(..bytes - from_front).unwrap_or_default());
        queue.drain(..bytes);
    }

    /// Adds whole lines.
    pub(super) fn push_lines(&mut self, lines: &[u8], class: Class) {
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            self.bytes.extend_from_slice(line);
            self.lines.push((u32::try_from(line.len()).unwrap_or(u32::MAX), class));
        }
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many bytes it was filled with.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many lines it was filled with.
    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }

    /// What is still to be written.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    /// Goes on by so many bytes; returns how many lines ended, and how many bytes those have.
    pub(super) fn advance(&mut self, bytes: usize) -> (usize, usize) {
        let before = self.done;
        self.done = self.done.saturating_add(bytes).min(self.bytes.len());
        self.begun += self.done - before;
        let (mut lines, mut ended) = (0, 0);
        while let Some(&(length, _)) = self.lines.get(self.ended) {
            let length = length as usize;
            if length > self.begun {
                break;
            }
            self.begun -= length;
            self.ended += 1;
            lines += 1;
            ended += length;
        }
        (lines, ended)
    }

    /// The lines that have not ended, each with its text unless a part of it is out.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (Option<&[u8]>, Class)> {
        let mut start = self.done - self.begun;
        self.lines.iter().skip(self.ended).map(move |&(length, class)| {
            let end = start + length as usize;
            let line = if start < self.done { None } else { self.bytes.get(start..end) };
            start = end;
            (line, class)
        })
    }

    /// Whether the output has a line in part.
    pub(super) fn is_inside_line(&self) -> bool {
        self.begun > 0
    }

    /// Nothing of it is to be written any more; returns how many lines and bytes had not ended.
    pub(super) fn give_up(&mut self) -> (usize, usize) {
        self.advance(usize::MAX)
    }
}
