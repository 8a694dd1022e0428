//! What a bad client, or too many good ones, can cost.

use super::super::connection::Ended;
use super::*;

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let setup = Setup::new(ServerOptions { first_byte_timeout: SHORT, ..ServerOptions::default() });
    assert_eq!(setup.connect().await.rest().await, 0);
    assert_eq!(setup.handle.stats().timeouts.first_byte_total, 1);
}

#[tokio::test]
async fn a_client_that_says_half_an_http2_preface_is_closed() {
    let setup = Setup::new(ServerOptions { first_byte_timeout: SHORT, ..ServerOptions::default() });
    let mut client = setup.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n").await;
    assert_eq!(client.rest().await, 0);
    assert_eq!(setup.handle.stats().timeouts.first_byte_total, 1);
}

#[tokio::test]
async fn a_client_that_says_half_a_head_is_closed() {
    let setup = Setup::new(ServerOptions { header_timeout: SHORT, ..ServerOptions::default() });
    let mut client = setup.connect().await;
    client.send(b"GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(client.rest().await, 0);
    assert_eq!(setup.handle.stats().timeouts.header_total, 1);
}

#[tokio::test]
async fn the_head_of_a_second_request_has_its_limit_too() {
    let setup = Setup::new(ServerOptions { header_timeout: SHORT, ..ServerOptions::default() });
    let mut client = setup.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    client.send(b"GET / HTTP/1.1\r\nHost:").await;
    assert_eq!(client.rest().await, 0);
    assert_eq!(setup.handle.stats().timeouts.header_total, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_by_its_own_limit() {
    let setup = Setup::new(ServerOptions { idle_timeout: SHORT, ..ServerOptions::default() });
    let mut client = setup.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.rest().await, 0);
    let timeouts = setup.handle.stats().timeouts;
    assert_eq!((timeouts.idle_total, timeouts.header_total), (1, 0));
}

#[tokio::test]
async fn a_request_in_flight_outlives_every_limit_of_silence() {
    let options = ServerOptions {
        first_byte_timeout: SHORT,
        header_timeout: SHORT,
        idle_timeout: SHORT,
        write_timeout: SHORT,
        ..ServerOptions::default()
    };
    let setup = Setup::new(options);
    let mut client = setup.connect_slow().await;
    // This one's limit passes while the other waits.
    assert_eq!(setup.connect().await.rest().await, 0);
    setup.gate.add_permits(1);
    assert_eq!(client.response().await.body, "slow");
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed() {
    let setup = Setup::new(ServerOptions { write_timeout: SHORT, ..ServerOptions::default() });
    let mut client = setup.connect().await;
    client.ask("/big").await;
    eventually(|| setup.handle.stats().timeouts.write_total == 1).await;
    eventually(|| setup.handle.stats().open == 0).await;
    assert_eq!((setup.handle.stats().in_flight, setup.tracker.in_flight_requests()), (0, 0));
    assert!(client.rest().await < BIG);
}

#[tokio::test]
async fn too_large_a_head_is_refused() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\nX-Long: {}\r\n\r\n", "x".repeat(17 * 1024)).as_bytes()).await;
    assert_eq!(client.response().await.status, 431);
    let mut client = setup.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "X-Many: x\r\n".repeat(65)).as_bytes()).await;
    assert_eq!(client.response().await.status, 431);
    let mut client = setup.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "X-Many: x\r\n".repeat(63)).as_bytes()).await;
    assert_eq!(client.response().await.status, 200);
    eventually(|| setup.handle.stats().in_flight == 0 && setup.tracker.in_flight_requests() == 0).await;
}

#[tokio::test]
async fn at_the_limit_the_oldest_silent_connection_goes_and_those_in_flight_stay() {
    let setup = Setup::new(ServerOptions { max_connections: 3, ..ServerOptions::default() });
    let mut slow = setup.connect_slow().await;
    let mut silent = setup.connect().await;
    let mut idle = setup.connect().await;
    assert_eq!(idle.get("/").await.status, 200);
    let mut new = setup.connect().await;
    assert_eq!(new.get("/").await.status, 200);
    assert_eq!(silent.rest().await, 0);
    let mut newer = setup.connect().await;
    assert_eq!(newer.get("/").await.status, 200);
    assert_eq!(idle.rest().await, 0);
    assert_eq!(setup.handle.stats().evicted_total, 2);
    setup.gate.add_permits(1);
    assert_eq!(slow.response().await.body, "slow");
}

#[tokio::test]
async fn who_was_to_end_as_idle_stays_if_its_request_has_begun_meanwhile() {
    for (ended, stays) in [(Ended::Idle, true), (Ended::Header, true), (Ended::Write, false)] {
        let setup = Setup::new(ServerOptions::default());
        let mut slow = setup.connect_slow().await;
        let connection = setup.handle.shared.connections().values().next().cloned().unwrap();
        // Whoever looks at all connections has seen it idle, a moment ago.
        connection.end(ended);
        drop(connection);
        setup.gate.add_permits(1);
        if stays {
            assert_eq!(slow.response().await.body, "slow", "{ended:?}");
            assert_eq!(slow.get("/").await.status, 200);
        } else {
            assert_eq!(slow.rest().await, 0);
        }
    }
}

#[tokio::test]
async fn a_flood_of_silent_connections_locks_nobody_out() {
    let setup = Setup::new(ServerOptions { max_connections: 20, ..ServerOptions::default() });
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(setup.connect().await);
    }
    assert_eq!(setup.connect().await.get("/").await.status, 200);
    assert!(setup.handle.stats().open <= 21, "{}", setup.handle.stats().open);
}

#[tokio::test]
async fn where_answers_are_quick_clients_that_do_not_take_theirs_lock_nobody_out() {
    let quick = ServerOptions { max_connections: 4, evict_busy_after: Some(SHORT), ..ServerOptions::default() };
    let setup = Setup::new(quick);
    let mut greedy = Vec::new();
    for _ in 0..4 {
        let mut client = setup.connect().await;
        client.ask("/big").await;
        greedy.push(client);
    }
    eventually(|| setup.handle.stats().in_flight == 4).await;
    assert_eq!(within(async { setup.connect().await.get("/").await.status }).await, 200);
    assert_eq!(setup.handle.stats().evicted_total, 1);
}

#[tokio::test]
async fn when_all_connections_are_busy_accepting_pauses_until_one_ends() {
    let setup = Setup::new(ServerOptions { max_connections: 1, ..ServerOptions::default() });
    let mut slow = setup.connect_slow().await;
    let mut waiting = setup.connect().await;
    waiting.ask("/").await;
    assert!(is_pending(std::pin::pin!(waiting.socket.fill_buf())).await);
    assert_eq!(setup.handle.stats().accepted_total, 1);
    setup.gate.add_permits(1);
    assert_eq!(slow.response().await.body, "slow");
    assert_eq!(waiting.response().await.status, 200);
}

#[tokio::test]
async fn above_the_limit_in_flight_requests_are_refused_with_retry_after() {
    let setup = Setup::with(ServerOptions::default(), Tracker::new(1));
    let mut slow = setup.connect_slow().await;
    let mut client = setup.connect().await;
    let refused = client.get("/").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.body.contains(r#""code":"shutdown.too_many_in_flight""#), "{}", refused.body);
    setup.gate.add_permits(1);
    assert_eq!(slow.response().await.body, "slow");
    eventually(|| setup.tracker.in_flight_requests() == 0).await;
    assert_eq!(client.get("/").await.status, 200, "the refused connection stays open");
    assert_eq!(setup.handle.stats().refused_overload_total, 1);
}
