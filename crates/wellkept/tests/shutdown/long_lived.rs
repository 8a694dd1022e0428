//! What stays open for long: WebSockets, tunnels, other upgrades, streams and long polls.

use wellkept_testkit::http::Connection;

use crate::driven::{Driven, PATIENCE};
use crate::frames::{Frame, Http2};

const UPGRADE: &[u8] = b"GET /websocket HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// A client's frames are masked (RFC 6455, section 5.3); with zeros, which change nothing.
const HELLO: &[u8] = b"\x81\x85\0\0\0\0hello";
const CLOSE_1001: &[u8] = b"\x88\x82\0\0\0\0\x03\xE9";
/// What a server's frames are.
const HELLO_BACK: &[u8] = b"\x81\x05hello";
const GOING_AWAY: &[u8] = b"\x88\x02\x03\xE9";

const CONNECT: &[u8] = b"CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n";
const SWITCH: &[u8] = b"GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// A WebSocket that has been said hello on.
fn websocket(driven: &Driven) -> Connection {
    let mut socket = driven.connect_and_write(UPGRADE);
    assert_eq!(socket.read_response(PATIENCE).unwrap().status, 101);
    socket.write_raw(HELLO).unwrap();
    reads(&mut socket, HELLO_BACK);
    socket
}

/// A connection that speaks something else now.
fn tunnel(driven: &Driven, request: &[u8]) -> Connection {
    let mut tunnel = driven.connect_and_write(request);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(tunnel.read_some(PATIENCE).expect("it is answered"));
    }
    tunnel
}

/// Reads exactly these bytes next.
fn reads(connection: &mut Connection, expected: &[u8]) {
    let mut read = Vec::new();
    while read.len() < expected.len() {
        let more = connection.read_some(PATIENCE).expect("it is open");
        assert!(!more.is_empty(), "it ended after {read:?}");
        read.extend(more);
    }
    assert_eq!(read, expected);
}

#[test]
fn an_idle_websocket_hears_1001_and_holds_nobody() {
    let mut driven = Driven::start("plain");
    let mut socket = websocket(&driven);
    driven.terminate();
    reads(&mut socket, GOING_AWAY);
    socket.write_raw(CLOSE_1001).unwrap();
    assert!(socket.is_closed_within(PATIENCE));
    driven.end().is_clean();
}

#[test]
fn a_chatty_websocket_hears_1001_between_its_messages() {
    let mut driven = Driven::start("plain");
    let mut socket = websocket(&driven);
    driven.terminate();
    let mut echoed = Vec::new();
    while !echoed.ends_with(GOING_AWAY) {
        // The server may be gone by the time that the last ones are sent.
        let _ = socket.write_raw(HELLO);
        echoed.extend(socket.read_some(PATIENCE).unwrap());
    }
    let messages = echoed.strip_suffix(GOING_AWAY).unwrap();
    assert_eq!(messages, HELLO_BACK.repeat(messages.len() / HELLO_BACK.len()));
    socket.write_raw(CLOSE_1001).unwrap();
    driven.end().is_clean();
}

#[test]
fn a_websocket_whose_client_ignores_the_close_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let mut socket = websocket(&driven);
    driven.terminate();
    reads(&mut socket, GOING_AWAY);
    driven.end().has_cut("GET /websocket from", "over WebSocket upgraded");
    assert!(socket.is_closed_within(PATIENCE));
}

#[test]
fn a_tunnel_and_another_upgrade_are_cut_and_named() {
    for (request, named) in [(CONNECT, "CONNECT test from"), (SWITCH, "GET /upgrade from")] {
        let mut driven = Driven::start("impatient");
        let mut tunnel = tunnel(&driven, request);
        tunnel.write_raw(b"before").unwrap();
        reads(&mut tunnel, b"before");
        driven.terminate();
        driven.reaches("draining_connections");
        tunnel.write_raw(b"during").unwrap();
        reads(&mut tunnel, b"during");
        driven.end().has_cut(named, "upgraded");
        assert!(tunnel.is_closed_within(PATIENCE));
    }
}

#[test]
fn a_tunnel_that_ends_during_the_drain_is_waited_for() {
    let mut driven = Driven::start("plain");
    let mut tunnel = tunnel(&driven, CONNECT);
    driven.terminate();
    driven.reaches("draining_connections");
    tunnel.write_raw(b"last words").unwrap();
    reads(&mut tunnel, b"last words");
    drop(tunnel);
    driven.end().is_clean();
}

#[test]
fn a_stream_of_events_that_has_nothing_to_tell_ends() {
    let mut driven = Driven::start("plain");
    let mut events = driven.connect_and_ask("GET", "/events");
    driven.terminate();
    let answer = events.read_response(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "data: one\n\n"));
    driven.end().is_clean();
}

#[test]
fn a_stream_that_never_ends_is_cut_and_named() {
    let mut driven = Driven::start("impatient");
    let _stream = driven.connect_and_ask("GET", "/stream");
    driven.terminate();
    driven.end().has_cut("GET /stream", "in_flight");
}

#[test]
fn a_long_poll_answers_when_it_is_told_to_and_is_cut_where_it_does_not_listen() {
    let mut driven = Driven::start("impatient");
    let mut listens = driven.connect_and_ask("GET", "/poll");
    let _deaf = driven.connect_and_ask("GET", "/hangs");
    driven.terminate();
    assert_eq!(listens.read_response(PATIENCE).unwrap().text(), "nothing new");
    driven.end().has_cut("GET /hangs", "in_flight");
}

#[test]
fn all_kinds_of_clients_at_once_are_told_apart() {
    let mut driven = Driven::start("impatient");
    let _silent: Vec<_> = (0..5).map(|_| driven.connect()).collect();
    let _half_a_head: Vec<_> = (0..5).map(|_| driven.connect_and_write(b"GET /slow HTTP/1.1\r\nHo")).collect();
    let _half_a_body = driven.connect_and_write(b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf");
    driven.arrives("POST", "/read");
    let _never_reads = driven.connect_and_ask("GET", "/big");
    let _preface = Http2::preface(driven.address);
    let mut deaf = Http2::connect(driven.address);
    deaf.get(1, "/poll");
    driven.arrives("GET", "http://test/poll");
    let (mut polite, ignores, tunnel) = (websocket(&driven), websocket(&driven), tunnel(&driven, CONNECT));
    let mut events = driven.connect_and_ask("GET", "/events");
    let mut poll = driven.connect_and_ask("GET", "/poll");
    let _stream = driven.connect_and_ask("GET", "/stream");
    driven.terminate();
    reads(&mut polite, GOING_AWAY);
    polite.write_raw(CLOSE_1001).unwrap();
    assert_eq!(events.read_response(PATIENCE).unwrap().text(), "data: one\n\n");
    assert_eq!(poll.read_response(PATIENCE).unwrap().text(), "nothing new");
    assert!(deaf.rest().iter().any(Frame::is_answer_with_200));
    let ended = driven.end();
    assert_eq!(ended.code, Some(75), "{}", ended.output);
    // Those without a request are told by what they wait for.
    let (nobody, mut requests): (Vec<_>, Vec<_>) =
        ended.forced().into_iter().partition(|item| item.contains("connection from"));
    let known = ["silent", "idle", "request_head_unfinished"];
    assert!(nobody.iter().all(|item| known.iter().any(|reason| item.ends_with(reason))), "{nobody:?}");
    for item in &mut requests {
        let (request, rest) = item.split_once(" from ").unwrap_or_else(|| panic!("{item}"));
        *item = format!("{request} {}", rest.rsplit(' ').next().unwrap_or_default());
    }
    requests.sort();
    let expected = [
        "CONNECT test upgraded",
        "GET /big client_does_not_read",
        "GET /stream in_flight",
        "GET /websocket upgraded",
        "POST /read in_flight",
    ];
    assert_eq!(requests, expected);
    drop((ignores, tunnel));
}
