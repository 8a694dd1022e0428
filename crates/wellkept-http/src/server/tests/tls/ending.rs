//! How a connection over TLS ends: in order and said to be so, or cut in the middle of an answer and seen to be.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message as Heard;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;

#[tokio::test]
async fn each_orderly_end_is_said_to_be_one() {
    let certified = Certified::new();
    let idle_timeout = ServerOptions { idle_timeout: SHORT, ..certified.options() };
    let handle = serve(hello(), idle_timeout, &Tracker::default());
    let mut idle = certified.connect(&handle).await;
    assert_eq!(idle.get("/").await.body, "hello");
    assert_eq!(rest_in_order(&mut idle).await, 0, "by the limit of idle connections");
    assert_eq!(handle.stats().timeouts.idle_total, 1);

    let handle = serve(hello(), certified.options(), &Tracker::default());
    let (mut announced, mut idle, mut silent) =
        (certified.connect(&handle).await, certified.connect(&handle).await, certified.connect(&handle).await);
    assert_eq!(idle.get("/").await.header("connection"), None);
    handle.announce();
    assert_eq!(announced.get("/").await.header("connection"), Some("close"));
    assert_eq!(rest_in_order(&mut announced).await, 0, "by the announcement");
    within(handle.stop_accepting()).await;
    within(handle.drain()).await;
    assert_eq!(rest_in_order(&mut idle).await, 0, "by the drain, with nothing in flight");
    assert_eq!(rest_in_order(&mut silent).await, 0, "by the drain, before the first request");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_not_said_to_be_whole() {
    let certified = Certified::new();
    let (handle, frames) = serve_frames_with(certified.options());
    let mut client = certified.connect(&handle).await;
    frames.send("first").await.unwrap();
    // Its end would be that of the connection (RFC 9112, section 6.3).
    client.send(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    let mut first = [0; 5];
    within(client.socket.read_exact(&mut first)).await.unwrap();
    handle.abort();
    let cut = within(client.socket.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!((&first, cut.kind()), (b"first", std::io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_and_named() {
    let certified = Certified::new();
    let options = ServerOptions { write_timeout: SHORT * 5, ..certified.options() };
    let handle = serve(hello(), options, &Tracker::default());
    let mut client = certified.connect(&handle).await;
    client.ask("/big").await;
    let is_stuck = || handle.remaining().first().is_some_and(|one| one.reason == "client_does_not_read");
    eventually(is_stuck).await;
    eventually(|| handle.stats().timeouts.write_total == 1 && handle.open() == 0).await;
}

#[tokio::test]
async fn what_is_kept_to_be_encrypted_counts_as_not_taken() {
    let (certified, folder) = (Certified::new(), tempfile::tempdir().unwrap());
    let options = ServerOptions { write_timeout: SHORT, ..certified.options() };
    let path = folder.path().join("wellkept.sock");
    let sized = get(|uri: http::Uri| async move {
        let size: usize = uri.query().and_then(|size| size.parse().ok()).expect("a size");
        Bytes::from_static(&PAYLOAD[..size])
    });
    let server = Server::bind(Address::unix(&path), options).unwrap();
    let handle = server.serve("test", Router::new().route("/", sized), Tracker::default());
    // The first answer that the system does not take whole leaves less than the session's own buffer holds, so nothing
    // but a flush waits for the client.
    for size in (1..64).map(|steps| steps * 16 * 1024) {
        let socket = UnixStream::connect(&path).await.unwrap();
        let mut client = Client::over(certified.client(HTTP1).connect(socket, "localhost", soon()).await.unwrap());
        let before = handle.stats().requests_total;
        client.ask(&format!("/?{size}")).await;
        eventually(|| handle.stats().requests_total > before).await;
        eventually(|| handle.stats().in_flight == 0).await;
        if handle.stats().timeouts.write_total == 1 {
            return;
        }
    }
    panic!("the system takes a mebibyte for a client that does not read");
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_hold_an_orderly_end() {
    let certified = Certified::new();
    let handle = serve(hello(), certified.options(), &Tracker::default());
    let mut client = certified.connect(&handle).await;
    assert_eq!(client.get("/").await.body, "hello");
    within(handle.stop_accepting()).await;
    let began = std::time::Instant::now();
    within(handle.drain()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(client);
}

#[tokio::test]
async fn a_websocket_is_closed_with_1001_and_then_in_order() {
    let certified = Certified::new();
    let chat = get(|upgrade: axum::extract::WebSocketUpgrade| async move {
        upgrade.on_upgrade(|mut socket| async move { while let Some(Ok(_)) = socket.recv().await {} })
    });
    let options = ServerOptions { farewell_spread: Duration::ZERO, ..certified.options() };
    let handle = serve(Router::new().route("/chat", chat), options, &Tracker::default());
    let stream = certified.shake(&handle, HTTP1).await;
    let upgrade = Box::pin(tokio_tungstenite::client_async("wss://localhost/chat", stream));
    let (mut client, _) = within(upgrade).await.unwrap();
    client.send(Heard::text("hello")).await.unwrap();
    handle.announce();
    let Some(Ok(Heard::Close(Some(frame)))) = within(client.next()).await else { panic!("no close frame comes") };
    assert_eq!(frame.code, CloseCode::Away);
    // Answers in kind.
    assert!(within(client.next()).await.is_none());
    let mut rest = Vec::new();
    within(client.get_mut().read_to_end(&mut rest)).await.expect("the end is said to be one");
    assert_eq!(rest, [0_u8; 0]);
    within(handle.closed()).await;
}

#[tokio::test]
async fn http2_gets_its_goaway_what_is_in_flight_is_served_and_the_end_is_said_to_be_one() {
    let certified = Certified::new();
    let gate = Arc::new(Semaphore::new(0));
    let handle = serve(routes(&gate), certified.options(), &Tracker::default());
    let (ended, io) = others::Watched::new(certified.shake(&handle, HTTP2).await);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (sender, connection) = within(handshake).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = |path: &str| {
        let request = Request::get(format!("https://localhost{path}")).body(Empty::<Bytes>::new()).unwrap();
        let mut sender = sender.clone();
        async move {
            sender.ready().await?;
            sender.send_request(request).await
        }
    };
    let slow = tokio::spawn(ask("/slow"));
    eventually(|| handle.stats().in_flight == 1).await;
    handle.announce();
    // Hyper's client takes no new request once it has heard GOAWAY.
    within(async { while ask("/").await.is_ok() {} }).await;
    gate.add_permits(1);
    let body = within(slow).await.unwrap().unwrap().into_body().collect();
    assert_eq!(within(body).await.unwrap().to_bytes(), "slow");
    drop(sender);
    within(connection).await.unwrap().expect("the end is an orderly one");
    within(handle.closed()).await;
    assert_eq!(within(ended).await.unwrap(), Ok(()), "the end is said to be one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_loses_no_request_on_a_served_connection_over_tls() {
    use wellkept_shutdown::{Cause, EntranceKind, Settings, Shutdown, Status};

    let certified = Arc::new(Certified::new());
    let settings = Settings { announce: Duration::from_millis(200), ..Settings::default() };
    let (shutdown, sequence) = Shutdown::new(settings);
    let handle = serve(hello(), certified.options(), shutdown.tracker());
    shutdown.add_entrance(EntranceKind::Application, Arc::clone(&handle) as Arc<dyn Entrance>);
    let address = tcp(&handle);
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let tls = certified.client(HTTP1);
            tokio::spawn(async move {
                let mut answered = 0_u32;
                while let Ok(socket) = TcpStream::connect(address).await {
                    // In the very last moment a loaded machine may be too slow to shake hands.
                    let Ok(mut stream) = tls.connect(socket, "localhost", soon()).await else { continue };
                    let first = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await;
                    let mut client = Client::over(stream);
                    if first.is_err() || !client.socket.fill_buf().await.is_ok_and(|answer| !answer.is_empty()) {
                        continue;
                    }
                    let mut response = client.response().await;
                    while response.header("connection") != Some("close") {
                        answered += u32::from(response.status == 200);
                        response = client.get("/").await;
                    }
                    assert_eq!(rest_in_order(&mut client).await, 0);
                }
                answered
            })
        })
        .collect();
    eventually(|| handle.stats().requests_total > 500).await;
    shutdown.trigger(Cause::requested("test"));
    let report = within(sequence.run()).await;
    assert_eq!(report.status, Status::Successful, "{report:?}");
    for client in clients {
        assert!(within(client).await.expect("no request is lost") > 0);
    }
}
