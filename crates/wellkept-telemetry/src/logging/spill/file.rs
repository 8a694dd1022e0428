//! The file of what was put aside: a line that says how far it has been written to the output, then log lines as they
//! are, so that people can read them too.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What the first line begins with; the offset of the first line that is still to be written follows.
const MARK: &str = "wellkept-log-spill 1 ";
const HEAD: usize = MARK.len() + 20 + 1;
const HEAD_BYTES: u64 = HEAD as u64;
/// Most bytes read at once. More than the longest line.
const CHUNK_BYTES: usize = 64 << 10;
/// How many processes that log to the same sink may share a folder, one after the other mostly.
const MAX_FILES: u32 = 8;

/// One file, locked for this process.
#[derive(Debug)]
pub(super) struct SpillFile {
    file: File,
    path: PathBuf,
    /// Where the first line stands that is still to be written, and where the last one ends.
    start: u64,
    end: u64,
    /// How many lines stand between.
    lines: u64,
}

impl SpillFile {
    /// The files of a sink that no other process holds: the first is for what comes, the others were left behind.
    pub(super) fn open_all(folder: &Path, sink: &str) -> io::Result<Vec<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        let sink: String = sink.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
        let mut files: Vec<Self> = Vec::new();
        for number in 1..=MAX_FILES {
            let path = folder.join(format!("{sink}.{number}.spill"));
            // Beyond the first only what is there already.
            if !files.is_empty() && !path.exists() {
                continue;
            }
            files.extend(Self::open(path)?);
        }
        if files.is_empty() { Err(ErrorKind::ResourceBusy.into()) } else { Ok(files) }
    }

    /// Opens a file and drops the line that a killed process left in part. None if another process holds it.
    fn open(path: PathBuf) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        // Whoever can write to the folder must not lead the log elsewhere.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let file = options.open(&path)?;
        if !file.metadata()?.is_file() {
            return Err(ErrorKind::InvalidInput.into());
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        let mut spill = Self { file, path, start: HEAD_BYTES, end: HEAD_BYTES, lines: 0 };
        let length = spill.file.metadata()?.len();
        if length < HEAD_BYTES {
            spill.empty()?;
            return Ok(Some(spill));
        }
        let mut head = [0; HEAD];
        spill.file.read_exact_at(&mut head, 0)?;
        let start = std::str::from_utf8(&head).ok().and_then(|head| head.strip_prefix(MARK)?.trim().parse().ok());
        // Somebody else's file is left as it is.
        let start: u64 = start.ok_or(ErrorKind::InvalidData)?;
        spill.end = spill.last_end(length)?;
        spill.start = start.clamp(HEAD_BYTES, spill.end);
        spill.file.set_len(spill.end)?;
        spill.lines = spill.count()?;
        Ok(Some(spill))
    }

    /// Where the last whole line ends.
    fn last_end(&self, length: u64) -> io::Result<u64> {
        let mut end = length;
        while end > HEAD_BYTES {
            let start = end.saturating_sub(CHUNK_BYTES as u64).max(HEAD_BYTES);
            let chunk = self.read(start, end)?;
            if let Some(last) = chunk.iter().rposition(|&byte| byte == b'\n') {
                return Ok(start + last as u64 + 1);
            }
            end = start;
        }
        Ok(HEAD_BYTES)
    }

    fn count(&self) -> io::Result<u64> {
        let (mut start, mut lines) = (self.start, 0);
        while start < self.end {
            let end = self.end.min(start + CHUNK_BYTES as u64);
            lines += count_lines(&self.read(start, end)?);
            start = end;
        }
        Ok(lines)
    }

    /// How many lines are still to be written.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Appends the lines at the front that fit; returns how many bytes those have, and why there are not more if it is
    /// not for lack of room.
    pub(super) fn append(&mut self, lines: &[u8], max_bytes: u64) -> (usize, Option<io::Error>) {
        let room = usize::try_from(max_bytes.saturating_sub(self.end)).unwrap_or(usize::MAX);
        let fitting = lines.get(..whole(lines, room)).unwrap_or_default();
        let (written, error) = self.write(fitting);
        let kept = whole(fitting, written);
        self.end += kept as u64;
        self.lines += count_lines(fitting.get(..kept).unwrap_or_default());
        if kept < written {
            // What can't be cut off now is written over by the next line, or cut off at the next start.
            self.file.set_len(self.end).ok();
        }
        (kept, error)
    }

    fn write(&self, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write_at(rest, self.end + written as u64) {
                Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }

    /// The next whole lines that are still to be written.
    pub(super) fn next(&self) -> io::Result<Vec<u8>> {
        let mut lines = self.read(self.start, self.end.min(self.start + CHUNK_BYTES as u64))?;
        lines.truncate(whole(&lines, lines.len()));
        if lines.is_empty() { Err(ErrorKind::InvalidData.into()) } else { Ok(lines) }
    }

    /// So many lines, of so many bytes, have been settled. What is empty then begins anew.
    pub(super) fn advance(&mut self, lines: u64, bytes: usize) -> io::Result<()> {
        self.start = self.end.min(self.start + bytes as u64);
        self.lines = self.lines.saturating_sub(lines);
        if self.is_empty() { self.empty() } else { self.write_head() }
    }

    /// Gives up what is still to be written.
    pub(super) fn empty(&mut self) -> io::Result<()> {
        (self.start, self.end, self.lines) = (HEAD_BYTES, HEAD_BYTES, 0);
        self.write_head()?;
        self.file.set_len(HEAD_BYTES)
    }

    /// Removes the file, which was left behind by another process and is empty.
    pub(super) fn remove(self) {
        fs::remove_file(&self.path).ok();
    }

    fn write_head(&self) -> io::Result<()> {
        self.file.write_all_at(format!("{MARK}{:020}\n", self.start).as_bytes(), 0)
    }

    fn read(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }
}

/// The length of the whole lines within the first so many bytes.
fn whole(lines: &[u8], most: usize) -> usize {
    let front = lines.get(..most).unwrap_or(lines);
    front.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1)
}

pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}
