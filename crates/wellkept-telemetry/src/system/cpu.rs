//! How busy the processors are, between two samples; and the load averages.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cgroup::{Cgroups, Groups};
use super::{ReadingError, Source, SystemRoot, field, ratio, read, read_number};

/// The counters at one instant. Two of them make a reading: [`CpuSample::since`].
#[derive(Debug, Clone, PartialEq)]
pub struct CpuSample {
    taken: Instant,
    busy_ticks: u64,
    total_ticks: u64,
    cores: f64,
    quotas: Vec<Quota>,
}

/// The counters of one control group that has a quota.
#[derive(Debug, Clone, PartialEq)]
struct Quota {
    folder: PathBuf,
    cores: f64,
    used: Duration,
    periods: u64,
    throttled: u64,
}

/// How busy the processors were between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuUsage {
    /// The used share of what there is, 0 to 1.
    pub usage: f64,
    /// What there is: the quota in cores, for example 1.5, or the machine's cores.
    pub cores: f64,
    /// The share of scheduling periods in which the quota stopped the group before its work was done, 0 to 1.
    /// `None` without a quota.
    pub throttled: Option<f64>,
    /// Whose figure it is.
    pub source: Source,
}

impl CpuSample {
    /// Takes a sample: the machine's counters, and those of every control group around the process that has a quota
    /// below the machine's cores.
    pub fn read(root: &SystemRoot) -> Result<Self, ReadingError> {
        let path = root.proc("stat");
        let text = read(&path)?;
        let (busy_ticks, total_ticks) =
            host_ticks(&text).ok_or(ReadingError::Malformed { path, what: "line of all processors" })?;
        let cores = text.lines().filter(|line| is_one_core(line)).count().max(1) as f64;
        let mut quotas = quotas(&Cgroups::read(root));
        quotas.retain(|quota| quota.cores < cores);
        Ok(Self { taken: Instant::now(), busy_ticks, total_ticks, cores, quotas })
    }

    /// When it was taken.
    pub fn taken(&self) -> Instant {
        self.taken
    }

    /// The same counters, taken so long after `earlier`.
    #[cfg(test)]
    pub(super) fn taken_after(self, earlier: &Self, elapsed: Duration) -> Self {
        Self { taken: earlier.taken + elapsed, ..self }
    }

    /// How busy it was since `earlier`: against the quota that was used most, or against the machine's cores where
    /// there is none. `None` when no time has passed that the counters could show.
    pub fn since(&self, earlier: &Self) -> Option<CpuUsage> {
        let elapsed = self.taken.checked_duration_since(earlier.taken)?.as_secs_f64();
        let grouped = self
            .quotas
            .iter()
            .filter_map(|quota| {
                let before = earlier.quotas.iter().find(|before| before.folder == quota.folder)?;
                quota.since(before, elapsed)
            })
            .max_by(|left, right| left.usage.total_cmp(&right.usage));
        if !self.quotas.is_empty() {
            return grouped;
        }
        let total = self.total_ticks.checked_sub(earlier.total_ticks).filter(|ticks| *ticks > 0)?;
        // Time spent waiting for a disk can be counted backwards (proc(5)), so the difference may be less than none.
        let busy = self.busy_ticks.saturating_sub(earlier.busy_ticks);
        let usage = ratio(busy as f64, total as f64);
        Some(CpuUsage { usage, cores: self.cores, throttled: None, source: Source::Host })
    }
}

impl Quota {
    fn since(&self, before: &Self, elapsed: f64) -> Option<CpuUsage> {
        if elapsed <= 0.0 {
            return None;
        }
        let used = self.used.saturating_sub(before.used).as_secs_f64();
        let periods = self.periods.saturating_sub(before.periods);
        let throttled = self.throttled.saturating_sub(before.throttled);
        Some(CpuUsage {
            usage: ratio(used, elapsed * self.cores),
            cores: self.cores,
            throttled: Some(ratio(throttled as f64, periods as f64)),
            source: Source::Cgroup,
        })
    }
}

/// The average number of runnable or disk-waiting tasks, machine-wide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadAverage {
    /// Over one minute.
    pub one: f64,
    /// Over five minutes.
    pub five: f64,
    /// Over fifteen minutes.
    pub fifteen: f64,
}

impl LoadAverage {
    /// Reads it.
    pub fn read(root: &SystemRoot) -> Result<Self, ReadingError> {
        let path = root.proc("loadavg");
        let text = read(&path)?;
        Self::parse(&text).ok_or(ReadingError::Malformed { path, what: "three averages" })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map_while(|word| word.parse().ok());
        Some(Self { one: numbers.next()?, five: numbers.next()?, fifteen: numbers.next()? })
    }
}

/// Busy and total ticks of all processors: `cpu user nice system idle iowait irq softirq steal guest guest_nice`.
/// The guests' time is within the user's already.
fn host_ticks(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4).unwrap_or(&0));
    let total = ticks.iter().copied().fold(0, u64::saturating_add);
    Some((total.saturating_sub(idle), total))
}

fn is_one_core(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}

fn quotas(cgroups: &Cgroups) -> Vec<Quota> {
    match cgroups.of("cpu") {
        Some(Groups::V2(folders)) => folders.iter().filter_map(|folder| quota_v2(folder)).collect(),
        Some(Groups::V1(folders)) => {
            // Times are accounted by a controller that may be mounted elsewhere; its levels are the same.
            let accounts = match cgroups.of("cpuacct") {
                Some(Groups::V1(accounts)) if accounts.len() == folders.len() => accounts,
                _ => folders.clone(),
            };
            folders.iter().zip(&accounts).filter_map(|(folder, account)| quota_v1(folder, account)).collect()
        }
        None => Vec::new(),
    }
}

/// `cpu.max` is `QUOTA PERIOD` in microseconds, or `max PERIOD`.
fn quota_v2(folder: &Path) -> Option<Quota> {
    let limit = read(&folder.join("cpu.max")).ok()?;
    let (quota, period) = limit.trim().split_once(' ')?;
    let statistics = read(&folder.join("cpu.stat")).ok()?;
    Some(Quota {
        folder: folder.to_owned(),
        cores: cores(quota.parse().ok()?, period.parse().ok()?)?,
        used: Duration::from_micros(field(&statistics, "usage_usec")?),
        periods: field(&statistics, "nr_periods").unwrap_or(0),
        throttled: field(&statistics, "nr_throttled").unwrap_or(0),
    })
}

/// `cpu.cfs_quota_us` is -1 without a quota.
fn quota_v1(folder: &Path, account: &Path) -> Option<Quota> {
    let quota = read_number(&folder.join("cpu.cfs_quota_us"))?;
    let period = read_number(&folder.join("cpu.cfs_period_us"))?;
    let statistics = read(&folder.join("cpu.stat")).unwrap_or_default();
    Some(Quota {
        folder: folder.to_owned(),
        cores: cores(quota, period)?,
        used: Duration::from_nanos(read_number(&account.join("cpuacct.usage"))?),
        periods: field(&statistics, "nr_periods").unwrap_or(0),
        throttled: field(&statistics, "nr_throttled").unwrap_or(0),
    })
}

fn cores(quota: u64, period: u64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}
