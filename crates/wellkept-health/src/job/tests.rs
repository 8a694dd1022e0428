//! Claims about jobs that report, and those that do not.

use super::*;
use crate::checker::Settings;
use crate::clock::TokioClock;
use crate::component::Component;
use crate::outcome::Verdict;
use tokio::time::advance;

const HOUR: Duration = Duration::from_secs(3600);
const WELL: JobReport = JobReport::Ended { end: JobEnd::Well, took: None };

/// Every day, an hour of grace, at most two hours long.
fn backup() -> Job {
    let schedule = JobSchedule { every: 24 * HOUR, grace: HOUR, longest: Some(2 * HOUR) };
    Job::with_clock(schedule, TokioClock::start())
}

fn told(job: &Job) -> (JobState, Verdict, String) {
    let outcome = job.outcome();
    let reason = outcome.reason().map_or("", Reason::as_str);
    (job.standing().state, outcome.verdict(), format!("{reason}: {}", outcome.message()))
}

#[tokio::test(start_paused = true)]
async fn a_job_is_on_time_then_late_then_overdue_until_it_reports() {
    let job = backup();
    assert_eq!(told(&job), (JobState::Waiting, Verdict::Pass, ": ".to_owned()));
    advance(25 * HOUR).await;
    assert_eq!(told(&job), (JobState::Late, Verdict::Warn, "late: the job is late".to_owned()), "never heard of");
    advance(Duration::from_secs(1)).await;
    let overdue = (JobState::Overdue, Verdict::Fail, "late: the job has not reported in time".to_owned());
    assert_eq!(told(&job), overdue);
    assert_eq!(job.standing().overdue_since.unwrap().to_string(), "2026-01-02T01:00:00Z");
    job.report(WELL);
    assert_eq!(told(&job), (JobState::OnTime, Verdict::Pass, ": ".to_owned()));
    advance(24 * HOUR).await;
    assert_eq!(job.standing().state, JobState::OnTime, "what is due now is not late yet");
    advance(Duration::from_secs(1)).await;
    assert_eq!(job.standing().state, JobState::Late);
    assert_eq!(job.standing().overdue_since, None);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_for_too_long_is_told_from_one_that_failed_and_one_that_is_missing() {
    let job = backup();
    job.report(JobReport::Started);
    advance(2 * HOUR).await;
    assert_eq!(told(&job), (JobState::Running, Verdict::Pass, ": ".to_owned()));
    advance(Duration::from_secs(1)).await;
    let too_long = (JobState::TooLong, Verdict::Fail, "timeout: the job has been running for too long".to_owned());
    assert_eq!(told(&job), too_long);
    job.report(JobReport::Ended { end: JobEnd::Failed(Some(3)), took: None });
    assert_eq!(told(&job), (JobState::Failed, Verdict::Fail, "error: the job has failed".to_owned()));
    let standing = job.standing();
    assert_eq!((standing.exit_code, standing.last_duration_ms), (Some(3), Some(7_201_000.0)));
    job.report(JobReport::Started);
    assert_eq!(job.standing().state, JobState::Failed, "a new attempt is no success yet");
    job.report(JobReport::Ended { end: JobEnd::Well, took: Some(Duration::from_secs(5)) });
    assert_eq!((job.standing().state, job.standing().last_duration_ms), (JobState::OnTime, Some(5000.0)));
    job.report(JobReport::Ended { end: JobEnd::Failed(None), took: None });
    advance(26 * HOUR).await;
    assert_eq!(job.standing().state, JobState::Overdue, "what is missing now weighs more than how it ended");
}

#[tokio::test(start_paused = true)]
async fn a_report_reaches_the_component_at_once_and_outlives_a_new_definition() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("orders") });
    let component = |fingerprint| Component::new("backup", backup()).interval(HOUR).fingerprint(fingerprint);
    checker.register(component(1)).unwrap();
    checker.register(Component::new("db", AnyCheck::from_fn(async || ()))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
    let failed = JobReport::Ended { end: JobEnd::Failed(Some(1)), took: None };
    assert_eq!(checker.report_job("backup", failed).unwrap().state, JobState::Failed);
    tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
    let snapshot = checker.snapshot();
    let health = snapshot.component("backup").unwrap();
    assert_eq!((health.raw, &health.metadata["job"]["exit_code"]), (Some(Verdict::Fail), &json!(1)));
    checker.replace(vec![component(2)]).unwrap();
    let started = checker.report_job("backup", JobReport::Started).unwrap();
    assert_eq!(started.state, JobState::Failed, "the new definition knows what the old one was told");
    assert_eq!(checker.report_job("gone", WELL).unwrap_err().code(), "component.unknown");
}

#[tokio::test]
async fn what_is_no_job_takes_no_report_and_a_disabled_job_does() {
    let (checker, _engine) = Checker::new(Settings::new("orders"));
    checker.register(Component::new("db", AnyCheck::from_fn(async || ()))).unwrap();
    checker.register(Component::new("backup", backup())).unwrap();
    let refused = checker.report_job("db", WELL).unwrap_err();
    assert_eq!(
        (refused.code(), refused.to_string().as_str()),
        ("component.no_job", "component `db` is no heartbeat: nothing reports to it")
    );
    checker.disable("backup").unwrap();
    assert_eq!(checker.report_job("backup", WELL).unwrap().state, JobState::OnTime);
}
