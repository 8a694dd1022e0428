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
        let malformed = || ReadingError::Malformed { path: path.clone(), what: "process statistics" };
        // The second field is the program's name in parentheses, and that may hold both spaces and parentheses.
        let (_, fields) = text.rsplit_once(')').ok_or_else(malformed)?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // proc(5) counts from 1 and names state the third.
        let number = |position: usize| -> Result<u64, ReadingError> {
            fields.get(position - 3).and_then(|word| word.parse().ok()).ok_or_else(malformed)
        };
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        let ticks = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
        Ok(Self {
            resident_bytes: number(24)?.saturating_mul(rustix::param::page_size() as u64),
            virtual_bytes: number(23)?,
            threads: number(20)?,
            open_fds: open_fds(&root.proc("self/fd"))?,
            max_fds: max_fds(&root.proc("self/limits"))?,
            start_time: start_time(root, ticks(number(22)?))?,
            cpu: ticks(number(14)?.saturating_add(number(15)?)),
        })
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
        // Open, free (always 0 since Linux 2.6), most.
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        match (numbers.next(), numbers.nth(1)) {
            (Some(open), limit @ Some(_)) => Ok(Self { open, limit }),
            _ => Err(ReadingError::Malformed { path, what: "numbers of open files" }),
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
fn open_fds(folder: &Path) -> Result<u64, ReadingError> {
    let counted = fs::metadata(folder).and_then(|metadata| match metadata.len() {
        0 => Ok(fs::read_dir(folder)?.take(MOST_COUNTED).count() as u64),
        size => Ok(size),
    });
    counted.map_err(|source| ReadingError::Io { path: folder.to_owned(), source })
}

/// `Max open files            1024                 4096                 files`
fn max_fds(path: &Path) -> Result<Option<u64>, ReadingError> {
    let text = read(path)?;
    let soft = text.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    match soft {
        Some("unlimited") => Ok(None),
        Some(number) if number.parse::<u64>().is_ok() => Ok(number.parse().ok()),
        _ => Err(ReadingError::Malformed { path: path.to_owned(), what: "limit of open files" }),
    }
}

/// The kernel counts from the machine's start.
fn start_time(root: &SystemRoot, after_boot: Duration) -> Result<SystemTime, ReadingError> {
    let path = root.proc("stat");
    let boot = field(&read_at_most(&path, MOST_OF_A_LONG_FILE)?, "btime").map(Duration::from_secs);
    boot.and_then(|boot| UNIX_EPOCH.checked_add(boot.checked_add(after_boot)?))
        .ok_or(ReadingError::Malformed { path, what: "btime" })
}
