//! What stays open for long: WebSockets, tunnels, other upgrades, streams and long polls.

use wellkept_testkit::http::Connection;

use crate::driven::{Driven, PATIENCE};

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
    let mut driven = Driven::start("plain");
    let mut socket = websocket(&driven);
    driven.terminate();
    reads(&mut socket, GOING_AWAY);
    driven.end().has_cut("GET /websocket from", "over WebSocket upgraded");
    assert!(socket.is_closed_within(PATIENCE));
}

#[test]
fn a_tunnel_and_another_upgrade_are_cut_and_named() {
    for (request, named) in [(CONNECT, "CONNECT test from"), (SWITCH, "GET /upgrade from")] {
        let mut driven = Driven::start("plain");
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
    let mut driven = Driven::start("plain");
    let _stream = driven.connect_and_ask("GET", "/stream");
    driven.terminate();
    driven.end().has_cut("GET /stream", "in_flight");
}

#[test]
fn a_long_poll_answers_when_it_is_told_to_and_is_cut_where_it_does_not_listen() {
    let mut driven = Driven::start("plain");
    let mut listens = driven.connect_and_ask("GET", "/poll");
    let _deaf = driven.connect_and_ask("GET", "/hangs");
    driven.terminate();
    assert_eq!(listens.read_response(PATIENCE).unwrap().text(), "nothing new");
    driven.end().has_cut("GET /hangs", "in_flight");
}
