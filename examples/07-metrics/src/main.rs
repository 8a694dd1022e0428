//! Metrics of the application's own: what the business counts, and how long its tasks take. Prometheus reads them from
//! the page that is there anyway, and an exporter of a few lines pushes them to `StatsD`, for the last time at SIGTERM.
//!
//! ```sh
//! nc -ul 127.0.0.1 8125 & PROJECTS_STATSD=127.0.0.1:8125 cargo run -p example-metrics
//! curl -X POST 127.0.0.1:3000/clients/web; curl -X POST 127.0.0.1:3000/tasks; curl 127.0.0.1:3000/metrics
//! ```

mod business;
mod statsd;

use std::env;
use std::net::SocketAddr;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, routing::post};
use wellkept::telemetry::metrics::{MetricsExportSettings, Trace};
use wellkept::{Service, shutdown::Report};

use business::Business;
use statsd::Statsd;

#[tokio::main]
async fn main() -> Result<Report, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let address: SocketAddr = env::var("PROJECTS_LISTEN").as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let service = Service::new("projects", env!("CARGO_PKG_VERSION"));
    let business = Business::declared_in(service.metrics())?;
    if let Ok(statsd) = env::var("PROJECTS_STATSD") {
        service.metrics().export("statsd", Statsd::to(statsd.parse()?)?, MetricsExportSettings::default())?;
    }
    let app = Router::new()
        .route("/clients/{channel}", post(create_client))
        .route("/tasks", post(complete_task))
        .with_state(business);
    Ok(service.serve(app, address).await?)
}

/// `POST /clients/CHANNEL`
async fn create_client(State(business): State<Business>, Path(channel): Path<String>) -> StatusCode {
    business.clients_created.with([&channel]).inc();
    StatusCode::CREATED
}

/// `POST /tasks`
async fn complete_task(State(business): State<Business>) -> StatusCode {
    let begun = Instant::now();
    let _open = business.tasks_open.hold();
    // The task itself would be here.
    business.tasks_completed.inc();
    business.task_duration.observe_traced(begun.elapsed().as_secs_f64(), Trace::current());
    StatusCode::OK
}
