//! Over HTTP/2, with a real client.

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::*;

type Sender = SendRequest<Empty<Bytes>>;

/// A client, and its connection's end.
async fn connect(address: SocketAddr) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let socket = within(TcpStream::connect(address)).await.expect("it listens");
    let (sender, connection) =
        within(handshake(TokioExecutor::new(), TokioIo::new(socket))).await.expect("it speaks HTTP/2");
    (sender, tokio::spawn(connection))
}

async fn connect_with_small_windows(address: SocketAddr) -> Sender {
    connect_with_windows(address, 64 * 1024).await
}

async fn connect_with_windows(address: SocketAddr, size: u32) -> Sender {
    let socket = within(TcpStream::connect(address)).await.expect("it listens");
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(size).initial_connection_window_size(64 * 1024);
    let (sender, connection) = within(builder.handshake(TokioIo::new(socket))).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

async fn send(sender: &mut Sender, path: &str) -> hyper::Result<http::Response<hyper::body::Incoming>> {
    let request = Request::get(format!("http://test{path}")).body(Empty::new()).expect("it is well formed");
    within(async {
        sender.ready().await?;
        sender.send_request(request).await
    })
    .await
}

async fn text(response: http::Response<hyper::body::Incoming>) -> String {
    let body = within(response.into_body().collect()).await.expect("the whole body comes").to_bytes();
    String::from_utf8(body.to_vec()).expect("it is text")
}

#[tokio::test]
async fn the_announcement_is_a_goaway_and_what_is_in_flight_is_served() {
    let setup = Setup::new(ServerOptions::default());
    let (mut sender, connection) = connect(tcp(&setup.handle)).await;
    assert_eq!(text(send(&mut sender, "/").await.unwrap()).await, "hello");
    let slow = tokio::spawn({
        let mut sender = sender.clone();
        async move { text(send(&mut sender, "/slow").await.unwrap()).await }
    });
    eventually(|| setup.handle.stats().requests_total == 2).await;
    setup.handle.announce();
    // Hyper's client takes no new request once it has heard GOAWAY.
    within(async { while send(&mut sender, "/").await.is_ok() {} }).await;
    assert!(!slow.is_finished() && setup.handle.open() == 1);
    setup.gate.add_permits(1);
    assert_eq!(within(slow).await.unwrap(), "slow");
    within(connection).await.unwrap().expect("the end is an orderly one");
    within(setup.handle.closed()).await;
}

#[tokio::test]
async fn a_connection_opened_during_the_announcement_gets_its_first_answer() {
    let setup = Setup::new(ServerOptions::default());
    setup.handle.announce();
    let (mut sender, connection) = connect(tcp(&setup.handle)).await;
    let response = send(&mut sender, "/").await.unwrap();
    assert_eq!(response.headers().get("connection"), None, "HTTP/2 forbids the header");
    assert_eq!(text(response).await, "hello");
    within(connection).await.unwrap().expect("the end is an orderly one");
}

#[tokio::test]
async fn an_answer_that_waits_for_the_clients_window_is_in_flight() {
    let setup = Setup::new(ServerOptions::default());
    let mut sender = connect_with_small_windows(tcp(&setup.handle)).await;
    let response = send(&mut sender, "/big").await.unwrap();
    setup.handle.announce();
    within(setup.handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(setup.handle.drain());
    assert!(is_pending(drain.as_mut()).await);
    assert_eq!((setup.handle.stats().in_flight, setup.tracker.in_flight_requests()), (1, 1));
    let (body, ()) = within(async { tokio::join!(text(response), drain) }).await;
    assert_eq!(body.len(), BIG);
}

#[tokio::test]
async fn a_client_that_never_opens_its_window_is_closed() {
    let setup = Setup::new(ServerOptions { write_timeout: SHORT, ..ServerOptions::default() });
    let mut sender = connect_with_small_windows(tcp(&setup.handle)).await;
    let response = send(&mut sender, "/big").await.unwrap();
    eventually(|| setup.handle.stats().timeouts.write_total == 1).await;
    assert!(within(response.into_body().collect()).await.is_err());
    eventually(|| setup.handle.stats().in_flight == 0 && setup.tracker.in_flight_requests() == 0).await;
}

#[tokio::test]
async fn a_client_that_takes_not_even_the_first_byte_is_closed() {
    let setup = Setup::new(ServerOptions { write_timeout: SHORT, ..ServerOptions::default() });
    let mut sender = connect_with_windows(tcp(&setup.handle), 0).await;
    let response = send(&mut sender, "/").await.unwrap();
    eventually(|| setup.handle.stats().timeouts.write_total == 1).await;
    assert!(within(response.into_body().collect()).await.is_err());
    eventually(|| setup.handle.stats().in_flight == 0 && setup.tracker.in_flight_requests() == 0).await;
}

#[tokio::test]
async fn an_answer_that_has_nothing_to_send_for_a_while_is_no_slow_client() {
    let options = ServerOptions { write_timeout: SHORT, ..ServerOptions::default() };
    let (handle, frames) = serve_frames_with(options);
    let (mut sender, _connection) = connect(tcp(&handle)).await;
    frames.send("first").await.unwrap();
    let mut body = send(&mut sender, "/").await.unwrap().into_body();
    assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "first");
    // Far longer than the limit and the sweeper's slack.
    let began = std::time::Instant::now();
    eventually(|| began.elapsed() > 10 * SHORT).await;
    frames.send("last").await.unwrap();
    assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "last");
    assert_eq!(handle.stats().timeouts.write_total, 0);
}

#[tokio::test]
async fn the_drain_ends_as_the_last_byte_leaves_and_idle_connections_close() {
    let (handle, frames) = serve_frames();
    let (mut sender, connection) = connect(tcp(&handle)).await;
    let (idle_sender, idle) = connect(tcp(&handle)).await;
    frames.send("first").await.unwrap();
    let response = send(&mut sender, "/").await.unwrap();
    within(handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(handle.drain());
    assert!(is_pending(drain.as_mut()).await);
    frames.send("last").await.unwrap();
    drop(frames);
    let (body, ()) = within(async { tokio::join!(text(response), drain) }).await;
    assert_eq!(body, "firstlast");
    assert_eq!(handle.open(), 0);
    within(connection).await.unwrap().expect("the end is an orderly one");
    let _ = within(idle).await;
    drop(idle_sender);
}

#[tokio::test]
async fn a_client_that_never_answers_does_not_hold_the_drain() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    // The preface and empty settings, then not a word: no acknowledgement, no answer to a ping.
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    within(client.socket.fill_buf()).await.expect("the server speaks");
    within(setup.handle.stop_accepting()).await;
    let began = std::time::Instant::now();
    within(setup.handle.drain()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    within(setup.handle.closed()).await;
}

#[tokio::test]
async fn a_connection_without_a_sign_of_life_is_closed() {
    let options = ServerOptions { keep_alive_interval: SHORT, keep_alive_timeout: SHORT, ..ServerOptions::default() };
    let setup = Setup::new(options);
    let mut client = setup.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    client.rest().await;
    eventually(|| setup.handle.stats().open == 0).await;
}
