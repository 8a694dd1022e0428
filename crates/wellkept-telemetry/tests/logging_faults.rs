//! Real processes that log while something is wrong with who reads it, or while they are killed: what arrives is counted
//! and compared with their books. They log to standard error, which the test's own words don't go to.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use wellkept_telemetry::logging::{
    Books, Format, Important, Logging, MAX_QUEUED_LINES, Options, SinkOptions, SpillOptions, init,
};
use wellkept_testkit::{until, until_some};

const SCENARIO: &str = "LOGGING_FAULTS";
const FOLDER: &str = "LOGGING_FAULTS_FOLDER";
const PATIENCE: Duration = Duration::from_secs(20);
const MILLION: u64 = 1_000_000;

/// The child's `main`. It claims nothing when no test has started it.
#[test]
fn child() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let spill = std::env::var(FOLDER).ok().map(SpillOptions::new);
    let sink =
        SinkOptions { important: Important { spill, ..Important::default() }, ..SinkOptions::stderr(Format::Json) };
    let logging = init(Options::to(sink)).unwrap();
    match scenario.as_str() {
        "a million" => {
            burst(4, MILLION / 4, &AtomicBool::new(true));
            logging.close(PATIENCE);
        }
        "some" => {
            let began = Instant::now();
            burst(1, 20_000, &AtomicBool::new(true));
            (0..100_u64).for_each(|number| error!(number, "important"));
            tell(&format!("took {}", began.elapsed().as_millis()));
            logging.close(Duration::from_millis(200));
        }
        "important, then it waits" => {
            burst(1, 20_000, &AtomicBool::new(true));
            (0..5_000_u64).for_each(|number| error!(number, "important"));
            until(PATIENCE, "lines on the disk", || is_quiet(&logging.stats()));
            tell("quiet");
            until(PATIENCE, "the output to take all", || logging.stats().pending == 0);
            logging.close(PATIENCE);
        }
        "what is left" => {
            until(PATIENCE, "lines of the run before", || {
                logging.stats().recovered > 0 && logging.stats().pending == 0
            });
            logging.close(PATIENCE);
        }
        "without end" => {
            burst(2, u64::MAX, &AtomicBool::new(true));
        }
        "until told" => until_told(&logging),
        other => panic!("unknown scenario {other}"),
    }
    tell(&format!("books {}", words(&logging.stats())));
    std::process::exit(0);
}

/// Logs while it lasts, from several threads.
fn burst(threads: u64, lines: u64, goes_on: &AtomicBool) {
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for number in (0..lines).take_while(|_| goes_on.load(Ordering::Relaxed)) {
                    info!(thread, number, "burst");
                }
            });
        }
    });
}

/// Two threads log until the process is gone; SIGTERM closes the log in the middle of it.
fn until_told(logging: &Logging) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let goes_on = Arc::new(AtomicBool::new(true));
    let mut told = runtime.block_on(async { signal(SignalKind::terminate()).unwrap() });
    let burst_goes_on = Arc::clone(&goes_on);
    let bursting = thread::spawn(move || burst(2, u64::MAX, &burst_goes_on));
    runtime.block_on(told.recv());
    logging.close(PATIENCE);
    goes_on.store(false, Ordering::Relaxed);
    bursting.join().unwrap();
}

/// Whether the queue is full and what found no room is on the disk.
fn is_quiet(books: &Books) -> bool {
    books.spilled > 0 && books.pending == MAX_QUEUED_LINES as u64 + books.spilled
}

fn tell(words: &str) {
    let mut output = std::io::stdout().lock();
    write!(output, "\n{words}\n").and_then(|()| output.flush()).unwrap();
}

fn words(books: &Books) -> String {
    let Books { accepted, written, pending, spilled, dropped, .. } = books;
    format!("{accepted} {written} {} {pending} {spilled} {}", dropped.total(), dropped.output_failed)
}

#[derive(Debug, PartialEq, Eq)]
struct Told {
    accepted: u64,
    written: u64,
    dropped: u64,
    pending: u64,
    spilled: u64,
    failed: u64,
}

fn start(scenario: &str, folder: Option<&Path>, log: impl Into<Stdio>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env(SCENARIO, scenario);
    if let Some(folder) = folder {
        command.env(FOLDER, folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap()
}

/// Waits for the end, which must be a good one; returns what the child told, and its books.
fn end(mut child: Child) -> (String, Told) {
    let status = until_some(2 * PATIENCE, "the child to end", || child.try_wait().unwrap());
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(status.success(), "{status}: {text}");
    let books = text.lines().find_map(|line| line.strip_prefix("books ")).unwrap();
    let figures: Vec<u64> = books.split(' ').map(|figure| figure.parse().unwrap()).collect();
    let [accepted, written, dropped, pending, spilled, failed] = figures.try_into().unwrap();
    assert_eq!(accepted, written + dropped + pending, "the books balance");
    (text, Told { accepted, written, dropped, pending, spilled, failed })
}

fn reader(log: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        BufReader::new(log).read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// All lines, each of which must be whole.
fn lines(bytes: &[u8]) -> Vec<Value> {
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"), "the last line is whole");
    bytes.split_inclusive(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// The numbers of the lines with that message, by thread; each grows.
fn numbers(lines: &[Value], message: &str) -> HashMap<u64, Vec<u64>> {
    let mut numbers: HashMap<u64, Vec<u64>> = HashMap::new();
    for line in lines.iter().filter(|line| line["message"] == message) {
        let of_thread = numbers.entry(line["thread"].as_u64().unwrap_or(0)).or_default();
        let number = line["number"].as_u64().unwrap();
        assert!(of_thread.last().is_none_or(|last| *last < number), "no line twice, none before its turn");
        of_thread.push(number);
    }
    numbers
}

fn closing_line(lines: &[Value]) -> &Value {
    let last = lines.last().unwrap();
    assert_eq!(last["message"], "log closed");
    last
}

#[test]
fn of_a_million_lines_in_a_burst_each_arrives_or_is_counted() {
    let (log, theirs) = pipe().unwrap();
    let child = start("a million", None, theirs);
    let received = reader(log);
    let (_, books) = end(child);
    let received = String::from_utf8(received.join().unwrap()).unwrap();
    assert_eq!(received.lines().count() as u64, books.written);
    let notices = received.lines().filter(|line| line.contains("\"target\":\"wellkept::log\"")).count() as u64;
    assert_eq!((books.accepted, books.pending), (MILLION + notices, 0));
    let last = lines(&received.as_bytes()[received.rfind("{\"timestamp\"").unwrap()..]);
    let last = closing_line(&last);
    assert_eq!((&last["accepted"], &last["written"]), (&books.accepted.into(), &books.written.into()));
    assert_eq!(last["dropped"], books.dropped);
}

#[test]
fn a_reader_that_reads_nothing_holds_up_nobody_and_errors_have_room_of_their_own() {
    let (log, theirs) = pipe().unwrap();
    let (text, books) = end(start("some", None, theirs));
    let took: u64 = text.lines().find_map(|line| line.strip_prefix("took ")).unwrap().parse().unwrap();
    assert!(took < 10_000, "{took} ms");
    assert!(books.dropped > 0 && books.pending > 0, "{books:?}");
    // What the writer still had in its hand has arrived in part.
    let mut bytes = Vec::new();
    BufReader::new(log).read_to_end(&mut bytes).unwrap();
    let received = lines(&bytes).len() as u64;
    assert!((books.written..=books.written + books.pending).contains(&received), "{received} {books:?}");
}

#[test]
fn a_reader_that_is_stopped_gets_every_important_line_once_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("received");
    let (log, theirs) = pipe().unwrap();
    let mut cat = Command::new("cat").stdin(log).stdout(File::create(&path).unwrap()).spawn().unwrap();
    let reading = Pid::from_child(&cat);
    kill_process(reading, Signal::STOP).unwrap();
    let mut child = start("important, then it waits", Some(folder.path()), theirs);
    wait_for(&mut child, "quiet");
    kill_process(reading, Signal::CONT).unwrap();
    let status = until_some(PATIENCE, "the child to end", || child.try_wait().unwrap());
    assert!(status.success());
    until(PATIENCE, "the reader to end", || cat.try_wait().unwrap().is_some());
    let received = lines(&std::fs::read(&path).unwrap());
    let mut important: Vec<u64> = received
        .iter()
        .filter(|line| line["message"] == "important")
        .map(|line| line["number"].as_u64().unwrap())
        .collect();
    important.sort_unstable();
    assert_eq!(important, (0..5_000).collect::<Vec<_>>(), "each of them, and once");
    let last = closing_line(&received);
    assert_eq!((&last["written"], &last["pending"]), (&received.len().into(), &0.into()));
    assert!(last["spilled"].as_u64().unwrap() > 0);
}

/// Reads what the child tells until that line has come.
fn wait_for(child: &mut Child, words: &str) {
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap() == words), "the child has ended");
    // It goes on to be read, so that the child may go on to tell.
    thread::spawn(move || told.for_each(drop));
}

#[test]
fn a_pipe_that_nobody_reads_any_more_ends_no_process_and_every_line_is_counted() {
    let (log, theirs) = pipe().unwrap();
    drop(log);
    let (_, books) = end(start("some", None, theirs));
    assert_eq!((books.written, books.pending), (0, 0));
    assert!(books.failed > 0 && books.dropped == books.accepted);
}

#[test]
fn a_disk_that_is_full_ends_no_process_and_every_line_is_counted() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (_, books) = end(start("some", None, full));
    assert_eq!((books.written, books.pending), (0, 0));
    assert!(books.failed > 0 && books.dropped == books.accepted);
}

#[test]
fn a_process_told_to_end_in_the_middle_of_a_burst_closes_its_log_with_what_the_receiver_counts() {
    let (log, theirs) = pipe().unwrap();
    let child = start("until told", None, theirs);
    let mut log = BufReader::new(log);
    let mut first = Vec::new();
    for _ in 0..1000 {
        assert!(log.read_until(b'\n', &mut first).unwrap() > 0);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let received = reader(log);
    let (_, books) = end(child);
    let received = lines(&[first, received.join().unwrap()].concat());
    let last = closing_line(&received);
    assert_eq!(last["written"], received.len());
    let [accepted, dropped, pending] = ["accepted", "dropped", "pending"].map(|figure| last[figure].as_u64().unwrap());
    assert_eq!((accepted, pending), (received.len() as u64 + dropped, 0));
    // What was logged after that is counted still.
    assert_eq!((books.written, books.pending), (received.len() as u64, 0));
    assert!(books.accepted > accepted);
    numbers(&received, "burst");
}

#[test]
fn a_process_killed_in_the_middle_of_a_burst_leaves_whole_lines_that_it_has_logged() {
    let (log, theirs) = pipe().unwrap();
    let mut child = start("without end", None, theirs);
    let mut log = BufReader::new(log);
    let mut received = Vec::new();
    for _ in 0..1000 {
        assert!(log.read_until(b'\n', &mut received).unwrap() > 0);
    }
    let rest = reader(log);
    child.kill().unwrap();
    child.wait().unwrap();
    received.extend(rest.join().unwrap());
    let received = lines(&received);
    let numbers = numbers(&received, "burst");
    assert!(!numbers.is_empty() && numbers.len() <= 2);
    assert!(received.len() >= 1000);
}

#[test]
fn a_process_killed_while_lines_are_put_aside_has_them_written_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (log, theirs) = pipe().unwrap();
    let mut child = start("important, then it waits", Some(folder.path()), theirs);
    wait_for(&mut child, "quiet");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(log);
    let kept = std::fs::read_to_string(folder.path().join("stderr.1.spill")).unwrap();
    let kept = lines(kept.split_once('\n').unwrap().1.as_bytes());
    assert!(!kept.is_empty());

    let (log, theirs) = pipe().unwrap();
    let child = start("what is left", Some(folder.path()), theirs);
    let received = reader(log);
    let (_, books) = end(child);
    let received = lines(&received.join().unwrap());
    assert_eq!(&received[..kept.len()], kept.as_slice(), "each of them once, in order");
    assert_eq!((received.len() as u64, books.pending), (books.written, 0));
    closing_line(&received);
}
