//! Export by OTLP over HTTP: the connection for [`wellkept_telemetry::otlp`], and what a service adds to it.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use wellkept::Service;
//! use wellkept::otlp;
//! use wellkept::telemetry::logging;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<wellkept::shutdown::Report, Box<dyn std::error::Error>> {
//! let options = otlp::Options::from_environment(&|name| std::env::var(name).ok())?;
//! let otlp = otlp::start(otlp::Options { service: "orders".to_owned(), ..options })?;
//! let _log = logging::init(logging::Options { traces: Some(otlp.layer()), ..logging::Options::default() })?;
//!
//! let app = Router::new().route("/", get(async || "hello"));
//! let service = Service::new("orders", env!("CARGO_PKG_VERSION")).otlp(&otlp);
//! Ok(service.serve(app, ([127, 0, 0, 1], 8080)).await?)
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::time::Instant;
use wellkept_checks::fetch::{InvalidRequest, Method, Request};
use wellkept_net::{AddressRules, tls};
use wellkept_shutdown::{Hook, Shutdown};
use wellkept_telemetry::metrics::Metrics;
use wellkept_telemetry::otlp::{Answer, Message, Signal, Transport, Unreachable};
pub use wellkept_telemetry::otlp::{InvalidVariable, Options, Otlp, OtlpError, SpanBooks, SpanLoss};

/// Starts an export over HTTP/1.1, to a receiver whose certificate the system's roots vouch for where the endpoint begins
/// with `https`. A user and password in the endpoint become `Authorization: Basic`. Uses no proxy, follows no redirect, and
/// keeps no connection between two messages.
pub fn start(options: Options) -> Result<Otlp, StartError> {
    start_with_tls(options, &tls::Client::new())
}

/// As [`start`], by these settings of TLS, such as certificates of one's own that vouch for the receiver.
pub fn start_with_tls(options: Options, tls: &tls::Client) -> Result<Otlp, StartError> {
    let transport = HttpTransport::new(&options, tls)?;
    Ok(Otlp::start(options, Arc::new(transport))?)
}

/// Whether an export could be started with these options.
#[cfg(feature = "program")]
pub(crate) fn check(options: &Options) -> Result<(), StartError> {
    HttpTransport::new(options, &tls::Client::new()).map(drop)
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The endpoint or a header can't be sent.
    #[error("{0}")]
    Request(#[from] InvalidRequest),
    /// The endpoint is no URL.
    #[error("the endpoint must be a URL that begins with http:// or https://")]
    Url,
    /// What else is wrong with the options, or the thread can't be started.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
}

impl StartError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(error) => error.code(),
            Self::Url => "otlp.endpoint",
            Self::Otlp(error) => error.code(),
        }
    }

    #[cfg(feature = "program")]
    pub(crate) fn is_of_a_header(&self) -> bool {
        matches!(self, Self::Request(InvalidRequest::HeaderName | InvalidRequest::HeaderValue))
    }
}

/// One connection for each message: there is one every few seconds, and what keeps none can't be surprised by one that has
/// gone stale.
struct HttpTransport {
    traces: Request,
    metrics: Request,
}

impl HttpTransport {
    fn new(options: &Options, tls: &tls::Client) -> Result<Self, StartError> {
        let request = |signal: Signal| -> Result<Request, StartError> {
            let url = format!("{}{}", options.endpoint.trim_end_matches('/'), signal.path());
            let request = Request::new(Method::POST, &url.parse().map_err(|_| StartError::Url)?)?;
            let with_header = |request: Request, (name, value): &(String, String)| request.with_header(name, value);
            Ok(options.headers.iter().try_fold(request.with_tls(tls.clone()), with_header)?)
        };
        Ok(Self { traces: request(Signal::Traces)?, metrics: request(Signal::Metrics)? })
    }
}

impl Transport for HttpTransport {
    fn post(&self, message: Message<'_>) -> Result<Answer, Unreachable> {
        let request = match message.signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
        };
        let request = request.clone().with_body("application/x-protobuf", message.body.to_vec());
        // A small one of its own: the service's may be what hangs.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Unreachable(error.to_string()))?;
        let deadline = Instant::from_std(message.deadline);
        let answer = runtime.block_on(request.send(AddressRules::configured(), deadline));
        let response = answer.map_err(|error| Unreachable(error.to_string()))?;
        let retry_after = response.retry_after();
        Ok(Answer { status: response.status.as_u16(), retry_after, body: response.body.into() })
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HttpTransport")
    }
}

/// Has what is left exported in the shutdown's flush. A receiver that does not take it is no fault of the service: what is
/// left is counted and told.
pub(crate) fn follow(otlp: &Otlp, shutdown: &Shutdown) {
    let patience = shutdown.settings().flush;
    let otlp = otlp.clone();
    shutdown.on_flush(Hook::blocking("otlp", move || {
        if !otlp.flush(patience) {
            let SpanBooks { accepted, exported, pending, .. } = otlp.books();
            let dropped = otlp.books().lost();
            tracing::warn!(
                target: "wellkept::otlp", accepted, exported, dropped, pending,
                "the receiver has not taken all spans in time"
            );
        }
    }));
}

/// Pushes a service's metrics, with the books of the export among them. Their last reading goes with those for other
/// exporters.
pub(crate) fn push(otlp: &Otlp, metrics: &Metrics) {
    if let Err(error) = otlp.push(metrics) {
        tracing::error!(target: "wellkept::otlp", code = error.code(), "metrics are not pushed: {error}");
    }
}
