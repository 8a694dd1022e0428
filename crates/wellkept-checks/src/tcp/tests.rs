//! The claims of the check, held against listeners, Redis and a network's faults.

use std::time::Duration;

use tokio::net::TcpListener;
use wellkept_config::FromNode as _;
use wellkept_testkit::{Fault, FaultProxy, Redis, free_port};

use super::*;
use crate::testing::{PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

fn check(address: String) -> Tcp {
    Tcp::new(Options::new(address)).unwrap()
}

#[tokio::test]
async fn what_accepts_passes_and_the_connection_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outcome = run(&check(listener.local_addr().unwrap().to_string())).await;
    assert_eq!(reason(&outcome), "pass");
    let (stream, _) = listener.accept().await.unwrap();
    stream.readable().await.unwrap();
    assert_eq!(stream.try_read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn a_closed_port_is_refused_and_the_public_hears_no_address() {
    let address = format!("127.0.0.1:{}", free_port());
    let outcome = run(&check(address.clone())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"));
    assert!(outcome.detail().starts_with(&address), "{outcome:?}");
}

#[tokio::test]
async fn the_metadata_address_is_never_asked() {
    let outcome = run(&check("169.254.169.254:80".to_owned())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("blocked", "address is not allowed"));
}

#[test]
fn an_address_without_port_and_bytes_that_are_none_are_reported() {
    configured("tcp: { address: '[::1]:443' }").unwrap();
    let reported = configured("tcp: { address: db }").unwrap_err();
    assert_eq!(reported, "test.yaml:1:17: the port is missing: write host:port");
    configured(r"tcp: { address: 'a:1', send: 'PING\r\n', expect: '\x2bPONG' }").unwrap();
    let reported = [r"tcp: { address: 'a:1', send: x }", r"tcp: { address: 'a:1', expect: 'a\q' }", "tcp: { address: 'a:1', expect: '' }"]
        .map(|text| configured(text).unwrap_err());
    insta::assert_snapshot!(reported.join("\n"), @r"
    test.yaml:1:30: say in `expect` what has to come back
    test.yaml:1:32: expected a text such as PING\r\n, found a text that is not shown (for a backslash write two)
    test.yaml:1:32: expected a text such as PING\r\n, found a text that is not shown
    ");
}

fn saying(port: u16, send: &str, expect: &str) -> Tcp {
    let bytes = |text: &str| Some(Bytes::from_scalar(text).unwrap());
    let send = if send.is_empty() { None } else { bytes(send) };
    Tcp::new(Options { send, expect: bytes(expect), ..Options::new(format!("127.0.0.1:{port}")) }).unwrap()
}

#[tokio::test]
async fn what_a_real_server_answers_is_held_against_what_is_expected() {
    let mut redis = Redis::start();
    let port = redis.port();
    assert_eq!(reason(&run(&saying(port, r"PING\r\n", r"+PONG\r\n")).await), "pass");
    assert_eq!(reason(&run(&saying(port, r"*1\x0d\x0a$4\r\nPING\r\n", "PONG")).await), "pass");
    let outcome = run(&saying(port, r"QUIT\r\n", "PONG")).await;
    assert_eq!((reason(&outcome), outcome.message()), ("unexpected", "unexpected answer"));
    assert_eq!(outcome.detail(), "what is expected is not among the 5 bytes that came");
    let check = saying(port, r"PING\r\n", "PONG");
    redis.pause();
    assert_eq!(reason(&run(&Tcp::new(Options::new(format!("127.0.0.1:{port}"))).unwrap()).await), "pass");
    let outcome = run_into_timeout(&check).await;
    assert_eq!(outcome.detail(), "timed out while waiting for the first byte");
    redis.resume();
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn the_faults_of_a_network_are_told_apart() {
    let redis = Redis::start();
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(([127, 0, 0, 1], redis.port()).into(), fault);
        let check = saying(proxy.address().port(), &format!(r"ECHO {PLANTED}-and-more\r\n"), "and-more");
        assert!(!format!("{check:?}").contains(PLANTED));
        (proxy, check)
    };
    for (fault, expected) in [
        (Fault::Drip(Duration::from_micros(100)), "pass"),
        (Fault::ResetAfter(0), "network"),
        (Fault::ResetAfter(3), "network"),
        (Fault::HalfCloseAfter(0), "network"),
        (Fault::HalfCloseAfter(3), "unexpected"),
    ] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), expected, "{fault:?}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    let (_proxy, check) = through(Fault::SilentAfter(3));
    let outcome = run_into_timeout(&check).await;
    assert_eq!(outcome.detail(), "timed out while waiting for what is expected, 3 bytes have come");
    run_into_timeout(&through(Fault::BlackHole).1).await;
}

#[tokio::test]
async fn of_an_endless_answer_the_first_64_kib_are_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = 0_usize;
        while stream.write_all(&[b'x'; 1024]).await.is_ok() {
            sent += 1024;
        }
        sent
    });
    let outcome = run(&saying(port, "", "y")).await;
    assert_eq!(reason(&outcome), "unexpected", "{outcome:?}");
    assert!(endless.await.unwrap() > MOST);
}
