//! How long each part of a shutdown may take, and whether that fits what the outside allows.

use std::fmt;
use std::time::Duration;

/// Time between the deadline and the moment at which the outside kills, without which the two race: a tenth of what is
/// allowed, and no more and no less than these. The watchdog ends a process that is stuck within the least of them.
const MOST_SAFETY: Duration = Duration::from_secs(2);
const LEAST_SAFETY: Duration = Duration::from_millis(500);

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
    /// What happens to what is still in flight at the end of the drain. Default [`WhenLate::Cut`].
    pub when_late: WhenLate,
    /// How often the log says what a phase waits for, once it has lasted for as long. Default every second; none says nothing.
    pub log_progress: Option<Duration>,
    /// After what time the outside kills the process, if known; only to [warn](Self::warnings) where the deadline does not
    /// fit. Kubernetes: `terminationGracePeriodSeconds` less what a preStop hook takes; systemd: `TimeoutStopSec`; Docker:
    /// `--stop-timeout`. Default unknown.
    pub grace: Option<Duration>,
}

/// What happens to what is still in flight at the end of the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenLate {
    /// It is cut, and named in the report.
    #[default]
    Cut,
    /// It may go on for as long as the deadline leaves the resources and the flush what is reserved for them. Then it is
    /// cut all the same: who waits outside has no more patience.
    Wait,
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
            when_late: WhenLate::Cut,
            log_progress: Some(Duration::from_secs(1)),
            grace: None,
        }
    }
}

impl Settings {
    /// For a pod with the default `terminationGracePeriodSeconds` of 30: a delay of 5 s, because endpoints are removed
    /// while the signal is under way (kubernetes/kubernetes#64510), and a deadline of 28 s, so that the kubelet's kill
    /// finds nobody.
    pub fn kubernetes() -> Self {
        let [grace, deadline, delay] = [30, 28, 5].map(Duration::from_secs);
        Self { grace: Some(grace), deadline, delay, ..Self::default() }
    }

    /// For a container that `docker stop` ends with its default of 10 s: no delay, because nothing in front of it has to
    /// notice, and all within 9 s.
    pub fn docker() -> Self {
        let [grace, deadline, announce, drain, resource, flush] =
            [10_000, 9_000, 500, 5_000, 1_500, 1_000].map(Duration::from_millis);
        Self { grace: Some(grace), deadline, announce, drain, resource, flush, ..Self::default() }
    }

    /// For a unit of systemd with its default `TimeoutStopSec` of 90 s: what is in flight has a minute.
    pub fn systemd() -> Self {
        let [grace, deadline, drain] = [90, 85, 60].map(Duration::from_secs);
        Self { grace: Some(grace), deadline, drain, ..Self::default() }
    }

    /// What is doubtful about these durations. None of this stops a shutdown: what does not fit is cut from the earlier
    /// phases.
    pub fn warnings(&self) -> Vec<SettingsWarning> {
        let mut warnings = Vec::new();
        let sum = [self.delay, self.announce, self.drain, self.resource, self.flush]
            .iter()
            .fold(Duration::ZERO, |sum, part| sum.saturating_add(*part));
        if sum > self.deadline {
            let others = sum.saturating_sub(self.drain);
            let drain = self.deadline.saturating_sub(others);
            warnings.push(SettingsWarning::SumExceedsDeadline { sum, deadline: self.deadline, drain });
        }
        if self.flush > self.deadline / 4 {
            warnings.push(SettingsWarning::FlushCut { flush: self.flush, deadline: self.deadline });
        }
        if let Some(grace) = self.grace
            && self.deadline > latest(grace)
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
        /// How long a drain would fit; zero where the others alone do not.
        drain: Duration,
    },
    /// The flush asks for more than a quarter of the whole, and gets a quarter.
    FlushCut {
        /// What is asked for.
        flush: Duration,
        /// The whole.
        deadline: Duration,
    },
    /// The outside kills before the deadline, or too soon after it: a tenth of what it allows has to be left, at least
    /// 500 ms and at most 2 s.
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
            Self::SumExceedsDeadline { sum, deadline, drain } => {
                write!(
                    formatter,
                    "delay, announce, drain, resource and flush add up to {sum:?}, more than the deadline of {deadline:?}: \
                     the drain will be cut short; set `deadline` to {sum:?} or more"
                )?;
                if drain.is_zero() { Ok(()) } else { write!(formatter, ", or `drain` to {drain:?} or less") }
            }
            Self::FlushCut { flush, deadline } => write!(
                formatter,
                "flush is {flush:?}, but gets at most {least:?}, a quarter of the deadline of {deadline:?}: set `flush` to \
                 {least:?} or less, or `deadline` to {most:?} or more",
                least = *deadline / 4,
                most = flush.saturating_mul(4),
            ),
            Self::DeadlineExceedsGrace { deadline, grace } => write!(
                formatter,
                "the deadline of {deadline:?} does not fit a grace period of {grace:?}: set `deadline` to {:?} or less, or \
                 have the platform wait for {:?} or more (`terminationGracePeriodSeconds`, `TimeoutStopSec`, \
                 `stop_grace_period`), so that the process has left before it is killed from outside",
                latest(*grace),
                least_grace(*deadline),
            ),
        }
    }
}

/// The latest deadline within a grace period.
fn latest(grace: Duration) -> Duration {
    grace.saturating_sub((grace / 10).clamp(LEAST_SAFETY, MOST_SAFETY))
}

/// The shortest grace period that a deadline fits, in whole seconds as platforms count them.
fn least_grace(deadline: Duration) -> Duration {
    let safety = (deadline / 9).clamp(LEAST_SAFETY, MOST_SAFETY);
    let least = deadline.saturating_add(safety);
    Duration::from_secs(if least.subsec_nanos() == 0 { least.as_secs() } else { least.as_secs().saturating_add(1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(settings: Settings) -> String {
        let warnings = settings.warnings();
        warnings.iter().map(|warning| format!("{}: {warning}", warning.code())).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_defaults_and_the_profiles_fit_what_they_are_made_for() {
        for settings in [Settings::default(), Settings::kubernetes(), Settings::docker(), Settings::systemd()] {
            assert_eq!(lines(settings), "");
        }
        let least = |settings: Settings| settings.grace.unwrap().abs_diff(settings.deadline);
        let slack = [Settings::kubernetes(), Settings::docker(), Settings::systemd()].map(least);
        assert_eq!(slack, [2, 1, 5].map(Duration::from_secs));
    }

    #[test]
    fn a_deadline_without_room_before_the_kill_is_warned_of() {
        insta::assert_snapshot!(lines(Settings { grace: Some(Duration::from_secs(30)), ..Settings::default() }), @"shutdown.deadline_exceeds_grace: the deadline of 30s does not fit a grace period of 30s: set `deadline` to 28s or less, or have the platform wait for 32s or more (`terminationGracePeriodSeconds`, `TimeoutStopSec`, `stop_grace_period`), so that the process has left before it is killed from outside");
    }

    #[test]
    fn parts_longer_than_the_whole_are_warned_of() {
        let settings = Settings { deadline: Duration::from_secs(6), ..Settings::default() };
        insta::assert_snapshot!(lines(settings), @"
        shutdown.sum_exceeds_deadline: delay, announce, drain, resource and flush add up to 17.3s, more than the deadline of 6s: the drain will be cut short; set `deadline` to 17.3s or more
        shutdown.flush_cut: flush is 2s, but gets at most 1.5s, a quarter of the deadline of 6s: set `flush` to 1.5s or less, or `deadline` to 8s or more
        ");
    }

    #[test]
    fn where_a_shorter_drain_would_fit_it_is_named() {
        let settings = Settings { drain: Duration::from_secs(30), ..Settings::kubernetes() };
        insta::assert_snapshot!(lines(settings), @"shutdown.sum_exceeds_deadline: delay, announce, drain, resource and flush add up to 42.3s, more than the deadline of 28s: the drain will be cut short; set `deadline` to 42.3s or more, or `drain` to 15.7s or less");
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![(0_u64..120).prop_map(Duration::from_secs), (0_u64..60_000).prop_map(Duration::from_millis),]
    }

    prop_compose! {
        fn any_settings()(parts in proptest::array::uniform6(any_duration()), grace in any_duration()) -> Settings {
            let [deadline, delay, announce, drain, resource, flush] = parts;
            Settings { deadline, delay, announce, drain, resource, flush, grace: Some(grace), ..Settings::default() }
        }
    }

    proptest! {
        #[test]
        fn who_follows_a_warning_is_not_warned_of_it_again(settings in any_settings()) {
            let is_told = |settings: Settings, code| settings.warnings().iter().any(|warning| warning.code() == code);
            let little = Duration::from_nanos(1);
            for warning in settings.warnings() {
                // What puts it right, and what is a little less and does not.
                let (mut right, mut wrong) = (Vec::new(), Vec::new());
                match warning {
                    SettingsWarning::SumExceedsDeadline { sum, drain, .. } => {
                        right.push(Settings { deadline: sum, ..settings });
                        wrong.push(Settings { deadline: sum.saturating_sub(little), ..settings });
                        if !drain.is_zero() {
                            right.push(Settings { drain, ..settings });
                            wrong.push(Settings { drain: drain + little, ..settings });
                        }
                    }
                    SettingsWarning::FlushCut { flush, deadline } => {
                        right.push(Settings { flush: deadline / 4, ..settings });
                        right.push(Settings { deadline: flush * 4, ..settings });
                        wrong.push(Settings { flush: deadline / 4 + little, ..settings });
                        wrong.push(Settings { deadline: (flush * 4).saturating_sub(little), ..settings });
                    }
                    SettingsWarning::DeadlineExceedsGrace { deadline, grace } => {
                        let allowed = least_grace(deadline);
                        right.push(Settings { deadline: latest(grace), ..settings });
                        right.push(Settings { grace: Some(allowed), ..settings });
                        wrong.push(Settings { deadline: latest(grace) + little, ..settings });
                        wrong.push(Settings { grace: Some(allowed.saturating_sub(Duration::from_secs(1))), ..settings });
                    }
                }
                let code = warning.code();
                let told: Vec<_> = right.into_iter().filter(|settings| is_told(*settings, code)).collect();
                prop_assert!(told.is_empty(), "still: {told:?}");
                let untold: Vec<_> = wrong.into_iter().filter(|settings| !is_told(*settings, code)).collect();
                prop_assert!(untold.is_empty(), "no more: {untold:?}");
            }
        }
    }
}
