//! Standard output, standard error, or any writer: lines go out as they are.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt as _;
use std::time::Duration;

use super::{Destination, Written};
use crate::logging::books::Loss;

/// How long an output that takes nothing (a full pipe that does not block) is left alone.
const PAUSE: Duration = Duration::from_millis(5);
/// What a pipe takes whole or not at all: `PIPE_BUF` of Linux, see pipe(7).
const ATOMIC_BYTES: usize = 4096;

/// A stream of lines.
pub(in crate::logging) struct Stream {
    output: Box<dyn Write + Send>,
    /// Most bytes that one call to the system gets.
    at_once: usize,
    /// Whether the last byte that went out ended a line.
    ends_line: bool,
    /// Whether an error cut off the last line.
    is_torn: bool,
}

impl Stream {
    /// Standard output or standard error, and whether it is a terminal. The descriptor is duplicated: the standard
    /// library's own buffers would write again after an error what they could not write before.
    pub(in crate::logging) fn descriptor(descriptor: &dyn AsFd) -> io::Result<(Self, bool)> {
        let file = File::from(descriptor.as_fd().try_clone_to_owned()?);
        let is_terminal = file.is_terminal();
        // Whoever is killed in the middle of a write leaves no half line in a pipe, and others who write to the same
        // pipe get between lines only.
        let is_pipe = file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        let at_once = if is_pipe { ATOMIC_BYTES } else { usize::MAX };
        Ok((Self { output: Box::new(file), at_once, ends_line: true, is_torn: false }, is_terminal))
    }

    pub(in crate::logging) fn writer(output: Box<dyn Write + Send>) -> Self {
        Self { output, at_once: usize::MAX, ends_line: true, is_torn: false }
    }
}

impl Destination for Stream {
    fn write(&mut self, lines: &[u8]) -> Written {
        // The line that an error cut off must not run into the next one.
        if self.is_torn {
            match self.output.write(b"\n") {
                Ok(1..) => (self.is_torn, self.ends_line) = (false, true),
                Err(error) if is_passing(&error) => return Written::later(PAUSE),
                _ => return lost(lines, 0),
            }
        }
        let mut written = 0;
        while written < lines.len() {
            let rest = &lines[written..];
            match self.output.write(&rest[..whole_lines(rest, self.at_once)]) {
                Ok(0) => return self.cut(lines, written),
                Ok(count) => {
                    written += count;
                    self.ends_line = lines.get(written - 1) == Some(&b'\n');
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_passing(&error) => {
                    return Written { bytes: written, ..Written::later(PAUSE) };
                }
                Err(_) => return self.cut(lines, written),
            }
        }
        match self.output.flush() {
            Ok(()) => Written::all(lines),
            Err(_) => lost(lines, 0),
        }
    }
}

impl Stream {
    /// What an error ended after `written` bytes.
    fn cut(&mut self, lines: &[u8], written: usize) -> Written {
        self.is_torn = !self.ends_line;
        lost(lines, written)
    }
}

/// All lines are done with; those that did not end within the first `arrived` bytes are lost.
fn lost(lines: &[u8], arrived: usize) -> Written {
    let failed = lines[arrived..].iter().map(|&byte| u64::from(byte == b'\n')).sum();
    Written { bytes: lines.len(), failed, why: Some(Loss::OutputFailed), again: None }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The length of the whole lines at the front that fit into `most`; at least one line.
fn whole_lines(lines: &[u8], most: usize) -> usize {
    if lines.len() <= most {
        return lines.len();
    }
    let is_end = |byte: &u8| *byte == b'\n';
    match lines[..most].iter().rposition(is_end) {
        Some(end) => end + 1,
        None => lines.iter().position(is_end).map_or(lines.len(), |end| end + 1),
    }
}
