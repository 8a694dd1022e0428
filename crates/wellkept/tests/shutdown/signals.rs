//! Signals that come too early or too often, causes that come together, times of nothing and without end.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use serde_json::json;
use wellkept_testkit::Signal;

use crate::driven::{Driven, Ended, PATIENCE, ended, spawn};

#[test]
fn a_signal_before_the_handlers_are_there_ends_the_process_as_signals_do() {
    let mut program = spawn("no handlers yet", |_| {});
    program.wait_for_line(|line| line.ends_with("no handlers yet"), PATIENCE);
    program.signal(Signal::TERM);
    assert_eq!(program.wait(PATIENCE).signal(), Some(15));
}

#[test]
fn a_signal_in_the_middle_of_the_start_closes_what_is_there() {
    let mut program = spawn("starts", |_| {});
    program.wait_for_line(|line| line.ends_with("half started"), PATIENCE);
    program.signal(Signal::TERM);
    let ended = ended(&mut program);
    ended.is_clean();
    let resources = ended.report["resources"].as_array().unwrap();
    assert_eq!(resources.len(), 1, "{resources:?}");
    assert!(ended.output.contains("the database closed"), "{}", ended.output);
}

/// Signals once more when it no longer counts as an echo of the first. The rule is about time as it passes for a process,
/// so it has to pass.
fn insist(driven: &mut Driven, signal: Signal) {
    // pace: longer than the echo of a signal lasts.
    std::thread::sleep(Duration::from_millis(300));
    driven.signal(signal);
    driven.program.wait_for_line(|line| line.contains("a further signal forces"), PATIENCE);
}

fn is_forced(ended: &Ended, code: i32, by: &str) {
    assert_eq!((ended.code, &ended.report["status"]), (Some(code), &"forced".into()), "{}", ended.output);
    assert_eq!(ended.report["forced_by"], json!({ "signal": by }));
    assert!(ended.forced().iter().any(|item| item.starts_with("GET /hangs")), "{:?}", ended.forced());
    ended.is_in_time();
}

#[test]
fn a_second_signal_of_any_kind_cuts_what_is_in_flight_and_names_it() {
    for (first, second, code, by) in [
        (Signal::TERM, Signal::TERM, 143, "SIGTERM"),
        (Signal::INT, Signal::TERM, 143, "SIGTERM"),
        (Signal::TERM, Signal::INT, 130, "SIGINT"),
    ] {
        let mut driven = Driven::start("patient");
        let _hangs = driven.connect_and_ask("GET", "/hangs");
        driven.behaves();
        driven.signal(first);
        driven.answers_who_behaves();
        insist(&mut driven, second);
        is_forced(&driven.end(), code, by);
    }
}

#[test]
fn a_third_signal_ends_the_process_where_even_the_flush_hangs() {
    let mut driven = Driven::start("patient, a flush that hangs");
    let _hangs = driven.connect_and_ask("GET", "/hangs");
    driven.signal(Signal::TERM);
    driven.reaches("draining_connections");
    insist(&mut driven, Signal::TERM);
    driven.signal(Signal::TERM);
    let ended = driven.end();
    assert_eq!((ended.code, &ended.report), (Some(143), &serde_json::Value::Null), "{}", ended.output);
    ended.is_in_time();
}

#[test]
fn of_two_causes_the_first_is_kept_and_gives_the_exit_code() {
    let mut driven = Driven::start("plain");
    driven.behaves();
    assert_eq!(driven.connect().get("/fails").unwrap().status, 200);
    driven.signal(Signal::TERM);
    let ended = driven.end();
    assert_eq!(ended.code, Some(70), "{}", ended.output);
    assert_eq!(ended.report["cause"], json!({ "failure": { "reason": "a part" } }));

    let mut driven = Driven::start("plain");
    let mut late = driven.connect_and_write(b"GET /fails-late HTTP/1.1\r\nHost: test\r\n\r\n");
    driven.arrives("GET", "/fails-late");
    driven.terminate();
    assert_eq!(late.read_response(PATIENCE).unwrap().status, 200);
    let ended = driven.end();
    ended.is_clean();
    assert_eq!(ended.report["cause"], json!({ "signal": "SIGTERM" }));
}

#[test]
fn with_no_time_at_all_everything_is_cut_and_the_process_ends() {
    let mut driven = Driven::start("no time at all");
    let _hangs = driven.connect_and_ask("GET", "/hangs");
    driven.signal(Signal::TERM);
    driven.end().has_cut("GET /hangs", "in_flight");
}

#[test]
fn times_without_end_do_not_overflow_and_end_with_the_work() {
    let mut driven = Driven::start("impatient, time without end");
    let _hangs = driven.connect_and_ask("GET", "/hangs");
    driven.terminate();
    driven.end().has_cut("GET /hangs", "in_flight");

    // The announcement too, which lasts until nobody is connected any more.
    let mut driven = Driven::start("all without end");
    let slow = driven.connect_and_ask("GET", "/poll");
    driven.signal(Signal::TERM);
    driven.reaches("announcing");
    drop(slow);
    driven.end().is_clean();
}

#[test]
fn a_process_that_was_stopped_past_its_deadline_still_flushes_and_ends() {
    let mut driven = Driven::start("short, stopped");
    let _hangs = driven.connect_and_ask("GET", "/hangs");
    driven.signal(Signal::TERM);
    driven.reaches("draining_connections");
    driven.signal(Signal::STOP);
    // pace: the process stands still until its time is over, and that of its watchdog.
    std::thread::sleep(Duration::from_secs(2));
    driven.signal(Signal::CONT);
    let ended = driven.end();
    assert_eq!(ended.code, Some(75), "{}", ended.output);
    assert!(ended.output.contains("flushed"), "the flush keeps its time: {}", ended.output);
}
