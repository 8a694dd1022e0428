//! What may be asked of a running checker: a fresh result, other settings, to leave a component out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::checker::Checker;
use crate::component::{Component, Group, RegisterError};
use crate::hysteresis::Window;
use crate::snapshot::{Activity, Belonging, ComponentHealth, Snapshot};
use crate::status::Criticality;
use crate::table::{Answered, Ask, EngineState};

/// How much longer than its timeout a run that was asked for may take, waiting for a place included.
const MARGIN: Duration = Duration::from_secs(1);
/// Longest wait for all components: what more is asked for is taken as this.
const LONGEST: Duration = Duration::from_secs(3600);

/// Which components [`Checker::check_all`] runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Which {
    /// All of them.
    #[default]
    All,
    /// The required ones.
    Required,
    /// Those that a group's probe sees.
    Group(Group),
}

/// What one component's check found when it was asked for.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The component with that result, thresholds taken into account.
    pub health: Arc<ComponentHealth>,
    /// Where the result came from.
    pub origin: Origin,
}

/// Where a result came from that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A run that began because of the question, or that went on when it was asked.
    Run,
    /// The run before, which was young enough.
    Latest,
}

/// What all components' checks found when they were asked for.
#[derive(Debug, Clone)]
pub struct CheckedAll {
    /// All components, with the new results.
    pub snapshot: Arc<Snapshot>,
    /// The names of those that were to run and came to no result in time. Their runs go on.
    pub unfinished: Vec<Arc<str>>,
}

/// Other settings for a component; what is not named stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tuning {
    /// From one run's start to the next one's.
    pub interval: Option<Duration>,
    /// The deadline of one run.
    pub timeout: Option<Duration>,
    /// Share of the interval by which a run may start later.
    pub jitter: Option<f64>,
    /// Consecutive worse results before the status gets worse.
    pub fall: Option<u32>,
    /// Consecutive better results before the status gets better.
    pub rise: Option<u32>,
    /// Too many bad results among the latest.
    pub window: Change<Window>,
    /// A pass that took longer is a warning.
    pub slow: Change<Duration>,
    /// Past this age a result counts no more. Cleared, it is 3 × interval + timeout.
    pub max_age: Change<Duration>,
}

/// What becomes of a setting that there may be none of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is this from now on.
    Set(T),
    /// There is none from now on.
    Clear,
}

/// Whether a switch was turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It was, now.
    Now,
    /// It stood so already.
    Already,
}

impl Checker {
    /// Runs a component's check now, or joins the run that goes on, and returns what it found: the result goes through
    /// the thresholds into the snapshot like any other. However many ask, a component's check runs once at a time, and
    /// all of them get the same result. A result past a component's removal or while it is disabled is not waited for;
    /// when its definition is replaced, the result is the new one's first.
    ///
    /// Ends within the component's timeout and one second. Cancel-safe: the run goes on for the others and for the
    /// snapshot. Needs a tokio runtime, and the engine to run.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use wellkept_health::{AnyCheck, Checker, Component, ControlError, Settings, Verdict};
    ///
    /// let (checker, engine) = Checker::new(Settings::new("orders"));
    /// checker.register(Component::new("queue", AnyCheck::from_fn(async || ())))?;
    /// tokio::spawn(engine.run(std::future::pending()));
    ///
    /// let queue = checker.check_component("queue").await?;
    /// assert_eq!(queue.raw, Some(Verdict::Pass));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn check_component(&self, name: &str) -> Result<Arc<ComponentHealth>, ControlError> {
        self.check_component_at_most_every(name, Duration::ZERO).await.map(|checked| checked.health)
    }

    /// As [`Checker::check_component`], for those who may ask too often: a result younger than `gap`, or than the
    /// component's interval when that is shorter, is returned as it is.
    pub async fn check_component_at_most_every(&self, name: &str, gap: Duration) -> Result<Checked, ControlError> {
        let answered = self.table().ask(name, gap, self.clock())?;
        match answered {
            Answered::Known(health) => Ok(Checked { health, origin: Origin::Latest }),
            Answered::Asked { ask, timeout } => {
                self.shared.wake.notify_one();
                let health = self.wait_for(name, ask, timeout.saturating_add(MARGIN)).await?;
                Ok(Checked { health, origin: Origin::Run })
            }
        }
    }

    /// Runs the checks of all components, or of some, now, each at most once at a time, and returns the snapshot once
    /// all of them have a result, or at the timeout (an hour at most) with the names of those that have not. What is
    /// disabled, and what was for the start only, does not run.
    ///
    /// Cancel-safe: the runs go on. Needs a tokio runtime, and the engine to run. It fails when there is no engine any
    /// more, and not because of a component.
    pub async fn check_all(&self, timeout: Duration, which: Which) -> Result<CheckedAll, ControlError> {
        self.check_all_at_most_every(timeout, which, Duration::ZERO).await
    }

    /// As [`Checker::check_all`]; a component whose result is younger than `gap`, or than its interval when that is
    /// shorter, does not run again.
    pub async fn check_all_at_most_every(
        &self,
        timeout: Duration,
        which: Which,
        gap: Duration,
    ) -> Result<CheckedAll, ControlError> {
        let deadline = Instant::now() + timeout.min(LONGEST);
        let asked = self.table().ask_all(gap, self.clock(), |health| which.is_for(health))?;
        self.shared.wake.notify_one();
        let mut unfinished = Vec::new();
        for (name, mut ask) in asked {
            match timeout_at(deadline, ask.wait_for(Option::is_some)).await {
                // What was removed or disabled meanwhile is waited for no more.
                Ok(Ok(_) | Err(_)) => {}
                Err(_) => unfinished.push(name),
            }
        }
        match self.table().engine() {
            EngineState::Ended => Err(ControlError::NotRunning),
            EngineState::NotStarted | EngineState::Running => Ok(CheckedAll { snapshot: self.snapshot(), unfinished }),
        }
    }

    /// Leaves a component out until [`Checker::enable`]: its check does not run, and it counts for no group. It is shown
    /// as unknown with the reason `disabled`. A run that goes on is not heard any more, so that the history has no
    /// failure of it. Holds until the component's definition is replaced by another one, or the process ends.
    pub fn disable(&self, name: &str) -> Result<Switched, ControlError> {
        let (switched, announcement) = {
            // Loops and components change under one lock, so that they agree.
            let mut table = self.table();
            let disabled = table.disable(name, self.clock())?;
            self.shared.heartbeats.set_activity(name, Activity::Disabled);
            disabled
        };
        if let Some(announcement) = announcement {
            self.announce(announcement);
        }
        self.shared.wake.notify_one();
        Ok(switched)
    }

    /// Takes a component in again. Its check runs at once, and it counts from that result on, which decides at once.
    pub fn enable(&self, name: &str) -> Result<Switched, ControlError> {
        let switched = {
            let mut table = self.table();
            let switched = table.enable(name)?;
            self.shared.heartbeats.set_activity(name, Activity::Enabled);
            switched
        };
        self.shared.wake.notify_one();
        Ok(switched)
    }

    /// Gives a component other settings, and returns its definition with them. They are checked as at registration, and
    /// all are taken or none. What is known of the component stays; thresholds decide from the next result on, and the
    /// next run is planned anew at once. Holds until the component's definition is replaced by another one, or the
    /// process ends.
    pub fn tune(&self, name: &str, tuning: &Tuning) -> Result<Arc<Component>, ControlError> {
        let tuned = self.table().tune(name, tuning)?;
        self.shared.wake.notify_one();
        Ok(tuned)
    }

    /// Adds a component that stays when the set is replaced ([`Checker::replace`]), until a set has a component of its
    /// name, [`Checker::remove_added`] removes it, or the process ends. It is shown as `added`. Otherwise it is as
    /// [`Checker::register`] has it: it counts for no group before its first result once the start is complete.
    pub fn add(&self, component: Component) -> Result<(), RegisterError> {
        self.insert(component, Belonging::Addition)
    }

    /// Removes a component that was added at run time, also while its check runs. One of the set is not removed: it
    /// would be back with the next replacement.
    pub fn remove_added(&self, name: &str) -> Result<(), ControlError> {
        let removed = self.table().remove_added(name)?;
        // What a check does when it is dropped is its own affair, and not under the lock.
        drop(removed);
        self.jobs_changed();
        self.shared.wake.notify_one();
        Ok(())
    }

    /// A component's definition as it is now, tuning included.
    pub fn definition(&self, name: &str) -> Option<Arc<Component>> {
        self.table().definition(name)
    }

    async fn wait_for(&self, name: &str, mut ask: Ask, within: Duration) -> Result<Arc<ComponentHealth>, ControlError> {
        let answer = match timeout(within, ask.wait_for(Option::is_some)).await {
            Ok(answer) => answer.ok().and_then(|health| health.clone()),
            Err(_) if self.table().engine() == EngineState::NotStarted => return Err(ControlError::NotRunning),
            Err(_) => return Err(ControlError::NoResult { name: name.to_owned(), within }),
        };
        answer.ok_or_else(|| self.why_no_answer(name))
    }

    /// Why nobody will answer a question that was taken.
    fn why_no_answer(&self, name: &str) -> ControlError {
        let table = self.table();
        match table.definition(name) {
            _ if table.engine() == EngineState::Ended => ControlError::NotRunning,
            Some(_) => ControlError::Disabled { name: name.to_owned() },
            None => ControlError::Removed { name: name.to_owned() },
        }
    }
}

impl Which {
    fn is_for(&self, health: &ComponentHealth) -> bool {
        match self {
            Self::All => true,
            Self::Required => health.criticality == Criticality::Required,
            Self::Group(group) => health.groups.contains(group),
        }
    }
}

impl Tuning {
    pub(crate) fn applied_to(&self, component: &Component) -> Component {
        let mut tuned = component.clone();
        let (schedule, thresholds) = (&mut tuned.schedule, &mut tuned.thresholds);
        schedule.interval = self.interval.unwrap_or(schedule.interval);
        schedule.timeout = self.timeout.unwrap_or(schedule.timeout);
        schedule.jitter = self.jitter.unwrap_or(schedule.jitter);
        thresholds.fall = self.fall.unwrap_or(thresholds.fall);
        thresholds.rise = self.rise.unwrap_or(thresholds.rise);
        thresholds.window = self.window.applied_to(thresholds.window);
        tuned.slow = self.slow.applied_to(tuned.slow);
        tuned.max_age = self.max_age.applied_to(tuned.max_age);
        tuned
    }
}

impl<T: Copy> Change<T> {
    fn applied_to(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Set(value) => Some(value),
            Self::Clear => None,
        }
    }
}

/// Why what was asked of a running checker was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no component of that name.
    #[error("there is no component named `{name}`")]
    Unknown {
        /// The name, cut and escaped.
        name: String,
    },
    /// The component is disabled: its check does not run.
    #[error("component `{name}` is disabled: enable it first")]
    Disabled {
        /// The component's name.
        name: String,
    },
    /// The component was removed while its result was waited for.
    #[error("component `{name}` was removed meanwhile")]
    Removed {
        /// The component's name.
        name: String,
    },
    /// There was no result in time: the check waits for a place among many, or the run before still hangs.
    #[error("component `{name}` came to no result within {within:?}: its check waits for a place, or still hangs")]
    NoResult {
        /// The component's name.
        name: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// No engine runs the checks: it was not started, or it has ended.
    #[error("no checks are run: the engine was not started, or has ended")]
    NotRunning,
    /// The component is of the set, and was not added at run time.
    #[error("component `{name}` was not added at run time: take it out of the configuration, or disable it")]
    NotAdded {
        /// The component's name.
        name: String,
    },
    /// The component is no job: nothing reports to it.
    #[error("component `{name}` is no heartbeat: nothing reports to it")]
    NoJob {
        /// The component's name.
        name: String,
    },
    /// A setting can't be kept.
    #[error(transparent)]
    Setting(#[from] RegisterError),
}

impl ControlError {
    pub(crate) fn unknown(name: &str) -> Self {
        Self::Unknown { name: name.chars().take(80).collect::<String>().escape_debug().to_string() }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "component.unknown",
            Self::Disabled { .. } => "component.disabled",
            Self::Removed { .. } => "component.removed",
            Self::NotAdded { .. } => "component.not_added",
            Self::NoJob { .. } => "component.no_job",
            Self::NoResult { .. } => "component.no_result",
            Self::NotRunning => "engine.not_running",
            Self::Setting(error) => error.code(),
        }
    }
}

#[cfg(test)]
mod tests;
