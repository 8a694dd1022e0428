//! Runtimes with one thread, with a thread that never comes back, or gone before the end.

use crate::driven::{Driven, ended, spawn};
use wellkept_testkit::Signal;

#[test]
fn one_thread_is_enough() {
    let mut driven = Driven::start("one thread, impatient");
    let _hangs = driven.connect_and_ask("GET", "/hangs");
    driven.terminate();
    driven.end().has_cut("GET /hangs", "in_flight");
    let mut driven = Driven::start("one thread");
    driven.terminate();
    driven.end().is_clean();
}

#[test]
fn a_handler_that_blocks_the_only_thread_is_ended_by_the_watchdog_after_the_flush() {
    let mut driven = Driven::start("one thread, short, stopped");
    let _blocked = driven.connect_and_ask("GET", "/blocks-in-the-drain");
    driven.signal(Signal::TERM);
    let ended = driven.end();
    assert_eq!((ended.code, &ended.report), (Some(75), &serde_json::Value::Null), "{}", ended.output);
    assert!(ended.output.contains("flushed"), "{}", ended.output);
    ended.is_in_time();
}

#[test]
fn a_blocking_thread_that_keeps_main_from_returning_is_ended_by_the_watchdog() {
    for path in ["/leaves-a-pool-thread", "/blocks"] {
        let mut driven = Driven::start("short, main returns");
        let _blocked = driven.connect_and_ask("GET", path);
        driven.terminate();
        let ended = driven.end();
        assert_eq!(ended.code, Some(75), "{}", ended.output);
        ended.is_in_time();
    }
}

#[test]
fn a_runtime_that_is_gone_before_the_end_leaves_a_report_that_says_so() {
    let mut program = spawn("the runtime is dropped", |_| {});
    let ended = ended(&mut program);
    assert_eq!((ended.code, &ended.report["status"]), (Some(70), &"failed".into()), "{}", ended.output);
    assert_eq!(ended.report["errors"][0], "the sequence was dropped before its end");
    assert!(!ended.output.contains("panicked at"), "{}", ended.output);
}
