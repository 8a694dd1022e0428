//! The claims of the check, held against the package websockets.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wellkept_testkit::{Authority, Fault, FaultProxy, Nginx, Program, Signal, free_address, python};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

struct Peer {
    program: Program,
    plain: SocketAddr,
    secure: SocketAddr,
    authority: Authority,
}

impl Peer {
    fn start() -> Self {
        let authority = Authority::new();
        let issued = authority.issue("127.0.0.1", 10);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/websocket/tests/server.py");
        let mut command = Command::new(python::environment(&["websockets==17.4"]).join("python"));
        let program = Program::spawn(command.arg(script).arg(issued.certificate).arg(issued.key));
        let line = program.wait_for_line(|line| line.starts_with("ports "), 3 * PATIENCE);
        let mut ports = line.split(' ').skip(1).map(|port| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
        let (plain, secure) = (ports.next().unwrap(), ports.next().unwrap());
        Self { program, plain, secure, authority }
    }
}

fn options(address: SocketAddr, path: &str) -> Options {
    Options::new(format!("ws://{address}{path}").parse().unwrap())
}

fn check(options: Options) -> WebSocket {
    WebSocket::new(options).unwrap()
}

#[tokio::test]
async fn a_ping_comes_back_or_the_first_message_is_as_expected() {
    let peer = Peer::start();
    let expecting = |path, expect: &str| Options { expect: Some(expect.to_owned()), ..options(peer.plain, path) };
    let sending = Options { send: Some("ready?".into()), ..expecting("/echo", "you said: ready?") };
    for options in [options(peer.plain, "/"), options(peer.plain, "/chatty"), expecting("/hello", "hello"), sending] {
        let outcome = run(&check(options.clone())).await;
        assert_eq!(reason(&outcome), "pass", "{options:?}: {outcome:?}");
    }
    for (options, message) in [
        (expecting("/hello", "farewell"), "unexpected message"),
        (expecting("/close", "hello"), "the server closed the connection"),
        (expecting("/long", "xxx"), "the message is too long"),
    ] {
        let outcome = run(&check(options)).await;
        assert_eq!((reason(&outcome), outcome.message()), ("unexpected", message), "{outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    let outcome = run_into_timeout(&check(expecting("/", "anything"))).await;
    assert_eq!(outcome.detail(), "timed out while waiting for the first message");
}

#[tokio::test]
async fn a_refused_upgrade_is_told_with_its_status() {
    let peer = Peer::start();
    let nginx = Nginx::with("", "location / { return 200 'a page'; }");
    for (address, path, expected, status) in [
        (peer.plain, "/locked", "auth", 403),
        (peer.plain, "/secret", "auth", 401),
        (peer.plain, "/full", "exhausted", 429),
        (peer.plain, "/gone", "unexpected", 410),
        (nginx.address(), "/", "unexpected", 200),
    ] {
        let outcome = run(&check(options(address, path))).await;
        assert_eq!(reason(&outcome), expected, "{outcome:?}");
        assert_eq!(outcome.message(), format!("upgrade refused with status {status}"));
        assert_eq!(outcome.metadata()["status"], status);
        assert_keeps_secrets(&outcome);
    }
    let mut with_key = options(peer.plain, &format!("/secret?token={PLANTED}"));
    with_key.headers = vec![("Authorization".to_owned(), format!("Bearer {PLANTED}").into())];
    assert!(!format!("{with_key:?}").contains(PLANTED));
    assert_eq!(reason(&run(&check(with_key)).await), "pass");
}

#[tokio::test]
async fn over_tls_the_certificate_is_judged_too() {
    let peer = Peer::start();
    let url = format!("wss://{}/", peer.secure).parse().unwrap();
    let secure = Options { ca_file: Some(peer.authority.ca_file()), ..Options::new(url) };
    let outcome = run(&check(secure.clone())).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["certificate_days"]), ("pass", &10.into()), "{outcome:?}");
    let outcome = run(&check(Options { certificate: Some(Certificate::default()), ..secure.clone() })).await;
    assert_eq!((reason(&outcome), outcome.message()), ("threshold", "certificate ends in 10 days"));
    let outcome = run(&check(Options { ca_file: None, ..secure })).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"));
}

#[tokio::test]
async fn the_faults_of_a_network_are_told_apart() {
    let mut peer = Peer::start();
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(peer.plain, fault);
        let mut options = options(proxy.address(), &format!("/?token={PLANTED}"));
        options.url.set_password(Some(PLANTED)).unwrap();
        (proxy, check(options))
    };
    for fault in [Fault::ResetAfter(0), Fault::ResetAfter(40), Fault::HalfCloseAfter(40)] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!((reason(&outcome), outcome.message()), ("network", "connection broken"), "{fault:?}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    for fault in [Fault::BlackHole, Fault::SilentAfter(40), Fault::Drip(Duration::from_millis(20))] {
        let (_proxy, check) = through(fault);
        let outcome = run_into_timeout(&check).await;
        assert_eq!(outcome.detail(), "timed out while waiting for the upgrade", "{fault:?}");
        assert_keeps_secrets(&outcome);
    }
    assert_eq!(reason(&run(&check(options(free_address(), "/"))).await), "refused");
    peer.program.signal(Signal::STOP);
    run_into_timeout(&check(options(peer.plain, "/"))).await;
    peer.program.signal(Signal::CONT);
}

#[test]
fn a_configuration_says_what_is_said() {
    configured("websocket: { url: 'wss://chat/socket', headers: { origin: 'https://chat' }, send: hi, expect: hello }")
        .unwrap();
    let planted = format!("websocket: {{ url: 'ws://a/', headers: {{ a: \"x\\n{PLANTED}\" }} }}");
    let reported =
        ["websocket: { url: 'http://a/' }", "websocket: {}", &planted].map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:19: the URL must begin with ws:// or wss://
    test.yaml:1:12: missing key `url` in `websocket`: expected a URL such as https://example.com/health
    test.yaml:1:39: a header's value holds no line breaks and control characters
    ");
}
