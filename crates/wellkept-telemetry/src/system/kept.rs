//! Files of the kernel that are kept open and read anew each time, into a buffer that is kept too.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::{MOST_OF_A_LONG_FILE, ReadingError};

/// How large a buffer is at first: all but the longest files fit.
const BEGINNING: usize = 4096;
/// What stands for bytes that are no text.
pub(super) const SUBSTITUTE: u8 = 0x1a;

/// Where files are read into. It grows to the longest of them, and at most to a mebibyte.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; BEGINNING])
    }
}

/// One file. It is opened when it is first read, and anew where it can't be read any more: a control group that was removed
/// and made again has the same path and another file.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }

    /// Its text as it is now. Allocates nothing but a larger buffer. A file of more than a mebibyte is read to there.
    pub(super) fn read<'b>(&mut self, buffer: &'b mut Buffer) -> Result<&'b str, ReadingError> {
        let kept = self.file.as_ref().and_then(|file| fill(file, &mut buffer.0).ok());
        let length = match kept {
            Some(length) => Ok(length),
            None => File::open(&self.path).and_then(|file| fill(self.file.insert(file), &mut buffer.0)),
        };
        let length = length.map_err(|source| {
            self.file = None;
            ReadingError::Io { path: self.path.clone(), source }
        })?;
        Ok(text(buffer.0.get_mut(..length).unwrap_or_default()))
    }

    /// As [`Kept::read`], for what not every kernel and every group has: `None` where it can't be read.
    pub(super) fn try_read<'b>(&mut self, buffer: &'b mut Buffer) -> Option<&'b str> {
        self.read(buffer).ok()
    }

    /// The one number that it holds; `None` where it can't be read or holds a word (`max`, `-1`).
    pub(super) fn number(&mut self, buffer: &mut Buffer) -> Option<u64> {
        self.try_read(buffer)?.trim().parse().ok()
    }

    pub(super) fn malformed(&self, what: &'static str) -> ReadingError {
        ReadingError::Malformed { path: self.path.clone(), what }
    }
}

/// Reads from the beginning to the end. The kernel makes such a file's text when it is asked for its beginning.
fn fill(file: &File, buffer: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        if length == buffer.len() {
            if length as u64 >= MOST_OF_A_LONG_FILE {
                return Ok(length);
            }
            buffer.resize(length * 2, 0);
        }
        match file.read_at(buffer.get_mut(length..).unwrap_or_default(), length as u64) {
            Ok(0) => return Ok(length),
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Names of interfaces and mounts may hold any bytes: those that are no text are replaced where they stand.
fn text(bytes: &mut [u8]) -> &str {
    if std::str::from_utf8(bytes).is_err() {
        for byte in bytes.iter_mut().filter(|byte| !byte.is_ascii()) {
            *byte = SUBSTITUTE;
        }
    }
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_anew_through_the_same_descriptor_and_found_again_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cpu.stat");
        let (mut kept, mut buffer) = (Kept::new(&path), Buffer::default());
        assert_eq!(kept.read(&mut buffer).unwrap_err().code(), "system.io");
        fs::write(&path, "usage_usec 1\n").unwrap();
        assert_eq!(kept.read(&mut buffer).unwrap(), "usage_usec 1\n");
        fs::write(&path, "usage_usec 25\n").unwrap();
        assert_eq!(kept.read(&mut buffer).unwrap(), "usage_usec 25\n");

        // What is open of a process that has ended can't be read any more, as with a group that is gone.
        let mut ended = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut gone = Kept::new(format!("/proc/{}/stat", ended.id()));
        gone.read(&mut buffer).unwrap();
        ended.kill().unwrap();
        ended.wait().unwrap();
        assert_eq!(gone.read(&mut buffer).unwrap_err().code(), "system.io");
        gone.path = path;
        assert_eq!(gone.read(&mut buffer).unwrap(), "usage_usec 25\n");
    }

    #[test]
    fn a_long_file_is_read_whole_and_an_endless_one_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let long = "interface\n".repeat(5000);
        fs::write(&path, &long).unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(Kept::new(&path).read(&mut buffer).unwrap(), long);
        assert_eq!(Kept::new("/dev/zero").read(&mut buffer).unwrap().len() as u64, MOST_OF_A_LONG_FILE);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(text(&mut b"eth\xff\xc3: 5".to_owned()), "eth\u{1a}\u{1a}: 5");
        assert_eq!(text(&mut "é: 5".as_bytes().to_owned()), "é: 5");
    }
}
