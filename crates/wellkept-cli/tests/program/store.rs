//! History: kept across a restart, and what happens when it can't be.

use std::process::Command;

use wellkept_testkit::{Program, Signal, http, until};

use crate::served::{PATIENCE, Served, listening, run, text, wellkept};

const FILE: &str = "
store: { url: 'sqlite:history.db' }
checks:
  - name: scratch
    disk: { path: /, degraded_below: 0%, unhealthy_below: 0% }
    interval: 100ms
";

#[test]
fn changes_and_results_survive_a_restart_and_are_shown() {
    let mut served = Served::with(FILE);
    served.until_status("scratch", "healthy");
    let results =
        |served: &Served| served.get("/api/v1/history?component=scratch&limit=1000").json()["results"].clone();
    until(PATIENCE, "some results", || results(&served).as_array().unwrap().len() >= 5);
    let before = served.get("/api/v1/history").json()["changes"].as_array().unwrap().len();
    assert_eq!(served.stop(), Some(0));
    let oldest = |results: &serde_json::Value| results.as_array().unwrap().last().unwrap()["at"].clone();

    // Not running: the store is read instead, and the exit code says so.
    let output = run(served.folder.path(), &["status", "--config", "wellkept.yaml"]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("scratch"), "{}", text(&output.stdout));

    let mut again = Served::again(served.folder);
    again.until_status("scratch", "healthy");
    until(PATIENCE, "the second start's changes", || {
        again.get("/api/v1/history").json()["changes"].as_array().unwrap().len() > before
    });
    let started = again.get("/health/detailed").json()["components"]["scratch"]["since"].clone();
    assert!(oldest(&results(&again)).as_str().unwrap() < started.as_str().unwrap(), "results from before the restart");
    let address = format!("http://{}", again.http);
    let output = run(again.folder.path(), &["status", "--server", &address]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", text(&output.stderr));
    assert!(shown.matches("scratch").count() >= 3, "its state, and a start before and after: {shown}");

    again.program.signal(Signal::KILL);
    again.program.wait(PATIENCE);
    let output = run(again.folder.path(), &["status", "--config", "wellkept.yaml", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["changes"].as_array().unwrap().len() > before, "a killed process leaves a readable store: {told}");
}

#[test]
fn a_folder_that_cannot_be_written_degrades_the_history_and_nothing_else() {
    let served = Served::with(&FILE.replace("sqlite:history.db", "sqlite:/proc/nowhere/history.db"));
    served.until_ready(true);
    let history = served.until_status("history", "degraded");
    assert_eq!(history["message"], "history is kept in memory only");
    served.wait_for(|line| line["level"] == "error" && line["message"].as_str().unwrap().contains("history can't be"));
    served.until_status("scratch", "healthy");
    let changes = served.get("/api/v1/history").json();
    assert!(changes["changes"].as_array().unwrap().iter().any(|change| change["component"] == "scratch"));
    assert_eq!(served.get("/health").status, 200);
    until(PATIENCE, "a trend of what is kept in memory", || {
        served.get("/api/v1/components/scratch/trend").json()["windows"]["24h"]["availability"] == 1.0
    });
}

/// A file system of its own that is full at once, in a mount namespace of its own.
#[test]
fn a_full_disk_degrades_the_history_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("small")).unwrap();
    let configuration = FILE.replace("sqlite:history.db", "sqlite:small/history.db").replace("100ms", "10ms");
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=64k none small && exec {} serve --listen 127.0.0.1:0",
        env!("CARGO_BIN_EXE_wellkept")
    );
    let program = Program::spawn(
        Command::new("unshare").args(["--mount", "--map-root-user", "sh", "-c", &script]).current_dir(folder.path()),
    );
    let address = listening(&program, "probes and metrics");
    until(PATIENCE, "the disk to be full", || {
        http::get(address, "/health/detailed").json()["components"]["history"]["status"] == "degraded"
    });
    assert_eq!(http::get(address, "/health").status, 200);
    assert_eq!(http::get(address, "/readyz").status, 200);
    until(PATIENCE, "a trend of what is kept in memory", || {
        http::get(address, "/api/v1/components/scratch/trend").json()["windows"]["24h"]["availability"] == 1.0
    });
    let output = program.output();
    assert_eq!(output.matches("history can't be written").count(), 1, "one loud line, not one a record: {output}");
}

/// The file with a service's name in it.
fn named(name: &str, file: &str) -> String {
    format!("service: {{ name: {name} }}\n{}", file.trim_start())
}

#[test]
fn a_second_process_on_the_same_store_keeps_its_history_in_memory_until_the_first_ends() {
    let file = named("one", FILE);
    let mut first = Served::with(&file);
    first.until_status("history", "healthy");
    first.until_status("scratch", "healthy");
    until(PATIENCE, "the first one's file", || first.folder.path().join("history.db.lock").exists());
    let path = first.folder.path().join("history.db");
    let url = format!("sqlite:{}", path.display());
    let second = Served::with(&file.replace("sqlite:history.db", &url));
    let history = second.until_status("history", "degraded");
    let detail = history["detail"].as_str().unwrap();
    assert!(detail.contains("another process writes to it; give each service a store of its own"), "{history}");
    second.wait_for(|line| line["level"] == "error" && line["code"] == "store.busy");
    second.until_ready(true);
    second.until_status("scratch", "healthy");
    first.until_status("history", "healthy");
    first.program.signal(Signal::KILL);
    first.program.wait(PATIENCE);
    second.until_status("history", "healthy");
}

#[test]
fn a_file_of_another_service_is_refused_at_the_start_with_what_to_do() {
    let mut first = Served::with(&named("one", FILE));
    first.until_status("history", "healthy");
    until(PATIENCE, "the first one's file", || first.folder.path().join("history.db.lock").exists());
    assert_eq!(first.stop(), Some(0));
    let folder = first.folder;
    let serve = |text: &str| {
        std::fs::write(folder.path().join("wellkept.yaml"), text).unwrap();
        run(folder.path(), &["serve", "--listen", "127.0.0.1:0"])
    };
    for (other, it) in [(named("two", FILE), "service \"two\""), (FILE.to_owned(), "a service without a name")] {
        let output = serve(&other);
        assert_eq!(output.status.code(), Some(78));
        let told = text(&output.stderr);
        let whose = format!("history.db: the file is of service \"one\", and this is {it}; name another file");
        assert!(told.contains(&whose) && told.contains("formerly"), "{told}");
        let output = run(folder.path(), &["status", "--config", "wellkept.yaml"]);
        assert!(text(&output.stderr).contains("the file is of service"), "its past is not shown either");
        assert!(!text(&output.stdout).contains("scratch"), "{}", text(&output.stdout));
    }
    let renamed = named("two", &FILE.replace("history.db'", "history.db', formerly: one"));
    std::fs::write(folder.path().join("wellkept.yaml"), &renamed).unwrap();
    let again = Served::again(folder);
    again.until_status("scratch", "healthy");
    until(PATIENCE, "what was kept before", || {
        let changes = again.get("/api/v1/history").json()["changes"].clone();
        changes.as_array().unwrap().iter().filter(|change| change["component"] == "scratch").count() >= 2
    });
}

#[test]
fn without_a_store_each_service_has_a_file_of_its_own() {
    let file = FILE.replace("store: { url: 'sqlite:history.db' }", "");
    let one = Served::with(&named("one", &file));
    let state = one.folder.path().join("state/wellkept");
    until(PATIENCE, "its file", || state.join("service-one.db").exists());
    std::fs::write(one.file(), named("two/2", &file)).unwrap();
    let two = Program::spawn(wellkept(one.folder.path()).args(["serve", "--listen", "127.0.0.1:0"]));
    listening(&two, "probes and metrics");
    until(PATIENCE, "its file", || state.join("service-two%2f2.db").exists());
    one.until_status("history", "healthy");
}
