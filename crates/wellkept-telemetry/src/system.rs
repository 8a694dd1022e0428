//! Readings of the machine, the container and the process: memory, processors, pressure, disks, descriptors. Plain functions
//! that read a few small files and decide nothing.
//!
//! [`System`] reads everything again and again, from files that it keeps open, and can't be held up.
//!
//! The others block for as long as the kernel takes, which is microseconds for all but [`Disk`] and [`Permissions`]: asking a dead network
//! mount for its space can hang for good, so ask from a thread that may.
//!
//! Where a control group limits the process, memory and processor readings are those of the limit: a container at
//! 95 % of its memory is about to be killed whatever its host has left.

mod cgroup;
mod collect;
mod collector;
mod cpu;
mod disk;
mod figures;
mod kept;
mod memory;
mod pressure;
mod process;
mod processes;
mod readers;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use collect::{ProcessCollector, SystemCollector};
pub use collector::{ReadingState, Readings, System, SystemOptions};
pub use cpu::{CpuSample, CpuUsage, LoadAverage};
pub use disk::{Disk, Permissions};
pub use figures::{
    CpuFigures, CpuTimes, DeviceName, DiskIo, DiskTimes, Filesystem, GroupCpu, GroupMemory, Interface, MemoryFigures,
    ProcessFigures, Stalled, Traffic,
};
pub use memory::{Memory, Swap};
pub use pressure::{Pressure, Resource, Stall};
pub use process::{Descriptors, Process};
pub use processes::{Processes, Running};

/// Most that is read of one file. Longer ones are read to here: what is looked for stands at their beginning.
const MOST_OF_A_FILE: u64 = 64 * 1024;
/// Most that is read of a file in which what is looked for may stand anywhere, on a machine with many mounts or
/// interrupts.
const MOST_OF_A_LONG_FILE: u64 = 1024 * 1024;

/// Where the kernel's files are: `/proc` and `/sys`, or copies of them in a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemRoot {
    proc: PathBuf,
    sys: PathBuf,
}

impl SystemRoot {
    /// Reads from other folders. Mounts that `mountinfo` reports below `/sys` are looked for below `sys`.
    pub fn new(proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), sys: sys.into() }
    }

    fn proc(&self, file: &str) -> PathBuf {
        self.proc.join(file)
    }

    /// Where a path that the kernel reports lies for us.
    fn reported(&self, path: &Path) -> PathBuf {
        path.strip_prefix("/sys").map_or_else(|_| path.to_owned(), |rest| self.sys.join(rest))
    }
}

impl Default for SystemRoot {
    /// `/proc` and `/sys`.
    fn default() -> Self {
        Self::new("/proc", "/sys")
    }
}

/// Whose figure a reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The tightest control group that limits this process.
    Cgroup,
    /// The whole machine, as nothing narrower limits this process.
    Host,
}

impl Source {
    /// The word for metadata: `cgroup` or `host`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Host => "host",
        }
    }
}

/// Why a reading could not be taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadingError {
    /// A file or a file system could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what the kernel documents.
    #[error("{}: no {what}", path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

impl ReadingError {
    /// The stable code: `system.io` or `system.malformed`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "system.io",
            Self::Malformed { .. } => "system.malformed",
        }
    }
}

fn read(path: &Path) -> Result<String, ReadingError> {
    read_at_most(path, MOST_OF_A_FILE)
}

fn read_at_most(path: &Path, limit: u64) -> Result<String, ReadingError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|source| ReadingError::Io { path: path.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that holds one number, or nothing where it is missing or holds a word (`max`, `-1`).
fn read_number(path: &Path) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}

/// The number in the line `key value …` or `key: value …`.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?;
        let rest = rest.strip_prefix(':').or_else(|| rest.starts_with(char::is_whitespace).then_some(rest))?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
