//! How long each part of a shutdown may take, and whether that fits what the outside allows.

use std::fmt;
use std::time::Duration;

/// Time between the deadline and the moment at which the outside kills, without which the two race.
const SAFETY: Duration = Duration::from_secs(2);

/// The durations of a shutdown. All of them count from the trigger within the one `deadline`: what a phase does not
/// use goes to those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The whole shutdown. Default 30 s.
    pub deadline: Duration,
    /// How long work simply goes on, with readiness failed, so that load balancers notice. Default 0 s.
    pub delay: Duration,
    /// How long clients are told to go elsewhere before the listeners close. Ends early when no connection is open.
    /// Default 300 ms.
    pub announce: Duration,
    /// How long what is in flight is waited for. Default 10 s.
    pub drain: Duration,
    /// How long one resource may take to close, unless it has a timeout of its own. Default 5 s.
    pub resource: Duration,
    /// What is reserved at the end for logs, metrics and traces to leave; at most a quarter of the deadline.
    /// Default 2 s.
    pub flush: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            delay: Duration::ZERO,
            announce: Duration::from_millis(300),
            drain: Duration::from_secs(10),
            resource: Duration::from_secs(5),
            flush: Duration::from_secs(2),
        }
    }
}

impl Settings {
    /// For a pod with the default `terminationGracePeriodSeconds` of 30: a delay of 5 s, because endpoints are removed
    /// while the signal is under way (kubernetes/kubernetes#64510), and a deadline of 28 s, so that the kubelet's kill
    /// finds nobody.
    pub fn kubernetes() -> Self {
        Self { deadline: Duration::from_secs(28), delay: Duration::from_secs(5), ..Self::default() }
    }

    /// What is doubtful about these durations. `grace` is the time after which the outside kills the process
    /// (`terminationGracePeriodSeconds` less a preStop hook, `TimeoutStopSec`, `docker stop --time`), if known.
    ///
    /// None of this stops a shutdown: what does not fit is cut from the earlier phases.
    pub fn warnings(&self, grace: Option<Duration>) -> Vec<SettingsWarning> {
        let mut warnings = Vec::new();
        let sum = [self.delay, self.announce, self.drain, self.resource, self.flush]
            .iter()
            .fold(Duration::ZERO, |sum, part| sum.saturating_add(*part));
        if sum > self.deadline {
            warnings.push(SettingsWarning::SumExceedsDeadline { sum, deadline: self.deadline });
        }
        if self.flush > self.deadline / 4 {
            warnings.push(SettingsWarning::FlushCut { flush: self.flush, deadline: self.deadline });
        }
        if let Some(grace) = grace
            && self.deadline.saturating_add(SAFETY) > grace
        {
            warnings.push(SettingsWarning::DeadlineExceedsGrace { deadline: self.deadline, grace });
        }
        warnings
    }
}

/// Something about [`Settings`] that will not go as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsWarning {
    /// The parts together are longer than the whole.
    SumExceedsDeadline {
        /// Delay, announcement, drain, one resource and the flush.
        sum: Duration,
        /// The whole.
        deadline: Duration,
    },
    /// The flush asks for more than a quarter of the whole, and gets a quarter.
    FlushCut {
        /// What is asked for.
        flush: Duration,
        /// The whole.
        deadline: Duration,
    },
    /// The outside kills before the deadline, or less than 2 s after it.
    DeadlineExceedsGrace {
        /// The whole.
        deadline: Duration,
        /// What the outside allows.
        grace: Duration,
    },
}

impl SettingsWarning {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SumExceedsDeadline { .. } => "shutdown.sum_exceeds_deadline",
            Self::FlushCut { .. } => "shutdown.flush_cut",
            Self::DeadlineExceedsGrace { .. } => "shutdown.deadline_exceeds_grace",
        }
    }
}

impl fmt::Display for SettingsWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SumExceedsDeadline { sum, deadline } => write!(
                formatter,
                "delay, announce, drain, resource and flush add up to {sum:?}, more than the deadline of {deadline:?}: \
                 the drain will be cut short"
            ),
            Self::FlushCut { flush, deadline } => write!(
                formatter,
                "flush is {flush:?}, but gets at most {:?}, a quarter of the deadline of {deadline:?}",
                *deadline / 4
            ),
            Self::DeadlineExceedsGrace { deadline, grace } => write!(
                formatter,
                "the deadline of {deadline:?} does not fit a grace period of {grace:?}: set it to {:?} or less, 2 s before \
                 the process is killed from outside",
                grace.saturating_sub(SAFETY)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(settings: Settings, grace: Option<u64>) -> String {
        let warnings = settings.warnings(grace.map(Duration::from_secs));
        warnings.iter().map(|warning| format!("{}: {warning}", warning.code())).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_defaults_and_the_kubernetes_profile_fit() {
        assert_eq!(lines(Settings::default(), None), "");
        assert_eq!(lines(Settings::kubernetes(), Some(30)), "");
    }

    #[test]
    fn a_deadline_without_room_before_the_kill_is_warned_of() {
        insta::assert_snapshot!(lines(Settings::default(), Some(30)), @"shutdown.deadline_exceeds_grace: the deadline of 30s does not fit a grace period of 30s: set it to 28s or less, 2 s before the process is killed from outside");
    }

    #[test]
    fn parts_longer_than_the_whole_are_warned_of() {
        let settings = Settings { deadline: Duration::from_secs(6), ..Settings::default() };
        insta::assert_snapshot!(lines(settings, None), @"
        shutdown.sum_exceeds_deadline: delay, announce, drain, resource and flush add up to 17.3s, more than the deadline of 6s: the drain will be cut short
        shutdown.flush_cut: flush is 2s, but gets at most 1.5s, a quarter of the deadline of 6s
        ");
    }
}
