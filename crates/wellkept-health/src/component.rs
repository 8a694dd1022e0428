//! A named part of the service: its check, what its failure means, who sees it, and when it runs.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::check::{AnyCheck, Scope};
use crate::circuit::{Circuit, CircuitBreaker};
use crate::hysteresis::Thresholds;
use crate::schedule::Schedule;
use crate::snapshot::Activity;
use crate::status::{Criticality, Status};

/// Which probe sees a component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// The liveness probe. Only checks of this process are taken here.
    Live,
    /// The readiness probe.
    Ready,
    /// The startup probe.
    Startup,
    /// A name of the user's.
    Named(Arc<str>),
}

impl Group {
    /// The name on the wire: `live`, `ready`, `startup` or the user's own.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Live => "live",
            Self::Ready => "ready",
            Self::Startup => "startup",
            Self::Named(name) => name,
        }
    }
}

impl From<&str> for Group {
    fn from(name: &str) -> Self {
        match name {
            "live" => Self::Live,
            "ready" => Self::Ready,
            "startup" => Self::Startup,
            name => Self::Named(name.into()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The definition of a component. Everything but name and check has a default.
///
/// ```
/// use std::time::Duration;
/// use wellkept_health::{AnyCheck, Component};
///
/// let component = Component::new("orders-db", AnyCheck::from_fn(async || Ok::<(), std::io::Error>(())))
///     .interval(Duration::from_secs(5))
///     .timeout(Duration::from_secs(1))
///     .slow(Duration::from_millis(200));
/// # drop(component);
/// ```
#[derive(Debug, Clone)]
pub struct Component {
    pub(crate) name: Arc<str>,
    pub(crate) check: AnyCheck,
    pub(crate) kind: Option<&'static str>,
    pub(crate) scope: Scope,
    pub(crate) criticality: Criticality,
    pub(crate) shared: bool,
    pub(crate) groups: Option<Vec<Group>>,
    pub(crate) schedule: Schedule,
    pub(crate) thresholds: Thresholds,
    pub(crate) slow: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) depends_on: Vec<Arc<str>>,
    pub(crate) activity: Activity,
    pub(crate) fingerprint: Option<u64>,
    pub(crate) circuit: Option<Arc<Circuit>>,
}

impl Component {
    /// A required component, seen by readiness, that runs every 10 s with a timeout of 2 s.
    pub fn new(name: impl Into<Arc<str>>, check: impl Into<AnyCheck>) -> Self {
        Self {
            name: name.into(),
            check: check.into(),
            kind: None,
            scope: Scope::Remote,
            criticality: Criticality::Required,
            shared: false,
            groups: None,
            schedule: Schedule::default(),
            thresholds: Thresholds::default(),
            slow: None,
            max_age: None,
            depends_on: Vec::new(),
            activity: Activity::Enabled,
            fingerprint: None,
            circuit: None,
        }
    }

    /// The kind of its check in a word, for example `postgres`: some formats tell a datastore from other components.
    /// Default none.
    #[must_use]
    pub fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// How far the check looks. Default [`Scope::Remote`]. Liveness refuses all but [`Scope::Process`]. Checks of the
    /// process or the machine stand in no group unless one is named.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Its failure makes the service degraded, not unhealthy.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.criticality = Criticality::Optional;
        self
    }

    /// Required or optional. Default required.
    #[must_use]
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    /// All replicas of the service share this dependency: its failure degrades readiness instead of taking every
    /// replica out at once (kubernetes#115917). Default false.
    #[must_use]
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// The groups that see it, replacing the default.
    #[must_use]
    pub fn groups(mut self, groups: impl IntoIterator<Item = Group>) -> Self {
        self.groups = Some(groups.into_iter().collect());
        self
    }

    /// From one run's start to the next one's. Default 10 s.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.schedule.interval = interval;
        self
    }

    /// The deadline of one run. Default 2 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.schedule.timeout = timeout;
        self
    }

    /// Interval, timeout, initial delay and jitter at once.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// How many results turn the status. Default: worse after 3, better after 2.
    #[must_use]
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// A pass that took longer than this counts as a warning with the reason `slow`. Default: none.
    #[must_use]
    pub fn slow(mut self, slow: Duration) -> Self {
        self.slow = Some(slow);
        self
    }

    /// Past this age a result counts no more and the component is unknown. Default 3 × interval + timeout.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Names the components that this one can't work without. While one of them is down, this one names it as its
    /// cause.
    #[must_use]
    pub fn depends_on(mut self, names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Self {
        self.depends_on = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether its check runs from the beginning. One that is disabled is registered and shown, and runs and counts once
    /// it is enabled ([`Checker::enable`](crate::Checker::enable)). Default enabled.
    #[must_use]
    pub fn activity(mut self, activity: Activity) -> Self {
        self.activity = activity;
        self
    }

    /// Puts the check behind a circuit breaker: after some failures in a row it is asked again only after a back-off.
    /// Clones of the component stand behind the same one. Default: none.
    #[must_use]
    pub fn circuit(mut self, breaker: CircuitBreaker) -> Self {
        self.circuit = Some(Circuit::new(Arc::clone(&self.name), breaker));
        self
    }

    /// What tells two definitions of one name apart: a reload keeps the state of a component whose fingerprint is
    /// the same. Without one, a component given anew is always a new one.
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: u64) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its check.
    pub fn check(&self) -> &AnyCheck {
        &self.check
    }

    /// The names of the components that it depends on.
    pub fn dependencies(&self) -> &[Arc<str>] {
        &self.depends_on
    }

    /// The deadline of one run.
    pub fn run_timeout(&self) -> Duration {
        self.schedule.timeout
    }

    /// When its check runs.
    pub fn current_schedule(&self) -> Schedule {
        self.schedule
    }

    /// What turns its status.
    pub fn current_thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Past this age a result counts no more.
    pub fn current_max_age(&self) -> Duration {
        self.effective_max_age()
    }

    /// Whether its check runs from the beginning.
    pub fn first_activity(&self) -> Activity {
        self.activity
    }

    /// The threshold above which a pass is slow.
    pub fn slow_above(&self) -> Option<Duration> {
        self.slow
    }

    /// The circuit breaker in front of the check.
    pub fn circuit_breaker(&self) -> Option<CircuitBreaker> {
        self.circuit.as_ref().map(|circuit| circuit.breaker())
    }

    /// Required or optional.
    pub fn weight(&self) -> Criticality {
        self.criticality
    }

    /// What it counts for a group in this status, by the rules of [`Snapshot::counts_as`](crate::Snapshot::counts_as);
    /// `None` when the group does not see it. For who runs its check without a [`Checker`](crate::Checker).
    pub fn counts_for(&self, group: &Group, status: Status) -> Option<Status> {
        let criticality = if self.shared { Criticality::Optional } else { self.criticality };
        self.effective_groups().contains(group).then(|| criticality.weigh(status)).flatten()
    }

    pub(crate) fn effective_groups(&self) -> Arc<[Group]> {
        match (&self.groups, self.scope) {
            (Some(groups), _) => groups.clone().into(),
            (None, Scope::Remote) => Arc::clone(&READY),
            (None, Scope::Process | Scope::Machine) => Arc::default(),
        }
    }

    /// Whether the start waits for its first result: whether it could make readiness or the startup probe fail. What is
    /// optional, shared by all replicas or seen by neither of the two holds nobody up (`MicroProfile` Health,
    /// "Readiness").
    pub(crate) fn holds_start(&self) -> bool {
        let is_required = self.criticality == Criticality::Required && !self.shared;
        is_required && self.effective_groups().iter().any(|group| matches!(group, Group::Ready | Group::Startup))
    }

    pub(crate) fn effective_max_age(&self) -> Duration {
        self.max_age.unwrap_or(self.schedule.interval.saturating_mul(3).saturating_add(self.schedule.timeout))
    }

    /// What is allowed and seldom meant, in words; empty when there is nothing.
    pub fn warnings(&self) -> Vec<String> {
        let (age, interval) = (self.effective_max_age(), self.schedule.interval);
        let short = format!(
            "component `{}`: max_age is {age:?} and the interval {interval:?}: it is unknown between two runs",
            self.name
        );
        let mut warnings = if age <= interval { vec![short] } else { Vec::new() };
        let delay = self.schedule.initial_delay;
        if delay > LONG_DELAY && self.holds_start() {
            let name = &self.name;
            warnings.push(format!(
                "component `{name}`: the service is not ready before its first run, which initial_delay puts off by \
                 {delay:?}; an optional component holds nothing up"
            ));
        }
        for (own, meant) in [("readiness", "ready"), ("liveness", "live")] {
            if self.effective_groups().iter().any(|group| matches!(group, Group::Named(name) if &**name == own)) {
                let name = &self.name;
                warnings.push(format!("component `{name}`: `{own}` is a group of your own; that probe sees `{meant}`"));
            }
        }
        warnings
    }

    /// Refuses what can't be kept well. Called at registration; public so that a configuration can be checked
    /// without registering it.
    pub fn validate(&self) -> Result<(), RegisterError> {
        let name = || self.name.chars().take(80).collect::<String>();
        let refuse = |problem| Err(RegisterError::Setting { name: name(), problem });
        if !is_name(&self.name) {
            return Err(RegisterError::Name { name: name().escape_debug().to_string() });
        }
        if !self.effective_groups().iter().all(|group| is_name(group.as_str())) {
            return refuse("a group's name must have 1 to 128 bytes and no control character");
        }
        if self.scope == Scope::Remote && self.effective_groups().contains(&Group::Live) {
            return Err(RegisterError::RemoteLiveness { name: name() });
        }
        if self.scope == Scope::Machine && self.effective_groups().contains(&Group::Live) {
            return Err(RegisterError::MachineLiveness { name: name() });
        }
        if self.schedule.interval < Duration::from_millis(10) || self.schedule.interval > MAX_INTERVAL {
            return refuse("the interval must be from 10ms to 366d");
        }
        if self.schedule.timeout.is_zero() || self.schedule.timeout > MAX_TIMEOUT {
            return refuse("the timeout must be more than 0 and at most 1h");
        }
        if self.schedule.initial_delay > MAX_INTERVAL {
            return refuse("the initial delay must be at most 366d");
        }
        if !(0.0..=0.5).contains(&self.schedule.jitter) {
            return refuse("the jitter must be from 0% to 50%");
        }
        if self.thresholds.fall == 0 || self.thresholds.rise == 0 {
            return refuse("fall and rise must be at least 1");
        }
        if self.thresholds.window.is_some_and(|window| !window.is_sound()) {
            return refuse("a window must have 1 to 64 results (`of`), and from 1 to as many `failures`");
        }
        if let Some(problem) = self.circuit_breaker().and_then(|breaker| breaker.problem()) {
            return refuse(problem);
        }
        Ok(())
    }
}

/// The groups of most components: one allocation for all of them.
static READY: LazyLock<Arc<[Group]>> = LazyLock::new(|| Arc::new([Group::Ready]));

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control)
}

const MAX_NAME: usize = 128;
/// An initial delay that is longer is seldom meant where the start waits for it.
const LONG_DELAY: Duration = Duration::from_secs(60);
const MAX_INTERVAL: Duration = Duration::from_secs(366 * 24 * 3600);
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Why a component was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is empty, longer than 128 bytes, or holds a control character.
    #[error("`{name}` is not a component's name: it must have 1 to 128 bytes and no control character")]
    Name {
        /// The name, cut and escaped.
        name: String,
    },
    /// There is a component of that name already.
    #[error("there are two components named `{name}`: names must differ")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A remote check was attached to liveness.
    #[error(
        "`{name}` looks at another machine and can't be in group `live`: a failed liveness probe restarts this \
         process, which does not mend the other one; put it into `ready`"
    )]
    RemoteLiveness {
        /// The name.
        name: String,
    },
    /// A check of the machine was attached to liveness.
    #[error(
        "`{name}` looks at the machine and can't be in group `live`: a failed liveness probe restarts this process, \
         which makes no room on a disk and takes no load off a processor; put it into `ready` or into no group"
    )]
    MachineLiveness {
        /// The name.
        name: String,
    },
    /// Components depend on each other in a circle.
    #[error("these components depend on each other in a circle: {}", path.join(" → "))]
    Cycle {
        /// The names along the circle, the first one again at the end.
        path: Vec<String>,
    },
    /// A setting is out of its range.
    #[error("component `{name}`: {problem}")]
    Setting {
        /// The component's name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// There are as many components as the checker takes.
    #[error("there are {limit} components already, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

impl RegisterError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "component.name",
            Self::Duplicate { .. } => "component.duplicate",
            Self::RemoteLiveness { .. } => "component.remote_liveness",
            Self::MachineLiveness { .. } => "component.machine_liveness",
            Self::Cycle { .. } => "component.cycle",
            Self::Setting { .. } => "component.setting",
            Self::TooMany { .. } => "component.too_many",
        }
    }
}

#[cfg(test)]
mod tests;
