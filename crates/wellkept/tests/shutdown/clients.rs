//! Clients over HTTP/1.1 that stop in the middle, never read, or come at the wrong moment.

use wellkept_testkit::http::Connection;

use crate::driven::{Driven, PATIENCE};

/// More than sockets keep.
const UPLOAD: usize = 8 << 20;

#[test]
fn a_client_that_says_nothing_holds_nobody() {
    let mut driven = Driven::start("plain");
    let _silent: Vec<_> = (0..20).map(|_| driven.connect()).collect();
    driven.terminate();
    driven.end().is_clean();
}

#[test]
fn a_client_in_the_middle_of_a_head_holds_nobody() {
    let mut driven = Driven::start("plain");
    let _half = driven.connect_and_write(b"GET /slow HTTP/1.1\r\nHost: te");
    let mut used = driven.connect();
    used.get("/").unwrap();
    used.write_raw(b"GET /slow HTTP/1.1\r\nHost: te").unwrap();
    driven.terminate();
    driven.end().is_clean();
}

#[test]
fn a_body_that_stops_in_the_middle_is_cut_and_named_where_it_is_read() {
    let mut driven = Driven::start("impatient");
    let _half = driven.connect_and_write(b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf");
    driven.arrives("POST", "/read");
    driven.terminate();
    driven.end().has_cut("POST /read", "in_flight");
}

#[test]
fn a_body_that_stops_in_the_middle_holds_nobody_where_it_is_not_read() {
    let mut driven = Driven::start("plain");
    let mut half = driven.connect_and_write(b"POST /unread HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf");
    driven.arrives("POST", "/unread");
    driven.terminate();
    assert_eq!(half.read_response(PATIENCE).unwrap().text(), "slow");
    driven.end().is_clean();
}

#[test]
fn a_client_that_never_reads_its_answer_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let _never_reads = driven.connect_and_ask("GET", "/big");
    driven.terminate();
    driven.end().has_cut("GET /big", "client_does_not_read");
}

#[test]
fn a_handler_that_waits_for_a_body_after_100_continue_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let mut waits = driven
        .connect_and_write(b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n");
    assert!(waits.read_some(PATIENCE).unwrap().starts_with(b"HTTP/1.1 100 "));
    driven.terminate();
    driven.end().has_cut("POST /read", "in_flight");
}

#[test]
fn a_body_that_comes_after_100_continue_during_the_drain_is_served() {
    let mut driven = Driven::start("plain");
    let mut continues = driven
        .connect_and_write(b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert!(continues.read_some(PATIENCE).unwrap().starts_with(b"HTTP/1.1 100 "));
    driven.terminate();
    driven.reaches("draining_connections");
    continues.write_raw(b"body").unwrap();
    let answer = continues.read_response(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "4"));
    assert_eq!(answer.header("connection"), Some("close"));
    driven.end().is_clean();
}

#[test]
fn the_answer_before_a_pipelined_request_comes_whole() {
    let mut driven = Driven::start("plain");
    let request = b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut pipelined = driven.connect_and_write(&request.repeat(3));
    driven.arrives("GET", "/slow");
    driven.terminate();
    let answer = pipelined.read_response(PATIENCE).unwrap();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("slow", Some("close")));
    // Whoever is told so knows that the others were not looked at (RFC 9112, section 9.3.2).
    assert!(pipelined.is_closed_within(PATIENCE));
    driven.end().is_clean();
}

/// Holds the drain until the rest of its body comes.
fn hold(driven: &Driven) -> Connection {
    let holds = driven.connect_and_write(b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    driven.arrives("POST", "/read");
    holds
}

#[test]
fn an_upload_that_comes_late_is_refused_in_words() {
    let mut driven = Driven::start("plain");
    let (mut holds, mut late) = (hold(&driven), driven.connect());
    late.get("/").unwrap();
    driven.terminate();
    driven.reaches("draining_connections");
    late.send("POST", "/echo", &[], &vec![0; UPLOAD]).expect("it is taken, and not reset");
    let answer = late.read_response(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    drop(late);
    holds.write_raw(b"1").unwrap();
    driven.end().is_clean();
}

#[test]
fn an_answer_that_comes_before_the_end_of_the_upload_is_not_lost() {
    let mut driven = Driven::start("plain");
    let mut holds = hold(&driven);
    let mut early = driven.connect();
    early.send("POST", "/unread", &[("content-length", &UPLOAD.to_string())], b"").unwrap();
    driven.arrives("POST", "/unread");
    driven.terminate();
    driven.reaches("draining_connections");
    early.write_raw(&vec![0; UPLOAD]).expect("it is taken, and not reset");
    assert_eq!(early.read_response(PATIENCE).unwrap().text(), "slow");
    drop(early);
    holds.write_raw(b"1").unwrap();
    driven.end().is_clean();
}

#[test]
fn an_upload_that_nobody_wants_and_that_never_ends_is_closed() {
    let mut driven = Driven::start("plain");
    let mut endless = driven.connect();
    endless.send("POST", "/unread", &[("content-length", "1000000000")], b"").unwrap();
    driven.arrives("POST", "/unread");
    driven.terminate();
    assert_eq!(endless.read_response(PATIENCE).unwrap().text(), "slow");
    driven.end().is_clean();
}
