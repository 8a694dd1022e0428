//! Jobs that report to a real server by `wellkept heartbeat`, and what becomes of them when it is gone.

use std::process::Output;

use crate::served::{PATIENCE, Served, run, text};
use wellkept_testkit::{free_port, until};

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
        let server = format!("http://{}", self.http);
        run(self.folder.path(), &[&["heartbeat", "nightly/backup", "--server", &server], arguments].concat())
    }

    fn until_job(&self, state: &str) -> serde_json::Value {
        let job = || self.component("nightly/backup")["metadata"]["job"].clone();
        until(PATIENCE, state, || job()["state"] == state);
        job()
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
    let asks = served.heartbeat(&["--", "curl", "-s", &address]);
    assert!(text(&asks.stdout).contains("\"state\":\"running\""), "{}", text(&asks.stdout));
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
