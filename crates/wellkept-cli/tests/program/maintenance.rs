//! Maintenance of a real server: by command, by window, through a kill, and what is refused.

use std::process::Output;

use serde_json::Value;
use wellkept_testkit::{Signal, until};

use crate::served::{PATIENCE, Served, listening, run, text};

const CONFIGURATION: &str = "
http: { listen: 127.0.0.1:0 }
checks:
  - name: data
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready]
    interval: 1s
  - name: gone
    tcp: { address: '127.0.0.1:1' }
    interval: 1s
";

impl Served {
    /// Runs `wellkept maintenance` against this server.
    fn maintenance(&self, arguments: &[&str]) -> Output {
        let server = format!("http://{}", self.http);
        let mut all = vec!["maintenance"];
        all.extend_from_slice(arguments);
        all.extend_from_slice(&["--server", &server]);
        run(self.folder.path(), &all)
    }

    /// The same, which must go well, read as JSON.
    fn maintained(&self, arguments: &[&str]) -> Value {
        let output = self.maintenance(&[arguments, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn statuses(&self) -> [u16; 4] {
        ["/readyz", "/health/ready", "/livez", "/health/startup"].map(|path| self.get(path).status)
    }
}

#[test]
fn a_maintenance_begun_by_command_survives_a_kill_and_ends_by_itself() {
    let mut served = Served::with(CONFIGURATION);
    served.until_status("gone", "unhealthy");
    let out = served.maintained(&["start", "gone", "--open", "--reason", "moved", "--author", "ann"]);
    assert_eq!((&out["kept"], &out["maintenances"][0]["component"]), (&"stored".into(), &"gone".into()));
    assert_eq!(served.statuses(), [200; 4], "what is out does not count");
    let whole = served.maintained(&["start", "--for", "8s", "--reason", "new disks"]);
    assert_eq!(served.statuses(), [503, 503, 200, 200]);
    assert_eq!(served.get("/health/ready").json()["status"], "maintenance");
    assert!(!served.get("/health/ready").text().contains("disks"));

    served.program.signal(Signal::KILL);
    served.program.wait(PATIENCE);
    let served = Served::again(served.folder);
    until(PATIENCE, "the start to be complete", || served.get("/health/startup").status == 200);
    assert_eq!(served.detailed()["maintenance"]["id"], whole["maintenances"][0]["id"]);
    assert_eq!(served.statuses(), [503, 503, 200, 200], "still in maintenance");
    served.until_ready(true);
    assert_eq!(served.detailed()["maintenance"], Value::Null, "it has ended by itself");
    assert_eq!(served.component("gone")["maintenance"]["reason"], "moved");

    let latest = || served.get("/api/v1/history?component=gone").json()["changes"][0].clone();
    until(PATIENCE, "the history to tell of it", || latest()["to"] == "maintenance");
    let address = format!("http://{}", served.http);
    let shown = text(&run(served.folder.path(), &["status", "--server", &address]).stdout);
    assert!(shown.contains("by ann: moved"), "{shown}");
    let listed = text(&served.maintenance(&["list"]).stdout);
    assert!(listed.contains("gone") && listed.contains("ann") && listed.contains("moved"), "{listed}");
    assert_eq!(latest()["detail"], "by ann: moved");
    let ended = served.maintained(&["end", "gone", "--author", "bob"]);
    assert_eq!(ended["maintenances"][0]["active"], false);
    served.until_status("gone", "unhealthy");
    until(PATIENCE, "the history to tell of its end", || latest()["from"] == "maintenance");
    assert_eq!(latest()["detail"], "ended by bob");
    assert!(served.maintained(&["list"])["maintenances"].as_array().unwrap().is_empty());
}

#[test]
fn windows_come_and_go_with_a_reload() {
    // Whatever the time is, it is in one of the two.
    let windows = "maintenance:
  windows:
    - { name: early, days: daily, at: '00:00', for: 721m, zone: Europe/Berlin, reason: all day }
    - { name: late, days: daily, at: '12:00', for: 721m, zone: Europe/Berlin }
";
    let mut served = Served::with(CONFIGURATION);
    served.until_status("data", "healthy");
    served.reload(&format!("{CONFIGURATION}{windows}"), "applied");
    until(PATIENCE, "a window to be on", || served.get("/health/ready").json()["status"] == "maintenance");
    let listed = served.maintained(&["list"]);
    let ids: Vec<_> = listed["maintenances"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert!(ids.contains(&"window:early".into()) && ids.contains(&"window:late".into()), "{listed}");
    let refused = served.maintenance(&["end"]);
    assert_eq!(refused.status.code(), Some(64));
    assert!(text(&refused.stderr).contains("a window of the configuration: change it there"));
    let line = served.reload(&format!("{CONFIGURATION}{}", windows.replace("Berlin", "Berlinn")), "rejected");
    assert!(line["error"].as_str().unwrap().contains(": expected a time zone"), "{line}");
    assert_eq!(served.get("/health/ready").json()["status"], "maintenance", "a refused file changes nothing");
    served.reload(CONFIGURATION, "applied");
    until(PATIENCE, "the windows to be gone", || served.get("/health/ready").json()["status"] != "maintenance");
}

#[test]
fn what_can_not_be_is_refused_with_an_exit_code_and_a_reason() {
    let served = Served::with(CONFIGURATION);
    served.until_status("data", "healthy");
    let long = "x".repeat(10_240);
    let past = "2020-01-01T00:00:00Z";
    for (arguments, code, word) in [
        (&["start", "--for", "30m", "--reason", &long][..], 64, "maintenance.reason"),
        (&["start", "--for", "30m", "--reason", "two\nlines"], 64, "maintenance.reason"),
        (&["start", "--for", "30m", "--reason", ""], 64, "maintenance.reason"),
        (&["start", "nothing\u{1b}[31m", "--for", "30m", "--reason", "why"], 64, "maintenance.unknown_component"),
        (&["start", "--until", past, "--reason", "why"], 64, "maintenance.past"),
        (&["start", "--for", "30", "--reason", "why"], 64, "add a unit"),
        (&["start", "--for", "99999999999999999999h", "--reason", "why"], 64, "expected a duration"),
        (&["start", "--for", "3000d", "--reason", "why"], 64, "maintenance.length"),
        (&["start", "--for", "30m", "--open", "--reason", "why"], 64, "cannot be used with"),
        (&["start", "--reason", "why"], 64, "required"),
        (&["start", "--for", "30m"], 64, "--reason"),
        (&["end"], 64, "nothing was begun for the whole service"),
        (&["end", "data"], 64, "nothing was begun for `data`"),
    ] {
        let output = served.maintenance(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(word) && !said.contains('\u{1b}'), "{arguments:?}: {said}");
    }
    assert_eq!(served.maintained(&["end", "--all"])["maintenances"], serde_json::json!([]), "nothing to end is fine");
    let gone = run(served.folder.path(), &["maintenance", "list", "--server", "127.0.0.1:1"]);
    assert_eq!(gone.status.code(), Some(69));
}

#[test]
fn only_who_has_the_token_begins_a_maintenance_on_an_open_door() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-secret-of-some-length\n").unwrap();
    let admin = "admin: { listen: '0.0.0.0:0', token_file: token }";
    std::fs::write(folder.path().join("wellkept.yaml"), format!("{admin}\n{CONFIGURATION}")).unwrap();
    let served = Served::again(folder);
    let door = format!("127.0.0.1:{}", listening(&served.program, "status page").port());
    let start = ["maintenance", "start", "--for", "30m", "--reason", "why", "--server", &door];
    let refused = run(served.folder.path(), &start);
    assert_eq!(refused.status.code(), Some(69));
    assert!(text(&refused.stderr).contains("wants its admin token"), "{}", text(&refused.stderr));
    let begun = run(served.folder.path(), &[&start[..], &["--token-file", "token"]].concat());
    assert_eq!(begun.status.code(), Some(0), "{}", text(&begun.stderr));
    assert_eq!(served.get("/health/ready").json()["status"], "maintenance");
    let public = served.maintenance(&["start", "--for", "30m", "--reason", "why"]);
    assert!(text(&public.stderr).contains("ask its admin door"), "{}", text(&public.stderr));
}
