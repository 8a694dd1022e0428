//! What a command is judged by, on real processes: scripts that warn, hang, fork, ignore signals and print for good.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run};
use tempfile::TempDir;
use wellkept_health::Verdict;
use wellkept_testkit::until;

fn script(text: &str) -> Command {
    Command::new(Options::new(["/bin/sh", "-c", text])).unwrap()
}

/// A script that writes its process group's number into a file before it goes on.
fn numbered(folder: &TempDir, text: &str) -> Command {
    script(&format!("echo $$ > {}/pid; {text}", folder.path().display()))
}

fn number(folder: &TempDir) -> Option<u32> {
    fs::read_to_string(folder.path().join("pid")).ok()?.trim().parse().ok()
}

/// The processes of a group, zombies too.
fn members(group: u32) -> Vec<String> {
    let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let of_group = |stat: &String| {
        let after_name = stat.rsplit_once(") ")?.1;
        (after_name.split(' ').nth(2)? == group.to_string()).then_some(())
    };
    stats.filter(|stat| of_group(stat).is_some()).collect()
}

/// Runs with little time; says how long it took.
async fn run_briefly(check: &Command, timeout: Duration) -> (Outcome, Duration) {
    let begun = Instant::now();
    let outcome = check.run(&Context::within(timeout)).await;
    (outcome, begun.elapsed())
}

#[tokio::test]
async fn exit_codes_are_judged_by_the_convention() {
    for (code, verdict, why, message) in [
        (0, Verdict::Pass, "pass", ""),
        (1, Verdict::Warn, "threshold", "the command warns"),
        (2, Verdict::Fail, "threshold", "the command says that it is critical"),
        (3, Verdict::Fail, "internal", "the command can't tell"),
        (127, Verdict::Fail, "unexpected", "exit code 127 is none of 0 to 3"),
    ] {
        let outcome = run(&script(&format!("echo 'at 10.0.0.7: so'; exit {code}"))).await;
        assert_eq!((outcome.verdict(), reason(&outcome), outcome.message()), (verdict, why, message));
        assert_eq!((&outcome.metadata()["exit_code"], outcome.detail()), (&code.into(), "at 10.0.0.7: so"));
    }
    let killed = run(&script("kill -9 $$")).await;
    assert_eq!((reason(&killed), killed.message()), ("unexpected", "signal 9 has ended the command"));
}

#[tokio::test]
async fn readings_are_metadata_and_the_first_line_is_public_only_where_that_is_said() {
    let words = ["/bin/sh", "-c", "echo 'LOAD WARNING - 5.2|load1=5.2;4;8;0'; echo more; echo apart >&2; exit 1"];
    let private = run(&Command::new(Options::new(words)).unwrap()).await;
    assert_eq!((private.message(), private.detail()), ("the command warns", "LOAD WARNING - 5.2\nmore\napart"));
    assert_eq!(private.metadata()["perfdata"]["load1"]["value"], 5.2);
    let options = Options { public: Public::FirstLine, ..Options::new(words) };
    assert_eq!(run(&Command::new(options).unwrap()).await.message(), "LOAD WARNING - 5.2");
}

#[tokio::test]
async fn a_missing_command_is_told_from_one_that_cannot_be_executed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_string_lossy().into_owned()
    };
    for (program, why, message) in [
        (folder.path().join("gone").display().to_string(), "not_found", "there is no such command"),
        (file("plain", "#!/bin/sh\n", 0o644), "not_executable", "the command can't be executed"),
        (file("text", "no program", 0o755), "not_executable", "the command can't be executed"),
        (file("orphan", "#!/no/such/interpreter\n", 0o755), "not_executable", "the command can't be executed"),
        (folder.path().display().to_string(), "not_executable", "the command can't be executed"),
    ] {
        let outcome = run(&Command::new(Options::new([program.clone()])).unwrap()).await;
        assert_eq!((reason(&outcome), outcome.message()), (why, message), "{program}");
        assert!(outcome.detail().starts_with(&program), "{outcome:?}");
    }
    let options = Options { directory: folder.path().join("gone"), ..Options::new(["/bin/true"]) };
    let outcome = run(&Command::new(options).unwrap()).await;
    assert_eq!(reason(&outcome), "error");
}

#[tokio::test]
async fn at_its_timeout_a_command_is_killed_with_what_it_started_and_no_zombie_is_left() {
    let folder = tempfile::tempdir().unwrap();
    // All ignore SIGTERM, one has a parent that is gone, and each holds the output open.
    let check = numbered(&folder, "trap '' TERM HUP; (trap '' TERM; sleep 86400 & sleep 86400) & sleep 86400");
    let (outcome, elapsed) = run_briefly(&check, Duration::from_millis(500)).await;
    assert_eq!((reason(&outcome), outcome.message()), ("timeout", "no answer in time"));
    assert!(elapsed < Duration::from_millis(500), "it says so itself, before it is dropped: {elapsed:?}");
    let group = number(&folder).unwrap();
    until(PATIENCE, "all of the group gone", || members(group).is_empty());
}

#[tokio::test]
async fn a_command_that_ends_is_not_waited_for_through_what_it_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let check = numbered(&folder, "sleep 86400 & echo done");
    let begun = Instant::now();
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.detail()), ("pass", "done"));
    assert!(begun.elapsed() < PATIENCE / 2);
    let group = number(&folder).unwrap();
    until(PATIENCE, "what was left behind gone", || members(group).is_empty());
}

#[tokio::test]
async fn a_dropped_run_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let check = numbered(&folder, "sleep 86400 & sleep 86400");
    let running = tokio::spawn(async move { run(&check).await });
    let group = loop {
        match number(&folder) {
            Some(group) => break group,
            None => tokio::task::yield_now().await,
        }
    };
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    until(PATIENCE, "all of the group gone", || members(group).is_empty());
}

#[tokio::test]
async fn who_prints_for_good_is_killed_and_little_of_it_kept() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&numbered(&folder, "head -c 1000000000 /dev/zero | tr '\\0' x")).await;
    assert_eq!((reason(&outcome), outcome.message()), ("protocol", "the command prints too much"));
    let group = number(&folder).unwrap();
    until(PATIENCE, "all of the group gone", || members(group).is_empty());
    let much = run(&script("head -c 1000000 /dev/zero | tr '\\0' x")).await;
    assert_eq!((reason(&much), much.detail().len()), ("pass", Outcome::MAX_DETAIL));
}

#[tokio::test]
async fn a_command_has_no_input_no_descriptor_and_no_variable_that_it_was_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let open = fs::File::create(folder.path().join("open-here")).unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let told = run(&script("cat; ls -l /proc/self/fd; env; pwd")).await.detail().to_owned();
    assert!(told.contains("0 -> /dev/null"), "{told}");
    assert!(!told.contains("open-here") && !told.contains("socket:"), "{told}");
    assert!(!told.contains("CARGO") && told.contains("PATH=") && told.ends_with("PWD=/\n/"), "{told}");
    drop((open, socket));
    let options = Options {
        inherit: vec!["CARGO_MANIFEST_DIR".to_owned()],
        environment: vec![("PASSWORD".to_owned(), PLANTED.into())],
        directory: folder.path().to_owned(),
        ..Options::new(["/bin/sh", "-c", "env; pwd; echo $PASSWORD >&2; exit 2"])
    };
    let outcome = run(&Command::new(options).unwrap()).await;
    assert_keeps_secrets(&outcome);
    for part in ["CARGO_MANIFEST_DIR=", "PASSWORD=***", &folder.path().to_string_lossy()] {
        assert!(outcome.detail().contains(part), "{part}: {outcome:?}");
    }
}

#[tokio::test]
async fn another_user_is_taken_by_root_and_refused_to_others() {
    let options = Options { user: Some(User { id: 65534, group: 65533 }), ..Options::new(["/usr/bin/id"]) };
    let outcome = run(&Command::new(options).unwrap()).await;
    if rustix::process::geteuid().is_root() {
        assert!(outcome.detail().starts_with("uid=65534"), "{outcome:?}");
        assert!(outcome.detail().contains("gid=65533") && !outcome.detail().contains("0(root)"), "{outcome:?}");
    } else {
        assert_eq!(reason(&outcome), "error");
    }
}

#[tokio::test]
async fn a_hundred_runs_leave_no_descriptor_and_no_process() {
    let check = script("exit 0");
    run(&check).await;
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok).count();
    let children = || {
        let own = std::process::id().to_string();
        let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        stats.filter(|stat| stat.contains("(sh) Z") && stat.contains(&format!(" {own} "))).count()
    };
    let before = descriptors();
    for _ in 0..100 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    // Other tests of this process have descriptors too, but not a hundred.
    assert!(descriptors() < before + 60, "{before} then {}", descriptors());
    until(PATIENCE, "no zombie", || children() == 0);
}

#[test]
fn what_cannot_be_run_is_reported_and_nothing_of_it_shown() {
    assert!(Path::new("/bin/true").exists());
    configured("command: { run: [/bin/true, -x], user: '65534:65534' }").unwrap();
    let reported = configured("command: { run: [] }").unwrap_err();
    assert_eq!(reported, "test.yaml:1:17: must not be empty");
    let reported = configured(&format!("command: {{ run: ['{PLANTED}'] }}")).unwrap_err();
    assert_eq!(reported, "test.yaml:1:17: must begin with the program's whole path");
    let reported = configured("command: { run: [/bin/true], inherit: ['A=B'] }").unwrap_err();
    assert_eq!(reported, "test.yaml:1:39: must be names of variables");
    assert!(configured("command: { run: [/bin/true], user: nobody }").unwrap_err().contains("the group is missing"));
    let options = Options::new(["/bin/true", PLANTED]);
    assert!(!format!("{options:?} {:?}", Command::new(options.clone()).unwrap()).contains(PLANTED));
}
