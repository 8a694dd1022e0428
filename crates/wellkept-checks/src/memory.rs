//! How much memory is used: of the container's limit where there is one, of the machine's otherwise. Page cache that
//! can be given back does not count as used.
//!
//! The container's limit is that of its control group, version 1 or 2, or of a group around it, whichever is tightest;
//! used is the working set, as the kubelet counts it, because that is what the kernel kills for.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | more than `degraded_above` is used | degraded | `threshold` |
//! | more than `unhealthy_above` is used | unhealthy | `threshold` |
//! | more than `swap_degraded_above` of the swap space is used, where it is set | degraded | `threshold` |
//! | the figures can't be read | unhealthy | `internal` |
//!
//! # Rights
//!
//! None.
//!
//! # Cost
//!
//! Nothing over a network: a few small files of the kernel per run.

use wellkept_config::{Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{self, SystemRoot};

use crate::kind::built;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Memory`] check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Degraded when more than this part is used. Default 90%.
    pub degraded_above: Ratio,
    /// Unhealthy when more than this part is used. Default 97%.
    pub unhealthy_above: Ratio,
    /// Degraded when more than this part of the swap space is used, of the container's or the machine's. Default: not
    /// set, as what lies in swap may never be needed again; `pressure` tells what waits for it.
    pub swap_degraded_above: Option<Ratio>,
}

impl Default for Options {
    fn default() -> Self {
        Self { degraded_above: percent(90), unhealthy_above: percent(97), swap_degraded_above: None }
    }
}

/// How much memory is used.
///
/// The metadata holds `memory_usage`, `used_bytes`, `limit_bytes`, `source`, which is `cgroup` or `host`, and where there
/// is swap space, `swap_usage` and `swap_used_bytes`.
#[derive(Debug, Clone)]
pub struct Memory {
    options: Options,
    root: SystemRoot,
}

impl Memory {
    /// Refuses limits of which the worse would be passed before the better. Reads nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        if options.unhealthy_above < options.degraded_above {
            return Err(InvalidOption::new("unhealthy_above", "must not be below degraded_above"));
        }
        Ok(Self { options, root: SystemRoot::default() })
    }

    fn judge(&self, memory: &system::Memory) -> Outcome {
        let usage = memory.usage();
        let message = || format!("{:.1}% of memory used", usage * 100.0);
        let swap = memory.swap.map(|swap| (swap.usage(), swap.used));
        let swapped = |limit: Ratio| swap.is_some_and(|(usage, _)| usage > limit.as_f64());
        let outcome = if usage > self.options.unhealthy_above.as_f64() {
            Outcome::fail(Reason::Threshold, message())
        } else if usage > self.options.degraded_above.as_f64() {
            Outcome::warn(Reason::Threshold, message())
        } else if self.options.swap_degraded_above.is_some_and(swapped) {
            let usage = swap.map_or(0.0, |(usage, _)| usage);
            Outcome::warn(Reason::Threshold, format!("{:.1}% of swap space used", usage * 100.0))
        } else {
            Outcome::pass()
        };
        let outcome = outcome
            .with("memory_usage", rounded(usage))
            .with("used_bytes", memory.used)
            .with("limit_bytes", memory.limit)
            .with("source", memory.source.as_str());
        match swap {
            Some((usage, used)) => outcome.with("swap_usage", rounded(usage)).with("swap_used_bytes", used),
            None => outcome,
        }
    }
}

impl Check for Memory {
    async fn run(&self, _context: &Context) -> Outcome {
        let memory = match system::Memory::read(&self.root) {
            Ok(memory) => memory,
            Err(error) => {
                return Outcome::fail(Reason::Internal, "memory can't be read").with_detail(error.to_string());
            }
        };
        self.judge(&memory)
    }
}

/// `memory: { degraded_above: 90%, unhealthy_above: 97% }`
pub const KIND: Kind =
    Kind { name: "memory", summary: "Memory used, of the container or the machine", scope: Scope::Machine, opens: Opens::Nothing, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let defaults = Options::default();
    let degraded_above = section.or("degraded_above", defaults.degraded_above);
    let unhealthy_above = section.or("unhealthy_above", defaults.unhealthy_above);
    let swap_degraded_above = section.optional("swap_degraded_above");
    built(section, Memory::new(Options { degraded_above, unhealthy_above, swap_degraded_above }))
}

fn percent(percent: u8) -> Ratio {
    Ratio::new(f64::from(percent) / 100.0).expect("the defaults are from 0 to 100")
}

/// Four digits are what a reader can use.
fn rounded(ratio: f64) -> f64 {
    (ratio * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{configured, reason, run};
    use std::fs;
    use wellkept_health::Verdict;

    /// A machine with 1,000 kB, of which these are available.
    async fn outcome_with(available: u32) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let meminfo = format!("MemTotal: 1000 kB\nMemAvailable: {available} kB\n");
        fs::write(folder.path().join("meminfo"), meminfo).unwrap();
        let root = SystemRoot::new(folder.path(), folder.path());
        run(&Memory { root, ..Memory::new(Options::default()).unwrap() }).await
    }

    #[tokio::test]
    async fn limits_are_passed_above_and_not_at_them() {
        assert_eq!(outcome_with(100).await.verdict(), Verdict::Pass);
        let outcome = outcome_with(99).await;
        assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "90.1% of memory used"));
        assert_eq!(outcome_with(30).await.verdict(), Verdict::Warn);
        assert_eq!(outcome_with(29).await.verdict(), Verdict::Fail);
        assert_eq!(outcome.metadata()["memory_usage"], 0.901);
        assert_eq!(outcome.metadata()["limit_bytes"], 1_024_000);
        assert_eq!(outcome.metadata()["source"], "host");
    }

    #[test]
    fn swap_is_told_and_degrades_only_where_that_is_asked_for() {
        let swap = Some(system::Swap { used: 600, limit: 1_000 });
        let memory = system::Memory { used: 10, limit: 100, source: system::Source::Cgroup, swap };
        let outcome = Memory::new(Options::default()).unwrap().judge(&memory);
        assert_eq!(outcome.verdict(), Verdict::Pass);
        assert_eq!((&outcome.metadata()["swap_usage"], &outcome.metadata()["swap_used_bytes"]), (&0.6.into(), &600.into()));
        let strict = |percents| Options { swap_degraded_above: Some(percent(percents)), ..Options::default() };
        assert_eq!(Memory::new(strict(60)).unwrap().judge(&memory).verdict(), Verdict::Pass);
        let outcome = Memory::new(strict(59)).unwrap().judge(&memory);
        assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "60.0% of swap space used"));
        let without = system::Memory { swap: None, ..memory };
        assert_eq!(Memory::new(strict(0)).unwrap().judge(&without).verdict(), Verdict::Pass);
    }

    #[tokio::test]
    async fn this_machine_has_a_reading() {
        let outcome = run(&Memory::new(Options::default()).unwrap()).await;
        let usage = outcome.metadata()["memory_usage"].as_f64().unwrap();
        assert!(usage > 0.0 && usage <= 1.0, "{outcome:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_a_failure_of_the_check_itself() {
        let root = SystemRoot::new("/no/such/folder", "/no/such/folder");
        let outcome = run(&Memory { root, ..Memory::new(Options::default()).unwrap() }).await;
        assert_eq!((reason(&outcome), outcome.message()), ("internal", "memory can't be read"));
    }

    #[test]
    fn limits_in_the_wrong_order_are_reported() {
        configured("memory: {}").unwrap();
        configured("memory:").unwrap();
        let reported = configured("memory: { degraded_above: 98% }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:9: must not be below degraded_above");
    }
}
