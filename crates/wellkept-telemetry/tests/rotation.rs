//! A log that logrotate rotates while a real process writes it: no line is lost, and the books say so.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use wellkept_telemetry::logging::{FileOptions, Format, Options, SinkOptions, init};
use wellkept_testkit::{Logrotate, Program, Signal, until};

const SOON: Duration = Duration::from_secs(20);
/// Names the log file to the process that the test below starts.
const FILE: &str = "WELLKEPT_TEST_LOG_FILE";
const THREADS: u64 = 2;
/// So many bytes are in the file before it is taken away again: some three hundred lines.
const ENOUGH: u64 = 40_000;

/// That process: logs on several threads until SIGTERM, and opens its file anew at SIGHUP. Does nothing otherwise.
#[test]
fn the_process_that_logs() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let file = FileOptions { max_size: None, ..FileOptions::new(path) };
    let logging = init(Options::to(SinkOptions::file(Format::Json, file))).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (logging, is_over) = (&logging, &is_over);
            scope.spawn(move || {
                let mut number = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    for _ in 0..10 {
                        tracing::info!(thread, number, "under load");
                        number += 1;
                    }
                    // What is under test is the file: the queue must not overflow.
                    logging.flush(SOON);
                    // pace: some ten thousand lines in a second, which logrotate has to compress meanwhile.
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut hangups = signal(SignalKind::hangup()).unwrap();
            let mut ends = signal(SignalKind::terminate()).unwrap();
            writeln!(std::io::stdout(), "ready").unwrap();
            loop {
                tokio::select! {
                    _ = hangups.recv() => logging.reopen(),
                    _ = ends.recv() => break,
                }
            }
        });
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(logging.close(SOON));
    let books = logging.stats();
    assert!(books.balance());
    writeln!(std::io::stdout(), "written {} dropped {}", books.written, books.dropped.total()).unwrap();
}

#[test]
fn logrotate_takes_the_file_away_many_times_under_load_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.log");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_process_that_logs", "--nocapture"]).env(FILE, &path);
    let mut program = Program::spawn(&mut command);
    program.wait_for_line(|line| line.ends_with("ready"), SOON);
    let directives = "rotate 1000\nnocreate\ncompress\ndelaycompress";
    let logrotate = Logrotate::of(&path, directives, &format!("kill -HUP {}", program.pid()));
    for _ in 0..15 {
        logrotate.rotate();
        until(SOON, "the file to be there again", || fs::metadata(&path).is_ok_and(|file| file.len() > ENOUGH));
    }
    program.signal(Signal::TERM);
    let told = program.wait_for_line(|line| line.starts_with("written "), SOON);
    assert!(program.wait(SOON).success());

    let mut numbers = BTreeMap::<u64, Vec<u64>>::new();
    let (mut lines, mut files) = (0, 0);
    for entry in fs::read_dir(folder.path()).unwrap() {
        files += 1;
        for line in read(&entry.unwrap().path()).lines() {
            let line: Value = serde_json::from_str(line).expect("each line is whole");
            lines += 1;
            if line["message"] == "under load" {
                numbers.entry(line["thread"].as_u64().unwrap()).or_default().push(line["number"].as_u64().unwrap());
            }
        }
    }
    assert_eq!(files, 16);
    assert_eq!(told, format!("written {lines} dropped 0"));
    assert_eq!(numbers.len() as u64, THREADS);
    for numbers in numbers.values_mut() {
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "each line once");
        assert!(numbers.len() > 500, "{} lines are no load", numbers.len());
    }
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).expect("the file can be read");
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("it is compressed whole");
    } else {
        text = String::from_utf8(bytes).expect("lines are text");
    }
    text
}
