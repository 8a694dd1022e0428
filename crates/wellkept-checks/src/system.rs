//! The three figures of the machine or container on one component: processors, memory, disk. It judges nothing, for
//! which there are the kinds `cpu`, `memory` and `disk`.
//!
//! The check runs on a thread of its own: a network mount whose server is gone can hang for good.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | a figure can't be read | unhealthy | `internal` |
//! | the path is not there, or may not be looked at | unhealthy | `error` |
//! | the file system does not answer | unhealthy | `timeout` |
//!
//! # Rights
//!
//! To reach the path: search permission on the folders above it.
//!
//! # Cost
//!
//! Nothing over a network: a few small files of the kernel and one `statvfs` per run.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use wellkept_config::Section;
use wellkept_health::{AnyCheck, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{CpuSample, Memory, ReadingError, SystemRoot};

use crate::disk::room;
use crate::kept::Kept;
use crate::kind::built;
use crate::{InvalidOption, Kind, Opens};

/// The kernel counts in steps of 10 ms or so: less than this between two samples is mostly noise.
const SHORTEST: Duration = Duration::from_millis(200);

/// The settings of a [`System`] check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Any path on the file system whose use is told. Default `/`.
    pub path: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self { path: PathBuf::from("/") }
    }
}

/// What is used of the machine, or of the container's share of it.
///
/// Passes as long as it can be read. The metadata holds `cpu_usage`, `memory_usage` and `disk_usage`, each from 0 to 1.
/// The first run takes 200 ms, for there must be time between two samples of the processors.
#[derive(Debug)]
pub struct System {
    options: Options,
    root: SystemRoot,
    previous: Kept<CpuSample>,
}

impl System {
    /// Refuses a path without anything in it. Reads nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        if options.path.as_os_str().is_empty() {
            return Err(InvalidOption::new("path", "must name a folder or a file"));
        }
        Ok(Self { options, root: SystemRoot::default(), previous: Kept::nothing() })
    }

    /// Runs once. Blocks for as long as the file system takes.
    pub fn run(&self, context: &Context) -> Outcome {
        let disk = match room(&self.options.path, context) {
            Ok(room) => room.disk.usage(),
            Err(error) => return error.outcome(),
        };
        match self.read(context, disk) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::fail(Reason::Internal, "the system can't be read").with_detail(error.to_string()),
        }
    }

    fn read(&self, context: &Context, disk: f64) -> Result<Outcome, ReadingError> {
        let earlier = match self.previous.take() {
            Some(sample) => sample,
            None => CpuSample::read(&self.root)?,
        };
        let memory = Memory::read(&self.root)?.usage();
        // With a timeout shorter than that, a rough reading is better than none.
        thread::sleep(SHORTEST.saturating_sub(earlier.taken().elapsed()).min(context.remaining() / 2));
        let later = CpuSample::read(&self.root)?;
        let cpu = later.since(&earlier).map(|cpu| cpu.usage);
        self.previous.put(later);
        let readings = [("cpu_usage", cpu), ("memory_usage", Some(memory)), ("disk_usage", Some(disk))];
        let readings = readings.into_iter().filter_map(|(name, usage)| Some((name, usage?)));
        // Four digits are what a reader can use.
        Ok(readings.fold(Outcome::pass(), |outcome, (name, usage)| outcome.with(name, (usage * 1e4).round() / 1e4)))
    }
}

impl From<System> for AnyCheck {
    fn from(system: System) -> Self {
        Self::blocking_with(move |context| system.run(context))
    }
}

/// `system: { path: / }`
pub const KIND: Kind = Kind {
    name: "system",
    summary: "Processors, memory and disk used, on one component and without limits",
    scope: Scope::Machine, opens: Opens::Paths,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let path = section.or("path", Options::default().path);
    built(section, System::new(Options { path }))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::{configured, reason};

    #[test]
    fn the_three_figures_stand_on_one_component() {
        let system = System::new(Options::default()).unwrap();
        let begun = Instant::now();
        let outcome = system.run(&Context::within(Duration::from_secs(2)));
        assert!(begun.elapsed() >= SHORTEST, "two samples need time between them");
        let names: Vec<_> = outcome.metadata().keys().map(String::as_str).collect();
        assert_eq!(names, ["cpu_usage", "memory_usage", "disk_usage"]);
        for (name, value) in outcome.metadata() {
            assert!((0.0..=1.0).contains(&value.as_f64().unwrap()), "{name}: {value}");
        }
        assert!(outcome.metadata()["memory_usage"].as_f64().unwrap() > 0.0);
        assert!(outcome.metadata()["disk_usage"].as_f64().unwrap() > 0.0);
    }

    #[test]
    fn a_short_timeout_shortens_the_first_sample() {
        let begun = Instant::now();
        System::new(Options::default()).unwrap().run(&Context::within(Duration::from_millis(100)));
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    }

    #[test]
    fn what_cannot_be_read_is_told_without_the_path() {
        let nowhere = Options { path: "/no/such/folder".into() };
        let outcome = System::new(nowhere).unwrap().run(&Context::within(Duration::from_secs(2)));
        assert_eq!((reason(&outcome), outcome.message()), ("error", "file system can't be read"));
        assert!(outcome.detail().contains("/no/such/folder"));
    }

    #[test]
    fn its_section_may_be_empty() {
        configured("system: {}").unwrap();
        configured("system: { path: /tmp }").unwrap();
        assert!(System::new(Options { path: PathBuf::new() }).is_err());
    }
}
