//! One open log file: how it is opened, how lines get into it whole, and why it can't be opened.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::rotated::folder_of;
use super::{Folder, is_denied, span_of};

/// How often a share of the lock is asked for, and the pause between.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// An open file, held with a lock that others may share.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    /// What tells the file from others that come to its path.
    identity: (u64, u64),
    /// How long it is, as far as is known: others may write to it too.
    pub(super) bytes: u64,
    /// When it was begun, or written to last before it was opened.
    time: Timestamp,
    /// Whether its last line has no end.
    is_torn: bool,
    /// Whether it is known to all that it is written to.
    is_held: bool,
}

impl OpenFile {
    /// Opens or creates the file. Never waits for a reader, as opening a pipe would.
    pub(super) fn open(path: &Path, folder: Folder) -> Result<Self, FileError> {
        let mut opened = Self::open_once(path, folder)?;
        // Put aside by another process before it was held here: that one need not know that it is written to.
        for _ in 0..8 {
            if opened.is_at(path) {
                break;
            }
            opened = Self::open_once(path, folder)?;
        }
        Ok(opened)
    }

    fn open_once(path: &Path, folder: Folder) -> Result<Self, FileError> {
        let failed = |why| FileError { path: path.to_owned(), why };
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let mut options = File::options();
        // Read from only to see whether the last line is whole.
        options.read(true).append(true).create(true).mode(0o640);
        options.custom_flags(i32::try_from(flags).unwrap_or_default());
        let file = match options.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && folder == Folder::Create => {
                let created = DirBuilder::new().recursive(true).mode(0o750).create(folder_of(path));
                created.map_err(|error| failed(Why::Folder(error)))?;
                options.open(path)
            }
            result => result,
        };
        let file = file.map_err(|error| failed(Why::of(error, path)))?;
        let metadata = file.metadata().map_err(|error| failed(Why::Other(error)))?;
        if !metadata.is_file() {
            return Err(failed(Why::NoFile));
        }
        // Only of a file that nobody else writes to is it known that its last line will have no other end.
        let is_alone = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        let bytes = metadata.len();
        let time = if bytes == 0 { Timestamp::now() } else { changed(&metadata) };
        let mut last = [b'\n'];
        let is_torn = is_alone && bytes > 0 && file.read_exact_at(&mut last, bytes - 1).is_ok() && last != *b"\n";
        let is_held = hold(&file);
        Ok(Self { file, identity: (metadata.dev(), metadata.ino()), bytes, time, is_torn, is_held })
    }

    /// Whether this is the file at the path.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity)
    }

    /// Whether nobody will ever read what is written to it.
    pub(super) fn is_removed(&self) -> bool {
        self.file.metadata().map_or(true, |metadata| metadata.nlink() == 0)
    }

    /// Learns what others have written, or cut off.
    pub(super) fn measure(&mut self) {
        self.is_held = self.is_held || hold(&self.file);
        if let Ok(metadata) = self.file.metadata() {
            self.bytes = metadata.len();
        }
    }

    /// Nothing has been written yet: the span begins now.
    pub(super) fn span_began_by(&mut self, now: Timestamp) {
        self.time = now;
    }

    /// Whether the span that it was begun in is over. A clock that was set back begins it anew.
    pub(super) fn is_over(&mut self, now: Timestamp, every: Duration) -> bool {
        let (began, is) = (span_of(self.time, every), span_of(now, every));
        if is < began {
            self.time = now;
        }
        is > began
    }

    /// Writes whole lines. On an error says how many bytes of whole lines stay.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.is_torn {
            self.write(b"\n").map_err(|(_, error)| (0, error))?;
            self.is_torn = false;
        }
        let Err((written, error)) = self.write(lines) else { return Ok(()) };
        let whole =
            lines.get(..written).and_then(|it| it.iter().rposition(|byte| *byte == b'\n')).map_or(0, |end| end + 1);
        self.is_torn = written > whole && !self.cut_off((written - whole) as u64);
        Err((whole, error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(count) => {
                    written += count;
                    self.bytes += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    /// Takes the last `torn` bytes away again, where nobody else can have written behind them.
    fn cut_off(&mut self, torn: u64) -> bool {
        let is_cut = self.file.try_lock().is_ok() && self.cut_own(torn).is_ok_and(|is_cut| is_cut);
        self.is_held = hold(&self.file);
        is_cut
    }

    fn cut_own(&mut self, torn: u64) -> io::Result<bool> {
        // Where the last of our own writes ended.
        let end = self.file.stream_position()?;
        if self.file.metadata()?.len() != end || end < torn {
            return Ok(false);
        }
        self.file.set_len(end - torn)?;
        self.bytes = end - torn;
        Ok(true)
    }
}

/// Takes a share of the lock. Another process may have it alone for a moment, to look at the end of the file; a file
/// system without locks has one process that writes there, as far as can be known.
fn hold(file: &File) -> bool {
    (0..TRIES).any(|number| {
        if number > 0 {
            thread::sleep(PAUSE);
        }
        !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    })
}

fn changed(metadata: &fs::Metadata) -> Timestamp {
    Timestamp::from_second(metadata.mtime()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Why a log file can't be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("the log file {} can't be opened: {why}", path.display())]
pub struct FileError {
    path: PathBuf,
    #[source]
    why: Why,
}

impl FileError {
    /// A stable code: `logging.file.no_folder`, `.denied`, `.link`, `.not_a_file`, `.failed`.
    pub fn code(&self) -> &'static str {
        match self.why {
            Why::NoFolder(_) => "logging.file.no_folder",
            Why::Denied { .. } => "logging.file.denied",
            Why::Link => "logging.file.link",
            Why::NoFile => "logging.file.not_a_file",
            Why::Folder(_) | Why::Other(_) => "logging.file.failed",
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("the folder {} does not exist; create it, or have it created with `create_folder: true`", .0.display())]
    NoFolder(PathBuf),
    #[error(
        "{what}, and this process runs as user {user} and group {group}: give it the right to write there, or name another file"
    )]
    Denied { what: String, user: u32, group: u32 },
    #[error("it is a symbolic link, and those are not followed; name the file itself")]
    Link,
    #[error("it is not a regular file; to log to a terminal or a pipe use standard output")]
    NoFile,
    #[error("its folder can't be created: {0}")]
    Folder(io::Error),
    #[error("{0}")]
    Other(io::Error),
}

impl Why {
    fn of(error: io::Error, path: &Path) -> Self {
        let folder = folder_of(path);
        match error.kind() {
            ErrorKind::NotFound if !folder.exists() => Self::NoFolder(folder.to_owned()),
            ErrorKind::IsADirectory => Self::NoFile,
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Self::Link,
            // What a socket says to that.
            _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => Self::NoFile,
            _ if is_denied(&error) => {
                let (user, group) = (geteuid().as_raw(), getegid().as_raw());
                let place = if path.exists() { path } else { folder };
                Self::Denied { what: describe(place, &error), user, group }
            }
            _ => Self::Other(error),
        }
    }
}

/// Whose something is and who may write to it.
fn describe(place: &Path, error: &io::Error) -> String {
    match fs::metadata(place) {
        Ok(metadata) if error.kind() == ErrorKind::PermissionDenied => format!(
            "{error}: {} belongs to user {} and group {} with mode {:04o}",
            place.display(),
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777
        ),
        _ => error.to_string(),
    }
}
