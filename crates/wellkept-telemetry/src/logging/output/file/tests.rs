//! Log files as whoever reads them finds them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use flate2::read::GzDecoder;
use jiff::SignedDuration;
use proptest::prelude::*;
use tempfile::TempDir;
use wellkept_testkit::{not_run, until};

use super::rotated::Tidied;
use super::*;

const SOON: Duration = Duration::from_secs(10);

thread_local! {
    /// Seconds by which this test's clock is ahead of 2026-01-15 23:59:00 UTC, a Thursday.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

fn clock() -> Timestamp {
    let begin: Timestamp = "2026-01-15T23:59:00Z".parse().unwrap();
    begin + SignedDuration::from_secs(AHEAD.get())
}

struct Log {
    file: LogFile,
    folder: TempDir,
}

impl Log {
    fn with(change: impl FnOnce(&mut FileOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = FileOptions::new(folder.path().join("orders.log"));
        options.rotated = Rotated::Plain;
        change(&mut options);
        let file = LogFile::open_at(options, clock).unwrap();
        Self { file, folder }
    }

    fn path(&self) -> &Path {
        &self.file.options.path
    }

    /// Writes lines that the file takes at once.
    fn write(&mut self, lines: &str) {
        let written = self.file.write(lines.as_bytes());
        assert_eq!(written, Written { bytes: lines.len(), failed: 0, why: None, again: None });
    }

    /// What the files hold, those put aside first, in the order of their names; the file itself is always there.
    fn files(&self) -> Vec<String> {
        read(self.folder.path())
    }

    /// Has the files that were put aside looked after until nothing is to be done any more.
    fn settle(&mut self) {
        until(SOON, "the keeper to be done", || {
            self.file.keeper.tend();
            self.file.keeper.is_idle()
        });
    }
}

fn is_compressed(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "gz")
}

fn names(folder: &Path) -> Vec<String> {
    let names: BTreeSet<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.into_iter().collect()
}

fn read(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    // The file itself is the newest.
    names.sort_by_key(|name| (name == "orders.log", name.clone()));
    let read = |name: &String| {
        let bytes = fs::read(folder.join(name)).unwrap();
        if !is_compressed(name) {
            return String::from_utf8(bytes).unwrap();
        }
        let mut text = String::new();
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        text
    };
    names.iter().map(read).collect()
}

#[test]
fn a_file_is_put_aside_before_it_grows_past_its_size_and_its_name_has_the_time() {
    let mut log = Log::with(|options| options.max_size = Some(10));
    log.write("one\ntwo\nthree\nfour\n");
    log.write("a line that is longer than the file may be\nsix\n");
    assert_eq!(
        log.files(),
        ["one\ntwo\n", "three\n", "four\n", "a line that is longer than the file may be\n", "six\n"]
    );
    let names = names(log.folder.path());
    assert_eq!(names[..3], ["orders.log", "orders.log.20260115T235900.000Z", "orders.log.20260115T235900.001Z"]);
    assert_eq!(fs::metadata(log.path()).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn a_file_is_put_aside_with_the_day_in_utc_though_no_line_comes_and_never_an_empty_one() {
    let mut log = Log::with(|options| options.every = Some(Duration::from_secs(86_400)));
    log.write("thursday\n");
    AHEAD.set(59);
    log.file.tend();
    assert_eq!(log.files(), ["thursday\n"]);
    AHEAD.set(60);
    log.file.tend();
    assert_eq!(log.files(), ["thursday\n", ""]);
    assert!(log.folder.path().join("orders.log.20260116T000000.000Z").exists());
    AHEAD.set(3 * 86_400);
    log.file.tend();
    assert_eq!(log.files(), ["thursday\n", ""]);
    log.write("sunday\n");
    // A clock that was set back is no new day, and the day after it is one.
    AHEAD.set(86_400);
    log.file.tend();
    log.write("friday\n");
    assert_eq!(log.files(), ["thursday\n", "sunday\nfriday\n"]);
    AHEAD.set(2 * 86_400);
    log.write("saturday\n");
    assert_eq!(log.files(), ["thursday\n", "sunday\nfriday\n", "saturday\n"]);
}

#[test]
fn weeks_begin_on_monday_and_hours_with_the_hour() {
    let span = |time: &str, hours: u64| span_of(time.parse().unwrap(), Duration::from_secs(hours * 3600));
    for hours in [1, 6, 24, 7 * 24] {
        assert_eq!(span("2026-01-18T23:59:59Z", hours) + 1, span("2026-01-19T00:00:00Z", hours), "{hours}");
    }
    assert_eq!(span("2026-01-19T00:00:00Z", 7 * 24), span("2026-01-25T23:59:59Z", 7 * 24));
}

#[test]
fn the_file_of_a_day_before_the_start_is_put_aside_at_the_first_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.log");
    fs::write(&path, "long ago\n").unwrap();
    let hour = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(hour).unwrap();
    let options =
        FileOptions { every: Some(Duration::from_secs(3600)), rotated: Rotated::Plain, ..FileOptions::new(&path) };
    let mut file = LogFile::open_at(options, clock).unwrap();
    file.write(b"now\n");
    assert_eq!(read(folder.path()), ["long ago\n", "now\n"]);
}

#[test]
fn files_put_aside_are_compressed_and_only_so_many_are_kept() {
    let mut log = Log::with(|options| {
        options.max_size = Some(8);
        options.keep.files = 2;
        options.rotated = Rotated::Gzip;
    });
    let stranger = log.folder.path().join("orders.log.old.gz");
    fs::write(&stranger, "").unwrap();
    for line in ["first\n", "second\n", "third\n", "fourth\n"] {
        log.write(line);
        log.settle();
    }
    // The clock stands still: a name is not used twice though the file that had it is compressed.
    let stamp = |at: &str| format!("orders.log.20260115T235900.{at}Z.gz");
    assert_eq!(names(log.folder.path()), ["orders.log", &stamp("001"), &stamp("002"), "orders.log.old.gz"]);
    fs::remove_file(stranger).unwrap();
    assert_eq!(log.files(), ["second\n", "third\n", "fourth\n"]);
    assert_eq!(fs::metadata(log.folder.path().join(stamp("001"))).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn files_are_kept_within_their_bytes_and_their_age() {
    let keep = |keep: Keep| {
        let folder = tempfile::tempdir().unwrap();
        for (day, bytes) in [(11, 100), (12, 100), (13, 100), (14, 100)] {
            let name = format!("orders.log.202601{day}T000000.000Z");
            fs::write(folder.path().join(name), "x".repeat(bytes)).unwrap();
        }
        rotated::tidy(&folder.path().join("orders.log"), keep, Rotated::Plain, clock()).unwrap();
        names(folder.path()).len()
    };
    assert_eq!(keep(Keep::default()), 4);
    assert_eq!(keep(Keep { files: 3, ..Keep::default() }), 3);
    assert_eq!(keep(Keep { size: Some(250), ..Keep::default() }), 2);
    assert_eq!(keep(Keep { age: Some(Duration::from_secs(2 * 86_400)), ..Keep::default() }), 1);
}

#[test]
fn what_a_killed_process_left_half_compressed_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(format!("orders.log.20260101T000000.{name}"));
    fs::write(at("000Z"), "whole\n").unwrap();
    fs::write(at("000Z.gz.part"), "half").unwrap();
    fs::write(at("001Z.gz.part"), "half, and its source is gone").unwrap();
    let tidied = rotated::tidy(&folder.path().join("orders.log"), Keep::default(), Rotated::Gzip, clock()).unwrap();
    assert_eq!(tidied, Tidied::All);
    assert_eq!(names(folder.path()), ["orders.log.20260101T000000.000Z.gz"]);
    assert_eq!(read(folder.path()), ["whole\n"]);
}

#[test]
fn a_file_that_another_process_still_writes_to_is_compressed_later() {
    let mut log = Log::with(|options| options.rotated = Rotated::Gzip);
    let mut other = LogFile::open_at(log.file.options.clone(), clock).unwrap();
    log.write("ours\n");
    log.file.rotate(Instant::now()).unwrap();
    let tidy = || rotated::tidy(log.path(), Keep::default(), Rotated::Gzip, clock()).unwrap();
    assert_eq!(tidy(), Tidied::Later);
    assert_eq!(other.append(b"theirs\n"), 7);
    other.look(Instant::now());
    // The log's own thread may be at it at the same moment.
    until(SOON, "nobody to write to it", || tidy() == Tidied::All);
    assert_eq!(other.append(b"new\n"), 4);
    assert_eq!(log.files(), ["ours\ntheirs\n", "new\n"]);
}

#[test]
fn processes_that_share_a_file_lose_no_line_while_each_of_them_puts_it_aside() {
    const LINES: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let mut options = FileOptions::new(folder.path().join("orders.log"));
    (options.max_size, options.keep.files) = (Some(20_000), usize::MAX);
    thread::scope(|scope| {
        for writer in 0..3 {
            let options = options.clone();
            scope.spawn(move || {
                let mut file = LogFile::open(options).unwrap();
                for number in 0..LINES {
                    let line = format!("{{\"writer\":{writer},\"number\":{number}}}\n");
                    assert_eq!(file.write(line.as_bytes()).bytes, line.len());
                    if number % 100 == 0 {
                        file.look(Instant::now());
                        file.tend();
                    }
                }
            });
        }
    });
    let mut file = LogFile::open(options).unwrap();
    until(SOON, "all files to be compressed", || {
        file.keeper.wake();
        names(folder.path()).iter().all(|name| is_compressed(name) || name == "orders.log")
    });
    let files = read(folder.path());
    assert!(files.len() > 10, "{} files", files.len());
    let all: Vec<&str> = files.iter().flat_map(|text| text.lines()).collect();
    let distinct: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (3 * LINES, 3 * LINES));
}

#[test]
fn a_file_that_was_moved_or_removed_is_opened_anew() {
    let mut log = Log::with(|_| ());
    let moved = log.folder.path().join("elsewhere");
    log.write("before\n");
    fs::rename(log.path(), &moved).unwrap();
    // Nobody has looked yet.
    log.write("meanwhile\n");
    log.file.reopen();
    log.write("after\n");
    assert_eq!(fs::read_to_string(&moved).unwrap(), "before\nmeanwhile\n");
    assert_eq!(fs::read_to_string(log.path()).unwrap(), "after\n");
    fs::remove_file(log.path()).unwrap();
    log.file.looked = Instant::now().checked_sub(LOOK).unwrap();
    log.write("again\n");
    assert_eq!(fs::read_to_string(log.path()).unwrap(), "again\n");
}

#[test]
fn a_file_that_was_cut_to_nothing_by_another_is_written_from_its_start() {
    let mut log = Log::with(|options| options.max_size = Some(10));
    log.write("copied\n");
    fs::File::options().write(true).open(log.path()).unwrap().set_len(0).unwrap();
    log.file.look(Instant::now());
    log.write("on\n");
    assert_eq!(log.files(), ["on\n"]);
}

#[test]
fn while_a_moved_file_can_not_be_replaced_lines_go_into_it_and_while_a_removed_one_they_wait() {
    let mut log = Log::with(|_| ());
    let moved = log.folder.path().join("elsewhere");
    fs::rename(log.path(), &moved).unwrap();
    fs::create_dir(log.path()).unwrap();
    log.file.reopen();
    log.write("moved\n");
    assert_eq!(fs::read_to_string(&moved).unwrap(), "moved\n");
    fs::remove_file(&moved).unwrap();
    log.file.look(Instant::now());
    let written = log.file.write(b"waits\n");
    assert_eq!((written.bytes, written.failed, written.again), (0, 0, Some(PAUSE)));
    fs::remove_dir(log.path()).unwrap();
    log.write("waits\n");
    assert_eq!(log.files(), ["waits\n"]);
}

#[test]
fn a_moved_file_that_can_not_be_replaced_wakes_nobody_however_much_goes_into_it() {
    let mut log = Log::with(|options| options.max_size = Some(10));
    log.settle();
    fs::rename(log.path(), log.folder.path().join("elsewhere")).unwrap();
    fs::create_dir(log.path()).unwrap();
    log.file.reopen();
    for _ in 0..20 {
        log.write("a line\n");
        assert!(log.file.keeper.is_idle());
    }
}

#[test]
fn a_line_torn_by_a_killed_process_does_not_run_into_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.log");
    fs::write(&path, "whole\nto").unwrap();
    let mut file = LogFile::open(FileOptions::new(&path)).unwrap();
    file.write(b"next\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nto\nnext\n");
}

#[test]
fn a_line_that_another_process_is_still_writing_is_not_taken_for_torn() {
    let mut log = Log::with(|_| ());
    fs::write(log.path(), "half a ").unwrap();
    let mut other = LogFile::open_at(log.file.options.clone(), clock).unwrap();
    log.write("line\n");
    other.write(b"next\n");
    assert_eq!(log.files(), ["half a line\nnext\n"]);
}

/// Started again below, where the folder that the variable names has room for 16 KiB.
#[test]
fn on_a_full_disk() {
    let Some(folder) = std::env::var_os("WELLKEPT_TEST_SMALL_DISK") else { return };
    let folder = Path::new(&folder);
    let path = folder.join("orders.log");
    let mut file = LogFile::open(FileOptions::new(&path)).unwrap();
    fs::write(folder.join("ballast"), "x".repeat(4096)).unwrap();
    let lines = (0..1000).map(|number| format!("this is line {number}\n")).collect::<Vec<_>>().concat();
    let first = file.write(lines.as_bytes());
    assert!(first.bytes > 0 && first.bytes < lines.len() && first.again.is_some(), "{first:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), lines[..first.bytes], "whole lines and nothing else");
    // Somebody else is at it too, so that its end can't be taken away again.
    let other = LogFile::open(FileOptions::new(&path)).unwrap();
    fs::write(folder.join("ballast"), "").unwrap();
    let second = file.write(&lines.as_bytes()[first.bytes..]);
    let at = first.bytes + second.bytes;
    assert!(second.bytes > 0 && at < lines.len() && second.again.is_some(), "{second:?}");
    drop(other);
    fs::remove_file(folder.join("ballast")).unwrap();
    fs::rename(&path, folder.join("orders.log.20260101T000000.000Z")).unwrap();
    let torn = fs::read_to_string(folder.join("orders.log.20260101T000000.000Z")).unwrap();
    let torn = torn.strip_prefix(&lines[..at]).expect("what is whole comes first, and in order");
    assert!(torn.len() < 30 && !torn.contains('\n'), "at most a part of one line: {torn}");
    println!("the disk was full");
}

#[test]
fn a_full_disk_keeps_lines_waiting_and_leaves_no_torn_ones() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=16k none \"$1\" && WELLKEPT_TEST_SMALL_DISK=\"$1\" exec \"$2\" --nocapture --exact \"$3\"";
    let test = thread::current()
        .name()
        .unwrap()
        .replace("a_full_disk_keeps_lines_waiting_and_leaves_no_torn_ones", "on_a_full_disk");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]).arg(folder.path());
    let output = command.arg(std::env::current_exe().unwrap()).arg(test).output();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output {
        Ok(output) if said(&output.stdout).contains("running 1 test") => {
            assert!(
                said(&output.stdout).contains("the disk was full"),
                "{}{}",
                said(&output.stdout),
                said(&output.stderr)
            );
        }
        _ => not_run("no mounts of one's own here (unshare --mount)"),
    }
}

#[test]
fn what_can_not_be_opened_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink(at("target"), at("link")).unwrap();
    let made = Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    let open = |path: &Path| {
        let error = LogFile::open(FileOptions::new(path)).unwrap_err();
        let message = error.to_string().replace(&folder.path().display().to_string(), "FOLDER");
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let message = message.replace(&format!("user {user} and group {group}:"), "user ME and group MINE:");
        format!("{}: {message}", error.code())
    };
    insta::assert_snapshot!([at("none/orders.log"), at("link"), at("pipe"), folder.path().into(), "/sys/orders.log".into()].map(|path| open(&path)).join("\n"), @"
    logging.file.no_folder: the log file FOLDER/none/orders.log can't be opened: the folder FOLDER/none does not exist; create it, or have it created with `create_folder: true`
    logging.file.link: the log file FOLDER/link can't be opened: it is a symbolic link, and those are not followed; name the file itself
    logging.file.not_a_file: the log file FOLDER/pipe can't be opened: it is not a regular file; to log to a terminal or a pipe use standard output
    logging.file.not_a_file: the log file FOLDER can't be opened: it is not a regular file; to log to a terminal or a pipe use standard output
    logging.file.denied: the log file /sys/orders.log can't be opened: Permission denied (os error 13): /sys belongs to user 0 and group 0 with mode 0555, and this process runs as user ME and group MINE: give it the right to write there, or name another file
    ");
    assert!(!at("target").exists());
}

#[test]
fn a_folder_is_created_when_that_is_asked_for_and_not_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = FileOptions::new(folder.path().join("var/log/orders.log"));
    assert!(LogFile::open(options.clone()).is_err());
    assert!(names(folder.path()).is_empty());
    options.folder = Folder::Create;
    LogFile::open(options).unwrap();
    assert_eq!(fs::metadata(folder.path().join("var/log")).unwrap().mode() & 0o777, 0o750);
}

proptest! {
    // Each case is a folder of files.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn lines_are_in_the_files_once_and_in_order_whatever_is_put_aside(
        blocks in prop::collection::vec((prop::collection::vec(0_usize..60, 1..20), 0..3_i64), 1..20),
        most in 1_u64..400,
    ) {
        AHEAD.set(0);
        let mut log = Log::with(|options| {
            (options.max_size, options.every, options.keep.files) = (Some(most), Some(Duration::from_secs(60)), usize::MAX);
        });
        let mut all = String::new();
        for (block, (lengths, minutes)) in blocks.into_iter().enumerate() {
            AHEAD.set(AHEAD.get() + minutes * 60);
            let lines: Vec<_> = lengths.into_iter().map(|length| format!("{block}{}\n", "x".repeat(length))).collect();
            log.write(&lines.concat());
            all.push_str(&lines.concat());
        }
        let files = log.files();
        prop_assert!(files.iter().all(|file| file.len() as u64 <= most || file.lines().count() == 1));
        prop_assert_eq!(files.concat(), all);
    }
}
