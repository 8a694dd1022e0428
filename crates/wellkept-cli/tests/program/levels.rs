//! The log of a running program: levels by command, by reload and for a while, lines that repeat, what is told of security.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Output;

use serde_json::{Value, json};
use wellkept_testkit::http;

use crate::served::{Served, run, text};

const CONFIGURATION: &str = "
checks:
  - name: data
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready]
";

impl Served {
    /// Runs `wellkept log` against this server.
    fn log(&self, arguments: &[&str]) -> Output {
        let server = format!("http://{}", self.http);
        run(self.folder.path(), &[&["log"], arguments, &["--server", &server]].concat())
    }

    /// The same, which must go well, read as JSON.
    fn logged(&self, arguments: &[&str]) -> Value {
        let output = self.log(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Has a connection fail, which only debug tells of, and says whether the log did. A line that is always logged shows
    /// that what came before it would be there.
    fn tells_of_a_failed_connection(&self, mark: &str) -> bool {
        let mut connection = TcpStream::connect(self.http).unwrap();
        connection.write_all(b"no request at all\r\n\r\n").unwrap();
        // It ends when the server has told of it.
        std::io::copy(&mut connection, &mut std::io::sink()).ok();
        let peer = connection.local_addr().unwrap().to_string();
        self.logged(&["level", "mark", "info", "--reason", mark]);
        self.wait_for(|line| line["reason"] == mark && line["message"] == "a level was set");
        let output = self.program.stdout();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.any(|line| line["message"] == "connection failed" && line["peer"] == peer.as_str())
    }
}

#[test]
fn a_module_is_set_to_debug_for_a_while_by_command_and_back() {
    let served = Served::with(CONFIGURATION);
    served.until_ready(true);
    assert!(!served.tells_of_a_failed_connection("before"));
    let shown =
        served.logged(&["level", "wellkept::http", "debug", "--for", "10m", "--reason", "to see", "--author", "ann"]);
    let module = shown["modules"].as_array().unwrap().iter().find(|it| it["module"] == "wellkept::http").unwrap();
    assert_eq!((&module["level"], &module["set"]["by"]), (&json!("debug"), &json!("ann")));
    assert!(served.tells_of_a_failed_connection("meanwhile"));
    let told = served.wait_for(|line| line["message"] == "a level was set" && line["module"] == "wellkept::http");
    assert_eq!((&told["by"], &told["reason"], &told["seconds"]), (&json!("ann"), &json!("to see"), &json!(600)));
    let admin = served.wait_for(|line| line["event"] == "authz_admin" && line["action"] == "log_level");
    assert_eq!((&admin["user"], &admin["source_ip"]), (&json!("loopback"), &json!("127.0.0.1")));

    let status = text(&served.log(&["status"]).stdout);
    let row = status.lines().find(|line| line.starts_with("wellkept::http")).unwrap();
    assert!(row.contains("debug") && row.contains("ann") && row.contains("to see"), "{status}");
    assert!(status.contains("the whole log") && status.contains("stdout"), "{status}");
    served.logged(&["level", "wellkept::http", "debug", "--for", "1s"]);
    served.wait_for(|line| line["message"] == "a level that was set for a while has ended");
    assert!(!served.tells_of_a_failed_connection("after"));

    served.logged(&["level", "critical"]);
    assert_eq!(served.logged(&["status"])["level"], "critical");
    let reset = served.logged(&["level", "reset"]);
    assert_eq!((&reset["level"], &reset["set"], &reset["modules"]), (&json!("info"), &Value::Null, &json!([])));
}

#[test]
fn what_is_wrong_is_refused_before_or_by_the_server_in_words() {
    let served = Served::with(CONFIGURATION);
    for (arguments, says) in [
        (vec!["level", "loud"], "reset; found `loud`"),
        (vec!["level", "debug", "--for", "soon"], "expected a duration"),
        (vec!["level", "debug", "--for", "1000h"], "a level may be set for 1s to 7 days"),
        (vec!["level", "a b", "debug"], "a module is named as targets begin"),
        (vec!["level", "sqlx", "reset"], "nothing was set at run time for this module"),
        (vec!["level", "reset", "--for", "10m"], "leave out --for"),
    ] {
        let output = served.log(&arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let nobody = run(served.folder.path(), &["log", "status", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(69));
}

#[test]
fn a_reload_changes_the_levels_of_modules_and_leaves_what_is_set_for_a_while() {
    let mut served = Served::with(&format!("logging: {{ modules: {{ 'wellkept::http': debug }} }}\n{CONFIGURATION}"));
    served.until_ready(true);
    assert!(served.tells_of_a_failed_connection("configured"));
    served.logged(&["level", "h2", "debug", "--for", "10m"]);
    let logging = "logging: { level: warning, modules: { 'wellkept::config': info } }";
    served.reload(&format!("{logging}\n{CONFIGURATION}"), "applied");
    assert!(!served.tells_of_a_failed_connection("reloaded"));
    let shown = served.logged(&["status"]);
    let modules: Vec<_> =
        shown["modules"].as_array().unwrap().iter().map(|it| it["module"].as_str().unwrap()).collect();
    assert_eq!((&shown["level"], modules), (&json!("warning"), vec!["h2", "mark", "wellkept::config"]));
    let told = served.wait_for(|line| line["event"] == "authz_admin" && line["action"] == "config_reload");
    assert_eq!(told["level"], "warning");
    assert!(told["description"].as_str().is_some_and(|text| text.starts_with("applied by signal")), "{told}");
}

#[test]
fn a_line_that_repeats_is_left_out_and_told_of() {
    let served = Served::with(&format!("logging: {{ repeats: {{ limit: 2, within: 1s }} }}\n{CONFIGURATION}"));
    served.until_ready(true);
    for _ in 0..20 {
        let response = http::request(served.http, "POST", "/api/v1/config/reload", &[], b"").unwrap();
        assert_eq!(response.status, 200);
    }
    let told = served.wait_for(|line| line["repeated"].as_u64().is_some_and(|repeated| repeated > 5));
    assert_eq!((&told["target"], &told["of"]), (&json!("wellkept::log"), &json!("wellkept::config")));
    assert!(told["message"].as_str().unwrap().starts_with("the configuration is unchanged … repeated "), "{told}");
    let output = served.program.stdout();
    let acted = output.lines().filter(|line| line.contains("\"acted\"")).count();
    assert_eq!(acted, 20, "who did what is never left out");
    assert!(served.logged(&["status"])["suppressed"].as_u64().unwrap() > 5);
    let page = served.get("/metrics").text();
    let counted = page.lines().find_map(|line| line.strip_prefix("wellkept_log_events_suppressed_total "));
    assert!(counted.unwrap().parse::<f64>().unwrap() > 5.0, "{page}");
}

#[test]
fn a_wrong_token_a_page_of_another_origin_and_a_check_taken_out_are_told_of_and_counted_at_any_level() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-long-enough-secret\n").unwrap();
    let head = "logging: { level: critical, modules: { wellkept: info, 'wellkept::event': critical } }";
    let admin = "admin: { listen: '127.0.0.1:0', token_file: token, loopback: false }";
    std::fs::write(folder.path().join("wellkept.yaml"), format!("{head}\n{admin}\n{CONFIGURATION}")).unwrap();
    let served = Served::again(folder);
    served.until_ready(true);
    let door = crate::served::listening(&served.program, "status page and details");
    let send = |method, path, headers: &[(&str, &str)]| http::request(door, method, path, headers, b"").unwrap().status;
    let (wrong, right) =
        ([("authorization", "Bearer guessed-secret")], ("authorization", "Bearer a-long-enough-secret"));
    assert_eq!(send("GET", "/health/detailed", &wrong), 401);
    assert_eq!(send("POST", "/api/v1/run", &wrong), 401);
    assert_eq!(send("GET", "/health/detailed", &[]), 401);
    assert_eq!(send("POST", "/api/v1/run", &[right, ("origin", "http://evil.example")]), 403);
    assert_eq!(send("POST", "/api/v1/components/data/disable", &[right]), 200);
    let failed = served.wait_for(|line| line["event"] == "authn_login_fail" && line["request_method"] == "POST");
    assert_eq!((&failed["request_uri"], &failed["source_ip"]), (&json!("/api/v1/run"), &json!("127.0.0.1")));
    let cors = served.wait_for(|line| line["event"] == "malicious_cors");
    assert_eq!((&cors["level"], &cors["referer"]), (&json!("critical"), &json!("http://evil.example")));
    let monitor = served.wait_for(|line| line["event"] == "sys_monitor_disabled");
    assert_eq!((&monitor["user"], &monitor["monitor"]), (&json!("token"), &json!("data")));
    assert!(!served.program.stdout().contains("guessed-secret"));
    let page = served.get("/metrics").text();
    for (event, count) in [("authn_login_fail", 2), ("malicious_cors", 1), ("sys_monitor_disabled", 1)] {
        let line = format!("wellkept_security_events_total{{event=\"{event}\"}} {count}");
        assert!(page.lines().any(|shown| shown == line), "{line}: {page}");
    }
}
