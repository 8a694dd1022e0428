//! Processor time, load and what the scheduler counts: of the machine, and of the control group.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::{Buffer, Figures, Following, GroupsCell, Kept, Reader, ReadingError, SystemRoot};
use crate::system::LoadAverage;
use crate::system::cgroup::{Cgroups, Groups};
use crate::system::field;
use crate::system::figures::{CpuFigures, CpuTimes, GroupCpu};
use crate::system::process::ticks;

pub(super) struct CpuReader {
    stat: Kept,
    load: Kept,
    group: Following<GroupFiles>,
}

struct GroupFiles {
    own: Times,
    quotas: Vec<Quota>,
}

enum Times {
    V1 { times: Kept, statistics: Kept },
    V2 { statistics: Kept },
}

enum Quota {
    V1 { quota: Kept, period: Kept },
    V2 { limit: Kept },
}

impl CpuReader {
    pub(super) fn new(root: &SystemRoot, groups: GroupsCell) -> Self {
        Self {
            stat: Kept::new(root.proc("stat")),
            load: Kept::new(root.proc("loadavg")),
            group: Following::new(groups, GroupFiles::of),
        }
    }
}

impl Reader for CpuReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let parsed = machine(self.stat.read(buffer)?);
        let mut cpu = parsed.ok_or_else(|| self.stat.malformed("line of all processors"))?;
        cpu.load = self.load.try_read(buffer).and_then(LoadAverage::parse);
        cpu.group = self.group.current().and_then(|group| group.read(buffer));
        *figures = Figures::Cpu(cpu);
        Ok(())
    }
}

/// `/proc/stat`, whose longest line is that of the interrupts, in the middle.
fn machine(text: &str) -> Option<CpuFigures> {
    let mut cpu = CpuFigures::default();
    let mut times = None;
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(' ') else { continue };
        let number = || rest.split_whitespace().next().and_then(|word| word.parse().ok());
        match key {
            "cpu" => times = Some(modes(rest)),
            "ctxt" => cpu.context_switches = number()?,
            "btime" => cpu.booted = UNIX_EPOCH.checked_add(Duration::from_secs(number()?)),
            "processes" => cpu.forks = number()?,
            "procs_running" => cpu.running = number()?,
            "procs_blocked" => cpu.blocked = number()?,
            key if key.starts_with("cpu") => cpu.cores += 1,
            _ => {}
        }
    }
    cpu.times = times?;
    Some(cpu)
}

fn modes(line: &str) -> CpuTimes {
    let mut times = CpuTimes::default();
    let counted = line.split_whitespace().map_while(|word| word.parse().ok());
    for (mode, count) in times.by_mode.iter_mut().zip(counted) {
        *mode = ticks(count);
    }
    times
}

impl GroupFiles {
    fn of(groups: &Cgroups) -> Option<Self> {
        match groups.narrower("cpu")? {
            Groups::V2(folders) => {
                let own = Times::V2 { statistics: Kept::new(folders.first()?.join("cpu.stat")) };
                let quotas = folders.iter().map(|folder| Quota::V2 { limit: Kept::new(folder.join("cpu.max")) });
                Some(Self { own, quotas: quotas.collect() })
            }
            Groups::V1(folders) => {
                let accounts = match groups.narrower("cpuacct") {
                    Some(Groups::V1(accounts)) => accounts,
                    _ => Vec::new(),
                };
                let account: &PathBuf = accounts.first().or(folders.first())?;
                let own = Times::V1 {
                    times: Kept::new(account.join("cpuacct.stat")),
                    statistics: Kept::new(folders.first()?.join("cpu.stat")),
                };
                let quotas = folders.iter().map(|folder| Quota::V1 {
                    quota: Kept::new(folder.join("cpu.cfs_quota_us")),
                    period: Kept::new(folder.join("cpu.cfs_period_us")),
                });
                Some(Self { own, quotas: quotas.collect() })
            }
        }
    }

    /// `None` where the group is gone.
    fn read(&mut self, buffer: &mut Buffer) -> Option<GroupCpu> {
        let mut cpu = match &mut self.own {
            Times::V2 { statistics } => {
                let text = statistics.try_read(buffer)?;
                let micros = |key| field(text, key).map(Duration::from_micros);
                GroupCpu {
                    user: micros("user_usec")?,
                    system: micros("system_usec")?,
                    throttled: micros("throttled_usec").unwrap_or_default(),
                    ..throttling(text)
                }
            }
            Times::V1 { times, statistics } => {
                let throttled = statistics.try_read(buffer).map(|text| GroupCpu {
                    throttled: Duration::from_nanos(field(text, "throttled_time").unwrap_or(0)),
                    ..throttling(text)
                });
                let text = times.try_read(buffer)?;
                GroupCpu {
                    user: ticks(field(text, "user")?),
                    system: ticks(field(text, "system")?),
                    ..throttled.unwrap_or_default()
                }
            }
        };
        cpu.cores = self.quotas.iter_mut().filter_map(|quota| quota.cores(buffer)).min_by(f64::total_cmp);
        Some(cpu)
    }
}

fn throttling(text: &str) -> GroupCpu {
    let number = |key| field(text, key).unwrap_or(0);
    GroupCpu { periods: number("nr_periods"), throttled_periods: number("nr_throttled"), ..GroupCpu::default() }
}

impl Quota {
    fn cores(&mut self, buffer: &mut Buffer) -> Option<f64> {
        let (quota, period): (u64, u64) = match self {
            Self::V1 { quota, period } => (quota.number(buffer)?, period.number(buffer)?),
            Self::V2 { limit } => {
                let (quota, period) = limit.try_read(buffer)?.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
        };
        (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
    }
}
