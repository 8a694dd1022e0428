//! How busy the processors are: the container's share of them where it has a quota, the machine's otherwise.
//!
//! A reading is the time between two samples. A run compares with the sample that the run before it took, so it tells
//! of the whole interval; the first run, and one that follows within 200 ms, waits until 200 ms lie between them. A
//! load at its limit is no fault by itself, so by default it degrades and never fails.

use std::time::Duration;

use wellkept_config::{Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{CpuSample, CpuUsage, ReadingError, SystemRoot};

use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind};

/// The kernel counts in steps of 10 ms or so: less than this between two samples is mostly noise.
const SHORTEST: Duration = Duration::from_millis(200);

/// The settings of a [`Cpu`] check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Degraded when more than this part is used. Default 90%.
    pub degraded_above: Ratio,
    /// Unhealthy when more than this part is used. Not set by default: then load never fails the check.
    pub unhealthy_above: Option<Ratio>,
}

impl Default for Options {
    fn default() -> Self {
        let degraded_above = Ratio::new(0.9).expect("the default is from 0 to 1");
        Self { degraded_above, unhealthy_above: None }
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
    scope: Scope::Machine,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let degraded_above = section.or("degraded_above", Options::default().degraded_above);
    let unhealthy_above = section.optional("unhealthy_above");
    built(section, Cpu::new(Options { degraded_above, unhealthy_above }))
}
