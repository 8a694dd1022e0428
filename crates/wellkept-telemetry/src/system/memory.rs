//! How much memory is in use of how much there may be.

use std::path::Path;

use super::cgroup::{Cgroups, Groups};
use super::{ReadingError, Source, SystemRoot, field, ratio, read, read_number};

/// Memory in use, of the tightest limit that holds for this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use that can't be given back at once: page cache that is no longer used does not count.
    pub used: u64,
    /// Bytes there may be.
    pub limit: u64,
    /// Whose limit it is.
    pub source: Source,
    /// The swap space, of the same group or machine; `None` where there is none.
    pub swap: Option<Swap>,
}

/// Swap space in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    /// Bytes in use.
    pub used: u64,
    /// Bytes there may be: of a group never more than the machine has.
    pub limit: u64,
}

impl Swap {
    /// The used share of the limit, 0 to 1.
    pub fn usage(&self) -> f64 {
        ratio(self.used as f64, self.limit as f64)
    }

    /// `None` without any.
    fn of(used: u64, limit: u64) -> Option<Self> {
        (limit > 0).then_some(Self { used, limit })
    }
}

impl Memory {
    /// Reads it. Of the control groups around the process, each with a limit below the machine's memory, the one
    /// with the least room in proportion counts; without any, the machine does.
    pub fn read(root: &SystemRoot) -> Result<Self, ReadingError> {
        let host = Self::of_host(root)?;
        let grouped = match Cgroups::read(root).of("memory") {
            Some(Groups::V2(folders)) => tightest(&folders, of_group_v2),
            Some(Groups::V1(folders)) => tightest(&folders, of_group_v1),
            None => None,
        };
        // "No limit" is a huge number in version 1, and a limit above what there is limits nothing.
        let Some(group) = grouped.filter(|group| group.limit < host.limit) else { return Ok(host) };
        // What a group may use is no more than what there is.
        let swap = group.swap.zip(host.swap).and_then(|(own, all)| Swap::of(own.used, own.limit.min(all.limit)));
        Ok(Self { swap, ..group })
    }

    /// The used share of the limit, 0 to 1.
    pub fn usage(&self) -> f64 {
        ratio(self.used as f64, self.limit as f64)
    }

    fn of_host(root: &SystemRoot) -> Result<Self, ReadingError> {
        let path = root.proc("meminfo");
        let text = read(&path)?;
        let bytes = |key| field(&text, key).and_then(|kib| kib.checked_mul(1024));
        let limit = bytes("MemTotal");
        // MemAvailable is there since Linux 3.14.
        let available = bytes("MemAvailable").or_else(|| bytes("MemFree")?.checked_add(bytes("Cached")?));
        match (limit, available) {
            (Some(limit), Some(available)) => {
                let (swap, free) = (bytes("SwapTotal").unwrap_or(0), bytes("SwapFree").unwrap_or(0));
                let swap = Swap::of(swap.saturating_sub(free), swap);
                Ok(Self { used: limit.saturating_sub(available), limit, source: Source::Host, swap })
            }
            _ => Err(ReadingError::Malformed { path, what: "MemTotal and MemAvailable" }),
        }
    }
}

fn tightest<P: AsRef<Path>>(folders: &[P], reading: fn(&Path) -> Option<Memory>) -> Option<Memory> {
    folders
        .iter()
        .filter_map(|folder| reading(folder.as_ref()))
        .max_by(|left, right| left.usage().total_cmp(&right.usage()))
}

fn of_group_v2(folder: &Path) -> Option<Memory> {
    let limit = read_number(&folder.join("memory.max"))?;
    let current = read_number(&folder.join("memory.current"))?;
    let swapped = read_number(&folder.join("memory.swap.current"));
    // A word there, `max`, is no limit.
    let swap =
        swapped.and_then(|used| Swap::of(used, read_number(&folder.join("memory.swap.max")).unwrap_or(u64::MAX)));
    Some(group(folder, (current, limit), "inactive_file", swap))
}

fn of_group_v1(folder: &Path) -> Option<Memory> {
    let limit = read_number(&folder.join("memory.limit_in_bytes"))?;
    let current = read_number(&folder.join("memory.usage_in_bytes"))?;
    // Both together: memory and swap.
    let both = read_number(&folder.join("memory.memsw.usage_in_bytes"));
    let both = both.zip(read_number(&folder.join("memory.memsw.limit_in_bytes")));
    let swap = both.and_then(|(used, most)| Swap::of(used.saturating_sub(current), most.saturating_sub(limit)));
    Some(group(folder, (current, limit), "total_inactive_file", swap))
}

/// As the kubelet counts its working set: what was cached and not used lately is given back under pressure.
fn group(folder: &Path, (current, limit): (u64, u64), reclaimable: &str, swap: Option<Swap>) -> Memory {
    let statistics = read(&folder.join("memory.stat")).unwrap_or_default();
    let reclaimable = field(&statistics, reclaimable).unwrap_or(0);
    Memory { used: current.saturating_sub(reclaimable), limit, source: Source::Cgroup, swap }
}
