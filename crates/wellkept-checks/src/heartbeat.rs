//! Whether a job, such as one of cron's, has reported in time.
//!
//! The job is not asked: it reports, by `wellkept heartbeat NAME -- COMMAND…`, which runs the command and reports its
//! begin, its end and its exit code, or by `POST /api/v1/heartbeats/NAME` on the admin door, as an operator. That is a job
//! of another process; a loop of the service's own beats by `Checker::heartbeat`, and fails liveness.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the job is due, and its grace not over | degraded | `late` |
//! | it has not reported in time | unhealthy | `late` |
//! | it began, and has been running for longer than `longest` | unhealthy | `timeout` |
//! | it has ended with a failure, until it next ends well | unhealthy | `error` |
//!
//! # Rights
//!
//! None. Whoever reports is an operator: who comes straight to a loopback listener, or bears the admin token.
//!
//! # Cost
//!
//! None: a report is one small request to this service.
//!
//! # What is kept
//!
//! What was last told, through a reload that changes these settings and, in the store, through a restart: a job that is
//! missing then is missed at once, also one that has never reported. Instances that share a store in PostgreSQL know
//! within 2 s of a report that reached one of them. Without a store (`store: { url: memory }`) the time begins anew with
//! each start. A job that is in no configuration any more is forgotten after 31 days. The metadata's `job` holds
//! `state`, `last_end`, `last_duration_ms`, `exit_code`, `running_since`, `due` and `overdue_since`.

use std::time::Duration;

use wellkept_config::Section;
use wellkept_health::{AnyCheck, Job, JobSchedule, Scope};

use crate::kind::built;
use crate::{InvalidOption, Kind, Opens};

/// The settings of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// From one end of the job to the next, at the latest. Required.
    pub every: Duration,
    /// How much later it may be, and be degraded only. Default 0s.
    pub grace: Duration,
    /// How long one run of it may take. Default: as long as `every` and `grace` together.
    pub longest: Option<Duration>,
}

impl Options {
    /// For a job that ends at least every so often.
    pub fn new(every: Duration) -> Self {
        Self { every, grace: Duration::ZERO, longest: None }
    }

    /// The job, which is its own check. Refuses times that are zero where they must not be, or past a year.
    pub fn job(&self) -> Result<Job, InvalidOption> {
        const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
        let Self { every, grace, longest } = *self;
        for (option, time) in [("every", Some(every)), ("longest", longest)] {
            if time.is_some_and(|time| time.is_zero() || time > YEAR) {
                return Err(InvalidOption::new(option, "must be more than 0 and at most 366d"));
            }
        }
        if grace > YEAR {
            return Err(InvalidOption::new("grace", "must be at most 366d"));
        }
        Ok(Job::new(JobSchedule { every, grace, longest }))
    }
}

/// `heartbeat: { every: 24h, grace: 1h, longest: 3h }`
pub const KIND: Kind = Kind {
    name: "heartbeat",
    summary: "A job that must report in time",
    // No probe sees it unless a group is named: a job that is missing says nothing of who serves requests.
    scope: Scope::Machine, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let every = section.required("every");
    let grace = section.or("grace", Duration::ZERO);
    let longest = section.optional("longest");
    built(section, Options { every: every?, grace, longest }.job())
}

#[cfg(test)]
mod tests {
    use crate::testing::configured;

    #[test]
    fn a_job_needs_a_time_and_sound_limits() {
        configured("heartbeat: { every: 24h, grace: 1h, longest: 3h }").unwrap();
        assert!(configured("heartbeat:").unwrap_err().contains("missing key `every`"));
        let reported = configured("heartbeat: { every: 0s }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:21: must be more than 0 and at most 366d");
        let reported = configured("heartbeat: { every: 1h, grace: 400d }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:32: must be at most 366d");
    }
}
