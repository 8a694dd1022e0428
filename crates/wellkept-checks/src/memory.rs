//! How much memory is used: of the container's limit where there is one, of the machine's otherwise. Page cache that
//! can be given back does not count as used.

use wellkept_config::{Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system::{self, SystemRoot};

use crate::kind::built;
use crate::{InvalidOption, Kind};

/// The settings of a [`Memory`] check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Degraded when more than this part is used. Default 90%.
    pub degraded_above: Ratio,
    /// Unhealthy when more than this part is used. Default 97%.
    pub unhealthy_above: Ratio,
}

impl Default for Options {
    fn default() -> Self {
        Self { degraded_above: percent(90), unhealthy_above: percent(97) }
    }
}

/// How much memory is used.
///
/// The metadata holds `memory_usage`, `used_bytes`, `limit_bytes`, and `source`: `cgroup` or `host`.
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
}

impl Check for Memory {
    async fn run(&self, _context: &Context) -> Outcome {
        let memory = match system::Memory::read(&self.root) {
            Ok(memory) => memory,
            Err(error) => {
                return Outcome::fail(Reason::Internal, "memory can't be read").with_detail(error.to_string());
            }
        };
        let usage = memory.usage();
        let message = || format!("{:.1}% of memory used", usage * 100.0);
        let outcome = if usage > self.options.unhealthy_above.as_f64() {
            Outcome::fail(Reason::Threshold, message())
        } else if usage > self.options.degraded_above.as_f64() {
            Outcome::warn(Reason::Threshold, message())
        } else {
            Outcome::pass()
        };
        outcome
            .with("memory_usage", (usage * 1e4).round() / 1e4)
            .with("used_bytes", memory.used)
            .with("limit_bytes", memory.limit)
            .with("source", memory.source.as_str())
    }
}

/// `memory: { degraded_above: 90%, unhealthy_above: 97% }`
pub const KIND: Kind =
    Kind { name: "memory", summary: "Memory used, of the container or the machine", scope: Scope::Machine, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let defaults = Options::default();
    let degraded_above = section.or("degraded_above", defaults.degraded_above);
    let unhealthy_above = section.or("unhealthy_above", defaults.unhealthy_above);
    built(section, Memory::new(Options { degraded_above, unhealthy_above }))
}

fn percent(percent: u8) -> Ratio {
    Ratio::new(f64::from(percent) / 100.0).expect("the defaults are from 0 to 100")
}
