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
        Ok(grouped.filter(|group| group.limit < host.limit).unwrap_or(host))
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
                Ok(Self { used: limit.saturating_sub(available), limit, source: Source::Host })
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
    Some(group(folder, current, limit, "inactive_file"))
}

fn of_group_v1(folder: &Path) -> Option<Memory> {
    let limit = read_number(&folder.join("memory.limit_in_bytes"))?;
    let current = read_number(&folder.join("memory.usage_in_bytes"))?;
    Some(group(folder, current, limit, "total_inactive_file"))
}

/// As the kubelet counts its working set: what was cached and not used lately is given back under pressure.
fn group(folder: &Path, current: u64, limit: u64, reclaimable: &str) -> Memory {
    let statistics = read(&folder.join("memory.stat")).unwrap_or_default();
    let reclaimable = field(&statistics, reclaimable).unwrap_or(0);
    Memory { used: current.saturating_sub(reclaimable), limit, source: Source::Cgroup }
}
