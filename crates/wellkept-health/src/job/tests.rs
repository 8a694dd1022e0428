//! Claims about jobs that report, and those that do not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::checker::Settings;
use crate::clock::TokioClock;
use crate::component::Component;
use crate::engine::Engine;
use crate::history::HistoryError;
use crate::outcome::Verdict;
use tokio::time::advance;
use wellkept_testkit::until;

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

/// Clocks that are set by hand.
#[derive(Debug)]
struct Hands(Mutex<Moment>);

impl Hands {
    /// Of a machine that was just started.
    fn at(wall: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Moment { boot: Duration::from_secs(5), wall: wall.parse().unwrap() })))
    }

    fn go_on(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = Moment { boot: now.boot + span, wall: now.wall + span };
    }
}

impl Clock for Hands {
    fn boot(&self) -> Duration {
        self.0.lock().unwrap().boot
    }

    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap().wall
    }
}

/// What outlives a checker, as a store does.
#[derive(Debug, Clone, Default)]
struct Notes {
    known: Arc<Mutex<HashMap<Arc<str>, JobRecord>>>,
    refusals: Arc<AtomicU32>,
}

impl JobStore for Notes {
    fn exchange(&mut self, ours: &[JobRecord]) -> Result<Vec<JobRecord>, HistoryError> {
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(HistoryError::new("store.io", "no space left on the disk"));
        }
        let mut known = self.known.lock().unwrap();
        for record in ours {
            if known.get(&record.name).is_none_or(|known| record.holds_over(known)) {
                known.insert(Arc::clone(&record.name), record.clone());
            }
        }
        Ok(ours.iter().filter_map(|one| known.get(&one.name).cloned()).collect())
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

/// A service with these jobs, which has a store once they are registered.
fn started<C: Clock>(clock: &Arc<C>, names: &[&str]) -> (Checker, Engine) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let (checker, engine) = Checker::new(Settings { clock: Arc::clone(&clock), ..Settings::new("orders") });
    for name in names {
        let schedule = JobSchedule { every: 24 * HOUR, grace: HOUR, longest: Some(2 * HOUR) };
        checker.register(Component::new(*name, Job::with_clock(schedule, Arc::clone(&clock)))).unwrap();
    }
    (checker, engine)
}

fn standing(checker: &Checker, name: &str) -> JobStanding {
    checker.table().definition(name).unwrap().check.job.as_ref().unwrap().standing()
}

const ALL: [&str; 5] = ["ended", "failed", "running", "unheard", "later"];

#[test]
fn after_a_restart_a_missing_job_is_missing_at_once_and_one_on_time_stays_so() {
    let notes = Notes::default();
    let clock = Hands::at("2026-01-01T00:00:00Z");
    let (before, _engine) = started(&clock, &ALL);
    before.keep_jobs(notes.clone()).unwrap();
    clock.go_on(HOUR);
    before.report_job("ended", JobReport::Started).unwrap();
    clock.go_on(HOUR);
    before.report_job("ended", WELL).unwrap();
    before.report_job("failed", JobReport::Ended { end: JobEnd::Failed(Some(7)), took: None }).unwrap();
    before.report_job("running", JobReport::Started).unwrap();
    assert!(before.flush_jobs(PATIENCE));
    drop(before);

    // The machine was started anew as well: its clock of ages knows nothing of that time.
    let later = Hands::at("2026-01-01T03:00:00Z");
    let (checker, _engine) = started(&later, &ALL[..4]);
    checker.keep_jobs(notes.clone()).unwrap();
    let ended = standing(&checker, "ended");
    assert_eq!((ended.state, ended.last_duration_ms), (JobState::OnTime, Some(3_600_000.0)));
    assert_eq!(ended.last_end.unwrap().to_string(), "2026-01-01T02:00:00Z");
    assert_eq!(
        (standing(&checker, "failed").state, standing(&checker, "failed").exit_code),
        (JobState::Failed, Some(7))
    );
    assert_eq!(standing(&checker, "running").running_since.unwrap().to_string(), "2026-01-01T02:00:00Z");
    assert_eq!(standing(&checker, "unheard").state, JobState::Waiting);
    drop(checker);

    let (checker, _engine) = started(&Hands::at("2026-01-02T03:00:01Z"), &ALL[..4]);
    checker.keep_jobs(notes).unwrap();
    for (name, since) in [("ended", "2026-01-02T03:00:00Z"), ("unheard", "2026-01-02T01:00:00Z")] {
        let missing = standing(&checker, name);
        assert_eq!((missing.state, missing.overdue_since.unwrap().to_string()), (JobState::Overdue, since.to_owned()));
    }
    assert_eq!(standing(&checker, "running").state, JobState::TooLong);
    let schedule = JobSchedule { every: 24 * HOUR, grace: HOUR, longest: None };
    let new = Job::with_clock(schedule, Arc::clone(&checker.shared.settings.clock));
    checker.register(Component::new("later", new)).unwrap();
    until(PATIENCE, "what is registered later to be known too", || {
        standing(&checker, "later").state == JobState::Overdue
    });
}

#[tokio::test]
async fn a_report_to_one_of_two_that_share_a_store_reaches_the_other_one_s_component() {
    let notes = Notes::default();
    let clock = Arc::new(SystemClock);
    let ((one, _engine), (other, engine)) = (started(&clock, &["ended"]), started(&clock, &["ended"]));
    one.share_jobs(notes.clone()).unwrap();
    other.share_jobs(notes).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    one.report_job("ended", JobReport::Ended { end: JobEnd::Failed(Some(3)), took: None }).unwrap();
    let mut published = other.subscribe();
    let is_told = |_: &u64| {
        let snapshot = other.snapshot();
        snapshot
            .component("ended")
            .is_some_and(|health| health.metadata.get("job").is_some_and(|job| job["exit_code"] == 3))
    };
    tokio::time::timeout(PATIENCE, published.wait_for(is_told)).await.unwrap().unwrap();
    other.report_job("ended", WELL).unwrap();
    assert_eq!(standing(&other, "ended").state, JobState::OnTime);
    let told = async {
        while standing(&one, "ended").state != JobState::OnTime {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

#[test]
fn a_store_that_fails_is_tried_again_and_what_was_reported_meanwhile_is_kept() {
    let notes = Notes::default();
    notes.refusals.store(2, Ordering::SeqCst);
    let (checker, _engine) = started(&Hands::at("2026-01-01T00:00:00Z"), &["ended"]);
    checker.keep_jobs(notes.clone()).unwrap();
    checker.report_job("ended", WELL).unwrap();
    assert!(!checker.flush_jobs(PATIENCE), "it says that it was refused");
    assert!(checker.flush_jobs(PATIENCE), "and tries at once when somebody waits");
    assert_eq!(notes.known.lock().unwrap()["ended"].reports, 1);
    let (without, _engine) = started(&Hands::at("2026-01-01T00:00:00Z"), &["ended"]);
    assert!(without.flush_jobs(PATIENCE), "nothing is left where there is no store");
}

#[test]
fn a_store_that_does_not_answer_holds_the_start_for_two_seconds_only_and_is_heard_later() {
    struct Hanging(std::sync::mpsc::Receiver<JobRecord>);
    impl JobStore for Hanging {
        fn exchange(&mut self, _: &[JobRecord]) -> Result<Vec<JobRecord>, HistoryError> {
            Ok(self.0.iter().collect())
        }
    }
    let (answer, hanging) = std::sync::mpsc::channel();
    let clock = Hands::at("2026-01-05T00:00:00Z");
    let (checker, _engine) = started(&clock, &["ended"]);
    let began = std::time::Instant::now();
    checker.keep_jobs(Hanging(hanging)).unwrap();
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(standing(&checker, "ended").state, JobState::Waiting);
    let from = "2026-01-01T00:00:00Z".parse().unwrap();
    answer.send(JobRecord { name: "ended".into(), reports: 9, from, end: None, took: None, began: None }).unwrap();
    drop(answer);
    until(PATIENCE, "what it knew to be heard", || standing(&checker, "ended").state == JobState::Overdue);
    checker.report_job("ended", WELL).unwrap();
    assert_eq!(standing(&checker, "ended").state, JobState::OnTime);
}

#[test]
fn a_record_from_a_clock_that_was_set_back_is_from_just_now() {
    let notes = Notes::default();
    let (before, _engine) = started(&Hands::at("2036-01-01T00:00:00Z"), &["ended"]);
    before.keep_jobs(notes.clone()).unwrap();
    before.report_job("ended", WELL).unwrap();
    assert!(before.flush_jobs(PATIENCE));
    let clock = Hands::at("2026-01-01T00:00:00Z");
    let (checker, _engine) = started(&clock, &["ended"]);
    checker.keep_jobs(notes.clone()).unwrap();
    assert_eq!(standing(&checker, "ended").state, JobState::OnTime);
    clock.go_on(26 * HOUR);
    assert_eq!(standing(&checker, "ended").state, JobState::Overdue);
    checker.report_job("ended", WELL).unwrap();
    assert!(checker.flush_jobs(PATIENCE));
    assert_eq!(
        notes.known.lock().unwrap()["ended"].from,
        clock.wall(),
        "the newer report counts, whatever the time of day"
    );
}

proptest::proptest! {
    #[test]
    fn whatever_the_order_in_which_records_meet_the_same_one_holds(
        records in proptest::collection::vec((0_u64..3, 0_i64..4, proptest::option::of(0_i64..4)), 1..8),
        from in 0_usize..8,
    ) {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut records: Vec<_> = records.into_iter().map(|(reports, from, began)| {
            // What has not reported has not begun either.
            let began = began.filter(|_| reports > 0).map(at);
            JobRecord { name: "backup".into(), reports, from: at(from), end: None, took: None, began }
        }).collect();
        let meet = |records: &[JobRecord]| {
            let held = records.iter().cloned().reduce(|held, one| if one.holds_over(&held) { one } else { held }).unwrap();
            (held.reports, held.latest())
        };
        let held = meet(&records);
        let middle = from % records.len();
        records.rotate_left(middle);
        proptest::prop_assert_eq!(meet(&records), held);
        records.reverse();
        proptest::prop_assert_eq!(meet(&records), held);
    }
}
