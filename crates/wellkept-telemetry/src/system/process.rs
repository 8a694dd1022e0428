//! What this process uses; descriptors of others and of the machine.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{MOST_OF_A_LONG_FILE, ReadingError, SystemRoot, field, ratio, read, read_at_most};

/// Most descriptors that are counted one by one.
const MOST_COUNTED: usize = 1 << 20;

/// What this process uses, under the names that the Prometheus client libraries agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Bytes of memory in RAM.
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Descriptors it may open (the soft limit); `None` without a limit.
    pub max_fds: Option<u64>,
    /// When it was started.
    pub start_time: SystemTime,
    /// Processor time used, in user and system mode.
    pub cpu: Duration,
}

impl Process {
    /// Reads it.
    pub fn read(root: &SystemRoot) -> Result<Self, ReadingError> {
        let path = root.proc("self/stat");
        let text = read(&path)?;
        let statistics = Statistics::parse(&text).ok_or(ReadingError::Malformed { path, what: WHAT })?;
        let start_time = start_time(root, ticks(statistics.started))?;
        let max_fds = max_fds(&root.proc("self/limits"))?;
        Ok(statistics.with(open_fds(&root.proc("self/fd"))?, max_fds, start_time))
    }
}

/// What a process's `stat` is read for.
pub(super) const WHAT: &str = "process statistics";

/// What a process's `stat` says, in the kernel's units (proc(5)).
pub(super) struct Statistics {
    cpu: u64,
    threads: u64,
    /// After the machine was.
    pub(super) started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Statistics {
    pub(super) fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, and that may hold both spaces and parentheses.
        let (_, fields) = text.rsplit_once(')')?;
        // proc(5) counts from 1 and names state the third.
        let number = |position: usize| fields.split_whitespace().nth(position - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: number(14)?.saturating_add(number(15)?),
            threads: number(20)?,
            started: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }

    pub(super) fn with(self, open_fds: u64, max_fds: Option<u64>, start_time: SystemTime) -> Process {
        Process {
            resident_bytes: self.resident_pages.saturating_mul(rustix::param::page_size() as u64),
            virtual_bytes: self.virtual_bytes,
            threads: self.threads,
            open_fds,
            max_fds,
            start_time,
            cpu: ticks(self.cpu),
        }
    }
}

/// Open descriptors, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// How many are open.
    pub open: u64,
    /// How many there may be: of a process its soft limit. `None` without a limit.
    pub limit: Option<u64>,
}

impl Descriptors {
    /// Those of this process.
    pub fn of_self(root: &SystemRoot) -> Result<Self, ReadingError> {
        Self::of(&root.proc("self"))
    }

    /// Those of another process. Before Linux 6.2 only its user and those who may trace it can count them.
    pub fn of_process(root: &SystemRoot, pid: u32) -> Result<Self, ReadingError> {
        Self::of(&root.proc(&pid.to_string()))
    }

    /// Files that the whole machine has open, and `fs.file-max`.
    pub fn of_machine(root: &SystemRoot) -> Result<Self, ReadingError> {
        let path = root.proc("sys/fs/file-nr");
        let text = read(&path)?;
        Self::parse(&text).ok_or(ReadingError::Malformed { path, what: Self::WHAT })
    }

    /// What the machine's numbers are read for.
    pub(super) const WHAT: &str = "numbers of open files";

    /// Open, free (always 0 since Linux 2.6), most.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        match (numbers.next(), numbers.nth(1)) {
            (Some(open), limit @ Some(_)) => Some(Self { open, limit }),
            _ => None,
        }
    }

    /// The used share of the limit, 0 to 1; 0 without a limit.
    pub fn usage(&self) -> f64 {
        self.limit.map_or(0.0, |limit| ratio(self.open as f64, limit as f64))
    }

    fn of(folder: &Path) -> Result<Self, ReadingError> {
        Ok(Self { open: open_fds(&folder.join("fd"))?, limit: max_fds(&folder.join("limits"))? })
    }
}

/// Since Linux 6.2 the folder's size is the number of descriptors; before, they are counted.
pub(super) fn open_fds(folder: &Path) -> Result<u64, ReadingError> {
    let counted = fs::metadata(folder).and_then(|metadata| match metadata.len() {
        0 => Ok(fs::read_dir(folder)?.take(MOST_COUNTED).count() as u64),
        size => Ok(size),
    });
    counted.map_err(|source| ReadingError::Io { path: folder.to_owned(), source })
}

/// `Max open files            1024                 4096                 files`
fn max_fds(path: &Path) -> Result<Option<u64>, ReadingError> {
    let text = read(path)?;
    parse_max_fds(&text).ok_or_else(|| ReadingError::Malformed { path: path.to_owned(), what: LIMIT })
}

/// What a process's `limits` is read for.
pub(super) const LIMIT: &str = "limit of open files";

/// The soft limit; within, `None` without one.
#[expect(clippy::option_option, reason = "the outer says whether the line is there")]
pub(super) fn parse_max_fds(text: &str) -> Option<Option<u64>> {
    match text.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next())? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

/// Time that the kernel counts in ticks.
pub(super) fn ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second().max(1) as f64)
}

/// The kernel counts from the machine's start.
pub(super) fn start_time(root: &SystemRoot, after_boot: Duration) -> Result<SystemTime, ReadingError> {
    let path = root.proc("stat");
    let boot = field(&read_at_most(&path, MOST_OF_A_LONG_FILE)?, "btime").map(Duration::from_secs);
    boot.and_then(|boot| UNIX_EPOCH.checked_add(boot.checked_add(after_boot)?))
        .ok_or(ReadingError::Malformed { path, what: "btime" })
}
