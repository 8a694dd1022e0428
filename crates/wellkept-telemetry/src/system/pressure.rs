//! How much time is lost to waiting for processors, memory or disks (kernel documentation, "PSI").

use std::time::Duration;

use super::cgroup::Cgroups;
use super::{ReadingError, Source, SystemRoot, ratio, read};

/// What tasks wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A processor.
    Cpu,
    /// Memory: reclaim, swapping in, reading back what was dropped.
    Memory,
    /// Reading and writing.
    Io,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Io];

    /// The kernel's word for it: `cpu`, `memory` or `io`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Io => "io",
        }
    }
}

/// How much time was lost to waiting for one resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// Time in which some task waited.
    pub some: Stall,
    /// Time in which all tasks that had something to do waited. `None` for processors before Linux 5.13.
    pub full: Option<Stall>,
    /// Whose figure it is.
    pub source: Source,
}

/// The share of time lost, 0 to 1, over the last while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stall {
    /// Over 10 s.
    pub avg10: f64,
    /// Over 60 s.
    pub avg60: f64,
    /// Over 300 s.
    pub avg300: f64,
    /// All in all, since the group or the machine was started.
    pub total: Duration,
}

impl Pressure {
    /// Reads it: of this process's control group (version 2), or of the machine where it is in none. An error where the
    /// kernel does not keep it (before Linux 4.20, or `psi=0`).
    pub fn read(root: &SystemRoot, resource: Resource) -> Result<Self, ReadingError> {
        let own = Cgroups::read(root).own().map(|group| group.join(format!("{}.pressure", resource.as_str())));
        // A group's own can be switched off (`cgroup.pressure`); then it can't be read.
        if let Some(text) = own.and_then(|path| read(&path).ok())
            && let Some(pressure) = parse(&text, Source::Cgroup)
        {
            return Ok(pressure);
        }
        let path = root.proc(&format!("pressure/{}", resource.as_str()));
        let text = read(&path)?;
        parse(&text, Source::Host).ok_or(ReadingError::Malformed { path, what: "averages" })
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same with `full`.
pub(super) fn parse(text: &str, source: Source) -> Option<Pressure> {
    let line = |word| text.lines().find_map(|line| stall(line.strip_prefix(word)?));
    Some(Pressure { some: line("some ")?, full: line("full "), source })
}

fn stall(fields: &str) -> Option<Stall> {
    let value = |key: &str| fields.split_whitespace().find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
    let share = |key| Some(ratio(value(key)?.parse::<f64>().ok().filter(|percent| percent.is_finite())?, 100.0));
    let total = Duration::from_micros(value("total")?.parse().ok()?);
    Some(Stall { avg10: share("avg10")?, avg60: share("avg60")?, avg300: share("avg300")?, total })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Machine, V2_MOUNT};
    use super::*;

    const HOST: &str = "some avg10=94.24 avg60=89.50 avg300=84.13 total=10459620959\n";
    const GROUP: &str =
        "some avg10=1.00 avg60=0.50 avg300=0.25 total=70\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=7\n";

    fn machine() -> Machine {
        Machine::new()
            .with("proc/self/cgroup", "0::/pod/app\n")
            .with("proc/self/mountinfo", V2_MOUNT)
            .with("proc/pressure/memory", HOST)
    }

    fn read(machine: &Machine) -> Pressure {
        Pressure::read(&machine.root(), Resource::Memory).unwrap()
    }

    #[test]
    fn pressure_is_that_of_the_own_group() {
        let group = "sys/fs/cgroup/pod/app";
        let machine = machine().with(&format!("{group}/memory.pressure"), GROUP);
        assert_eq!(read(&machine).source, Source::Host, "without cgroup.type it is the root");
        let machine = machine.with(&format!("{group}/cgroup.type"), "domain\n");
        let pressure = read(&machine);
        assert_eq!((pressure.some.avg10, pressure.full.unwrap().avg10), (0.01, 0.005));
        assert_eq!((pressure.some.total.as_micros(), pressure.source), (70, Source::Cgroup));
    }

    #[test]
    fn without_a_group_it_is_the_machines() {
        let pressure = read(&machine());
        assert_eq!((pressure.some.avg60, pressure.full, pressure.source), (0.895, None, Source::Host));
        // Switched off in the group: the file is there and empty.
        let off = machine().with("sys/fs/cgroup/pod/app/cgroup.type", "domain\n");
        assert_eq!(read(&off.with("sys/fs/cgroup/pod/app/memory.pressure", "")).source, Source::Host);
        let none = Pressure::read(&Machine::new().root(), Resource::Io).unwrap_err();
        assert_eq!(none.code(), "system.io");
    }

    #[test]
    fn strange_lines_are_no_averages() {
        for text in ["", "some", "some avg10=nan avg60=1 avg300=1 total=1", "full avg10=1 avg60=1 avg300=1 total=1"] {
            assert_eq!(parse(text, Source::Host), None, "{text}");
        }
    }
}
