//! What the readings of [`System`](super::System) hold: plain figures, in base units.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Disk, LoadAverage};

/// Processor time of the whole machine, all cores together, by what it went to (proc(5), `/proc/stat`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// One time for each of [`CpuTimes::MODES`].
    pub by_mode: [Duration; 8],
}

impl CpuTimes {
    /// The kernel's words for what time goes to. That of guests is within `user` and `nice`.
    pub const MODES: [&'static str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
}

/// The processors.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuFigures {
    /// Time of the machine.
    pub times: CpuTimes,
    /// The machine's cores.
    pub cores: u64,
    /// Its load averages.
    pub load: Option<LoadAverage>,
    /// Switches from one task to another, since it was started.
    pub context_switches: u64,
    /// Processes and threads begun since then.
    pub forks: u64,
    /// Threads that run or could.
    pub running: u64,
    /// Threads that wait for a disk.
    pub blocked: u64,
    /// When it was started.
    pub booted: Option<SystemTime>,
    /// Of this process's control group, where it is in one.
    pub group: Option<GroupCpu>,
}

/// The processors, as a control group has them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GroupCpu {
    /// Time used in user mode.
    pub user: Duration,
    /// Time used in the kernel.
    pub system: Duration,
    /// The tightest quota around this process, in cores; `None` without one.
    pub cores: Option<f64>,
    /// Scheduling periods in which the group had something to do, while it had a quota of its own.
    pub periods: u64,
    /// Those of them in which the quota stopped it.
    pub throttled_periods: u64,
    /// The time for which it did.
    pub throttled: Duration,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// What the machine has.
    pub total: u64,
    /// What of it programs could still have without swapping.
    pub available: u64,
    /// What of it nobody uses for anything.
    pub free: u64,
    /// Contents of files that are kept at hand.
    pub cached: u64,
    /// The swap space.
    pub swap_total: u64,
    /// What of it is free.
    pub swap_free: u64,
    /// Of this process's control group, where it is in one.
    pub group: Option<GroupMemory>,
}

/// Memory of a control group, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupMemory {
    /// What is in use and can't be given back at once: of the group with the least room in proportion around this process,
    /// or of its own where none has a limit.
    pub used: u64,
    /// The limit of that group; `None` where none has one below what the machine has.
    pub limit: Option<u64>,
    /// Swap space used by that group.
    pub swap_used: Option<u64>,
    /// Processes that the kernel killed in this process's own group for lack of memory.
    pub oom_kills: Option<u64>,
}

/// The name of a disk or an interface, kept in place: the kernel's are no longer than this.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct DeviceName {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl DeviceName {
    /// `DISK_NAME_LEN`; an interface has 16 bytes at most.
    const LONGEST: usize = 32;

    /// The name, cut where it is longer than any of the kernel's.
    pub(super) fn new(name: &str) -> Self {
        let mut one = Self::default();
        let end = (0..=Self::LONGEST.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        let kept = name.as_bytes().get(..end).unwrap_or_default();
        for (place, byte) in one.bytes.iter_mut().zip(kept) {
            *place = *byte;
        }
        one.length = u8::try_from(end).unwrap_or(0);
        one
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.length)).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl std::fmt::Debug for DeviceName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(formatter)
    }
}

/// What one disk has done since it was attached (kernel documentation, `iostats`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskIo {
    /// The kernel's name for it.
    pub device: DeviceName,
    /// Of whom: the machine, or this process's control group.
    pub of_group: bool,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
    /// The kernel's numbers for it.
    pub(super) number: (u32, u32),
    /// What only the machine's figures have.
    pub times: Option<DiskTimes>,
}

/// How long a disk was busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskTimes {
    /// Time that reads took, all added up.
    pub reading: Duration,
    /// Time that writes took, all added up.
    pub writing: Duration,
    /// Time in which something was under way.
    pub busy: Duration,
    /// What is under way now.
    pub in_progress: u64,
}

/// What has passed through one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: DeviceName,
    /// What came in.
    pub received: Traffic,
    /// What went out.
    pub sent: Traffic,
}

/// One direction of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that were broken, or could not be sent.
    pub errors: u64,
    /// Packets that there was no room for.
    pub dropped: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// Processes that can be seen from here.
    pub processes: u64,
    /// Threads of the machine, those of the kernel among them.
    pub threads: Option<u64>,
    /// Threads of this process's control group.
    pub group_threads: Option<u64>,
    /// As many as it may have; `None` without a limit.
    pub group_threads_limit: Option<u64>,
}

/// Time lost to waiting, of one resource and one scope (kernel documentation, "PSI").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalled {
    /// What was waited for.
    pub resource: super::Resource,
    /// Who waited.
    pub source: super::Source,
    /// Time in which some task waited.
    pub some: Duration,
    /// Time in which all waited that had something to do.
    pub full: Option<Duration>,
}

/// A file system, and its room where it could be read in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Where it is mounted.
    pub mountpoint: Arc<str>,
    /// What is mounted.
    pub device: Arc<str>,
    /// Its type.
    pub kind: Arc<str>,
    /// Its room as last read; `None` where that is too old or was never had.
    pub room: Option<Disk>,
    /// Whether the latest attempt was answered in time.
    pub answers: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_and_one_that_no_kernel_gives_is_cut_between_characters() {
        assert_eq!(DeviceName::new("nvme0n1").as_str(), "nvme0n1");
        assert_eq!(DeviceName::new("").as_str(), "");
        let long = "é".repeat(40);
        assert_eq!(DeviceName::new(&long).as_str(), "é".repeat(16));
        assert_eq!(DeviceName::new(&format!("x{long}")).as_str(), format!("x{}", "é".repeat(15)));
    }
}
