//! The log in a file: appended to, put aside by size and by the clock, opened anew when it was moved.

mod keeper;
mod open;
mod rotated;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::keeper::Keeper;
use self::open::OpenFile;
use super::trouble::Trouble;
use super::{Destination, Written};

pub use self::open::FileError;

/// A log file. Lines are appended by single calls, so that several processes may write to one file, as the process
/// before and its successor do: each holds a shared lock on it, and a file that is put aside is compressed when nobody
/// holds it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// The file. It is created with mode 0640; one that is a link, or no regular file, is refused.
    pub path: PathBuf,
    /// The file is put aside before it grows past this, in bytes; a single longer line has a file of its own. `None`:
    /// never because of its size. Default: 100 MiB.
    pub max_size: Option<u64>,
    /// The file is put aside when a new span of this length has begun. Spans are counted from a Monday, 00:00 UTC, so
    /// that `1h`, `1d` and `7d` begin with the hour, the day and the week of the times in the lines. `None`: never.
    /// At least a second. Default: never.
    pub every: Option<Duration>,
    /// How long files that were put aside are kept. Default: the last seven.
    pub keep: Keep,
    /// In which form they are kept. Default: compressed.
    pub rotated: Rotated,
    /// Whether the folder is made when it does not exist. Default: it must exist.
    pub folder: Folder,
}

/// What is kept of the files that were put aside; each of the limits holds. They are called like the log file, with the
/// time when they were put aside, in UTC: `orders.log.20260115T103000.123Z.gz`. No other file is ever removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// At most this many. Default: 7.
    pub files: usize,
    /// At most this many bytes in all. Default: no limit but that of the count.
    pub size: Option<u64>,
    /// Only those that were put aside within this time. Default: no limit.
    pub age: Option<Duration>,
}

/// The form of a file that was put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotated {
    /// As it was.
    Plain,
    /// Compressed with gzip, one file at a time, on a thread of its own.
    #[default]
    Gzip,
}

/// What is done about a folder that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Folder {
    /// It must exist.
    #[default]
    MustExist,
    /// It is created with those above it, with mode 0750.
    Create,
}

impl FileOptions {
    /// With all else as its default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_size: Some(100 << 20),
            every: None,
            keep: Keep::default(),
            rotated: Rotated::default(),
            folder: Folder::default(),
        }
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self { files: 7, size: None, age: None }
    }
}

/// How often the file is looked for at its path.
const LOOK: Duration = Duration::from_secs(1);
/// How long lines wait when the file takes none.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after a failed attempt the file is not put aside.
const PAUSE_OF_ROTATION: Duration = Duration::from_secs(10);
/// Spans begin on Mondays: the first one of Unix time was the fourth day.
const FIRST_MONDAY: i64 = 4 * 86_400;

/// The destination.
#[derive(Debug)]
pub(in crate::logging) struct LogFile {
    options: FileOptions,
    /// Nothing only while there is no file to write to.
    file: Option<OpenFile>,
    looked: Instant,
    /// Not before then is it tried again to put the file aside.
    rotate_after: Option<Instant>,
    keeper: Keeper,
    writing: Trouble,
    rotating: Trouble,
    now: fn() -> Timestamp,
}

impl LogFile {
    /// Opens the file, or says why that can't be.
    pub(in crate::logging) fn open(options: FileOptions) -> Result<Self, FileError> {
        Self::open_at(options, Timestamp::now)
    }

    fn open_at(options: FileOptions, now: fn() -> Timestamp) -> Result<Self, FileError> {
        let file = OpenFile::open(&options.path, options.folder)?;
        let path = options.path.display().to_string();
        let keeper = Keeper::start(&options, now);
        Ok(Self {
            options,
            file: Some(file),
            looked: Instant::now(),
            rotate_after: None,
            keeper,
            writing: Trouble::of(&path),
            rotating: Trouble::of(path),
            now,
        })
    }

    /// Finds out whether the file is still where it was; if not, opens the one that is there now, or a new one.
    fn look(&mut self, now: Instant) {
        self.looked = now;
        if let Some(file) = &mut self.file
            && file.is_at(&self.options.path)
        {
            file.measure();
            return;
        }
        match OpenFile::open(&self.options.path, self.options.folder) {
            Ok(file) => {
                self.file = Some(file);
                self.writing.is_over();
            }
            Err(error) => {
                // A file that was moved takes lines still; one that was removed would swallow them.
                let file = self.file.take().filter(|file| !file.is_removed());
                let then = if file.is_some() { "lines go into the file that was moved" } else { "lines wait" };
                self.file = file;
                self.writing.met(&error, then);
            }
        }
    }

    fn look_if_due(&mut self) {
        let now = Instant::now();
        if self.file.is_none() || now.duration_since(self.looked) >= LOOK {
            self.look(now);
        }
    }

    /// Puts the file aside when its time is over, or `bytes` more don't fit in.
    fn rotate_if_due(&mut self, bytes: usize) {
        let Some(file) = &mut self.file else { return };
        if file.bytes == 0 {
            file.span_began_by((self.now)());
            return;
        }
        let is_full = self.options.max_size.is_some_and(|most| file.bytes.saturating_add(bytes as u64) > most);
        let is_over = self.options.every.is_some_and(|every| file.is_over((self.now)(), every));
        if !is_full && !is_over {
            return;
        }
        let now = Instant::now();
        if self.rotate_after.is_some_and(|after| now < after) {
            return;
        }
        match self.rotate(now) {
            Ok(()) => {
                self.rotate_after = None;
                self.rotating.is_over();
            }
            Err(error) => {
                self.rotate_after = Some(now + PAUSE_OF_ROTATION);
                self.rotating.met(&error, "the file is not put aside and grows on");
            }
        }
    }

    fn rotate(&mut self, now: Instant) -> io::Result<()> {
        let is_ours = self.file.as_ref().is_some_and(|file| file.is_at(&self.options.path));
        // Otherwise another process has put it aside already.
        if is_ours {
            rotated::put_aside(&self.options.path, (self.now)())?;
        }
        self.look(now);
        if is_ours {
            self.keeper.wake();
        }
        Ok(())
    }

    /// Writes whole lines; returns how many bytes of them stay in the file.
    fn append(&mut self, lines: &[u8]) -> usize {
        let Some(file) = &mut self.file else { return 0 };
        match file.append(lines) {
            Ok(()) => {
                self.writing.is_over();
                lines.len()
            }
            Err((written, error)) => {
                self.writing.met(&error, "lines wait");
                written
            }
        }
    }

    /// The whole lines at the front that fit into the file, and at least one.
    fn fitting<'l>(&self, lines: &'l [u8]) -> &'l [u8] {
        let is_end = |byte: &u8| *byte == b'\n';
        let held = self.file.as_ref().map_or(0, |file| file.bytes);
        let room = self.options.max_size.map_or(u64::MAX, |most| most.saturating_sub(held));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return lines;
        }
        let end = lines.iter().take(room).rposition(is_end).or_else(|| lines.iter().position(is_end));
        end.and_then(|end| lines.get(..=end)).unwrap_or(lines)
    }
}

impl Destination for LogFile {
    fn write(&mut self, lines: &[u8]) -> Written {
        self.look_if_due();
        let mut bytes = 0;
        while let Some(rest) = lines.get(bytes..).filter(|rest| !rest.is_empty()) {
            let first = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
            self.rotate_if_due(first);
            let block = self.fitting(rest);
            let written = self.append(block);
            bytes += written;
            if written < block.len() {
                return Written { bytes, ..Written::later(PAUSE) };
            }
        }
        Written::all(lines)
    }

    fn tend(&mut self) {
        self.look_if_due();
        self.rotate_if_due(0);
        self.keeper.tend();
    }

    fn reopen(&mut self) {
        self.look(Instant::now());
    }
}

/// Which span of this length a time is in.
fn span_of(time: Timestamp, every: Duration) -> i64 {
    let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
    (time.as_second() - FIRST_MONDAY).div_euclid(every)
}

/// Whether an error says that a file can't be had because of who asks.
fn is_denied(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}
