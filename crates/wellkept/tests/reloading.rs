//! A real process with a configuration of its own that is changed while everything goes wrong: killed at each step,
//! subscribers that fail, hang and panic, a disk that is full.
#![cfg(feature = "sqlite")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a child tells it what it does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use wellkept::config::{
    Intent, Live, LiveOptions, Outcome, Prepared, Refusal, Request, Section, Settings, Sources, Trigger, Version,
    VersionStore as _, WatchOptions,
};
use wellkept::store::{Owner, SqliteVersions};
use wellkept::telemetry::logging::{self, Format, Options, SinkOptions};
use wellkept_testkit::{Program, Signal, private_mounts, until};

const PATIENCE: Duration = Duration::from_secs(20);
/// How long one reload may take.
const DEADLINE: Duration = Duration::from_millis(400);

/// A number twice, so that half of one configuration with half of another would show.
struct App {
    number: u64,
    twin: u64,
    /// What becomes of the preparation, and of the commit.
    prepare: String,
    commit: String,
}

impl Settings for App {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let number = section.required("number");
        let prepare = section.or("prepare", "succeeds".to_owned());
        let commit = section.or("commit", "succeeds".to_owned());
        let padding = section.or("padding", String::new());
        let twin = section.required("twin");
        section.complete();
        drop(padding);
        Some(Self { number: number?, twin: twin?, prepare, commit })
    }
}

/// The child's `main`. It claims nothing when no test below has started it.
#[test]
fn child() {
    let (Ok(file), Ok(store)) = (std::env::var("APP_FILE"), std::env::var("APP_STORE")) else { return };
    logging::init(Options::to(SinkOptions::stdout(Format::Text))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut hangup = signal(SignalKind::hangup()).unwrap();
        let options = LiveOptions { deadline: DEADLINE, ..LiveOptions::default() };
        let store = SqliteVersions::new(PathBuf::from(store), Owner::named("app"));
        let live = Live::<App>::load_with(Sources::new().file(file), options, store).unwrap();
        let _first = live.subscribe("first", |_: Arc<App>, new: Arc<App>| async move {
            let number = new.number;
            let undo = move || println!("step undo {number}");
            Ok(Prepared::new(move || commit(&new)).undo(undo).retire(move || async move {
                println!("step retire {number}");
            }))
        });
        let _second = live.subscribe("second", |_: Arc<App>, new: Arc<App>| prepare(new));
        let _watching = std::env::var_os("APP_WATCHES")
            .map(|_| live.watch(WatchOptions { poll: Duration::from_secs(3600), settle: Duration::from_millis(10) }));
        println!("\napp runs {} {}", live.current().number, live.current().twin);
        while hangup.recv().await.is_some() {
            let intent = Intent::Apply;
            let request = Request { trigger: Trigger::Signal, author: String::new(), intent, expected: None };
            let report = live.reload(request).await;
            let code = match &report.outcome {
                Outcome::Rejected(rejection) => rejection.code(),
                _ => "",
            };
            let App { number, twin, .. } = &*live.current();
            println!("outcome {} {code} running {number} {twin}", report.outcome.kind().as_str());
        }
    });
}

async fn prepare(new: Arc<App>) -> Result<Prepared, Refusal> {
    println!("step prepare {}", new.number);
    match new.prepare.as_str() {
        "fails" => return Err(Refusal::new("it can't be reached")),
        "hangs" => std::future::pending().await,
        "panics" => panic!("it panicked"),
        _ => {}
    }
    Ok(Prepared::nothing())
}

fn commit(new: &App) -> Vec<(&'static str, wellkept::config::Effect)> {
    println!("step commit {}", new.number);
    if new.commit == "stops" {
        loop {
            std::thread::park();
        }
    }
    Vec::new()
}

/// A folder with the application's file and its store.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write(1, "");
        place
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("app.yaml")
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store/app.db")
    }

    /// Replaces the file in one step.
    fn write(&self, number: u64, more: &str) {
        let next = self.0.path().join("next");
        fs::write(&next, text(number, more)).unwrap();
        fs::rename(next, self.file()).unwrap();
    }

    fn start(&self) -> Program {
        self.start_by(Command::new(std::env::current_exe().expect("a test has a path")), &self.store())
    }

    fn start_by(&self, mut command: Command, store: &Path) -> Program {
        let command = command.args(["--exact", "child", "--nocapture"]);
        let program = Program::spawn(command.env("APP_FILE", self.file()).env("APP_STORE", store));
        program.wait_for_line(|line| line.starts_with("app runs "), PATIENCE);
        program
    }

    fn versions(&self) -> Vec<Version> {
        SqliteVersions::new(self.store(), Owner::named("app")).versions().unwrap()
    }

    /// Each version that ran has a content which is whole; the numbers of the newest one's.
    fn assert_whole(&self) -> (u64, String) {
        let mut store = SqliteVersions::new(self.store(), Owner::named("app"));
        let mut newest = None;
        for version in self.versions().iter().rev().filter(|version| version.outcome.as_str() != "rejected") {
            let content = store.content(version.id).unwrap().expect("one that ran has a content");
            assert_eq!(content.hash(), version.hash, "{version:?}");
            newest = Some((version.id.0, content.parts[0].text.clone()));
        }
        newest.expect("there is one")
    }
}

fn text(number: u64, more: &str) -> String {
    format!("number: {number}\n{more}\ntwin: {number}\n")
}

fn outcome(program: &Program, number: usize) -> String {
    until(PATIENCE, "the outcome", || outcomes(program).len() > number);
    outcomes(program).swap_remove(number)
}

fn outcomes(program: &Program) -> Vec<String> {
    let output = program.stdout();
    output.lines().filter_map(|line| line.strip_prefix("outcome ")).map(str::to_owned).collect()
}

#[test]
fn a_process_killed_at_any_step_of_a_reload_comes_back_whole_with_what_the_file_says() {
    let place = Place::new();
    let mut number = 1;
    let steps = [
        ("", ""),
        ("step prepare", "prepare: hangs"),
        ("step prepare", ""),
        ("step commit", "commit: stops"),
        ("step commit", ""),
        ("step retire", ""),
        ("outcome", ""),
    ];
    for (step, more) in steps {
        let mut program = place.start();
        let before = place.assert_whole();
        number += 1;
        place.write(number, more);
        program.signal(Signal::HUP);
        if !step.is_empty() {
            program.wait_for_line(|line| line.starts_with(step), PATIENCE);
        }
        program.signal(Signal::KILL);
        program.wait(PATIENCE);
        let (id, kept) = place.assert_whole();
        if id == before.0 {
            assert_eq!(kept, before.1, "the old one");
        } else {
            assert_eq!((id, kept), (before.0 + 1, text(number, more)), "the new one");
        }
        if step == "outcome" {
            assert_eq!(id, before.0 + 1, "what was told is kept");
        }
        // What the file says is what a start runs; it is a version, whatever became of the one before.
        let program = place.start();
        let running = format!("app runs {number} {number}");
        program.wait_for_line(|line| line == running, PATIENCE);
        assert_eq!(place.assert_whole(), (before.0 + 1, text(number, more)));
    }
}

#[test]
fn a_subscriber_that_fails_hangs_or_panics_leaves_the_old_one_whole_and_the_next_reload_goes_on() {
    let place = Place::new();
    let mut program = place.start();
    let faults = [("fails", "config.refused"), ("hangs", "config.timed_out"), ("panics", "config.panicked")];
    let mut reloads = 0;
    for (number, (fault, code)) in (2..).zip(faults) {
        let good = 10 * number;
        place.write(number, &format!("prepare: {fault}"));
        program.signal(Signal::HUP);
        let running = if number == 2 { 1 } else { good - 10 };
        assert_eq!(outcome(&program, reloads), format!("rejected {code} running {running} {running}"));
        if fault == "hangs" {
            // What the other one prepared meanwhile is given back.
            program.wait_for_line(|line| line == format!("step undo {number}"), PATIENCE);
        }
        place.write(good, "");
        program.signal(Signal::HUP);
        assert_eq!(outcome(&program, reloads + 1), format!("applied  running {good} {good}"));
        reloads += 2;
    }
    let kept: Vec<_> = place.versions().iter().rev().map(|version| version.outcome.as_str()).collect();
    assert_eq!(kept, ["applied", "rejected", "applied", "rejected", "applied", "rejected", "applied"]);
    assert!(!program.output().contains("step commit 2\n"));
}

#[test]
fn a_thousand_signals_come_to_what_the_file_says() {
    let place = Place::new();
    let mut program = place.start();
    for number in 2..=1001 {
        place.write(number, "");
        program.signal(Signal::HUP);
    }
    until(PATIENCE, "the last one", || {
        outcomes(&program).last().is_some_and(|last| last.ends_with("running 1001 1001"))
    });
    for outcome in outcomes(&program) {
        let numbers: Vec<&str> = outcome.split(' ').rev().take(2).collect();
        assert!(numbers[0] == numbers[1] && !outcome.starts_with("rejected"), "{outcome}");
    }
    assert_eq!(program.ended(), None);
    assert_eq!(place.assert_whole().1, text(1001, ""));
}

#[test]
fn a_full_disk_keeps_no_reload_from_being_applied_and_the_versions_are_written_when_there_is_room() {
    let Some(mut command) = private_mounts() else { return };
    let place = Place::new();
    let point = place.0.path().join("small");
    fs::create_dir(&point).unwrap();
    let script = r#"mount -t tmpfs -o size=640k none "$1"; shift; exec "$@""#;
    command.args(["sh", "-ec", script, "sh"]).arg(&point).arg(std::env::current_exe().unwrap());
    let mut program = place.start_by(command, &point.join("app.db"));
    // The same folder, seen from outside of the namespace.
    let inside = PathBuf::from(format!("/proc/{}/root{}", program.pid(), point.display()));
    let ballast = inside.join("ballast");
    let fills = || fs::write(&ballast, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(fills().kind(), std::io::ErrorKind::StorageFull);
    let padding = format!("padding: {}", "x".repeat(100_000));
    place.write(2, &padding);
    program.signal(Signal::HUP);
    assert_eq!(outcome(&program, 0), "applied  running 2 2");
    let told = program.wait_for_line(|line| line.contains("ERROR") || line.contains("error"), PATIENCE);
    assert!(told.contains("store"), "{told}");

    fs::remove_file(&ballast).unwrap();
    place.write(3, "");
    program.signal(Signal::HUP);
    assert_eq!(outcome(&program, 1), "applied  running 3 3");
    // SQLite finds its file by the path that it has outside.
    fs::create_dir(place.0.path().join("store")).unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("app.db{suffix}");
        fs::copy(inside.join(&name), place.0.path().join("store").join(name)).unwrap();
    }
    let numbers: Vec<_> = place.versions().iter().map(|version| version.id.0).collect();
    assert_eq!(numbers, [3, 2, 1], "none is missing");
}

#[test]
fn a_file_that_is_changed_all_the_time_is_never_read_in_half() {
    let place = Place::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("APP_WATCHES", "1");
    let mut program = place.start_by(command, &place.store());
    for number in 2..=300 {
        place.write(number, "");
    }
    let last = "step commit 300";
    program.wait_for_line(|line| line == last, PATIENCE);
    program.signal(Signal::HUP);
    assert_eq!(outcome(&program, 0), "unchanged  running 300 300");
    assert!(!program.output().contains("config.rejected"), "{}", program.output());
}
