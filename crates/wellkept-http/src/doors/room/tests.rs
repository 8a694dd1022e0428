//! Claims about room: who keeps it, and who goes.

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wellkept_shutdown::Tracker;

use super::*;
use crate::server::{Server, ServerOptions};

async fn send(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: room\r\nconnection: close\r\n\r\n").await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_goes_when_others_wait_for_room() {
    let room = Room::of_mebibytes(32);
    let answer = move |request: Request| {
        let held = room.hold(Bytes::from(vec![b'x'; 20 << 20]));
        let answer = held.map(|held| room.body_for(&held, request.extensions().get()).into_response());
        std::future::ready(answer.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response()))
    };
    let options = ServerOptions { write_timeout: Duration::from_secs(600), ..ServerOptions::default() };
    let server = Server::bind(([127, 0, 0, 1], 0), options).unwrap();
    let address = server.local_address().tcp().unwrap();
    let handle = server.serve("room", Router::new().route("/", get(answer)), Tracker::default());
    let mut slow = send(address).await;
    assert_eq!(slow.read(&mut [0; 12]).await.unwrap(), 12, "its answer has begun");
    let began = Instant::now();
    loop {
        let mut answer = Vec::new();
        send(address).await.read_to_end(&mut answer).await.unwrap();
        if answer.starts_with(b"HTTP/1.1 200") {
            assert!(answer.len() > 20 << 20);
            break;
        }
        assert!(answer.starts_with(b"HTTP/1.1 503") && began.elapsed() < Duration::from_secs(30));
    }
    assert!(began.elapsed() > PATIENCE / 2, "a reader has some time");
    assert_eq!(handle.stats().timeouts.write_total, 1);
}

#[test]
fn an_answer_larger_than_all_room_takes_all_of_it() {
    let room = Room::of_mebibytes(1);
    let large = room.hold(Bytes::from(vec![0; 3 << 20])).unwrap();
    assert!(room.hold(Bytes::from_static(b"x")).is_none());
    let reader = room.body_for(&large, None);
    drop(large);
    assert_eq!((room.free(), reader.len()), (0, 3 << 20));
    drop(reader);
    assert_eq!(room.free(), 1024);
}
