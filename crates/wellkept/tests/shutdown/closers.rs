//! Closers and flushes that panic, fail, hang, block, or come too late; a pool that never gets all of its own back.

use serde_json::Value;

use crate::driven::{Driven, Ended};

/// Each resource with its outcome, in closing order.
fn outcomes(ended: &Ended) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resources = ended.report["resources"].as_array().cloned().unwrap_or_default();
    resources.iter().map(|resource| format!("{} {}", text(&resource["name"]), text(&resource["outcome"]))).collect()
}

/// A part failed, and no client was cut.
#[track_caller]
fn has_failed(ended: &Ended, expected: &[&str]) {
    assert_eq!((ended.code, &ended.report["status"]), (Some(70), &"failed".into()), "{}", ended.output);
    assert_eq!(outcomes(ended), expected);
    assert_eq!(ended.forced(), [""; 0]);
    ended.is_in_time();
}

#[test]
fn closers_that_panic_fail_hang_or_register_more_stop_no_other() {
    let mut driven = Driven::start("closers");
    driven.terminate();
    let ended = driven.end_with_panics();
    has_failed(
        &ended,
        &[
            "registers another closed",
            "hangs timed_out",
            "blocks timed_out",
            "fails failed",
            "panics panicked",
            "last closed",
        ],
    );
    assert!(ended.output.contains("another closer: shutdown.closing"), "{}", ended.output);
    assert!(ended.output.contains("the last one closed"), "{}", ended.output);
}

#[test]
fn a_closer_that_blocks_its_worker_is_left_behind() {
    let mut driven = Driven::start("a closer that blocks");
    driven.terminate();
    has_failed(&driven.end(), &["blocks timed_out"]);
}

#[test]
fn a_closer_that_waits_for_the_end_is_left_behind() {
    let mut driven = Driven::start("a closer that waits for the end");
    driven.terminate();
    has_failed(&driven.end(), &["waits timed_out"]);
}

#[test]
fn a_pool_with_a_checkout_that_leaked_is_left_behind() {
    let mut driven = Driven::start("a leaked checkout");
    driven.terminate();
    let ended = driven.end();
    has_failed(&ended, &["other closed", "pool timed_out"]);
    assert!(ended.output.contains("the other one closed"), "{}", ended.output);
}

#[test]
fn a_flush_that_hangs_is_cut_and_the_others_are_called() {
    let mut driven = Driven::start("short, a flush that hangs");
    driven.terminate();
    let ended = driven.end();
    assert_eq!((ended.code, &ended.report["status"]), (Some(75), &"forced".into()), "{}", ended.output);
    assert!(ended.report["errors"][0].as_str().is_some_and(|error| error.starts_with("flush `fsync` timed_out")));
    assert!(ended.output.contains("flushed"), "{}", ended.output);
    ended.is_in_time();
}

#[test]
fn a_collector_that_is_down_at_the_flush_holds_nobody_and_one_that_hangs_is_named() {
    let mut driven = Driven::start("a collector that is down");
    driven.terminate();
    driven.end().is_clean();

    let mut driven = Driven::start("a collector that hangs");
    driven.terminate();
    let ended = driven.end();
    assert_eq!((ended.code, &ended.report["status"]), (Some(70), &"failed".into()), "{}", ended.output);
    assert!(ended.report["errors"][0].as_str().is_some_and(|error| error.starts_with("flush `exports`")));
    ended.is_in_time();
}
