//! Handlers that panic, hang, block, or end the service themselves.

use crate::driven::{Driven, PATIENCE};

#[test]
fn a_handler_that_panics_during_the_drain_costs_its_own_request_only() {
    let mut driven = Driven::start("plain");
    let mut panics = driven.connect_and_ask("GET", "/panics");
    driven.terminate();
    assert_eq!(panics.read_to_end(PATIENCE).unwrap(), b"");
    let ended = driven.end_with_panics();
    ended.is_clean();
    assert_eq!(ended.output.matches("panicked at").count(), 1, "{}", ended.output);
}

#[test]
fn a_handler_that_blocks_its_worker_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let _blocked = driven.connect_and_ask("GET", "/blocks");
    driven.terminate();
    driven.end().has_cut("GET /blocks", "in_flight");
}

#[test]
fn a_handler_that_waits_for_a_blocking_thread_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let _blocked = driven.connect_and_ask("GET", "/blocks-a-pool-thread");
    driven.terminate();
    driven.end().has_cut("GET /blocks-a-pool-thread", "in_flight");
}

#[test]
fn a_blocking_thread_that_nobody_waits_for_holds_nobody() {
    let mut driven = Driven::start("plain");
    assert_eq!(driven.connect().get("/leaves-a-pool-thread").unwrap().status, 200);
    driven.terminate();
    driven.end().is_clean();
}

#[test]
fn work_that_begins_again_and_again_is_refused_and_what_asks_nobody_holds_nobody() {
    let mut driven = Driven::start("work again and again");
    assert_eq!(driven.connect().get("/begin").unwrap().status, 200);
    driven.terminate();
    let ended = driven.end();
    ended.is_clean();
    assert!(ended.output.contains("no more work after"), "{}", ended.output);
}

#[test]
fn a_handler_or_a_drop_may_begin_the_end_and_is_answered() {
    for (path, reason) in [("/ends", "a handler"), ("/dropped", "a drop")] {
        let mut driven = Driven::start("plain");
        driven.behaves();
        let answer = driven.connect().get(path).unwrap();
        assert_eq!(answer.status, 200);
        let ended = driven.end();
        ended.is_clean();
        assert_eq!(ended.report["cause"]["requested"]["reason"], reason);
    }
}

#[test]
fn a_handler_that_waits_for_the_end_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    driven.behaves();
    let _waits = driven.connect_and_ask("GET", "/ends-and-waits");
    driven.end().has_cut("GET /ends-and-waits", "in_flight");
}
