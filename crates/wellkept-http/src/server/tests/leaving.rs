//! Announce, stop, drain, abort: over HTTP/1.1.

use std::io::{Read as _, Write as _};

use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use wellkept_shutdown::{Cause, EntranceKind, Settings, Shutdown, Status};

use super::*;

#[tokio::test]
async fn the_announcement_asks_to_close_and_still_serves_new_connections() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    assert_eq!(client.get("/").await.header("connection"), None);
    setup.handle.announce();
    for mut client in [client, setup.connect().await] {
        let response = client.get("/").await;
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        assert_eq!(client.rest().await, 0);
    }
    within(setup.handle.closed()).await;
    assert_eq!(setup.handle.open(), 0);
}

#[tokio::test]
async fn all_that_wait_in_the_accept_queue_are_answered() {
    let setup = Setup::new(ServerOptions::default());
    // On this single thread nothing is accepted until the test waits.
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(tcp(&setup.handle)).unwrap();
            client.set_read_timeout(Some(SHORT * 50)).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            client
        })
        .collect();
    assert_eq!(setup.handle.stats().accepted_total, 0);
    within(setup.handle.stop_accepting()).await;
    within(setup.handle.drain()).await;
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it is answered, not reset");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"), "{answer}");
    }
    assert_eq!(setup.handle.stats().accepted_total, 100);
}

#[tokio::test]
async fn a_late_request_gets_503_and_one_in_flight_is_served() {
    let options = ServerOptions {
        retry_after: Duration::from_secs(7),
        exempt: Some(Arc::new(|parts| parts.uri.query() == Some("exempt"))),
        ..ServerOptions::default()
    };
    let setup = Setup::new(options);
    let mut slow = setup.connect_slow().await;
    let (mut late, mut exempt) = (setup.connect().await, setup.connect().await);
    assert_eq!((late.get("/").await.status, exempt.get("/").await.status), (200, 200));
    within(setup.handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(setup.handle.drain());
    assert!(is_pending(drain.as_mut()).await);

    let refused = late.get("/").await;
    assert_eq!(refused.status, 503);
    assert_eq!((refused.header("retry-after"), refused.header("connection")), (Some("7"), Some("close")));
    insta::assert_snapshot!(refused.body, @r#"{"error":{"code":"shutdown.draining","message":"the service is shutting down; retry elsewhere"}}"#);
    assert_eq!(late.rest().await, 0);
    assert_eq!(exempt.get("/?exempt").await.status, 200);

    assert!(is_pending(drain.as_mut()).await);
    setup.gate.add_permits(1);
    let served = slow.response().await;
    assert_eq!((served.status, served.header("connection")), (200, Some("close")));
    within(drain).await;
    assert_eq!(setup.handle.stats().refused_late_total, 1);
}

#[tokio::test]
async fn a_new_connection_is_refused_after_the_stop() {
    let setup = Setup::new(ServerOptions::default());
    within(setup.handle.stop_accepting()).await;
    let refused = TcpStream::connect(tcp(&setup.handle)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_address_can_be_taken_again_at_once() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    client.get("/").await;
    within(setup.handle.stop_accepting()).await;
    within(setup.handle.drain()).await;
    Server::bind(tcp(&setup.handle), ServerOptions::default()).expect("closing connections are no hindrance");
}

#[tokio::test]
async fn idle_and_silent_connections_do_not_hold_the_drain() {
    let setup = Setup::new(ServerOptions::default());
    let (mut idle, mut silent, mut half) = (setup.connect().await, setup.connect().await, setup.connect().await);
    half.send(b"GET / HTT").await;
    assert_eq!(idle.get("/").await.status, 200);
    within(setup.handle.stop_accepting()).await;
    let began = std::time::Instant::now();
    within(setup.handle.drain()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(setup.handle.open(), 0);
    assert_eq!((idle.rest().await, silent.rest().await, half.rest().await), (0, 0, 0));
}

#[tokio::test]
async fn the_drain_ends_when_the_last_byte_of_a_stream_has_left() {
    let (handle, frames) = serve_frames();
    let mut client = Client::connect(tcp(&handle)).await;
    client.ask("/").await;
    frames.send("first").await.unwrap();
    assert_eq!(client.head().await.status, 200);
    within(handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(handle.drain());
    assert!(is_pending(drain.as_mut()).await);
    frames.send("last").await.unwrap();
    drop(frames);
    within(drain).await;
    let mut rest = String::new();
    within(client.socket.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
}

#[tokio::test]
async fn an_answer_that_is_handed_over_but_not_taken_is_in_flight() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    client.ask("/big").await;
    let head = client.head().await;
    within(setup.handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(setup.handle.drain());
    assert!(is_pending(drain.as_mut()).await);
    assert_eq!((setup.handle.stats().in_flight, setup.tracker.in_flight_requests()), (1, 1));
    let (taken, ()) = within(async { tokio::join!(client.rest(), drain) }).await;
    assert_eq!((head.status, taken), (200, BIG));
}

#[tokio::test]
async fn an_abort_cuts_and_the_list_before_names_what_it_cuts() {
    let setup = Setup::new(ServerOptions::default());
    let mut slow = setup.connect_slow().await;
    let own = slow.socket.get_ref().local_addr().unwrap();
    let mut silent = setup.connect().await;
    eventually(|| setup.handle.open() == 2).await;
    let remaining = setup.handle.remaining();
    let named: Vec<_> = remaining.iter().map(|one| (one.item.as_str(), &*one.reason)).collect();
    assert_eq!(named[0], (format!("GET /slow from {own} over HTTP/1").as_str(), "in_flight"));
    assert_eq!((named.len(), named[1].1), (2, "silent"));
    assert!(remaining[0].age.is_some());
    setup.handle.abort();
    assert_eq!((slow.rest().await, silent.rest().await), (0, 0));
    within(setup.handle.closed()).await;
    eventually(|| setup.tracker.in_flight_requests() == 0 && setup.tracker.connections() == 0).await;
    // The listener is closed too, although nobody asked it to stop.
    within(setup.handle.stop_accepting()).await;
    assert!(TcpStream::connect(tcp(&setup.handle)).await.is_err());
}

#[tokio::test]
async fn a_request_that_the_system_has_taken_in_when_the_connections_close_is_answered() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    assert_eq!(client.get("/").await.status, 200);
    within(setup.handle.stop_accepting()).await;
    // On this single thread nobody looks at the socket between the client's writing and the end of the drain.
    let socket = client.socket.into_inner().into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    (&socket).write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    within(setup.handle.drain()).await;
    let mut answer = String::new();
    (&socket).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

/// Switches to a protocol that echoes, with this code.
fn echo(code: StatusCode, mut request: axum::extract::Request) -> impl IntoResponse {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")]
        .map(|(name, value)| (name, HeaderValue::from_static(value)));
    (code, headers)
}

#[tokio::test]
async fn an_upgraded_connection_holds_the_drain_until_it_is_cut() {
    let request = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    holds_the_drain_until_it_is_cut(StatusCode::SWITCHING_PROTOCOLS, request).await;
}

#[tokio::test]
async fn a_tunnel_holds_the_drain_until_it_is_cut() {
    holds_the_drain_until_it_is_cut(StatusCode::OK, b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n").await;
}

async fn holds_the_drain_until_it_is_cut(code: StatusCode, request: &[u8]) {
    let tracker = Tracker::default();
    let router = Router::new().fallback(move |request| std::future::ready(echo(code, request)));
    let handle = serve(router, ServerOptions::default(), &tracker);
    let mut client = Client::connect(tcp(&handle)).await;
    client.send(request).await;
    assert_eq!(client.head().await.status, code.as_u16());
    client.send(b"hello").await;
    let mut said = [0; 5];
    within(client.socket.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"hello");
    assert_eq!((tracker.in_flight_requests(), tracker.connections(), handle.stats().in_flight), (0, 1, 1));

    within(handle.stop_accepting()).await;
    assert!(is_pending(std::pin::pin!(handle.drain())).await);
    handle.abort();
    assert_eq!(client.rest().await, 0);
    within(handle.closed()).await;
    assert_eq!((tracker.connections(), handle.stats().in_flight), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_loses_no_request_on_an_accepted_connection() {
    let settings = Settings { announce: Duration::from_millis(100), ..Settings::default() };
    let (shutdown, sequence) = Shutdown::new(settings);
    let handle = serve(routes(&Arc::new(Semaphore::new(0))), ServerOptions::default(), shutdown.tracker());
    shutdown.add_entrance(EntranceKind::Application, Arc::clone(&handle) as Arc<dyn Entrance>);
    let address = tcp(&handle);
    let clients: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn(async move {
                let (mut answered, mut lost) = (0_u32, 0_u32);
                while let Ok(socket) = TcpStream::connect(address).await {
                    let mut client = Client { socket: BufReader::new(socket) };
                    loop {
                        if client.socket.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.is_err()
                            || client.socket.fill_buf().await.is_ok_and(<[u8]>::is_empty)
                        {
                            lost += 1;
                            break;
                        }
                        let response = client.response().await;
                        answered += u32::from(response.status == 200);
                        if response.header("connection") == Some("close") {
                            break;
                        }
                    }
                }
                (answered, lost)
            })
        })
        .collect();
    eventually(|| handle.stats().requests_total > 2_000).await;
    shutdown.trigger(Cause::requested("test"));
    let report = within(sequence.run()).await;
    assert_eq!(report.status, Status::Successful, "{report:?}");
    for client in clients {
        let (answered, lost) = within(client).await.unwrap();
        assert!(answered > 0);
        assert_eq!(lost, 0);
    }
}

#[tokio::test]
async fn an_upload_that_nobody_reads_is_taken_piece_by_piece_until_it_is_whole() {
    const PIECE: [u8; 1000] = [b'x'; 1000];
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3000\r\n\r\n").await;
    assert_eq!(client.response().await.status, 405);
    within(setup.handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(setup.handle.drain());
    for _ in 0..2 {
        assert!(is_pending(drain.as_mut()).await, "the rest of the upload is waited for");
        client.send(&PIECE).await;
        // The connection has its turns: whoever looks once too often at what has ended already fails here.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    assert!(is_pending(drain.as_mut()).await, "a third of it is still to come");
    client.send(&PIECE).await;
    within(drain).await;
    assert_eq!(client.rest().await, 0);
}
