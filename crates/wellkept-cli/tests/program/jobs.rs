//! Jobs that report to a real server by `wellkept heartbeat`, and what becomes of them when it is gone.

use std::process::Output;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::served::{PATIENCE, Served, run, text};
use wellkept_testkit::{Postgres, Signal, free_port, until, until_some};

const CONFIGURATION: &str = "
http: { listen: 127.0.0.1:0 }
checks:
  - name: nightly/backup
    heartbeat: { every: 24h, grace: 1h }
    interval: 1s
    fall: 1
    rise: 1
";

impl Served {
    fn heartbeat(&self, arguments: &[&str]) -> Output {
        self.heartbeat_of("nightly/backup", arguments)
    }

    fn heartbeat_of(&self, job: &str, arguments: &[&str]) -> Output {
        let server = format!("http://{}", self.http);
        run(self.folder.path(), &[&["heartbeat", job, "--server", &server], arguments].concat())
    }

    fn until_job(&self, state: &str) -> Value {
        let job = || self.component("nightly/backup")["metadata"]["job"].clone();
        until(PATIENCE, state, || job()["state"] == state);
        job()
    }

    /// What the first result after a start says of a job.
    fn first_told(&self, job: &str) -> Value {
        until_some(PATIENCE, "the first result", || {
            let told = self.component(job)["metadata"]["job"].clone();
            told.is_object().then_some(told)
        })
    }

    fn killed_and_again(mut self) -> Self {
        self.program.signal(Signal::KILL);
        self.program.wait(PATIENCE);
        Self::again(self.folder)
    }
}

#[test]
fn a_wrapped_command_reports_its_begin_its_end_and_its_exit_code() {
    let served = Served::with(CONFIGURATION);
    served.until_job("waiting");
    let failed = served.heartbeat(&["--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((failed.status.code(), text(&failed.stdout)), (Some(7), "out\n".to_owned()));
    assert_eq!(text(&failed.stderr), "err\n");
    let job = served.until_job("failed");
    assert_eq!(job["exit_code"], 7);
    assert!(job["last_duration_ms"].is_number(), "{job}");
    served.until_status("nightly/backup", "unhealthy");
    assert_eq!(served.heartbeat(&["--", "true"]).status.code(), Some(0));
    served.until_job("on_time");
    served.until_status("nightly/backup", "healthy");
    // The command sees that its begin has been reported.
    let address = format!("http://{}/health/detailed", served.http);
    let look = format!("until curl -s {address} | grep -q '\"state\":\"running\"'; do sleep 0.05; done; echo seen");
    let asks = served.heartbeat(&["--", "timeout", "15", "sh", "-c", &look]);
    assert_eq!(text(&asks.stdout), "seen\n");
    assert_eq!(served.heartbeat(&["--fail"]).status.code(), Some(0));
    assert_eq!(served.until_job("failed")["exit_code"], serde_json::Value::Null);
    assert_eq!(served.heartbeat(&["--", "sh", "-c", "kill -TERM $$"]).status.code(), Some(128 + 15));
    let exit_code = || served.component("nightly/backup")["metadata"]["job"]["exit_code"].clone();
    until(PATIENCE, "the signal to be told", || exit_code() == 143);
    assert_eq!(served.heartbeat(&["--", "/no/such/command"]).status.code(), Some(127));
}

#[test]
fn a_job_runs_also_when_nobody_hears_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let ran = run(folder.path(), &["heartbeat", "backup", "--server", &nobody, "--", "sh", "-c", "echo ran; exit 3"]);
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(3), "ran\n".to_owned()));
    assert!(text(&ran.stderr).contains("not reported"), "{}", text(&ran.stderr));
    let told = run(folder.path(), &["heartbeat", "backup", "--server", &nobody]);
    assert_eq!(told.status.code(), Some(69));
    let running = Served::with(CONFIGURATION);
    let address = format!("http://{}", running.http);
    let unknown = run(folder.path(), &["heartbeat", "gone", "--server", &address]);

    assert!(!unknown.status.success() && text(&unknown.stderr).contains("`gone`"), "{}", text(&unknown.stderr));
}

const RESTARTED: &str = "
service: { name: orders }
http: { listen: 127.0.0.1:0 }
store: { url: 'STORE' }
checks:
  - { name: missing, heartbeat: { every: 1s, grace: 1s }, interval: 100ms, fall: 1 }
  - { name: unheard, heartbeat: { every: 1s }, interval: 100ms, fall: 1 }
  - { name: on-time, heartbeat: { every: 24h }, interval: 100ms, fall: 1 }
  - { name: running, heartbeat: { every: 24h }, interval: 100ms, fall: 1 }
";

fn time(told: &Value) -> Timestamp {
    told.as_str().unwrap_or_else(|| panic!("{told} is no time")).parse().unwrap()
}

/// How many reports of each job the store has.
const REPORTS: &str = "SELECT coalesce(sum(reports), 0) FROM";

#[test]
fn after_a_kill_a_missing_job_is_missing_at_once_and_one_on_time_stays_so() {
    let served = Served::with(&RESTARTED.replace("STORE", "sqlite:history.db"));
    let unheard = served.first_told("unheard");
    for (job, exit_code, arguments) in
        [("missing", 7, &["--", "sh", "-c", "exit 7"][..]), ("on-time", 0, &["--", "true"])]
    {
        assert_eq!(served.heartbeat_of(job, arguments).status.code(), Some(exit_code));
    }
    assert_eq!(served.heartbeat_of("running", &["--start"]).status.code(), Some(0));
    let file = served.folder.path().join("history.db");
    until(PATIENCE, "the file to have them", || {
        let file = rusqlite::Connection::open_with_flags(&file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
        file.and_then(|file| file.query_row(&format!("{REPORTS} jobs"), [], |row| row.get(0))) == Ok(5)
    });
    let ended = |served: &Served, job| time(&served.first_told(job)["last_end"]);
    let (missing, on_time) = (ended(&served, "missing"), ended(&served, "on-time"));
    let served = served.killed_and_again();
    until(PATIENCE, "the time to be up", || Timestamp::now() > missing + Duration::from_secs(3));
    let served = served.killed_and_again();

    let told = served.first_told("missing");
    assert_eq!((&told["state"], &told["exit_code"]), (&"overdue".into(), &7.into()), "{told}");
    assert_eq!(time(&told["overdue_since"]), missing + Duration::from_secs(2));
    let told = served.first_told("unheard");
    assert_eq!((&told["state"], &told["last_end"]), (&"overdue".into(), &Value::Null), "{told}");
    assert_eq!(told["overdue_since"], unheard["due"], "from when it became known");
    let told = served.first_told("on-time");
    assert_eq!((&told["state"], time(&told["last_end"])), (&"on_time".into(), on_time), "{told}");
    assert_eq!(served.first_told("running")["state"], "running");
    served.until_status("missing", "unhealthy");
    assert_eq!(served.heartbeat_of("missing", &["--", "true"]).status.code(), Some(0));
    served.until_status("missing", "healthy");
}

#[test]
fn two_instances_that_share_a_store_both_know_of_a_report_to_one_and_after_kills_of_both() {
    let database = Postgres::start();
    let configuration =
        |instance: &str| RESTARTED.replace("'STORE'", &format!("'{}', instance: {instance}", database.url()));
    let (one, other) = (Served::with(&configuration("orders-1")), Served::with(&configuration("orders-2")));
    let told = |served: &Served, job: &str, state: &str| {
        until(PATIENCE, state, || served.first_told(job)["state"] == state);
        served.first_told(job)
    };
    told(&other, "on-time", "waiting");
    assert_eq!(one.heartbeat_of("on-time", &["--", "true"]).status.code(), Some(0));
    let ended = told(&one, "on-time", "on_time")["last_end"].clone();
    assert_eq!(told(&other, "on-time", "on_time")["last_end"], ended);
    assert_eq!(other.heartbeat_of("running", &["--start"]).status.code(), Some(0));
    told(&one, "running", "running");
    assert_eq!(one.heartbeat_of("running", &["--fail"]).status.code(), Some(0));
    other.until_status("running", "unhealthy");
    told(&other, "unheard", "overdue");
    until(PATIENCE, "the tables to have them", || {
        database.execute(&format!("{REPORTS} wellkept.wellkept_jobs")) == "4"
    });

    let since = told(&one, "unheard", "overdue")["overdue_since"].clone();
    assert_eq!(other.first_told("unheard")["overdue_since"], since, "both know since when it is known");
    let (one, other) = (one.killed_and_again(), other.killed_and_again());
    for served in [&one, &other] {
        assert_eq!(served.first_told("on-time")["last_end"], ended);
        assert_eq!(served.first_told("running")["state"], "failed");
        let unheard = served.first_told("unheard");
        assert_eq!((&unheard["state"], &unheard["overdue_since"]), (&"overdue".into(), &since));
    }
}

#[test]
fn a_store_that_hangs_holds_no_report_and_what_was_told_meanwhile_is_kept_after_it() {
    let mut database = Postgres::start();
    let configuration = RESTARTED.replace("'STORE'", &format!("'{}', instance: orders-1", database.url()));
    let served = Served::with(&configuration);
    served.first_told("on-time");
    database.pause();
    let began = std::time::Instant::now();
    assert_eq!(served.heartbeat_of("on-time", &["--", "true"]).status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    until(PATIENCE, "it to be told", || served.first_told("on-time")["state"] == "on_time");
    served
        .wait_for(|line| line["message"].as_str().is_some_and(|text| text.contains("what jobs report can't be kept")));
    database.resume();
    until(PATIENCE, "the tables to have it", || database.execute(&format!("{REPORTS} wellkept.wellkept_jobs")) == "2");
}
