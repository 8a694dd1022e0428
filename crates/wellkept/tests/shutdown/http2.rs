//! HTTP/2 at the end: clients that say the preface only, answer no PING, come late, or have many streams.

use std::collections::{BTreeMap, BTreeSet};

use crate::driven::{Driven, PATIENCE};
use crate::frames::{DATA, Frame, GOAWAY, HEADERS, Http2, PREFACE, RESET};

/// What each stream was sent, of those that were answered with 200 to their end.
fn answers(frames: &[Frame]) -> BTreeMap<u32, String> {
    let ended: BTreeSet<_> = frames.iter().filter(|frame| frame.ends_stream()).map(|frame| frame.stream).collect();
    let answered = frames.iter().filter(|frame| frame.is_answer_with_200()).map(|frame| frame.stream);
    let body = |stream| {
        let parts = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
        String::from_utf8(parts.flat_map(|frame| frame.payload.clone()).collect()).unwrap()
    };
    answered.filter(|stream| ended.contains(stream)).map(|stream| (stream, body(stream))).collect()
}

#[test]
fn a_preface_and_no_more_or_half_of_one_holds_nobody() {
    let mut driven = Driven::start("plain");
    let _preface = Http2::preface(driven.address);
    let _settings = Http2::connect(driven.address);
    let _half = driven.connect_and_write(&PREFACE[..10]);
    driven.terminate();
    driven.end().is_clean();
}

#[test]
fn a_client_that_answers_no_ping_is_served_and_holds_nobody() {
    let mut driven = Driven::start("plain");
    let mut deaf = Http2::connect(driven.address);
    deaf.get(1, "/slow");
    driven.arrives("GET", "http://test/slow");
    driven.terminate();
    let frames = deaf.rest();
    assert_eq!(answers(&frames), BTreeMap::from([(1, "slow".to_owned())]));
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
    driven.end().is_clean();
}

#[test]
fn a_stream_that_was_opened_before_the_client_heard_goaway_is_served() {
    let mut driven = Driven::start("plain");
    let mut client = Http2::connect(driven.address).answer_pings();
    client.get(1, "/slow");
    driven.arrives("GET", "http://test/slow");
    driven.terminate();
    let goaway = client.read_until(GOAWAY);
    assert_eq!(goaway.payload[..4], [0x7F, 0xFF, 0xFF, 0xFF], "the first one turns nobody away");
    client.get(3, "/");
    let frames = client.rest();
    let expected = BTreeMap::from([(1, "slow".to_owned()), (3, "hello".to_owned())]);
    assert_eq!(answers(&frames), expected, "{frames:?}");
    driven.end().is_clean();
}

#[test]
fn a_hundred_streams_in_flight_on_one_connection_are_all_answered() {
    let mut driven = Driven::start("plain");
    let mut client = Http2::connect(driven.address).answer_pings();
    let streams: Vec<u32> = (0..100).map(|number| 2 * number + 1).collect();
    for stream in &streams {
        client.get(*stream, if stream % 4 == 1 { "/slow" } else { "/poll" });
    }
    let arrived = |driven: &Driven| driven.program.output().matches("arrived GET http://test/").count();
    wellkept_testkit::until(PATIENCE, "all to arrive", || arrived(&driven) == streams.len());
    driven.terminate();
    let answers = answers(&client.rest());
    assert_eq!(answers.len(), streams.len());
    assert!(answers.iter().all(|(stream, body)| body == if stream % 4 == 1 { "slow" } else { "nothing new" }));
    driven.end().is_clean();
}

#[test]
fn a_stream_in_both_directions_goes_on_during_the_drain() {
    let mut driven = Driven::start("plain");
    let mut client = Http2::connect(driven.address).answer_pings();
    client.post(1, "/echo");
    client.data(1, b"before");
    assert!(client.read_until(HEADERS).is_answer_with_200());
    assert_eq!(client.read_until(DATA).payload, b"before");
    driven.terminate();
    driven.reaches("draining_connections");
    client.last_data(1, b"during");
    let frames = client.rest();
    let echoed: Vec<_> = frames.iter().filter(|frame| frame.kind == DATA).flat_map(|frame| &frame.payload).collect();
    assert_eq!(echoed, b"during".iter().collect::<Vec<_>>(), "{frames:?}");
    driven.end().is_clean();
}

#[test]
fn a_stream_in_both_directions_that_nobody_ends_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let mut client = Http2::connect(driven.address).answer_pings();
    client.post(1, "/echo");
    assert!(client.read_until(HEADERS).is_answer_with_200());
    driven.terminate();
    driven.end().has_cut("POST /echo", "over HTTP/2 in_flight");
}

#[test]
fn a_client_that_opens_no_window_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let mut client = Http2::connect(driven.address).answer_pings();
    client.get(1, "/big");
    assert!(client.read_until(HEADERS).is_answer_with_200());
    driven.terminate();
    driven.end().has_cut("GET /big", "over HTTP/2 client_does_not_read");
}

#[test]
fn a_stream_that_comes_late_is_refused_and_those_in_flight_are_served() {
    let mut driven = Driven::start("plain");
    // It never acknowledges the first GOAWAY, so the server can't send the one that ends the connection.
    let mut client = Http2::connect(driven.address);
    client.get(1, "/poll");
    client.post(3, "/echo");
    driven.arrives("POST", "http://test/echo");
    driven.terminate();
    driven.reaches("draining_connections");
    client.get(5, "/");
    let mut frames = Vec::new();
    while !frames.last().is_some_and(|last: &Frame| last.stream == 5 && last.ends_stream()) {
        frames.push(client.read().expect("the late one is answered"));
    }
    client.last_data(3, b"end");
    frames.extend(client.rest());
    assert!(frames.iter().all(|frame| frame.kind != RESET), "{frames:?}");
    let expected = BTreeMap::from([(1, "nothing new".to_owned()), (3, "end".to_owned())]);
    assert_eq!(answers(&frames), expected, "the late one got another answer: {frames:?}");
    driven.end().is_clean();
}
