//! How much time is lost to waiting for processors, memory and disks: pressure stall information, of the container where
//! its control group has it, of the machine otherwise.
//!
//! Usage tells how much is taken, pressure whether anything suffers from it: a machine at 100 % of its processors may do
//! well, and one with memory to spare may be reading its programs back from the disk all the time. A reading is the
//! kernel's own average of the last 10 or 60 seconds, so a single run tells it too.
//!
//! *Some* is the time in which at least one task waited, *full* that in which all tasks that had something to do waited,
//! so that nothing was done.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | more time is lost than a `…_degraded_above` allows | degraded | `threshold` |
//! | more time is lost than a `…_unhealthy_above` allows, where it is set | unhealthy | `threshold` |
//! | the kernel keeps no pressure (before Linux 4.20, or with `psi=0`) | unhealthy | `internal` |
//!
//! # Rights
//!
//! None.
//!
//! # Cost
//!
//! Nothing over a network: a few small files of the kernel per run.

use wellkept_config::{FromNode, Ratio, Schema, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{self, Resource, Source, Stall, SystemRoot};

use crate::kind::built;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Pressure`] check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Over how long a time the kernel's average is taken: the last 10 or 60 seconds. Default `avg10`.
    pub average: Average,
    /// How much time may be lost to waiting for a processor. Default: the limits below.
    pub cpu: Limits,
    /// How much time may be lost to waiting for memory. Default: the limits below.
    pub memory: Limits,
    /// How much time may be lost to waiting for disks. Default: the limits below.
    pub io: Limits,
}

impl Default for Options {
    fn default() -> Self {
        let limits = |some: Option<u8>, full: Option<u8>| Limits {
            some_degraded_above: some.map(percent),
            full_degraded_above: full.map(percent),
            ..Limits::default()
        };
        Self {
            average: Average::default(),
            cpu: limits(Some(80), None),
            memory: limits(Some(20), Some(10)),
            io: limits(None, Some(40)),
        }
    }
}

/// How much time may be lost, as a share of all time. What is not set is not judged.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Degraded when some task waited for more than this part of the time. Default: 80% for `cpu`, 20% for `memory`, not
    /// set for `io`.
    pub some_degraded_above: Option<Ratio>,
    /// Unhealthy when some task waited for more than this part of the time. Default: not set.
    pub some_unhealthy_above: Option<Ratio>,
    /// Degraded when all tasks waited for more than this part of the time. Default: 10% for `memory`, 40% for `io`, not set
    /// for `cpu`.
    pub full_degraded_above: Option<Ratio>,
    /// Unhealthy when all tasks waited for more than this part of the time. Default: not set.
    pub full_unhealthy_above: Option<Ratio>,
}

impl Limits {
    fn read(section: &mut Section<'_>, defaults: Self) -> Self {
        let mut limit = |key, default: Option<Ratio>| section.optional(key).or(default);
        Self {
            some_degraded_above: limit("some_degraded_above", defaults.some_degraded_above),
            some_unhealthy_above: limit("some_unhealthy_above", defaults.some_unhealthy_above),
            full_degraded_above: limit("full_degraded_above", defaults.full_degraded_above),
            full_unhealthy_above: limit("full_unhealthy_above", defaults.full_unhealthy_above),
        }
    }

    /// The option whose limit is passed before its milder one.
    fn out_of_order(&self) -> bool {
        let wrong = |degraded: Option<Ratio>, unhealthy: Option<Ratio>| {
            degraded.zip(unhealthy).is_some_and(|(degraded, unhealthy)| unhealthy < degraded)
        };
        wrong(self.some_degraded_above, self.some_unhealthy_above)
            || wrong(self.full_degraded_above, self.full_unhealthy_above)
    }
}

/// Over how long a time an average is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Average {
    /// The last 10 seconds.
    #[default]
    Avg10,
    /// The last 60 seconds.
    Avg60,
}

impl Average {
    fn of(self, stall: Stall) -> f64 {
        match self {
            Self::Avg10 => stall.avg10,
            Self::Avg60 => stall.avg60,
        }
    }
}

const WORDS: [(&str, Average); 2] = [("avg10", Average::Avg10), ("avg60", Average::Avg60)];

impl FromNode for Average {
    const EXPECTED: &'static str = "avg10 or avg60";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// How much time is lost to waiting.
///
/// The metadata holds the averages, each from 0 to 1, as `cpu_some`, `memory_some`, `memory_full`, `io_some`, `io_full`, in a
/// container also `cpu_full`, and `source`: `cgroup` or `host`.
#[derive(Debug, Clone)]
pub struct Pressure {
    options: Options,
    root: SystemRoot,
}

impl Pressure {
    /// Refuses limits of which the worse would be passed before the better. Reads nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let all = [("cpu", options.cpu), ("memory", options.memory), ("io", options.io)];
        match all.iter().find(|(_, limits)| limits.out_of_order()) {
            Some((name, _)) => Err(InvalidOption::new(name, "unhealthy must not be below degraded")),
            None => Ok(Self { options, root: SystemRoot::default() }),
        }
    }

    fn limits(&self, resource: Resource) -> Limits {
        match resource {
            Resource::Cpu => self.options.cpu,
            Resource::Memory => self.options.memory,
            Resource::Io => self.options.io,
        }
    }

    fn judge(&self, readings: &[(Resource, system::Pressure)]) -> Outcome {
        let mut worst = Outcome::pass();
        let mut told = Vec::new();
        for (resource, pressure) in readings {
            let limits = self.limits(*resource);
            // Of the whole machine all tasks can't wait for a processor: the kernel says 0 there.
            let full = pressure.full.filter(|_| *resource != Resource::Cpu || pressure.source == Source::Cgroup);
            let of_some = ("some", Some(pressure.some), limits.some_degraded_above, limits.some_unhealthy_above);
            let of_full = ("full", full, limits.full_degraded_above, limits.full_unhealthy_above);
            for (who, stall, degraded, unhealthy) in [of_some, of_full] {
                let Some(lost) = stall.map(|stall| self.options.average.of(stall)) else { continue };
                told.push((format!("{}_{who}", resource.as_str()), lost));
                let tasks = if who == "some" { "some tasks" } else { "all tasks" };
                let message = || format!("{tasks} wait for {} in {:.1}% of the time", waited_for(*resource), lost * 100.0);
                let above = |limit: Option<Ratio>| limit.is_some_and(|limit| lost > limit.as_f64());
                let outcome = if above(unhealthy) {
                    Outcome::fail(Reason::Threshold, message())
                } else if above(degraded) {
                    Outcome::warn(Reason::Threshold, message())
                } else {
                    continue;
                };
                if outcome.verdict() > worst.verdict() {
                    worst = outcome;
                }
            }
        }
        let source = readings.first().map_or(Source::Host, |(_, pressure)| pressure.source);
        let outcome = told.into_iter().fold(worst, |outcome, (name, lost)| outcome.with(name, (lost * 1e4).round() / 1e4));
        outcome.with("source", source.as_str())
    }
}

impl Check for Pressure {
    async fn run(&self, _context: &Context) -> Outcome {
        let readings = Resource::ALL.map(|resource| (resource, system::Pressure::read(&self.root, resource)));
        let mut read = Vec::with_capacity(readings.len());
        for (resource, reading) in readings {
            match reading {
                Ok(pressure) => read.push((resource, pressure)),
                Err(error) => {
                    return Outcome::fail(Reason::Internal, "pressure can't be read").with_detail(error.to_string());
                }
            }
        }
        self.judge(&read)
    }
}

/// `pressure: { average: avg60, memory: { full_unhealthy_above: 50% } }`
pub const KIND: Kind = Kind {
    name: "pressure",
    summary: "Time lost to waiting for processors, memory and disks",
    scope: Scope::Machine, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let defaults = Options::default();
    let average = section.or("average", defaults.average);
    let mut limits = |key, defaults| {
        let read = section.section(key, |section| Some(Limits::read(section, defaults)));
        read.unwrap_or(defaults)
    };
    let (cpu, memory, io) = (limits("cpu", defaults.cpu), limits("memory", defaults.memory), limits("io", defaults.io));
    built(section, Pressure::new(Options { average, cpu, memory, io }))
}

fn waited_for(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "a processor",
        Resource::Memory => "memory",
        Resource::Io => "disks",
    }
}

fn percent(percent: u8) -> Ratio {
    Ratio::new(f64::from(percent) / 100.0).expect("the defaults are from 0 to 100")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{configured, reason, run};
    use std::fs;
    use wellkept_health::Verdict;

    /// A machine that loses so many percent of its time, some and full, over 10 seconds; over 60 nothing.
    async fn outcome(options: Options, lost: [(&str, f64, f64); 3]) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pressure")).unwrap();
        for (resource, some, full) in lost {
            let line = |word, lost| format!("{word} avg10={lost:.2} avg60=0.00 avg300=0.00 total=1\n");
            let text = line("some", some) + &line("full", full);
            fs::write(folder.path().join("pressure").join(resource), text).unwrap();
        }
        let root = SystemRoot::new(folder.path(), folder.path());
        run(&Pressure { root, ..Pressure::new(options).unwrap() }).await
    }

    #[tokio::test]
    async fn each_resource_has_limits_of_its_own() {
        let at = Options::default();
        let fine = [("cpu", 80.0, 0.0), ("memory", 20.0, 10.0), ("io", 90.0, 40.0)];
        assert_eq!(outcome(at, fine).await.verdict(), Verdict::Pass);
        for (index, lost, message) in [
            (0, ("cpu", 80.1, 0.0), "some tasks wait for a processor in 80.1% of the time"),
            (1, ("memory", 20.1, 0.0), "some tasks wait for memory in 20.1% of the time"),
            (1, ("memory", 15.0, 10.1), "all tasks wait for memory in 10.1% of the time"),
            (2, ("io", 90.0, 40.1), "all tasks wait for disks in 40.1% of the time"),
        ] {
            let mut readings = fine;
            readings[index] = lost;
            let outcome = outcome(at, readings).await;
            assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, message));
        }
    }

    #[tokio::test]
    async fn the_worst_of_them_is_told_and_averages_are_chosen() {
        let memory = Limits { full_unhealthy_above: Some(percent(50)), ..Options::default().memory };
        let lost = [("cpu", 99.0, 0.0), ("memory", 70.0, 60.0), ("io", 0.0, 0.0)];
        let failed = outcome(Options { memory, ..Options::default() }, lost).await;
        assert_eq!((failed.verdict(), failed.message()), (Verdict::Fail, "all tasks wait for memory in 60.0% of the time"));
        let metadata = serde_json::to_string(failed.metadata()).unwrap();
        insta::assert_snapshot!(metadata, @r#"{"cpu_some":0.99,"memory_some":0.7,"memory_full":0.6,"io_some":0.0,"io_full":0.0,"source":"host"}"#);
        let calm = outcome(Options { memory, average: Average::Avg60, ..Options::default() }, lost).await;
        assert_eq!(calm.verdict(), Verdict::Pass);
    }

    #[tokio::test]
    async fn this_machine_has_pressure_or_says_that_it_keeps_none() {
        let outcome = run(&Pressure::new(Options::default()).unwrap()).await;
        if fs::exists("/proc/pressure/memory").unwrap() {
            assert!(outcome.metadata()["memory_some"].is_number(), "{outcome:?}");
        }
        let root = SystemRoot::new("/no/such/folder", "/no/such/folder");
        let none = run(&Pressure { root, ..Pressure::new(Options::default()).unwrap() }).await;
        assert_eq!((reason(&none), none.message()), ("internal", "pressure can't be read"));
    }

    #[test]
    fn limits_in_the_wrong_order_are_reported() {
        configured("pressure:").unwrap();
        configured("pressure: { average: avg60, cpu: { some_degraded_above: 90%, some_unhealthy_above: 99% } }").unwrap();
        let reported = configured("pressure: { memory: { full_unhealthy_above: 5% } }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:21: unhealthy must not be below degraded");
        let reported = configured("pressure: { average: avg30 }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:22: expected avg10 or avg60, found `avg30` (did you mean `avg10`?)");
    }
}
