//! What the tests start: a service with a route for each kind of trouble, and what is particular to a scenario.

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;
use wellkept::Service;
use wellkept::http::Arrival;
use wellkept::shutdown::{Cause, Hook, Phase, Report, Shutdown};
use wellkept::telemetry::logging::{self, Format, Logging, Options, SinkOptions};

use crate::scenarios::{self, pass};

/// What `/big` answers with: far more than any socket keeps.
const BIG: usize = 64 << 20;

/// Runs the scenario and tells the exit code.
pub(crate) fn run(scenario: &str) -> i32 {
    if scenario == "no handlers yet" {
        println!("no handlers yet");
        blocks();
    }
    let logging = logging::init(Options::to(SinkOptions::stdout(Format::Text))).expect("nobody else logs");
    let mut threads =
        if scenario.starts_with("one thread") { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if scenario == "the runtime is dropped" {
        return dropped(threads, &logging);
    }
    let runtime = threads.worker_threads(2).enable_all().build().expect("there are threads");
    let report = runtime.block_on(serve(scenario, &logging));
    if scenario.ends_with("main returns") {
        // As `#[tokio::main]` does it.
        drop(runtime);
    }
    // Most programs leave what still runs behind, as this does.
    std::process::exit(end(&report, &logging))
}

/// A runtime that goes in the middle of the drain, and a main thread that waits for the report.
fn dropped(mut threads: Builder, logging: &Logging) -> i32 {
    let runtime = threads.enable_all().build().expect("there are threads");
    let service = Service::with_options("faults", "1", scenarios::options("patient"));
    let shutdown = service.shutdown().clone();
    let app = routes(&shutdown).with_state(shutdown.clone());
    runtime.spawn(service.serve(app, ([127, 0, 0, 1], 0)));
    let held = shutdown.tracker().start_request().expect("it is the first");
    let other = Builder::new_current_thread().build().expect("there are threads");
    shutdown.trigger(Cause::requested("a test"));
    other.block_on(shutdown.reached(Phase::DrainingConnections));
    runtime.shutdown_background();
    let report = other.block_on(shutdown.finished());
    drop(held);
    end(&report, logging)
}

async fn serve(scenario: &str, logging: &Logging) -> Report {
    let mut service = Service::with_options("faults", "1", scenarios::options(scenario));
    let (shutdown, logging) = (service.shutdown().clone(), logging.clone());
    // The last lines leave, whatever else there is to flush.
    shutdown.on_flush(Hook::blocking("log", move || {
        logging.flush(Duration::from_secs(1));
    }));
    let app = routes(&shutdown).merge(scenarios::prepare(scenario, &mut service).await);
    let app = app.fallback(tunnel).layer(from_fn(tell)).with_state(shutdown);
    service.serve(app, ([127, 0, 0, 1], 0)).await.expect("it can listen")
}

/// Tells the test the report, where there is somebody to tell.
pub(crate) fn end(report: &Report, logging: &Logging) -> i32 {
    logging.flush(Duration::from_secs(1));
    let told = serde_json::to_string(report).expect("a report can be written");
    let _ = writeln!(std::io::stdout(), "report {told}");
    i32::from(report.exit_code())
}

fn routes(shutdown: &Shutdown) -> Router<Shutdown> {
    let (ends, waits) = (shutdown.clone(), shutdown.clone());
    Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", get(slow))
        .route("/hangs", get(hangs))
        .route("/big", get(async || Bytes::from(vec![b'x'; BIG])))
        .route("/read", post(async |body: Bytes| body.len().to_string()))
        .route("/unread", post(slow))
        .route("/stream", get(async || Body::new(Frames::new(b"some"))))
        .route("/events", get(async || ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(Frames::new(EVENT)))))
        .route("/poll", get(poll))
        .route("/echo", any(async |request: Request| request.into_body()))
        .route("/websocket", any(websocket))
        .route("/upgrade", get(upgrade))
        .route("/panics", get(panics))
        .route("/blocks", get(async || blocks()))
        .route("/blocks-a-pool-thread", get(async || tokio::task::spawn_blocking(blocks).await.expect("it never ends")))
        .route("/leaves-a-pool-thread", get(async || drop(tokio::task::spawn_blocking(blocks))))
        .route("/busy", get(async || pass("busy")))
        .route("/blocks-in-the-drain", get(blocks_in_the_drain))
        .route("/fails-late", get(fails_late))
        .route(
            "/ends",
            get(async move || {
                ends.trigger(Cause::requested("a handler"));
            }),
        )
        .route("/ends-and-waits", get(async move || drop(waits.shut_down("a handler", None).await)))
        .route(
            "/fails",
            get(async |State(shutdown): State<Shutdown>| {
                shutdown.trigger(Cause::failure("a part"));
            }),
        )
        .route("/dropped", get(async |State(shutdown): State<Shutdown>| drop(EndsInDrop(shutdown))))
}

/// The test waits for this line to know that a request is in flight.
async fn tell(request: Request, next: Next) -> Response {
    tracing::info!("arrived {} {}", request.method(), request.uri());
    next.run(request).await
}

/// Answers when the drain has begun.
async fn slow(State(shutdown): State<Shutdown>) -> &'static str {
    shutdown.reached(Phase::DrainingConnections).await;
    "slow"
}

/// Panics when the drain has begun.
async fn panics(State(shutdown): State<Shutdown>) {
    shutdown.reached(Phase::DrainingConnections).await;
    panic!("on purpose");
}

async fn blocks_in_the_drain(State(shutdown): State<Shutdown>) {
    shutdown.reached(Phase::DrainingConnections).await;
    blocks();
}

/// Tells of a failure when the drain has begun.
async fn fails_late(State(shutdown): State<Shutdown>) {
    shutdown.reached(Phase::DrainingConnections).await;
    shutdown.trigger(Cause::failure("a part"));
}

/// Holds its thread for ever.
pub(crate) fn blocks() {
    loop {
        std::thread::park();
    }
}

struct EndsInDrop(Shutdown);

impl Drop for EndsInDrop {
    fn drop(&mut self) {
        self.0.trigger(Cause::requested("a drop"));
    }
}

async fn hangs() {
    std::future::pending::<()>().await;
}

/// Long polling by the book: nothing new is answered when clients are told to go.
async fn poll(arrival: axum::Extension<Arrival>) -> &'static str {
    arrival.leaving().await;
    "nothing new"
}

/// Sends back what it gets, and waits for more.
async fn websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

/// Switches to a protocol that nobody knows, and sends back what it gets.
async fn upgrade(request: Request) -> impl IntoResponse {
    echo(request);
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")])
}

/// The tunnel of a proxy, whose other end sends back what it gets.
async fn tunnel(request: Request) -> StatusCode {
    if request.method() != Method::CONNECT {
        return StatusCode::NOT_FOUND;
    }
    echo(request);
    StatusCode::OK
}

fn echo(mut request: Request) {
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = upgraded.read(&mut bytes).await {
            if upgraded.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    });
}

const EVENT: &[u8] = b"data: one\n\n";

/// A body that sends one frame and never ends.
struct Frames(Option<&'static [u8]>);

impl Frames {
    fn new(first: &'static [u8]) -> Self {
        Self(Some(first))
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(first))))),
            None => Poll::Pending,
        }
    }
}
