//! Jobs that must report in time: what runs elsewhere, now and then, and says so when it has ended.
//!
//! A loop of the process's own says that it goes on by a [`Heartbeat`](crate::Heartbeat), and fails liveness; a job is
//! somebody else's process, and its component is like any other.

mod keeper;
mod record;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use self::keeper::JobKeeper;
pub use self::record::{JobRecord, JobStore};
use crate::check::AnyCheck;
use crate::checker::Checker;
use crate::clock::{Clock, SystemClock};
use crate::control::ControlError;
use crate::outcome::{Outcome, Reason};
use crate::snapshot::Moment;
use crate::table::milliseconds;

/// When a job has to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobSchedule {
    /// From one end to the next one at the latest; more than 0.
    pub every: Duration,
    /// How much later it may be before it counts as missing; until then it is late. Default none.
    pub grace: Duration,
    /// How long one run may take. Default: as long as `every` and `grace` together.
    pub longest: Option<Duration>,
}

impl JobSchedule {
    /// A job that ends at least every so often, without grace.
    pub fn every(every: Duration) -> Self {
        Self { every, grace: Duration::ZERO, longest: None }
    }

    fn longest(&self) -> Duration {
        self.longest.unwrap_or_else(|| self.every.saturating_add(self.grace))
    }
}

/// What a job reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobReport {
    /// It has begun.
    Started,
    /// It has ended.
    Ended {
        /// Whether it has done its work.
        end: JobEnd,
        /// How long it took. `None`: since it said that it began, if it did.
        took: Option<Duration>,
    },
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// It has done its work.
    Well,
    /// It has not, with this exit code where there is one.
    Failed(Option<i32>),
}

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nothing was reported yet, and its time is not up.
    Waiting,
    /// It has begun, and may still go on.
    Running,
    /// It ended well, and the next end is not due.
    OnTime,
    /// The next end is due, and its grace not over.
    Late,
    /// The grace is over too.
    Overdue,
    /// It began and has gone on for longer than it may.
    TooLong,
    /// It ended without having done its work.
    Failed,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobStanding {
    /// How it stands.
    pub state: JobState,
    /// When it last ended; `null` when it has not since the service knows of it.
    #[schemars(with = "Option<String>")]
    pub last_end: Option<Timestamp>,
    /// How long its last run took, in milliseconds, where that is known.
    pub last_duration_ms: Option<f64>,
    /// The exit code of its last run, where there is one.
    pub exit_code: Option<i32>,
    /// When it began, if it has not ended.
    #[schemars(with = "Option<String>")]
    pub running_since: Option<Timestamp>,
    /// When its next end is due, without the grace.
    #[schemars(with = "String")]
    pub due: Timestamp,
    /// Since when it is overdue: the end of the grace.
    #[schemars(with = "Option<String>")]
    pub overdue_since: Option<Timestamp>,
}

/// A job that must report in time. As a check it says whether it has; cheap to clone, and clones are the same job.
///
/// What it has reported is kept in memory, and by [`Checker::keep_jobs`] in a store: without one its time begins anew
/// with each start.
///
/// ```
/// use std::time::Duration;
/// use wellkept_health::{Checker, Component, Job, JobEnd, JobReport, JobSchedule, JobState, Scope, Settings};
///
/// let (checker, _engine) = Checker::new(Settings::new("orders"));
/// let backup = Job::new(JobSchedule { grace: Duration::from_secs(3600), ..JobSchedule::every(Duration::from_secs(86_400)) });
/// checker.register(Component::new("backup", backup).scope(Scope::Machine))?;
///
/// let standing = checker.report_job("backup", JobReport::Ended { end: JobEnd::Well, took: None })?;
/// assert_eq!(standing.state, JobState::OnTime);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Job {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    schedule: JobSchedule,
    clock: Arc<dyn Clock>,
    reported: Mutex<Reported>,
}

#[derive(Debug, Clone, Copy)]
struct Reported {
    /// How often it has reported.
    reports: u64,
    /// Its time is counted from here: the last end, or when it became known.
    from: Since,
    ended: Option<(JobEnd, Option<Duration>)>,
    began: Option<Since>,
}

/// An instant of the past, which may be before the machine was started.
#[derive(Debug, Clone, Copy)]
struct Since {
    at: Timestamp,
    /// How long ago that was, at this time of the clock that ages are taken from.
    age: Duration,
    boot: Duration,
}

impl Since {
    fn now(clock: &dyn Clock) -> Self {
        let Moment { boot, wall } = Moment::now(clock);
        // As exact as stores keep it, so that what they give back is the same.
        let at = Timestamp::from_microsecond(wall.as_microsecond()).unwrap_or(wall);
        Self { at, age: Duration::ZERO, boot }
    }

    /// What is not over by the time of day, as that was set back, is from just now.
    fn of(at: Timestamp, clock: &dyn Clock) -> Self {
        let Moment { boot, wall } = Moment::now(clock);
        Self { at, age: Duration::try_from(wall.duration_since(at)).unwrap_or_default(), boot }
    }

    fn age(&self, now: Duration) -> Duration {
        self.age.saturating_add(now.saturating_sub(self.boot))
    }
}

impl Job {
    /// A job that has reported nothing; its time begins now.
    pub fn new(schedule: JobSchedule) -> Self {
        Self::with_clock(schedule, Arc::new(SystemClock))
    }

    /// The same by another clock.
    pub fn with_clock(schedule: JobSchedule, clock: Arc<dyn Clock>) -> Self {
        let reported = Reported { reports: 0, from: Since::now(&*clock), ended: None, began: None };
        Self { inner: Arc::new(Inner { schedule, clock, reported: Mutex::new(reported) }) }
    }

    /// Takes a report. Never blocks.
    pub fn report(&self, report: JobReport) {
        let now = Since::now(&*self.inner.clock);
        let mut reported = self.reported();
        let reports = reported.reports.saturating_add(1);
        *reported = match report {
            JobReport::Started => Reported { reports, began: Some(now), ..*reported },
            JobReport::Ended { end, took } => {
                let since_begin = reported.began.map(|began| began.age(now.boot));
                Reported { reports, from: now, ended: Some((end, took.or(since_begin))), began: None }
            }
        };
    }

    /// How it stands now.
    pub fn standing(&self) -> JobStanding {
        let Inner { schedule, clock, .. } = &*self.inner;
        let reported = *self.reported();
        let now = clock.boot();
        let age = reported.from.age(now);
        let overdue_after = schedule.every.saturating_add(schedule.grace);
        let running_for = reported.began.map(|began| began.age(now));
        let failed = matches!(reported.ended, Some((JobEnd::Failed(_), _)));
        let state = if running_for.is_some_and(|running| running > schedule.longest()) {
            JobState::TooLong
        } else if running_for.is_none() && age > overdue_after {
            JobState::Overdue
        } else if failed {
            JobState::Failed
        } else if running_for.is_some() {
            JobState::Running
        } else if age > schedule.every {
            JobState::Late
        } else if reported.ended.is_some() {
            JobState::OnTime
        } else {
            JobState::Waiting
        };
        let after = |span| reported.from.at.checked_add(span).unwrap_or(Timestamp::MAX);
        JobStanding {
            state,
            last_end: reported.ended.map(|_| reported.from.at),
            last_duration_ms: reported.ended.and_then(|(_, took)| took).map(milliseconds),
            exit_code: reported.ended.and_then(|(end, _)| match end {
                JobEnd::Well => None,
                JobEnd::Failed(code) => code,
            }),
            running_since: reported.began.map(|began| began.at),
            due: after(schedule.every),
            overdue_since: (state == JobState::Overdue).then(|| after(overdue_after)),
        }
    }

    fn outcome(&self) -> Outcome {
        let standing = self.standing();
        let outcome = match standing.state {
            JobState::Waiting | JobState::Running | JobState::OnTime => Outcome::pass(),
            JobState::Late => Outcome::warn(Reason::Late, "the job is late"),
            JobState::Overdue => Outcome::fail(Reason::Late, "the job has not reported in time"),
            JobState::TooLong => Outcome::fail(Reason::Timeout, "the job has been running for too long"),
            JobState::Failed => Outcome::fail(Reason::Error, "the job has failed"),
        };
        outcome.with("job", json!(standing))
    }

    /// What an earlier definition of the same job was told counts for this one.
    pub(crate) fn inherit(&self, before: &Self) {
        if !Arc::ptr_eq(&self.inner, &before.inner) {
            let reported = *before.reported();
            *self.reported() = reported;
        }
    }

    /// What is to be remembered of it.
    fn record(&self, name: Arc<str>) -> JobRecord {
        let Reported { reports, from, ended, began } = *self.reported();
        let (end, took) = ended.map_or((None, None), |(end, took)| (Some(end), took));
        JobRecord { name, reports, from: from.at, end, took, began: began.map(|began| began.at) }
    }

    /// Takes in what was remembered, where that is news. Says whether it was.
    fn take_in(&self, known: &JobRecord) -> bool {
        let clock = &*self.inner.clock;
        // Read before, so that no report is lost in between.
        let ours = self.record(Arc::clone(&known.name));
        let mut reported = self.reported();
        let is_news = known.holds_over(&ours) && reported.reports == ours.reports;
        if is_news {
            *reported = Reported {
                reports: known.reports,
                from: Since::of(known.from, clock),
                ended: known.end.map(|end| (end, known.took)),
                began: known.began.map(|began| Since::of(began, clock)),
            };
        }
        is_news
    }

    fn reported(&self) -> MutexGuard<'_, Reported> {
        // Every change under this lock is one assignment.
        self.inner.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Job> for AnyCheck {
    fn from(job: Job) -> Self {
        let asked = job.clone();
        let check = Self::from_fn(move || std::future::ready(asked.outcome()));
        Self { job: Some(job), ..check }
    }
}

impl Checker {
    /// Tells a job's component what the job reports, and has its check run. It is refused for a component that is no
    /// job; one that is disabled takes it too. Never blocks.
    pub fn report_job(&self, name: &str, report: JobReport) -> Result<JobStanding, ControlError> {
        let definition = self.table().definition(name).ok_or_else(|| ControlError::unknown(name))?;
        let Some(job) = &definition.check.job else {
            return Err(ControlError::NoJob { name: name.to_owned() });
        };
        job.report(report);
        self.jobs_changed();
        // It is told with the next run in any case; a component that does not run now is asked for nothing.
        drop(self.table().ask(name, Duration::ZERO, self.clock()));
        self.shared.wake.notify_one();
        Ok(job.standing())
    }
}

#[cfg(test)]
mod tests;
