//! Where a writer's thread takes lines: what it asks of every destination.

mod compression;
mod file;
mod gelf;
mod stream;
mod trouble;

use std::time::{Duration, Instant};

use super::books::Loss;

pub use self::compression::Compression;
pub(super) use self::file::LogFile;
pub use self::file::{FileError, FileOptions, Folder, Keep, Rotated};
pub(super) use self::gelf::destination as gelf;
pub use self::gelf::{GELF_PORT, GelfOptions, GelfTransport, GelfUrlError};
pub(super) use self::stream::Stream;

/// Where one writer's thread takes lines. Only that thread calls it, so it may block; but the longer it does, the
/// more is dropped meanwhile.
pub(super) trait Destination: Send {
    /// Takes lines, each of which ends with `\n`, from the front of `lines`.
    fn write(&mut self, lines: &[u8]) -> Written;

    /// What must happen now and then though no line comes: rotation by time, reconnection. Called about once a second
    /// while no write is under way.
    fn tend(&mut self) {}

    /// Opens anew what has a name, since somebody else has moved it away.
    fn reopen(&mut self) {}

    /// The last chance to hand on what is buffered: at most until `deadline`. Nothing is written after it.
    fn close(&mut self, _deadline: Instant) {}
}

/// What became of the front of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Written {
    /// Bytes taken off the front. Those may end inside a line: the next call begins where this one ended.
    pub(super) bytes: usize,
    /// How many of the lines that ended within those bytes did not arrive; `why` says the reason.
    pub(super) failed: u64,
    pub(super) why: Option<Loss>,
    /// The rest is to be offered again after this time, or earlier when somebody waits for the log to be flushed. It
    /// stays pending meanwhile.
    pub(super) again: Option<Duration>,
}

impl Written {
    /// All of it arrived.
    pub(super) fn all(lines: &[u8]) -> Self {
        Self { bytes: lines.len(), ..Self::default() }
    }

    /// Nothing was taken; ask again after that time.
    pub(super) fn later(pause: Duration) -> Self {
        Self { again: Some(pause), ..Self::default() }
    }
}
