//! What stays open for long, and is told to go: WebSockets, streams of events, long polling.

use axum::extract::Extension;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::CONTENT_TYPE;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Heard;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;

fn quick() -> ServerOptions {
    ServerOptions { farewell_spread: Duration::ZERO, ..ServerOptions::default() }
}

/// Serves one WebSocket by this, and tells when its task has ended.
fn serve_websocket<F: Future<Output = ()> + Send + 'static>(
    talk: impl Fn(WebSocket) -> F + Clone + Send + Sync + 'static,
) -> (Arc<ServerHandle>, UnboundedReceiver<()>) {
    let (ended, told) = unbounded_channel();
    let route = get(move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |socket| async move {
            talk(socket).await;
            ended.send(()).unwrap();
        })
    });
    (serve(Router::new().route("/chat", route), quick(), &Tracker::default()), told)
}

async fn connect(handle: &ServerHandle) -> WebSocketStream<TcpStream> {
    let socket = TcpStream::connect(tcp(handle)).await.unwrap();
    let (client, response) = within(tokio_tungstenite::client_async("ws://test/chat", socket)).await.unwrap();
    assert_eq!(response.status(), 101);
    client
}

async fn listens(mut socket: WebSocket) {
    while let Some(Ok(_)) = socket.recv().await {}
}

async fn closed_with(client: &mut WebSocketStream<TcpStream>) -> Option<CloseCode> {
    loop {
        match within(client.next()).await {
            Some(Ok(Heard::Close(frame))) => return frame.map(|frame| frame.code),
            Some(Ok(_)) => {}
            other => panic!("the connection ends without a close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_idle_websocket_is_closed_with_1001_and_its_handler_ends() {
    let (handle, mut ended) = serve_websocket(listens);
    let mut client = connect(&handle).await;
    client.send(Heard::text("hello")).await.unwrap();
    handle.announce();
    assert_eq!(closed_with(&mut client).await, Some(CloseCode::Away));
    // The client answers in kind as it reads on, and the server then closes.
    assert!(within(client.next()).await.is_none());
    within(ended.recv()).await.expect("the handler ends");
    within(handle.closed()).await;
}

#[tokio::test]
async fn the_close_frame_comes_between_two_frames_of_a_busy_websocket() {
    let (handle, mut ended) = serve_websocket(async |mut socket: WebSocket| {
        let payload = Bytes::from_static(&PAYLOAD[..200_000]);
        // Ends when the client has gone: what is written after the farewell goes nowhere.
        while socket.send(Message::Binary(payload.clone())).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let mut client = connect(&handle).await;
    // It does not read for a while, so that the announcement comes in the middle of a frame.
    let is_stuck = || handle.remaining().first().is_some_and(|one| one.reason == "client_does_not_read");
    eventually(is_stuck).await;
    handle.announce();
    assert_eq!(closed_with(&mut client).await, Some(CloseCode::Away));
    drop(client);
    within(ended.recv()).await.expect("the handler ends");
    within(handle.closed()).await;
}

/// A WebSocket whose two directions are tasks of their own; what is to be written comes over the channel.
fn in_two_tasks(
    to_write: Arc<tokio::sync::Mutex<UnboundedReceiver<Vec<u8>>>>,
    mut request: http::Request<Body>,
) -> http::Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    let key = request.headers()["sec-websocket-key"].as_bytes().to_vec();
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
        tokio::spawn(async move {
            while let Some(bytes) = to_write.lock().await.recv().await {
                write.write_all(&bytes).await.unwrap();
            }
        });
        let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
    });
    http::Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", tokio_tungstenite::tungstenite::handshake::derive_accept_key(&key))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_websocket_that_was_in_the_middle_of_a_frame_is_told_as_soon_as_that_has_ended() {
    let (write, to_write) = unbounded_channel();
    let to_write = Arc::new(tokio::sync::Mutex::new(to_write));
    let route = get(move |request| std::future::ready(in_two_tasks(Arc::clone(&to_write), request)));
    let handle = serve(Router::new().route("/chat", route), quick(), &Tracker::default());
    let mut client = connect(&handle).await;
    // A binary frame of four bytes, of which two come before the announcement.
    write.send(vec![0x82, 4, 1, 2]).unwrap();
    let mut begun = [0; 4];
    within(client.get_mut().read_exact(&mut begun)).await.unwrap();
    handle.announce();
    // The reading half has heard of it by now, in the middle of the frame.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    write.send(vec![3, 4]).unwrap();
    let mut rest = [0; 6];
    within(client.get_mut().read_exact(&mut rest)).await.unwrap();
    assert_eq!(rest, [3, 4, 0x88, 2, 3, 0xE9], "the rest of the frame, then the close frame");
}

#[tokio::test]
async fn a_close_that_the_application_has_said_is_not_said_twice() {
    let (handle, mut ended) = serve_websocket(async |mut socket: WebSocket| {
        let _ = socket.recv().await;
        let bye = axum::extract::ws::CloseFrame { code: 4000, reason: "bye".into() };
        socket.send(Message::Close(Some(bye))).await.unwrap();
        listens(socket).await;
    });
    let mut client = connect(&handle).await;
    client.send(Heard::text("go")).await.unwrap();
    assert_eq!(closed_with(&mut client).await, Some(CloseCode::Library(4000)));
    handle.announce();
    // Read as bytes, so that the client answers nothing and the server waits for it.
    let mut after = Vec::new();
    within(client.get_mut().read_to_end(&mut after)).await.unwrap();
    assert_eq!(after, [0_u8; 0], "nothing comes after a close frame");
    within(ended.recv()).await.expect("the handler ends");
}

#[tokio::test]
async fn a_client_that_ignores_the_close_frame_is_cut_after_a_while() {
    let (handle, mut ended) = serve_websocket(listens);
    // It reads nothing, so it answers nothing.
    let client = connect(&handle).await;
    within(handle.stop_accepting()).await;
    within(handle.drain()).await;
    within(ended.recv()).await.expect("the handler ends");
    drop(client);
}

/// A response whose frames the test sends.
fn serve_events(content_type: &'static str) -> (Arc<ServerHandle>, mpsc::Sender<&'static str>) {
    let (send, receive) = mpsc::channel(8);
    let receive = Arc::new(tokio::sync::Mutex::new(Some(receive)));
    let route = get(move || async move {
        let receive = receive.lock().await.take().expect("it is asked once");
        ([(CONTENT_TYPE, content_type)], Body::new(Sent(receive)))
    });
    (serve(Router::new().route("/", route), quick(), &Tracker::default()), send)
}

struct Sent(mpsc::Receiver<&'static str>);

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))))
    }
}

#[tokio::test]
async fn a_stream_of_events_ends_between_two_of_them() {
    for (parts, whole) in [
        (&["data: 1\n\n"][..], true),
        (&["data: 1\n\n", "data: 2"], false),
        (&["data: 1\r\n\r", "\n"], true),
        (&["data: 1\n", "\n"], true),
        (&[], true),
    ] {
        let (handle, send) = serve_events("text/event-stream; charset=utf-8");
        let mut client = Client::connect(tcp(&handle)).await;
        client.ask("/").await;
        eventually(|| handle.stats().in_flight == 1).await;
        for part in parts {
            send.send(part).await.unwrap();
        }
        assert_eq!(client.head().await.status, 200);
        eventually(|| send.capacity() == 8).await;
        handle.announce();
        if !whole {
            assert!(is_pending(std::pin::pin!(send.closed())).await, "an event is under way");
            send.send("\n\n").await.unwrap();
        }
        within(send.closed()).await;
        let mut rest = String::new();
        within(handle.stop_accepting()).await;
        within(handle.drain()).await;
        within(client.socket.read_to_string(&mut rest)).await.unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "the answer is complete: {rest:?}");
        assert!(parts.iter().all(|part| rest.contains(part)), "nothing is lost: {rest:?}");
    }
}

#[tokio::test]
async fn any_other_stream_is_not_cut_short() {
    let (handle, send) = serve_events("text/plain");
    let mut client = Client::connect(tcp(&handle)).await;
    client.ask("/").await;
    eventually(|| handle.stats().in_flight == 1).await;
    within(handle.stop_accepting()).await;
    let mut drain = std::pin::pin!(handle.drain());
    assert!(is_pending(drain.as_mut()).await);
    send.send("all of it\n\n").await.unwrap();
    drop(send);
    within(drain).await;
    let mut rest = String::new();
    within(client.socket.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.contains("all of it") && rest.ends_with("0\r\n\r\n"), "{rest:?}");
}

#[tokio::test]
async fn long_polling_is_told_to_answer_now() {
    let poll = get(async |Extension(arrival): Extension<Arrival>| {
        arrival.leaving().await;
        "nothing new"
    });
    let handle = serve(Router::new().route("/", poll), quick(), &Tracker::default());
    let mut client = Client::connect(tcp(&handle)).await;
    client.ask("/").await;
    eventually(|| handle.stats().in_flight == 1).await;
    handle.announce();
    let answer = within(client.response()).await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("nothing new", Some("close")));
}

#[tokio::test]
async fn load_moves_over_little_by_little_where_that_is_asked_for() {
    let exempt: super::super::Exempt = Arc::new(|parts| parts.uri.query() == Some("exempt"));
    let options = ServerOptions {
        refuse_gradually: Some(Duration::from_secs(3600)),
        exempt: Some(Arc::clone(&exempt)),
        ..ServerOptions::default()
    };
    let served = async |handle: &ServerHandle, path: &str| {
        let mut statuses = Vec::new();
        for _ in 0..50 {
            statuses.push(Client::connect(tcp(handle)).await.get(path).await.status);
        }
        statuses.iter().filter(|status| **status == 200).count()
    };
    let setup = Setup::new(options.clone());
    assert_eq!(served(&setup.handle, "/").await, 50);
    setup.handle.announce();
    assert!(served(&setup.handle, "/").await > 45, "an hour has only begun");

    let setup = Setup::new(ServerOptions { refuse_gradually: Some(Duration::ZERO), ..options });
    setup.handle.announce();
    eventually(|| setup.handle.shared.refuses_gradually()).await;
    assert_eq!(served(&setup.handle, "/").await, 0);
    assert_eq!(served(&setup.handle, "/?exempt").await, 50);
}
