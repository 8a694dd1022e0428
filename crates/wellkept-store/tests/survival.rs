//! A store whose process is killed or whose disk is full, in real processes.
#![expect(clippy::print_stdout, reason = "the child tells its parent what it has done")]

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use wellkept_config::{Content, OutcomeKind, Part, StoreFault, Trigger, Version, VersionId, VersionStore as _};
use wellkept_health::{HistoryStore, MaintenanceStore as _, Record, RunResult, Verdict};
use wellkept_store::{Owner, ReopeningStore, SqliteStore, SqliteVersions};
use wellkept_testkit::{Program, Signal};

/// Set in a test's child process: the file that it writes.
const CHILD: &str = "WELLKEPT_STORE_CHILD";
const SOON: Duration = Duration::from_secs(30);
const BATCH: usize = 10;

fn batch(number: usize) -> Vec<Record> {
    (0..BATCH)
        .map(|place| {
            Record::Result(RunResult {
                component: format!("component-{place}").into(),
                verdict: Verdict::Pass,
                reason: None,
                response_time_ms: 1.0,
                at: jiff::Timestamp::from_second(i64::try_from(number).expect("small")).expect("in range"),
            })
        })
        .collect()
}

/// Writes until something ends it; tells each batch that is confirmed, and the error.
fn write_until_the_end(path: &str) -> ! {
    let mut store = SqliteStore::open(Path::new(path)).expect("the store opens");
    for number in 0.. {
        if let Err(error) = store.append(&batch(number)) {
            println!("error {}", error.code);
            break;
        }
        println!("confirmed {number}");
    }
    std::process::exit(0)
}

/// This test program again, running the one test as a child that writes.
fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("a running program has a path"));
    command.args(["--exact", test, "--nocapture"]).env(CHILD, path);
    command
}

fn confirmed(output: &str) -> usize {
    output.lines().filter(|line| line.contains("confirmed ")).count()
}

/// How many batches are in the file; each must be whole.
fn whole_batches(path: &Path) -> usize {
    let mut store = SqliteStore::open(path).expect("the file is whole");
    let mut count = |place| store.results(&format!("component-{place}"), usize::MAX).expect("it can be read").len();
    let counts: Vec<usize> = (0..BATCH).map(&mut count).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "a batch is torn: {counts:?}");
    store.append(&batch(0)).expect("it can be written");
    counts[0]
}

#[test]
fn a_writer_killed_in_the_middle_leaves_all_that_was_confirmed_and_no_half_batch() {
    if let Ok(path) = env::var(CHILD) {
        write_until_the_end(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    let mut before = 0;
    for round in [20, 150, 333] {
        let test = "a_writer_killed_in_the_middle_leaves_all_that_was_confirmed_and_no_half_batch";
        let mut writer = Program::spawn(&mut child(test, &path));
        writer.wait_for_line(|line| line.ends_with(&format!("confirmed {round}")), SOON);
        writer.signal(Signal::KILL);
        writer.wait(SOON);
        let confirmed = confirmed(&writer.stdout());
        let kept = whole_batches(&path) - before;
        assert!(kept == confirmed || kept == confirmed + 1, "{kept} kept, {confirmed} confirmed");
        before += kept + 1;
    }
}

#[test]
fn a_disk_that_takes_no_more_is_an_error_and_the_file_stays_whole() {
    if let Ok(path) = env::var(CHILD) {
        write_until_the_end(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    let test = "a_disk_that_takes_no_more_is_an_error_and_the_file_stays_whole";
    // The limit is in blocks of 512 bytes. Its signal would kill, so that it is ignored: writing fails instead.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""]);
    let writer = child(test, &path);
    limited.arg(writer.get_program()).args(writer.get_args()).env(CHILD, &path);
    let mut writer = Program::spawn(&mut limited);
    assert!(writer.wait_for_line(|line| line.contains("error "), SOON).ends_with("error store.io"));
    assert!(writer.wait(SOON).success());
    let confirmed = confirmed(&writer.stdout());
    assert!(confirmed > 0);
    assert_eq!(whole_batches(&path), confirmed);
}

/// Files and lines of a version, some pages of each.
const FILES: usize = 3;
const LINES: usize = 200;
/// How many versions are kept.
const KEEP: usize = 5;

fn add_version(store: &mut SqliteVersions, number: u64) -> Result<VersionId, StoreFault> {
    let part = |place| Part { name: format!("{place}.yaml"), text: format!("number: {number}\n").repeat(1000) };
    let content = Content { parts: (0..FILES).map(part).collect() };
    let version = Version {
        id: VersionId(0),
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
        trigger: Trigger::Watch,
        author: String::new(),
        hash: content.hash(),
        outcome: OutcomeKind::Applied,
        returned_to: None,
        refuses: None,
        summary: vec![format!("~ number: {number}"); LINES],
    };
    store.append(&version, Some(&content), KEEP)
}

/// Adds versions until something ends it; tells each one that is confirmed, and the fault.
fn add_versions_until_the_end(path: &str) -> ! {
    let mut store = SqliteVersions::new(path.into(), Owner::default());
    let next = store.versions().expect("they can be read").first().map_or(1, |newest| newest.id.0 + 1);
    for number in next.. {
        match add_version(&mut store, number) {
            Ok(id) => println!("confirmed {id}"),
            Err(fault) => {
                println!("error {}", fault.code);
                break;
            }
        }
    }
    std::process::exit(0)
}

/// The newest version that is in the file; each that is there must be whole, and as many as are kept.
fn newest_whole_version(path: &Path) -> u64 {
    let mut store = SqliteVersions::new(path.to_owned(), Owner::default());
    let versions = store.versions().expect("the file is whole");
    let newest = versions[0].id.0;
    let expected: Vec<u64> = (1..=newest).rev().take(KEEP).collect();
    assert_eq!(versions.iter().map(|version| version.id.0).collect::<Vec<_>>(), expected);
    for version in &versions {
        assert_eq!(version.summary, vec![format!("~ number: {}", version.id); LINES], "a version is torn");
        // Its hash is compared by the store.
        let content = store.content(version.id).expect("a version is whole").expect("it ran");
        assert_eq!(content.parts.len(), FILES);
        assert!(content.parts[0].text.starts_with(&format!("number: {}\n", version.id)));
    }
    assert_eq!(store.content(VersionId(newest + 1)).expect("it can be read"), None);
    newest
}

#[test]
fn a_process_killed_while_it_adds_a_version_leaves_the_old_ones_or_the_new_one_and_never_half() {
    if let Ok(path) = env::var(CHILD) {
        add_versions_until_the_end(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    let test = "a_process_killed_while_it_adds_a_version_leaves_the_old_ones_or_the_new_one_and_never_half";
    let mut before = 0;
    for round in [1, 2, 3, 10, 27] {
        let mut writer = Program::spawn(&mut child(test, &path));
        writer.wait_for_line(|line| line.ends_with(&format!("confirmed {}", before + round)), SOON);
        writer.signal(Signal::KILL);
        writer.wait(SOON);
        let confirmed = before + confirmed(&writer.stdout()) as u64;
        let newest = newest_whole_version(&path);
        assert!(newest == confirmed || newest == confirmed + 1, "{newest} kept, {confirmed} confirmed");
        before = newest;
    }
}

#[test]
fn a_disk_that_takes_no_more_versions_is_a_fault_and_those_before_are_whole() {
    if let Ok(path) = env::var(CHILD) {
        add_versions_until_the_end(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    let test = "a_disk_that_takes_no_more_versions_is_a_fault_and_those_before_are_whole";
    for limit in [400, 500, 600] {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"")]);
        let writer = child(test, &path);
        limited.arg(writer.get_program()).args(writer.get_args()).env(CHILD, &path);
        let mut writer = Program::spawn(&mut limited);
        assert!(writer.wait_for_line(|line| line.contains("error "), SOON).ends_with("error store.io"));
        assert!(writer.wait(SOON).success());
        let newest = newest_whole_version(&path);
        let mut store = SqliteVersions::new(path.clone(), Owner::default());
        assert_eq!(add_version(&mut store, newest + 1).expect("there is room again"), VersionId(newest + 1));
    }
}

/// Holds the store with a maintenance in it, until something ends it.
fn hold_until_the_end(path: &str) -> ! {
    let mut store = SqliteStore::open(Path::new(path)).expect("the store opens");
    store.append(&batch(0)).expect("it can be written");
    println!("confirmed 0");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_file_that_another_process_writes_is_refused_to_writers_until_that_one_ends_and_open_to_readers() {
    if let Ok(path) = env::var(CHILD) {
        hold_until_the_end(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    let test = "a_file_that_another_process_writes_is_refused_to_writers_until_that_one_ends_and_open_to_readers";
    let mut writer = Program::spawn(&mut child(test, &path));
    writer.wait_for_line(|line| line.ends_with("confirmed 0"), SOON);

    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let error = SqliteStore::open(path).unwrap_err();
        assert_eq!(error.code(), "store.busy");
        assert!(error.to_string().contains("another process writes to it; give each service a store"), "{error}");
    }
    let mut second = ReopeningStore::new(path.clone(), Owner::default());
    assert_eq!(second.append(&batch(1)).unwrap_err().code, "store.busy");
    assert_eq!(second.load().unwrap_err().code, "store.busy", "maintenances are the first one's own");
    assert_eq!(second.save(&[]).unwrap_err().code, "store.busy");
    assert_eq!(SqliteStore::open_read_only(&path).unwrap().results("component-0", 10).unwrap().len(), 1);

    writer.signal(Signal::KILL);
    writer.wait(SOON);
    second.append(&batch(1)).unwrap();
    assert_eq!(second.results("component-0", 10).unwrap().len(), 2, "what was killed leaves no lock");
    ReopeningStore::new(path, Owner::default()).load().expect("one process may open it twice");
}
