//! What the program says of a wrong file, and that a wrong file changes nothing that runs.

use wellkept_testkit::Signal;

use crate::served::{PATIENCE, Served, run, text, wellkept};

/// What is said of a configuration, without the lines that are shown of it.
pub(crate) fn check(configuration: &str) -> (Option<i32>, String) {
    let (code, said) = check_in_full(configuration);
    (code, said.split_inclusive('\n').filter(|line| !line.starts_with(' ')).collect())
}

fn check_in_full(configuration: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("app.yaml"), configuration).unwrap();
    let output = run(folder.path(), &["config", "check", "app.yaml"]);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_mark_below_it() {
    let (code, said) = check_in_full("checks: []\nhttp: { lsten: '127.0.0.1:80' }\nlogging: { level: lwd }\n");
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @"
    app.yaml:2:9: unknown key `lsten` in `http`, did you mean `listen`?
      2 | … lsten: …
        |   ^^^^^
    app.yaml:3:19: expected debug, info, warning, error or critical, found `lwd`
      3 | … level: lwd
        |          ^^^
    ");
}

#[test]
fn a_configuration_is_checked_as_the_server_would_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("wellkept.yaml", "checks:\n  - name: a\n    disk: { path: / }\n");
    write("wellkept.d/b.yaml", "checks:\n  - name: b\n    disk: { path: / }\n");
    write("other.yaml", "checks: []\n");
    let check = |variable: Option<(&str, &str)>, arguments: &[&str]| {
        let mut command = wellkept(folder.path());
        command.args(["config", "check"]).args(arguments).envs(variable);
        let output = wellkept_testkit::wait_within(PATIENCE, &mut command).unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let valid = |said: &str| (Some(0), said.to_owned());
    assert_eq!(check(None, &[]), valid("./wellkept.yaml: valid, 2 checks\n"), "the folder is a part of it");
    let elsewhere = ("WELLKEPT_CONFIG", "other.yaml");
    assert_eq!(check(Some(elsewhere), &[]), valid("other.yaml: valid, 0 checks\n"));
    let two = check(None, &["wellkept.yaml", "other.yaml"]);
    assert_eq!(two, valid("wellkept.yaml: valid, 2 checks\nother.yaml: valid, 0 checks\n"), "each by itself");

    let wrong = |variable, arguments: &[&str], said: &str| {
        let (code, told) = check(variable, arguments);
        assert!(code == Some(78) && told.contains(said), "{arguments:?}: {code:?} {told}");
    };
    wrong(
        Some(("WELLKEPT_CHECKS__A__INTERVAL", "soon")),
        &[],
        "environment WELLKEPT_CHECKS__A__INTERVAL: expected a duration",
    );
    wrong(None, &["--set", "http.listen=nowhere"], "--set http.listen: expected an address");
    write("wellkept.d/b.yaml", "checks:\n  - name: a\n    disk: { path: / }\n");
    wrong(None, &["other.yaml", "wellkept.yaml"], "wellkept.d/b.yaml:2:11: ");
    let json = run(folder.path(), &["config", "check", "other.yaml", "wellkept.yaml", "gone.yaml", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let valid: Vec<_> = listed.as_array().unwrap().iter().map(|one| one["valid"].as_bool().unwrap()).collect();
    assert_eq!(valid, [true, false, false]);
    assert!(listed[1]["errors"][0]["origin"].as_str().unwrap().ends_with("wellkept.d/b.yaml:2:11"), "{listed}");
    assert_eq!(listed[2]["errors"][0]["code"], "config.not_found");
}

#[test]
fn a_log_and_a_store_that_could_not_be_written_are_warnings() {
    // Below a file there is no folder, whoever asks.
    let (code, said) =
        check("checks: []\nlogging: { file: { path: app.yaml/log } }\nstore: { url: 'sqlite://app.yaml/db' }\n");
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].starts_with("app.yaml: warning: the log app.yaml/log can't be written by who runs this: app.yaml: ")
    );
    assert!(lines[1].starts_with("app.yaml: warning: the store "), "{said}");
    assert_eq!(lines[2..], ["app.yaml: valid, 0 checks"]);
}

#[test]
fn an_admin_door_that_nobody_could_open_is_a_mistake() {
    let (code, said) = check("service: { name: orders }\nadmin: { loopback: false }\n");
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @"app.yaml:2:20: nobody could come in: name a `token_file`, or leave `loopback` out");
}

#[test]
fn every_mistake_is_found_with_its_place_and_the_nearest_word() {
    let (code, said) = check(
        "servise: { name: orders }
http: { listen: 0.0.0.0 }
admin: { listen: '0.0.0.0:8081' }
defaults: { interval: 10 }
checks:
  - name: orders-db
    postgress: { url: 'postgres://x' }
  - name: cache
    redis: { url: 'redis://127.0.0.1:6379/0', timout: 1s }
    intervall: 5s
  - name: cache
    tcp: { address: 127.0.0.1 }
  - name: data
    disk: { path: /, degraded_below: 200% }
    depends_on: [netwrok]
    fall: 0
  - name: network
    tcp: { address: 'localhost:1' }
    groups: [live]
  - name: root
    disk: { path: / }
    groups: [ready, live]
  - name: nothing
grpc: { listen: '0.0.0.0:8081', tls: true }
alerts: {}
",
    );
    assert_eq!(code, Some(78));
    let kinds = wellkept::checks::kinds().iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    insta::assert_snapshot!(said.replace(&kinds, "KINDS"), @r"
    app.yaml:1:1: unknown key `servise`, did you mean `service`?
    app.yaml:2:17: expected an address such as 127.0.0.1:8080 or unix:/run/wellkept.sock, found `0.0.0.0` (add a port: 0.0.0.0:8080?)
    app.yaml:3:18: the admin door on 0.0.0.0:8081 would be open to everyone: name a `token_file`, or listen on 127.0.0.1
    app.yaml:4:23: expected a duration such as 10s or 250ms, found `10` (add a unit: 10s?)
    app.yaml:7:5: unknown check kind `postgress`, did you mean `postgres`?
    app.yaml:9:47: unknown key `timout` in `redis`
    app.yaml:10:5: unknown key `intervall`, did you mean `interval`?
    app.yaml:11:11: there are two checks named `cache`: the first is in line 8
    app.yaml:12:21: the port is missing: write host:port
    app.yaml:13:5: component `data`: fall and rise must be at least 1
    app.yaml:14:38: expected a ratio such as 20%, or a number of bytes such as 10GiB, found `200%` (from 0% to 100%)
    app.yaml:15:17: unknown check `netwrok`, did you mean `network`?
    app.yaml:17:5: `network` looks at another machine and can't be in group `live`: a failed liveness probe restarts this process, which does not mend the other one; put it into `ready`
    app.yaml:20:5: `root` looks at the machine and can't be in group `live`: a failed liveness probe restarts this process, which makes no room on a disk and takes no load off a processor; put it into `ready` or into no group
    app.yaml:23:5: this check has no kind: add one of KINDS
    app.yaml:24:7: grpc and admin can't both listen on port 8081: give them different ports
    app.yaml:24:33: unknown key `tls` in `grpc`
    app.yaml:25:9: `alerts` is not a part of this version yet
    ");
}

#[test]
fn a_circle_and_a_name_of_the_programs_own_are_mistakes_too() {
    let (code, said) = check(
        "checks:
  - name: history
    disk: { path: / }
  - name: a
    tcp: { address: 'localhost:1' }
    depends_on: b
  - name: b
    tcp: { address: 'localhost:1' }
    depends_on: [a]
",
    );
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @r"
    app.yaml:2:11: `history` is a component of the program's own: take another name
    app.yaml:4:11: these components depend on each other in a circle: a → b → a
    ");
}

#[test]
fn a_circuit_breaker_that_makes_no_sense_is_a_mistake() {
    let (code, said) = check(
        "checks:
  - name: never
    tcp: { address: 'localhost:1' }
    circuit: { failures: 0 }
  - name: backwards
    tcp: { address: 'localhost:2' }
    circuit: { first: 10m, mots: 1h }
  - name: usual
    tcp: { address: 'localhost:3' }
    circuit: {}
",
    );
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @r"
    app.yaml:2:5: component `never`: a circuit opens after at least 1 failure
    app.yaml:5:5: component `backwards`: a circuit's first back-off must not be longer than the longest
    app.yaml:7:28: unknown key `mots` in `circuit`, did you mean `most`?
    ");
}

#[test]
fn a_module_that_cannot_be_one_and_a_limit_that_makes_no_sense_are_mistakes() {
    let (code, said) = check(
        "checks: []
logging:
  modules:
    'sqlx::': debug
    h2: loud
    fine: critical
  repeats: { limit: 0, within: 2h, wthin: 1s }
",
    );
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @r"
    app.yaml:4:5: a module is named as targets begin, for example sqlx or orders::import: 1 to 128 printable ASCII letters without spaces, in parts joined by `::`
    app.yaml:5:9: expected debug, info, warning, error or critical, found `loud`
    app.yaml:7:21: the limit is at least 1; `repeats: off` writes every line
    app.yaml:7:32: the time is 1s to 1h
    app.yaml:7:36: unknown key `wthin` in `repeats`, did you mean `within`?
    ");
    let (code, said) =
        check("checks: []\nlogging: { modules: { sqlx: warning, 'wellkept::http': debug }, repeats: off }\n");
    assert_eq!((code, said.as_str()), (Some(0), "app.yaml: valid, 0 checks\n"));
    let (code, said) = check("checks: []\nlogging: { repeats: on }\n");
    assert_eq!(code, Some(78), "{said}");
}

#[test]
fn a_right_file_is_called_valid() {
    let (code, said) = check("checks:\n  - name: data\n    disk: { path: / }\n");
    assert_eq!((code, said.as_str()), (Some(0), "app.yaml: valid, 1 check\n"));
}

#[test]
fn what_is_allowed_and_seldom_meant_is_a_warning() {
    let (code, said) =
        check("checks:\n  - name: data\n    disk: { path: / }\n    max_age: 5s\nshutdown: { deadline: 5s }\n");
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(said, @r"
    app.yaml: warning: component `data`: max_age is 5s and the interval 10s: it is unknown between two runs
    app.yaml: warning: delay, announce, drain, resource and flush add up to 17.3s, more than the deadline of 5s: the drain will be cut short; set `deadline` to 17.3s or more
    app.yaml: warning: flush is 2s, but gets at most 1.25s, a quarter of the deadline of 5s: set `flush` to 1.25s or less, or `deadline` to 8s or more
    app.yaml: valid, 1 check
    ");
}

#[test]
fn a_deadline_that_does_not_fit_what_the_platform_allows_is_a_warning() {
    let (code, said) = check("checks: []\nshutdown: { profile: docker, deadline: 20s }\n");
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(said, @"
    app.yaml: warning: the deadline of 20s does not fit a grace period of 10s: set `deadline` to 9s or less, or have the platform wait for 22s or more (`terminationGracePeriodSeconds`, `TimeoutStopSec`, `stop_grace_period`), so that the process has left before it is killed from outside
    app.yaml: valid, 0 checks
    ");
    for fits in ["profile: kubernetes", "profile: systemd", "profile: docker", "grace: 45s, deadline: 43s"] {
        let (_, said) = check(&format!("checks: []\nshutdown: {{ {fits} }}\n"));
        assert_eq!(said, "app.yaml: valid, 0 checks\n", "{fits}");
    }
    // Said at the start too, to those who never check.
    let served = Served::with("checks: []\nshutdown: { grace: 20s, deadline: 19s, drain: 5s, log_progress: 0s }\n");
    let line = served.wait_for(|line| line["code"] == "shutdown.deadline_exceeds_grace");
    assert!(line["message"].as_str().unwrap().contains("set `deadline` to 18s or less"), "{line}");
}

#[test]
fn the_configuration_of_the_design_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-long-enough-secret\n").unwrap();
    let configuration = r#"
service: { name: orders, version: "1.4.2" }
http:    { listen: "0.0.0.0:8080" }
admin:   { listen: "127.0.0.1:8081", token_file: token }
store:   { url: "sqlite:///var/lib/wellkept/wellkept.db" }
logging: { format: json, level: info }
defaults: { interval: 10s, timeout: 2s, fall: 3, rise: 2 }
checks:
  - name: orders-db
    postgres: { url: "${DATABASE_URL:-postgres://app@127.0.0.1/orders}" }
    required: true
    groups: [ready]
    interval: 5s
    timeout: 1s
    slow: 200ms
    max_age: 20s
    shared: false
  - name: cache
    redis: { url: "redis://127.0.0.1:6379/0" }
    required: false
    depends_on: [network]
  - name: payments-api
    http: { url: "https://payments.internal/health", expect: { status: 200, json: { "$.status": healthy } } }
  - name: network
    tcp: { address: "10.0.0.1:443" }
  - name: data-disk
    disk: { path: /var/lib/orders, degraded_below: 20%, unhealthy_below: 5% }
shutdown: { deadline: 28s, delay: 5s, announce: 2s, drain: 10s, resource: 5s, flush: 2s }
"#;
    std::fs::write(folder.path().join("app.yaml"), configuration).unwrap();
    let output = run(folder.path(), &["config", "check", "app.yaml"]);
    // Who runs the tests may not be allowed to write where the store is.
    assert!(text(&output.stdout).ends_with("app.yaml: valid, 5 checks\n"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = include_str!("../../../../README.md");
    let configuration = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-long-enough-secret\n").unwrap();
    let configuration = configuration
        .replace("/run/secrets/wellkept", "token")
        .replace("${DATABASE_URL}", "${DATABASE_URL:-postgres://app@127.0.0.1/orders}");
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    let output = run(folder.path(), &["config", "check", "wellkept.yaml"]);
    assert_eq!(text(&output.stdout), "wellkept.yaml: valid, 5 checks\n");
}

#[test]
fn a_missing_variable_and_a_missing_file_end_with_78() {
    let (code, said) = check("checks:\n  - name: db\n    tcp: { address: '${NOT_SET_ANYWHERE}' }\n");
    assert_eq!(code, Some(78));
    assert!(said.contains("app.yaml:3:21: ") && said.contains("NOT_SET_ANYWHERE"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    for arguments in [["serve", "--config", "gone.yaml"], ["check", "--config", "gone.yaml"]] {
        let output = run(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("gone.yaml"), "{}", text(&output.stderr));
    }
}

const BEFORE: &str = "
checks:
  - name: stays
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    interval: 1h
    groups: [ready]
  - name: goes
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    groups: [ready]
";

#[test]
fn a_broken_file_is_refused_whole_and_the_old_one_runs_on() {
    let mut served = Served::with(BEFORE);
    served.until_status("stays", "healthy");
    let since = served.component("stays")["timestamp"].clone();
    let broken = BEFORE.replace("name: goes", "name: comes").replace("disk: { path: /,", "dsk: { path: /,");
    served.reload(&broken, "rejected");
    for place in ["wellkept.yaml:4:5: ", "wellkept.yaml:8:5: "] {
        let line = served.wait_for(|line| line["error"].as_str().is_some_and(|error| error.contains(place)));
        assert!(line["error"].as_str().unwrap().ends_with("unknown check kind `dsk`, did you mean `disk`?"), "{line}");
    }
    let components = served.detailed()["components"].clone();
    assert!(components.get("goes").is_some() && components.get("comes").is_none(), "{components}");

    served.reload("", "rejected");
    assert!(served.detailed()["components"].get("goes").is_some(), "an empty file is refused too");
    std::fs::remove_file(served.file()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(served.file()).status().unwrap().success());
    served.reload_as_it_is("rejected");
    std::fs::remove_file(served.file()).unwrap();
    served.reload_as_it_is("rejected");

    let fixed = BEFORE.replace("name: goes", "name: comes");
    let line = served.reload(&fixed, "applied");
    assert_eq!((&line["added"], &line["removed"], &line["kept"]), (&1.into(), &1.into(), &3.into()), "{line}");
    served.until_status("comes", "healthy");
    assert_eq!(served.component("stays")["timestamp"], since, "what is unchanged keeps its state");
    served.reload_as_it_is("unchanged");
    let metrics = served.get("/metrics").text();
    for (outcome, count) in [("applied", 1), ("unchanged", 1), ("rejected", 4)] {
        let series = format!("wellkept_config_reloads_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&series), "{series} is missing");
    }
}

#[test]
fn no_probe_fails_while_it_reloads_and_what_waits_for_a_restart_is_named() {
    let mut served = Served::with(BEFORE);
    served.until_ready(true);
    let mut connection = wellkept_testkit::http::Connection::open(served.http).unwrap();
    let closed = wellkept_testkit::free_address();
    for round in 1..=5 {
        // One check changes each time, one comes that fails but is not required.
        let next = BEFORE.replace("interval: 1h", &format!("interval: {round}h"));
        let next = format!("{next}  - name: extra-{round}\n    tcp: {{ address: '{closed}' }}\n    required: false\n");
        std::fs::write(served.file(), next).unwrap();
        served.program.signal(Signal::HUP);
        let told = format!("extra-{round}");
        wellkept_testkit::until(crate::served::PATIENCE, &told, || {
            assert_eq!(connection.get("/readyz").unwrap().status, 200, "a probe failed during a reload");
            served.detailed()["components"].get(&told).is_some()
        });
    }
    let moved = format!("service: {{ name: other }}\n{BEFORE}");
    let line = served.reload(&moved, "restart_required");
    assert_eq!(line["removed"], 1, "the rest is applied: {line}");
    let keys = served.wait_for(|line| line["keys"].is_string());
    assert_eq!(keys["keys"], "service.name, store", "a service of another name has another file");
    let still = format!("{moved}defaults: {{ fall: 2 }}\n");
    served.reload(&still, "restart_required");
    served.reload(BEFORE, "applied");
}

#[test]
fn the_schema_is_printed_for_editors_and_its_keys_in_tables() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["config", "schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let interval = &schema["properties"]["checks"]["items"]["properties"]["interval"];
    assert_eq!((&interval["default"], &interval["examples"][0]), (&"10s".into(), &"10s".into()));
    let tables = text(&run(folder.path(), &["config", "schema", "--markdown"]).stdout);
    assert!(
        tables.contains("\n## `http`\n") && tables.contains("| `http.show_names` | true or false | `true` | restart |")
    );
}
