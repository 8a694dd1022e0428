//! The claims of the check, held against a real server, and against small false ones for what a real one does rarely.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use wellkept_health::Verdict;
use wellkept_testkit::{Authority, Fault, FaultProxy, Nats as RealServer, free_port, until};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

fn check(url: impl Into<String>) -> Nats {
    Nats::by_url(url.into()).unwrap()
}

fn told(outcome: &Outcome) -> (Verdict, &str, &str) {
    (outcome.verdict(), reason(outcome), outcome.message())
}

/// How many lines of the server's trace have this in them.
fn traced(server: &RealServer, what: &str) -> usize {
    server.log().lines().filter(|line| line.contains(what)).count()
}

/// Runs again and again until it is so.
async fn until_told(check: &Nats, is_so: impl Fn(&Outcome) -> bool) -> Outcome {
    let running = async {
        loop {
            let outcome = run(check).await;
            if is_so(&outcome) {
                return outcome;
            }
        }
    };
    tokio::time::timeout(PATIENCE, running).await.expect("it is so in time")
}

#[tokio::test]
async fn a_server_that_answers_passes_with_what_it_tells_of_itself() {
    let server = RealServer::with("server_name: n1\njetstream: enabled\n");
    let outcome = run(&Nats::new(Options { jetstream: true, ..Options::new(server.url()) }).unwrap()).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let metadata = outcome.metadata();
    assert_eq!((&metadata["server_name"], &metadata["jetstream"]), (&"n1".into(), &true.into()));
    assert_eq!((&metadata["lame_duck"], &metadata["encrypted"]), (&false.into(), &false.into()));
    assert!(metadata["server_version"].as_str().unwrap().contains('.'), "{metadata:?}");
    assert!(metadata["round_trip_ms"].as_f64().unwrap() > 0.0, "{metadata:?}");
}

#[tokio::test]
async fn a_server_without_jetstream_fails_where_it_is_expected() {
    let server = RealServer::start();
    let outcome = run(&Nats::new(Options { jetstream: true, ..Options::new(server.url()) }).unwrap()).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "unexpected", "server has no JetStream"));
    assert_eq!(outcome.metadata()["jetstream"], false);
    assert_eq!(reason(&run(&check(server.url())).await), "pass");
}

#[tokio::test]
async fn fifty_runs_take_one_connection_and_one_ping_each() {
    let server = RealServer::start();
    let check = check(server.url());
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    assert_eq!((traced(&server, "<<- [CONNECT"), traced(&server, "<<- [PING]")), (1, 50), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_between_two_runs_is_answered() {
    let server = RealServer::with("ping_interval: \"20ms\"\nping_max: 2\n");
    let check = check(server.url());
    assert_eq!(reason(&run(&check).await), "pass");
    // Not answered, it would have hung up after the third.
    until(PATIENCE, "the server to be answered", || traced(&server, "<<- [PONG]") > 10);
    assert_eq!(reason(&run(&check).await), "pass");
    assert_eq!(traced(&server, "<<- [CONNECT"), 1);
}

#[tokio::test]
async fn who_is_not_let_in_hears_why_without_the_password() {
    let of_users = RealServer::with("authorization { user: prober, password: \"se\\\"cret\" }\n");
    let with = |login: &str| check(of_users.url().replace("://", &format!("://{login}@")));
    assert_eq!(reason(&run(&with("prober:se%22cret")).await), "pass");
    let of_tokens = RealServer::with("authorization { token: opensesame }\n");
    let with_token = |token: &str| check(of_tokens.url().replace("://", &format!("://{token}@")));
    assert_eq!(reason(&run(&with_token("opensesame")).await), "pass");
    for check in [with(&format!("prober:{PLANTED}")), with(PLANTED), with_token(PLANTED)] {
        let outcome = run(&check).await;
        assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user, password or token not accepted"), "{outcome:?}");
        assert_eq!(outcome.detail(), "Authorization Violation");
        assert_keeps_secrets(&outcome);
        assert!(!format!("{check:?}").contains(PLANTED));
    }
    let outcome = run(&check(of_users.url())).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user and password, or a token, are required"));
}

#[tokio::test]
async fn a_full_server_is_exhausted_and_who_was_in_before_still_passes() {
    let server = RealServer::with("max_connections: 1\n");
    let first = check(server.url());
    // The connection by which the test saw that the server was there may still count.
    assert_eq!(reason(&until_told(&first, |outcome| reason(outcome) == "pass").await), "pass");
    let outcome = run(&check(server.url())).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "exhausted", "too many connections"), "{outcome:?}");
    assert_eq!(reason(&run(&first).await), "pass");
}

#[tokio::test]
async fn a_server_that_is_about_to_stop_is_degraded_and_then_refused() {
    let mut server = RealServer::start();
    let check = check(server.url());
    assert_eq!(reason(&run(&check).await), "pass");
    server.become_lame_duck();
    let outcome = until_told(&check, |outcome| reason(outcome) != "pass").await;
    assert_eq!(told(&outcome), (Verdict::Warn, "not_ready", "server is about to stop"), "{outcome:?}");
    assert_eq!(outcome.metadata()["lame_duck"], true);
    server.stop();
    assert_eq!(reason(&run(&check).await), "refused");
}

#[tokio::test]
async fn a_frozen_server_is_given_up_in_time_and_a_restarted_one_passes_at_once() {
    let mut server = RealServer::start();
    let (kept, fresh) = (check(server.url()), check(server.url()));
    assert_eq!(reason(&run(&kept).await), "pass");
    server.pause();
    assert_eq!(run_into_timeout(&kept).await.detail(), "timed out while waiting for the answer to PING");
    assert_eq!(run_into_timeout(&fresh).await.detail(), "timed out while waiting for the server's greeting");
    server.resume();
    for check in [&kept, &fresh] {
        assert_eq!(reason(&run(check).await), "pass");
    }
    server.stop();
    server.start_again();
    // The kept connection was closed, and nobody has noticed yet.
    let outcome = run(&kept).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_tls_is_spoken_to_over_it_and_its_certificate_must_be_trusted() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1", 30);
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}\n", issued.certificate, issued.key);
    let server = RealServer::with(&format!("authorization {{ token: {PLANTED} }}\n{tls}"));
    let url = server.url().replace("://", &format!("://{PLANTED}@"));
    let trusting = |url: &str| Options { ca_file: Some(authority.ca_file()), ..Options::new(url) };
    for url in [&url, &url.replace("nats:", "tls:")] {
        let outcome = run(&Nats::new(trusting(url)).unwrap()).await;
        assert_eq!((reason(&outcome), &outcome.metadata()["encrypted"]), ("pass", &true.into()), "{outcome:?}");
    }
    let outcome = run(&check(url)).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "tls", "certificate is not trusted"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    let plain = RealServer::start();
    let outcome = run(&check(plain.url().replace("nats:", "tls:"))).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "tls", "server does not speak TLS"), "{outcome:?}");
}

#[tokio::test]
async fn the_faults_of_a_network_are_told_apart() {
    let server = RealServer::start();
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(server.address(), fault);
        let check = check(format!("nats://{PLANTED}@{}", proxy.address()));
        (proxy, check)
    };
    for (fault, expected) in [
        (Fault::Drip(Duration::from_micros(100)), "pass"),
        (Fault::ResetAfter(0), "network"),
        (Fault::ResetAfter(9), "network"),
        (Fault::HalfCloseAfter(0), "network"),
        (Fault::HalfCloseAfter(9), "protocol"),
    ] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), expected, "{fault:?}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    for fault in [Fault::BlackHole, Fault::SilentAfter(9), Fault::Drip(Duration::from_secs(1))] {
        let (_proxy, check) = through(fault);
        assert_keeps_secrets(&run_into_timeout(&check).await);
    }
    let outcome = run(&check(format!("nats://{PLANTED}@127.0.0.1:{}", free_port()))).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "refused", "connection refused"));
    assert_keeps_secrets(&outcome);
}

/// A server that says this, and then nothing more.
async fn false_server(says: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(says.as_bytes()).await.unwrap();
            held.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn refusals_that_a_real_server_gives_rarely_are_told_apart() {
    for (says, expected) in [
        ("INFO {}\r\n-ERR 'Slow Consumer'\r\n", (Verdict::Warn, "exhausted")),
        ("-ERR 'maximum account active connections exceeded'\r\n", (Verdict::Fail, "exhausted")),
        ("INFO {}\r\n-ERR 'User Authentication Expired'\r\n", (Verdict::Fail, "auth")),
        ("INFO {}\r\n-ERR 'Authentication Timeout'\r\n", (Verdict::Fail, "timeout")),
        ("INFO {}\r\n-ERR 'Secure Connection - TLS Required'\r\n", (Verdict::Fail, "tls")),
        ("INFO {}\r\n-ERR 'Server Shutdown'\r\n", (Verdict::Fail, "not_ready")),
        ("INFO {}\r\n-ERR 'Unknown Protocol Operation'\r\n", (Verdict::Fail, "error")),
        ("INFO {}\r\n220 mail.example\r\n", (Verdict::Fail, "protocol")),
        ("220 mail.example\r\n", (Verdict::Fail, "protocol")),
        ("INFO {\r\n", (Verdict::Fail, "protocol")),
        // Said ahead of the handshake, by whoever sits in between.
        ("INFO {\"tls_required\":true}\r\nPONG\r\n", (Verdict::Fail, "protocol")),
    ] {
        let outcome = run(&check(format!("nats://{}", false_server(says).await))).await;
        assert_eq!((outcome.verdict(), reason(&outcome)), expected, "{says}: {outcome:?}");
    }
}

#[test]
fn a_configuration_is_read_and_what_is_wrong_in_it_is_reported() {
    configured("nats: { url: 'tls://u:p@[::1]:4443', jetstream: true }").unwrap();
    for url in [format!("http://:{PLANTED}@host"), format!("nats://:{PLANTED}@"), format!("nats://:{PLANTED}@host?x")] {
        let reported = configured(&format!("nats: {{ url: \"{url}\" }}")).unwrap_err();
        assert!(reported.starts_with("test.yaml:1:14: ") && !reported.contains(PLANTED), "{reported}");
    }
    let reported = configured("nats: { url: 'nats://host', ca_file: /nowhere }").unwrap_err();
    assert_eq!(reported, "test.yaml:1:38: the file can't be read: entity not found");
    let options = Options::new(format!("nats://:{PLANTED}@host"));
    assert!(!format!("{options:?}").contains(PLANTED));
}
