//! Memory and swap space: of the machine, and of the control group with the least room.

use super::{Buffer, Figures, Following, GroupsCell, Kept, Reader, ReadingError, SystemRoot};
use crate::system::cgroup::{Cgroups, Groups};
use crate::system::field;
use crate::system::figures::{GroupMemory, MemoryFigures};

pub(super) struct MemoryReader {
    meminfo: Kept,
    groups: Following<Levels>,
}

/// The groups around this process, its own first.
struct Levels {
    levels: Vec<Level>,
    /// What the kernel did for lack of memory, in the own group.
    events: Kept,
}

struct Level {
    limit: Kept,
    current: Kept,
    statistics: Kept,
    /// What of the use can be given back at once.
    reclaimable: &'static str,
    swap: Swap,
}

enum Swap {
    /// Memory and swap space together.
    V1 {
        both: Kept,
    },
    V2 {
        swap: Kept,
    },
}

impl MemoryReader {
    pub(super) fn new(root: &SystemRoot, groups: GroupsCell) -> Self {
        Self { meminfo: Kept::new(root.proc("meminfo")), groups: Following::new(groups, Levels::of) }
    }
}

impl Reader for MemoryReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let parsed = machine(self.meminfo.read(buffer)?);
        let mut memory = parsed.ok_or_else(|| self.meminfo.malformed("MemTotal and MemAvailable"))?;
        memory.group = self.groups.current().and_then(|levels| levels.read(buffer, memory.total));
        *figures = Figures::Memory(memory);
        Ok(())
    }
}

fn machine(text: &str) -> Option<MemoryFigures> {
    let mut memory = MemoryFigures::default();
    let mut is_whole = (false, false);
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let place = match key {
            "MemTotal" => {
                is_whole.0 = true;
                &mut memory.total
            }
            "MemAvailable" => {
                is_whole.1 = true;
                &mut memory.available
            }
            "MemFree" => &mut memory.free,
            "Cached" => &mut memory.cached,
            "SwapTotal" => &mut memory.swap_total,
            "SwapFree" => {
                memory.swap_free = kibibytes(rest)?;
                // What follows is of no interest.
                break;
            }
            _ => continue,
        };
        *place = kibibytes(rest)?;
    }
    (is_whole == (true, true)).then_some(memory)
}

fn kibibytes(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

impl Levels {
    fn of(groups: &Cgroups) -> Option<Self> {
        let (folders, is_v2) = match groups.narrower("memory")? {
            Groups::V1(folders) => (folders, false),
            Groups::V2(folders) => (folders, true),
        };
        let events = folders.first()?.join(if is_v2 { "memory.events" } else { "memory.oom_control" });
        let levels = folders.iter().map(|folder| {
            let file = |name| Kept::new(folder.join(name));
            if is_v2 {
                let swap = Swap::V2 { swap: file("memory.swap.current") };
                let (limit, current) = (file("memory.max"), file("memory.current"));
                Level { limit, current, statistics: file("memory.stat"), reclaimable: "inactive_file", swap }
            } else {
                let swap = Swap::V1 { both: file("memory.memsw.usage_in_bytes") };
                let (limit, current) = (file("memory.limit_in_bytes"), file("memory.usage_in_bytes"));
                Level { limit, current, statistics: file("memory.stat"), reclaimable: "total_inactive_file", swap }
            }
        });
        Some(Self { levels: levels.collect(), events: Kept::new(events) })
    }

    /// `None` where the group is gone, or its version keeps no account of memory.
    fn read(&mut self, buffer: &mut Buffer, machine: u64) -> Option<GroupMemory> {
        let share = |group: &GroupMemory| group.limit.map_or(0.0, |limit| group.used as f64 / limit.max(1) as f64);
        let limited = self.levels.iter_mut().filter_map(|level| {
            // "No limit" is a huge number in version 1, and a limit above what there is limits nothing.
            let limit = level.limit.number(buffer).filter(|limit| *limit < machine)?;
            level.read(buffer, Some(limit))
        });
        let tightest = limited.max_by(|left, right| share(left).total_cmp(&share(right)));
        let mut group = match tightest {
            Some(tightest) => tightest,
            None => self.levels.first_mut()?.read(buffer, None)?,
        };
        group.oom_kills = self.events.try_read(buffer).and_then(|text| field(text, "oom_kill"));
        Some(group)
    }
}

impl Level {
    /// In use is what the kubelet counts as its working set: what was cached and not used lately is given back under
    /// pressure.
    fn read(&mut self, buffer: &mut Buffer, limit: Option<u64>) -> Option<GroupMemory> {
        let current = self.current.number(buffer)?;
        let reclaimable = self.statistics.try_read(buffer).and_then(|text| field(text, self.reclaimable));
        let swap_used = match &mut self.swap {
            Swap::V1 { both } => both.number(buffer).map(|both| both.saturating_sub(current)),
            Swap::V2 { swap } => swap.number(buffer),
        };
        let used = current.saturating_sub(reclaimable.unwrap_or(0));
        Some(GroupMemory { used, limit, swap_used, oom_kills: None })
    }
}
