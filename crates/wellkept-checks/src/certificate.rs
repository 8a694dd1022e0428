//! How long a certificate has to be valid yet, for every kind that speaks TLS.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use wellkept_config::Section;
use wellkept_health::{Outcome, Reason, Verdict};
use wellkept_net::tls;

use crate::InvalidOption;

const DAY: u64 = 86_400;

/// How long the server's certificate has to be valid yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// Degraded when less than this is left. Certificates that live for a week need less. Default 14d.
    pub degraded_below: Duration,
    /// Unhealthy when less than this is left. Default 3d.
    pub unhealthy_below: Duration,
}

impl Default for Certificate {
    fn default() -> Self {
        Self { degraded_below: Duration::from_secs(14 * DAY), unhealthy_below: Duration::from_secs(3 * DAY) }
    }
}

impl Certificate {
    /// `certificate: { degraded_below: 14d, unhealthy_below: 3d }`
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        section.section("certificate", |section| Some(Self::read_limits(section)))
    }

    fn read_limits(section: &mut Section<'_>) -> Self {
        let defaults = Self::default();
        let degraded_below = section.or("degraded_below", defaults.degraded_below);
        // Whoever only says when to warn may mean a shorter time than the other default.
        let unhealthy_below = section.or("unhealthy_below", defaults.unhealthy_below.min(degraded_below));
        Self { degraded_below, unhealthy_below }
    }

    /// Refuses limits of which the worse would be passed before the better.
    pub(crate) fn checked(self) -> Result<Self, InvalidOption> {
        if self.unhealthy_below > self.degraded_below {
            return Err(InvalidOption::new("certificate", "unhealthy_below must not be above degraded_below"));
        }
        Ok(self)
    }

    /// What was found besides, or something worse when the certificate ends too soon.
    pub(crate) fn judge(self, outcome: Outcome, not_after: SystemTime) -> Outcome {
        let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let message = || format!("certificate ends in {}", days(left));
        if left < self.unhealthy_below && outcome.verdict() != Verdict::Fail {
            return Outcome::fail(Reason::Threshold, message());
        }
        if left < self.degraded_below && outcome.verdict() == Verdict::Pass {
            return Outcome::warn(Reason::Threshold, message());
        }
        outcome
    }
}

/// Adds when the certificate ends, as `not_after`, from which the component's trend has it, and the whole days left.
pub(crate) fn told(outcome: Outcome, not_after: SystemTime) -> Outcome {
    let Ok(end) = Timestamp::try_from(not_after) else { return outcome };
    let seconds = end.as_second() - Timestamp::now().as_second();
    outcome.with("not_after", end.to_string()).with("certificate_days", seconds.div_euclid(DAY.cast_signed()))
}

/// The settings of a handshake: the system's roots, or those in a file.
pub(crate) fn trusting(ca_file: Option<PathBuf>) -> Result<tls::Client, InvalidOption> {
    let Some(path) = ca_file else { return Ok(tls::Client::new()) };
    tls::Client::with_ca_file(&path).map_err(|error| InvalidOption::new("ca_file", error.to_string()))
}

fn days(left: Duration) -> String {
    match left.as_secs() / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
