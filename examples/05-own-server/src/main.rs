//! A server of one's own, which `axum::serve` runs: the layer counts what is in flight, tells clients to go and refuses what
//! comes late, and the shutdown waits for the server before it closes anything else.
//!
//! ```sh
//! cargo run -p example-own-server & sleep 1
//! curl -i '127.0.0.1:3000/time?ms=3000' & sleep 1; kill %1; wait
//! ```
#![expect(clippy::print_stdout, reason = "where it listens is printed")]

use std::error::Error;
use std::time::{Duration, SystemTime};

use axum::extract::Query;
use axum::{Router, routing::get};
use serde::Deserialize;
use tokio::net::TcpListener;
use wellkept::http::ShutdownLayer;
use wellkept::shutdown::{Phase, Report, Resource, ResourceType, Settings, Shutdown, signals, watchdog};

/// Longest wait that a request may ask for, in milliseconds.
const MAX_MS: u64 = 60_000;
/// How long after the deadline a process that is still there is ended.
const OVERDUE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<Report, Box<dyn Error>> {
    // First of all: a signal that comes before its handler kills without a word.
    let signals = signals::install()?;
    let (shutdown, sequence) = Shutdown::new(Settings::docker());
    let _watchdog = watchdog::arm(&shutdown, OVERDUE)?;

    let app = Router::new().route("/time", get(time)).layer(ShutdownLayer::new(&shutdown));
    let address = std::env::var("CLOCK_LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?.port());
    let stop = shutdown.clone();
    let server = axum::serve(listener, app)
        .with_graceful_shutdown(async move { stop.reached(Phase::StoppingNewRequests).await });
    let server = tokio::spawn(server.into_future());
    // The first to close: what comes after may be what its last answers need.
    shutdown.register(Resource::new("server", ResourceType::Custom, async || server.await?).priority(0))?;

    tokio::spawn(signals.drive(shutdown));
    Ok(sequence.run().await)
}

#[derive(Deserialize)]
struct Wait {
    ms: u64,
}

/// `GET /time?ms=3000`: the time, after a while.
async fn time(Query(Wait { ms }): Query<Wait>) -> String {
    tokio::time::sleep(Duration::from_millis(ms.min(MAX_MS))).await;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}\n", since.as_secs())
}
