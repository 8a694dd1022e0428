//! The claims of the check, held against grpcio's own server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use wellkept_testkit::{Authority, Fault, FaultProxy, Nginx, Program, Signal, free_address, python};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

struct Peer {
    program: Program,
    plain: SocketAddr,
    secure: SocketAddr,
    /// The server without the health service.
    bare: SocketAddr,
    socket: PathBuf,
    authority: Authority,
    _folder: TempDir,
}

impl Peer {
    fn start() -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let (issued, socket) = (authority.issue("127.0.0.1", 10), folder.path().join("grpc.sock"));
        let packages = ["grpcio==1.85.1", "grpcio-health-checking==1.85.1", "protobuf==7.36.2", "h2==4.4.1"];
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/grpc/tests/server.py");
        let mut command = Command::new(python::environment(&packages).join("python"));
        command.arg(script).arg(issued.certificate).arg(issued.key).arg(&socket);
        let program = Program::spawn(&mut command);
        let line = program.wait_for_line(|line| line.starts_with("ports "), 3 * PATIENCE);
        let mut ports = line.split(' ').skip(1).map(|port| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
        let mut next = || ports.next().unwrap();
        let (plain, secure, bare) = (next(), next(), next());
        Self { program, plain, secure, bare, socket, authority, _folder: folder }
    }
}

fn options(address: SocketAddr, service: &str) -> Options {
    let url = format!("http://{address}").parse().unwrap();
    Options { service: service.to_owned(), ..Options::new(url) }
}

async fn asked(options: Options) -> Outcome {
    run(&Grpc::new(options).unwrap()).await
}

#[tokio::test]
async fn what_a_server_says_of_a_service_is_told_apart() {
    let peer = Peer::start();
    for (service, expected, message) in [
        ("", "pass", ""),
        ("orders", "not_ready", "the service is not serving"),
        ("missing", "unexpected", "the server does not know the service"),
        ("strange", "unexpected", "the server does not know the service"),
        ("nobody-knows", "unexpected", "the server does not know how the service is"),
        ("late", "timeout", "the server ran out of time"),
        ("full", "exhausted", "the server has no room"),
        ("secret", "auth", "credentials were not accepted"),
    ] {
        let outcome = asked(options(peer.plain, service)).await;
        assert_eq!((reason(&outcome), outcome.message()), (expected, message), "{service}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    assert_eq!(asked(options(peer.plain, "")).await.metadata()["serving"], "SERVING");
    assert_eq!(asked(options(peer.plain, "missing")).await.metadata()["grpc_status"], 5);
    let outcome = asked(options(peer.bare, "")).await;
    assert_eq!((reason(&outcome), outcome.message()), ("unimplemented", "the server has no health service"));
    let by_socket = Options { unix_socket: Some(peer.socket.clone()), ..options(peer.bare, "orders") };
    assert_eq!(reason(&asked(by_socket).await), "not_ready");
    let headers = vec![("authorization".to_owned(), SecretString::from(format!("Bearer {PLANTED}")))];
    let with_key = Options { headers, ..options(peer.plain, "secret") };
    assert!(!format!("{with_key:?}").contains(PLANTED));
    assert_eq!(reason(&asked(with_key).await), "pass");
}

#[tokio::test]
async fn over_tls_the_certificate_is_judged_too() {
    let peer = Peer::start();
    let secure = Options {
        url: format!("https://{}", peer.secure).parse().unwrap(),
        ca_file: Some(peer.authority.ca_file()),
        ..options(peer.secure, "")
    };
    let outcome = asked(secure.clone()).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["certificate_days"]), ("pass", &10.into()), "{outcome:?}");
    let outcome = asked(Options { certificate: Some(Certificate::default()), ..secure.clone() }).await;
    assert_eq!((reason(&outcome), outcome.message()), ("threshold", "certificate ends in 10 days"));
    let outcome = asked(Options { ca_file: None, ..secure }).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout() {
    let mut peer = Peer::start();
    let outcome = run_into_timeout(&Grpc::new(options(peer.plain, "slow")).unwrap()).await;
    assert!(outcome.metadata().get("stage") == Some(&"first_byte".into()), "{outcome:?}");
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(peer.plain, fault);
        let check = Grpc::new(options(proxy.address(), "")).unwrap();
        (proxy, check)
    };
    for fault in [Fault::BlackHole, Fault::SilentAfter(30), Fault::Drip(Duration::from_millis(20))] {
        let (_proxy, check) = through(fault);
        run_into_timeout(&check).await;
    }
    for fault in [Fault::ResetAfter(0), Fault::ResetAfter(60), Fault::HalfCloseAfter(30)] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!((reason(&outcome), outcome.message()), ("network", "connection broken"), "{fault:?}: {outcome:?}");
    }
    peer.program.signal(Signal::STOP);
    run_into_timeout(&Grpc::new(options(peer.plain, "")).unwrap()).await;
    peer.program.signal(Signal::CONT);
}

#[tokio::test]
async fn what_is_no_grpc_server_is_told() {
    let page = Nginx::with("http2", "location / { return 200 'a page'; }");
    let old = Nginx::with("", "location / { return 200 'a page'; }");
    let proxy = Nginx::with("http2", "location / { return 503; }");
    for nginx in [&page, &old, &proxy] {
        let outcome = asked(options(nginx.address(), "")).await;
        let told = (reason(&outcome), outcome.message());
        assert_eq!(told, ("protocol", "what answers does not speak gRPC"), "{outcome:?}");
    }
    let locked = Nginx::with("http2", "location / { return 403; }");
    assert_eq!(reason(&asked(options(locked.address(), "")).await), "auth");
    assert_eq!(reason(&asked(options(free_address(), "")).await), "refused");
}

#[test]
fn a_configuration_says_which_service_to_ask_for() {
    configured("grpc: { url: 'https://orders:443', service: orders.v1.Orders, certificate: {} }").unwrap();
    let planted = format!("grpc: {{ url: 'http://a:1', headers: {{ 'x y': {PLANTED} }} }}");
    let reported = ["grpc: { url: 'http://a/b' }", "grpc: { url: 'grpc://a:1' }", "grpc: {}", &planted]
        .map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:14: write http://host:port or https://host:port, without a path
    test.yaml:1:14: the URL must begin with http:// or https://
    test.yaml:1:7: missing key `url` in `grpc`: expected a URL such as https://example.com/health
    test.yaml:1:37: a header's name holds letters, digits and hyphens
    ");
}
