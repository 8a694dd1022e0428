//! The configuration of a running program by command and over HTTP: shown, compared, reloaded, and gone back from.

use std::process::Output;

use serde_json::{Value, json};
use wellkept_testkit::http;

use crate::served::{Served, run, text};

const SECRET: &str = "a-secret-that-nobody-sees";

/// One check that is always well, and one that nothing listens for, with a secret in it.
fn configuration(interval: &str) -> String {
    format!(
        "checks:
  - name: room
    disk: {{ path: /, degraded_below: 0%, unhealthy_below: 0% }}
    interval: {interval}
    groups: [ready]
  - name: cache
    redis: {{ url: 'redis://app:{SECRET}@127.0.0.1:1/0' }}
    required: false
reload: {{ watch: false }}
"
    )
}

impl Served {
    /// Runs a command against this server.
    fn command(&self, arguments: &[&str]) -> Output {
        let server = format!("http://{}", self.http);
        run(self.folder.path(), &[arguments, &["--server", &server]].concat())
    }

    /// The same, which must end with this code, and what it printed.
    fn said(&self, arguments: &[&str], code: i32) -> String {
        let output = self.command(arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains(SECRET), "{arguments:?}: {said}");
        said
    }

    fn as_json(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[arguments, &["--json"]].concat());
        assert!(!text(&output.stdout).contains(SECRET), "{arguments:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn write(&self, configuration: &str) {
        std::fs::write(self.file(), configuration).unwrap();
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> http::Response {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        http::request(self.http, method, path, &headers, body).unwrap()
    }
}

fn serve() -> Served {
    let served = Served::with(&configuration("1h"));
    served.until_ready(true);
    served
}

#[test]
fn what_runs_is_shown_with_the_source_of_each_value_and_no_secret() {
    let served = serve();
    let all = served.said(&["config", "show"], 0);
    assert!(all.starts_with("Version 1 (") && all.contains("Read from: ./wellkept.yaml, ./wellkept.d\n"), "{all}");
    let room = served.said(&["config", "show", "checks.room.interval"], 0);
    insta::assert_snapshot!(room, @r"
    KEY                   VALUE  FROM
    checks.room.interval  1h     ./wellkept.yaml:4:15
    ");
    let listen = served.as_json(&["config", "show", "http.listen"]);
    assert_eq!(listen["values"][0]["origin"], "--listen", "{listen}");
    let url = served.as_json(&["config", "show", "checks.cache.redis.url"]);
    assert_eq!(url["values"][0]["value"], "redis://…@127.0.0.1:1/…", "{url}");
    let unknown = served.said(&["config", "show", "checks.room.intervall"], 64);
    assert!(unknown.contains("did you mean `checks.room.interval`?"), "{unknown}");

    served.write(&configuration("5m"));
    let file = served.as_json(&["config", "show", "--file", "checks.room.interval"]);
    assert_eq!(file["values"][0]["value"], "5m", "what a reload would read");
    assert_eq!(served.said(&["config", "diff"], 1), "~ checks.room.interval: 1h -> 5m\n");
    assert_eq!(served.said(&["config", "diff", "1", "running"], 0), "Nothing differs.\n");
    served.said(&["config", "diff", "then"], 64);
    served.said(&["config", "diff", "9"], 64);
    served.write("checks: soon\n");
    let wrong = served.said(&["config", "diff"], 78);
    assert!(wrong.contains("wellkept.yaml:1:9: "), "{wrong}");
}

#[test]
fn a_reload_by_command_waits_for_its_outcome_and_exits_by_it() {
    let served = serve();
    assert_eq!(served.said(&["reload"], 0), "The configuration is unchanged.\n");
    served.write(&configuration("5m"));
    let tried = served.said(&["reload", "--dry-run"], 0);
    assert!(tried.starts_with("The new configuration would run.\n"), "{tried}");
    assert_eq!(served.as_json(&["config", "show", "checks.room.interval"])["values"][0]["value"], "1h");
    assert_eq!(
        served.said(&["reload"], 0),
        "The new configuration runs.\n  changed: room\n  ~ checks.room.interval: 1h -> 5m\n"
    );
    served.write(&configuration("soon"));
    let refused = served.said(&["reload"], 78);
    assert!(refused.contains("runs on as before (config.rejected)\n") && refused.contains(":4:15: "), "{refused}");
    served.write(&format!("{}service: {{ version: '2' }}\n", configuration("6m")));
    let output = served.command(&["reload"]);
    assert_eq!(output.status.code(), Some(0));
    let waits = "wellkept: warning: these keys wait for a restart, the rest is applied: service.version\n";
    assert_eq!(text(&output.stderr), waits);
    let running = served.as_json(&["config", "show", "service"]);
    assert_eq!(running["restart_required"], json!(["service.version"]));
}

#[test]
fn a_version_that_ran_runs_again_and_what_was_left_is_refused_until_the_file_changes() {
    let served = serve();
    served.write(&configuration("5m"));
    served.said(&["reload", "--author", "ann"], 0);
    let history = served.as_json(&["config", "history"]);
    let versions = history["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &history["running"]), (2, &json!(2)));
    let author = versions[0]["author"].as_str().unwrap();
    assert!(author.starts_with("ann (loopback from 127.0.0.1:"), "{author}");
    assert_eq!(versions[0]["trigger"], "api");
    assert_eq!(versions[0]["summary"], json!(["~ checks.room.interval: 1h -> 5m"]));

    assert_eq!(
        served.said(&["config", "rollback", "1"], 0),
        "Version 1 runs again.\n  changed: room\n  ~ checks.room.interval: 5m -> 1h\n"
    );
    let pinned = served.said(&["reload"], 78);
    assert!(pinned.contains("config.pinned"), "{pinned}");
    let table = served.said(&["config", "history"], 0);
    assert!(table.contains("rolled back to 1") && table.contains("3 (runs)"), "{table}");
    assert!(served.said(&["config", "show"], 0).contains("Refused until the files change: "));
    served.said(&["config", "rollback", "2"], 0);
    assert_eq!(served.as_json(&["config", "show", "checks.room.interval"])["values"][0]["value"], "5m", "on purpose");
    served.write(&configuration("6m"));
    served.said(&["reload"], 0);
    served.said(&["config", "rollback", "77"], 64);
    let told = served.said(&["config", "history", "2"], 0);
    assert!(told.starts_with("Version 2\n") && told.contains("by: api (ann (loopback from 127.0.0.1:"), "{told}");
    served.said(&["config", "history", "77"], 64);
}

#[test]
fn of_two_who_change_what_they_have_seen_only_the_first_one_does() {
    let served = serve();
    let running = served.get("/api/v1/config");
    let etag = running.header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", running.json()["hash"].as_str().unwrap()));
    served.write(&configuration("5m"));
    let reload = || served.ask("POST", "/api/v1/config/reload", &[("if-match", &etag)], b"");
    assert_eq!(reload().status, 200);
    let lost = reload();
    assert_eq!((lost.status, &lost.json()["error"]["code"]), (412, &json!("config.stale")));
    let back = served.ask("POST", "/api/v1/config/rollback", &[("if-match", &etag)], br#"{"to":1}"#);
    assert_eq!(back.status, 412);

    served.write(&configuration("6m"));
    let lost = served.said(&["reload", "--if-match", "1"], 70);
    assert!(lost.contains("runs version 2, "), "{lost}");
    served.said(&["reload", "--if-match", "0123456789abcdef"], 70);
    served.said(&["reload", "--if-match", "soon"], 64);
    let hash = served.get("/api/v1/config").json()["hash"].as_str().unwrap()[..12].to_owned();
    served.said(&["reload", "--if-match", &hash], 0);
    served.said(&["config", "rollback", "1", "--if-match", "3", "--dry-run"], 0);
    assert_eq!(served.get("/api/v1/config").json()["version"], 3, "nothing but a trial");
}

#[test]
fn who_waits_too_short_for_an_outcome_hears_that_it_may_still_come() {
    let folder = tempfile::tempdir().unwrap();
    // It takes the request and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["reload", "--server", &server, "--timeout", "300ms"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(text(&output.stderr).contains("it may still come"), "{}", text(&output.stderr));
    let nonsense = run(folder.path(), &["reload", "--server", &server, "--timeout", "soon"]);
    assert_eq!(nonsense.status.code(), Some(64));
}
