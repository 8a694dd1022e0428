//! How busy the processors are: the container's share of them where it has a quota, the machine's otherwise.
//!
//! A reading is the time between two samples. A run compares with the sample that the run before it took, so it tells
//! of the whole interval; the first run, and one that follows within 200 ms, waits until 200 ms lie between them. A
//! load at its limit is no fault by itself, so by default it degrades and never fails.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | more than `degraded_above` is used | degraded | `threshold` |
//! | more than `unhealthy_above` is used, where it is set | unhealthy | `threshold` |
//! | the container's quota held it back in more than `throttled_above` of the scheduling periods | degraded | `exhausted` |
//! | the counters can't be read | unhealthy | `internal` |
//!
//! # Rights
//!
//! None.
//!
//! # Cost
//!
//! Nothing over a network: a few small files of the kernel per run.

use std::time::Duration;

use wellkept_config::{Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{CpuSample, CpuUsage, ReadingError, SystemRoot};

use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// The kernel counts in steps of 10 ms or so: less than this between two samples is mostly noise.
const SHORTEST: Duration = Duration::from_millis(200);

/// The settings of a [`Cpu`] check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Degraded when more than this part is used. Default 90%.
    pub degraded_above: Ratio,
    /// Unhealthy when more than this part is used. Default: not set, so that load never fails the check.
    pub unhealthy_above: Option<Ratio>,
    /// Degraded when the container's quota held it back in more than this part of the scheduling periods since the run
    /// before, whatever it used on the whole: work then waits for up to 100 ms at a time. Default 50%.
    pub throttled_above: Ratio,
}

impl Default for Options {
    fn default() -> Self {
        let percent = |percent: f64| Ratio::new(percent / 100.0).expect("the defaults are from 0 to 100");
        Self { degraded_above: percent(90.0), unhealthy_above: None, throttled_above: percent(50.0) }
    }
}

/// How busy the processors are.
///
/// The metadata holds `cpu_usage`, `cores`, `source` (`cgroup` or `host`), and with a quota `throttled`: the share of
/// scheduling periods in which it held the container back.
#[derive(Debug)]
pub struct Cpu {
    options: Options,
    root: SystemRoot,
    previous: Kept<CpuSample>,
}

impl Cpu {
    /// Refuses limits of which the worse would be passed before the better. Reads nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        if options.unhealthy_above.is_some_and(|unhealthy| unhealthy < options.degraded_above) {
            return Err(InvalidOption::new("unhealthy_above", "must not be below degraded_above"));
        }
        Ok(Self { options, root: SystemRoot::default(), previous: Kept::nothing() })
    }

    async fn usage(&self, context: &Context) -> Result<Option<CpuUsage>, ReadingError> {
        let earlier = match self.previous.take() {
            Some(sample) => sample,
            None => CpuSample::read(&self.root)?,
        };
        // With a timeout shorter than that, a rough reading is better than none.
        let left = give_up_at(context).saturating_duration_since(tokio::time::Instant::now());
        tokio::time::sleep(SHORTEST.saturating_sub(earlier.taken().elapsed()).min(left)).await;
        let later = CpuSample::read(&self.root)?;
        let usage = later.since(&earlier);
        self.previous.put(later);
        Ok(usage)
    }

    fn judge(&self, usage: CpuUsage) -> Outcome {
        let message = || format!("{:.1}% of processor time used", usage.usage * 100.0);
        let above = |limit: Ratio| usage.usage > limit.as_f64();
        let outcome = if self.options.unhealthy_above.is_some_and(above) {
            Outcome::fail(Reason::Threshold, message())
        } else if above(self.options.degraded_above) {
            Outcome::warn(Reason::Threshold, message())
        } else if let Some(throttled) = usage.throttled.filter(|part| *part > self.options.throttled_above.as_f64()) {
            let message = format!("held back by its quota in {:.1}% of the periods", throttled * 100.0);
            Outcome::warn(Reason::Exhausted, message)
        } else {
            Outcome::pass()
        };
        let outcome = outcome
            .with("cpu_usage", (usage.usage * 1e4).round() / 1e4)
            .with("cores", usage.cores)
            .with("source", usage.source.as_str());
        match usage.throttled {
            Some(throttled) => outcome.with("throttled", (throttled * 1e4).round() / 1e4),
            None => outcome,
        }
    }
}

impl Check for Cpu {
    async fn run(&self, context: &Context) -> Outcome {
        match self.usage(context).await {
            Ok(Some(usage)) => self.judge(usage),
            Ok(None) => Outcome::fail(Reason::Internal, "the system counts no processor time"),
            Err(error) => {
                Outcome::fail(Reason::Internal, "processor time can't be read").with_detail(error.to_string())
            }
        }
    }
}

/// `cpu: { degraded_above: 90% }`
pub const KIND: Kind = Kind {
    name: "cpu",
    summary: "Processor time used, of the container or the machine",
    scope: Scope::Machine, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let defaults = Options::default();
    let degraded_above = section.or("degraded_above", defaults.degraded_above);
    let unhealthy_above = section.optional("unhealthy_above");
    let throttled_above = section.or("throttled_above", defaults.throttled_above);
    built(section, Cpu::new(Options { degraded_above, unhealthy_above, throttled_above }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{configured, reason, run};
    use std::time::Instant;
    use wellkept_health::Verdict;
    use wellkept_telemetry::system::Source;

    fn percent(percent: f64) -> Ratio {
        Ratio::new(percent / 100.0).unwrap()
    }

    fn judge(usage: f64, options: Options) -> Outcome {
        let usage = CpuUsage { usage, cores: 0.5, throttled: Some(0.25), source: Source::Cgroup };
        Cpu::new(options).unwrap().judge(usage)
    }

    #[test]
    fn load_degrades_and_fails_only_where_that_is_asked_for() {
        assert_eq!(judge(0.9, Options::default()).verdict(), Verdict::Pass);
        let outcome = judge(1.0, Options::default());
        assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "100.0% of processor time used"));
        let strict = Options { unhealthy_above: Some(percent(95.0)), ..Options::default() };
        assert_eq!(judge(0.96, strict).verdict(), Verdict::Fail);
        let metadata = serde_json::to_string(outcome.metadata()).unwrap();
        insta::assert_snapshot!(metadata, @r#"{"cpu_usage":1.0,"cores":0.5,"source":"cgroup","throttled":0.25}"#);
    }

    #[test]
    fn throttling_degrades_also_while_little_is_used() {
        let throttled = |throttled, options| {
            let usage = CpuUsage { usage: 0.3, cores: 0.5, throttled, source: Source::Cgroup };
            Cpu::new(options).unwrap().judge(usage)
        };
        assert_eq!(throttled(Some(0.5), Options::default()).verdict(), Verdict::Pass);
        let outcome = throttled(Some(0.6), Options::default());
        assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Warn, "exhausted"));
        assert_eq!(outcome.message(), "held back by its quota in 60.0% of the periods");
        let lenient = Options { throttled_above: percent(100.0), ..Options::default() };
        assert_eq!(throttled(Some(0.6), lenient).verdict(), Verdict::Pass);
        assert_eq!(throttled(None, Options::default()).verdict(), Verdict::Pass);
    }

    #[tokio::test]
    async fn the_first_run_takes_200_ms_and_a_later_one_no_time() {
        let check = Cpu::new(Options::default()).unwrap();
        let begun = Instant::now();
        let outcome = run(&check).await;
        let usage = outcome.metadata()["cpu_usage"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&usage), "{outcome:?}");
        assert!(begun.elapsed() >= SHORTEST);
        // The sample that is kept grows old, as between two runs.
        let kept = check.previous.take().unwrap();
        while kept.taken().elapsed() < SHORTEST {
            tokio::task::yield_now().await;
        }
        check.previous.put(kept);
        let begun = Instant::now();
        run(&check).await;
        assert!(begun.elapsed() < SHORTEST, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_short_timeout_shortens_the_first_sample() {
        let check = Cpu::new(Options::default()).unwrap();
        let timeout = Duration::from_millis(100);
        tokio::time::timeout(timeout, check.run(&Context::within(timeout))).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_a_failure_of_the_check_itself() {
        let root = SystemRoot::new("/no/such/folder", "/no/such/folder");
        let outcome = run(&Cpu { root, ..Cpu::new(Options::default()).unwrap() }).await;
        assert_eq!((reason(&outcome), outcome.message()), ("internal", "processor time can't be read"));
    }

    #[test]
    fn limits_in_the_wrong_order_are_reported() {
        configured("cpu: { degraded_above: 80%, unhealthy_above: 95% }").unwrap();
        let reported = configured("cpu: { unhealthy_above: 50% }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:25: must not be below degraded_above");
    }
}
