//! What the check makes of servers that refuse, freeze, crash, and of networks that spoil the answer.

use wellkept_testkit::{Fault, FaultProxy};

use super::*;

#[tokio::test]
async fn a_port_without_a_mysql_is_refused() {
    let outcome = run(&check(format!("mysql://u:{PLANTED}@127.0.0.1:{}/db", free_port()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"));
    assert!(outcome.detail().contains("127.0.0.1"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
}

#[tokio::test]
async fn a_host_that_cannot_be_is_a_dns_failure_and_a_metadata_address_is_blocked() {
    for (host, expected) in [(format!("{}.example", "x".repeat(64)), "dns"), ("169.254.169.254".to_owned(), "blocked")] {
        let outcome = run(&check(format!("mysql://u:{PLANTED}@{host}/db"))).await;
        assert_eq!(reason(&outcome), expected, "{outcome:?}");
        assert_keeps_secrets(&outcome);
    }
}

#[tokio::test]
async fn a_frozen_mysql_is_given_up_before_the_deadline_and_passes_once_it_goes_on() {
    let mut server = Server::start();
    let kept = check(server.url());
    let fresh = check(server.url());
    assert_eq!(reason(&run(&kept).await), "pass");
    server.pause();
    assert_eq!(run_into_timeout(&kept).await.detail(), "timed out while querying");
    assert_eq!(run_into_timeout(&fresh).await.detail(), "timed out while logging in");
    server.resume();
    assert_eq!(reason(&run(&kept).await), "pass");
    assert_eq!(reason(&run(&fresh).await), "pass");
}

#[tokio::test]
async fn a_mysql_that_crashed_and_is_there_again_passes_with_the_same_check_at_once() {
    let mut server = Server::start();
    let check = check(server.url());
    assert_eq!(reason(&run(&check).await), "pass");
    server.kill();
    assert_eq!(reason(&run(&check).await), "refused");
    server.start_again();
    assert_eq!(reason(&run(&check).await), "pass");
    // The kept connection is broken, and nobody has noticed yet.
    server.kill();
    server.start_again();
    assert_eq!(reason(&run(&check).await), "pass");
    server.stop();
    server.start_again();
    assert_eq!(reason(&run(&check).await), "pass");
    assert_eq!(server.execute(SESSIONS), "1");
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_replaced_within_the_run() {
    let server = Server::start();
    let check = check(server.url());
    for _ in 0..2 {
        assert_eq!(reason(&run(&check).await), "pass");
        server.execute("kill user wellkept");
        until(PATIENCE, "the session to end", || server.execute(SESSIONS) == "0");
    }
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_network_that_spoils_the_answer_of_mysql_gives_an_outcome_in_time() {
    let server = Server::start();
    let address = ([127, 0, 0, 1], server.port()).into();
    for (fault, expected) in [
        (Fault::None, "pass"),
        (Fault::BlackHole, "timeout"),
        (Fault::Drip(Duration::from_secs(1)), "timeout"),
        (Fault::SilentAfter(0), "timeout"),
        (Fault::SilentAfter(90), "timeout"),
        (Fault::SilentAfter(200), "timeout"),
        (Fault::ResetAfter(0), "network"),
        (Fault::ResetAfter(50), "network"),
        (Fault::ResetAfter(200), "network"),
        (Fault::HalfCloseAfter(20), "network"),
        (Fault::HalfCloseAfter(200), "network"),
    ] {
        let proxy = FaultProxy::in_front_of(address, fault);
        let port = proxy.address().port().to_string();
        let url = server.url().replace(&server.port().to_string(), &port);
        let check = check(format!("{url}?ssl-mode=disabled"));
        let outcome = match expected {
            "timeout" => run_into_timeout(&check).await,
            _ => run(&check).await,
        };
        assert_eq!(reason(&outcome), expected, "{fault:?}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_outlives_the_run_does_not_live_on_at_a_mysql_server() {
    let server = Server::start();
    // While it computes, a server does not notice that whoever asked has gone; asleep, this one would.
    let check = check_with_query(server.url(), "SELECT BENCHMARK(1000000000000, MD5('x'))");
    run_into_timeout(&check).await;
    until(PATIENCE, "the server to give the query up", || server.execute(SESSIONS) == "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_closes_its_connection_to_mysql() {
    let server = Server::start();
    let check = check_with_query(server.url(), "SELECT SLEEP(60)");
    let running = tokio::spawn(async move { run(&check).await });
    until(PATIENCE, "the query to begin", || server.execute(SESSIONS) == "1");
    let sockets = || std::fs::read_to_string("/proc/net/tcp").unwrap();
    let client_side = format!(":{:04X} 01 ", server.port());
    assert!(sockets().contains(&client_side), "the connection is open");
    running.abort();
    until(PATIENCE, "the connection to close", || !sockets().contains(&client_side));
}

#[tokio::test]
async fn what_is_no_mysql_is_a_protocol_or_network_failure() {
    for (says, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "protocol"),
        (b"\x03\0\0\0\x0a8\0", "protocol"),
        (b"\x03\0\0\0\xff\0\x04", "error"),
        (b"", "network"),
        (b"\x4a\0\0\0\x0a", "network"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says).await.unwrap();
            // Closed once the client has, so that no reset overtakes the answer.
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });
        let outcome = run(&check(format!("mysql://u:{PLANTED}@127.0.0.1:{port}/db"))).await;
        assert_eq!(reason(&outcome), expected, "{}: {outcome:?}", says.escape_ascii());
    }
}
