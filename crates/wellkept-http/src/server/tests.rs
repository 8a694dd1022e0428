//! The server against real sockets. Time limits are short and injected; nothing sleeps to wait for something.

mod goaway;
mod http2;
mod leaving;
mod limits;
mod long_lived;
mod shared_socket;
#[cfg(feature = "tls")]
mod tls;
mod unix;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::routing::get;
use http_body::Frame;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use wellkept_shutdown::{Entrance, Tracker};

use super::{Arrival, Server, ServerHandle, ServerOptions};

/// Long enough for a loaded machine, short enough that a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(40);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it ends in time")
}

async fn eventually(reached: impl Fn() -> bool) {
    within(async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether a future is still waiting after everything else that could run has run.
async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    for _ in 0..50 {
        tokio::task::yield_now().await;
        if std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await {
            return false;
        }
    }
    true
}

/// Where a server listens that was bound to TCP.
fn tcp(handle: &ServerHandle) -> SocketAddr {
    handle.local_address().tcp().expect("it is bound to TCP")
}

fn serve(router: Router, options: ServerOptions, tracker: &Tracker) -> Arc<ServerHandle> {
    let server = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).expect("any port is free");
    server.serve("test", router, tracker.clone())
}

/// `/` answers at once, `/slow` when the gate opens, `/big` with 8 MiB.
fn routes(gate: &Arc<Semaphore>) -> Router {
    let gate = Arc::clone(gate);
    let slow = move || async move {
        let permit = gate.acquire().await.expect("it is never closed");
        permit.forget();
        "slow"
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/slow", get(slow))
        .route("/big", get(|| async { Bytes::from_static(&PAYLOAD) }))
}

const BIG: usize = 8 * 1024 * 1024;
static PAYLOAD: [u8; BIG] = [b'x'; BIG];

struct Setup {
    handle: Arc<ServerHandle>,
    tracker: Tracker,
    gate: Arc<Semaphore>,
}

impl Setup {
    fn new(options: ServerOptions) -> Self {
        Self::with(options, Tracker::default())
    }

    fn with(options: ServerOptions, tracker: Tracker) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let handle = serve(routes(&gate), options, &tracker);
        Self { handle, tracker, gate }
    }

    async fn connect(&self) -> Client {
        Client::connect(tcp(&self.handle)).await
    }

    /// A client whose request waits in its handler.
    async fn connect_slow(&self) -> Client {
        let before = self.handle.stats().in_flight;
        let mut client = self.connect().await;
        client.ask("/slow").await;
        eventually(|| self.handle.stats().in_flight == before + 1).await;
        client
    }
}

/// A client that knows just enough HTTP/1.1.
struct Client<S = TcpStream> {
    socket: BufReader<S>,
}

#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self::over(within(TcpStream::connect(address)).await.expect("it listens"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn over(socket: S) -> Self {
        Self { socket: BufReader::new(socket) }
    }

    async fn send(&mut self, bytes: &[u8]) {
        within(self.socket.write_all(bytes)).await.expect("the connection is open");
    }

    async fn ask(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await;
    }

    async fn get(&mut self, path: &str) -> Response {
        self.ask(path).await;
        self.response().await
    }

    async fn head(&mut self) -> Response {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            within(self.socket.read_line(&mut line)).await.expect("the head is text");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
        let header = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Response { status, headers: lines.iter().skip(1).filter_map(header).collect(), body: String::new() }
    }

    async fn response(&mut self) -> Response {
        let mut response = self.head().await;
        let length = response.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        within(self.socket.read_exact(&mut body)).await.expect("the whole body comes");
        response.body = String::from_utf8(body).expect("the body is text");
        response
    }

    /// Reads to the end and tells how much came. A reset is an end too.
    async fn rest(&mut self) -> usize {
        let mut rest = Vec::new();
        let _ = within(self.socket.read_to_end(&mut rest)).await;
        rest.len()
    }
}

/// A body whose frames are sent by the test.
struct Frames(mpsc::Receiver<&'static str>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|frame| frame.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

/// A server whose `/` answers with frames sent by the test.
fn serve_frames() -> (Arc<ServerHandle>, mpsc::Sender<&'static str>) {
    serve_frames_with(ServerOptions::default())
}

fn serve_frames_with(options: ServerOptions) -> (Arc<ServerHandle>, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel(4);
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let stream = move || async move {
        let receiver = receiver.lock().expect("nobody panics here").take().expect("asked once");
        Body::new(Frames(receiver))
    };
    (serve(Router::new().route("/", get(stream)), options, &Tracker::default()), sender)
}

#[tokio::test]
async fn a_request_knows_where_it_came_in_and_from() {
    let whence = |arrival: axum::Extension<Arrival>, peer: ConnectInfo<SocketAddr>| async move {
        assert_eq!(arrival.peer.tcp(), Some(peer.0));
        format!("{} {}", arrival.bound, arrival.peer)
    };
    let handle = serve(Router::new().route("/", get(whence)), ServerOptions::default(), &Tracker::default());
    let mut client = Client::connect(tcp(&handle)).await;
    let own = client.socket.get_ref().local_addr().unwrap();
    assert_eq!(client.get("/").await.body, format!("{} {own}", tcp(&handle)));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let setup = Setup::new(ServerOptions::default());
    let mut client = setup.connect().await;
    client.get("/").await;
    client.get("/").await;
    let mut other = setup.connect_slow().await;
    let stats = setup.handle.stats();
    assert_eq!((stats.accepted_total, stats.open, stats.requests_total, stats.in_flight), (2, 2, 3, 1));
    assert_eq!((setup.tracker.connections(), setup.tracker.in_flight_requests()), (2, 1));
    setup.gate.add_permits(1);
    assert_eq!(other.response().await.body, "slow");
    drop((client, other));
    eventually(|| setup.handle.stats().open == 0).await;
    let stats = setup.handle.stats();
    assert_eq!((stats.accepted_total, stats.requests_total, stats.in_flight), (2, 3, 0));
    assert_eq!((setup.tracker.connections(), setup.tracker.in_flight_requests()), (0, 0));
}

#[tokio::test]
async fn a_panicking_handler_ends_its_connection_and_its_count() {
    async fn panics() {
        panic!("on purpose");
    }
    let router = Router::new().route("/", get(|| async { "hello" })).route("/panic", get(panics));
    let tracker = Tracker::default();
    let handle = serve(router, ServerOptions::default(), &tracker);
    let mut client = Client::connect(tcp(&handle)).await;
    client.ask("/panic").await;
    assert_eq!(client.rest().await, 0);
    eventually(|| handle.stats().open == 0).await;
    assert_eq!((handle.stats().in_flight, tracker.in_flight_requests(), tracker.connections()), (0, 0, 0));
    assert_eq!(Client::connect(tcp(&handle)).await.get("/").await.body, "hello");
}
