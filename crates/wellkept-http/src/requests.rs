//! What every request of an application gets: a correlation, a span as the log's context, a place in the count of those in
//! flight, and its part in the metrics.

mod body;
mod cells;
mod options;
mod timing;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::MatchedPath;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;
use wellkept_telemetry::correlation::{CONTEXT_TARGET, Correlation, Scoped};
use wellkept_telemetry::metrics::{MetricError, Metrics};

use crate::correlation::{correlate, return_id};

pub use body::MeasuredBody;
pub use options::{RequestOptions, RequestPart};

use cells::{MethodWord, RequestCounts, RouteCells, UNMATCHED};
use timing::{Counted, Timing};

/// A longer body is not believed in: anyone may announce anything, and the count of bytes would go over its end.
const MOST_ANNOUNCED: u64 = 1 << 40;

/// Gives each request what a service wants to know of all of them:
///
/// - a [`Correlation`], as [`CorrelationLayer`](crate::CorrelationLayer) does;
/// - a span `http request` with `method` and `route`, which every line that is logged meanwhile bears, and the correlation;
/// - its place in `wellkept_http_requests_in_flight`;
/// - its part in `wellkept_http_request_duration_seconds`, to the end of the response's body, with its trace as an exemplar,
///   in `wellkept_http_responses_total`, and in the sizes of bodies.
///
/// Each can be turned off by [`RequestOptions`]. Routes are known by their template (`/orders/{id}`) where the layer is
/// added by [`Router::layer`](axum::Router::layer) after them; whatever fits none is `unmatched`. Methods beyond those of
/// RFC 9110 and RFC 5789 are `_OTHER`. The status is its class (`2xx`), or `cancelled` where the client went away before
/// the end; which codes there were, `wellkept_http_responses_total` tells, all routes together. So a stranger can't
/// make more series, whatever they send; routes beyond a thousand are `_overflow`.
///
/// A response that lasts by its nature is no slow one: of server-sent events and of what is upgraded (a `WebSocket`) the
/// duration is that to the head, and they are in flight until then. How many event streams are open, and how long they
/// were, is told apart.
///
/// ```
/// use axum::{Router, routing::get};
/// use wellkept_http::{RequestLayer, RequestOptions};
/// use wellkept_telemetry::metrics::Metrics;
///
/// let metrics = Metrics::new();
/// let app: Router = Router::new()
///     .route("/orders/{id}", get(async || "an order"))
///     .layer(RequestLayer::new(&metrics, RequestOptions::default())?);
/// # drop(app);
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RequestLayer {
    counts: Arc<RequestCounts>,
    options: RequestOptions,
}

impl RequestLayer {
    /// Counts into `metrics`. Fails where another part has declared one of the families differently.
    pub fn new(metrics: &Metrics, options: RequestOptions) -> Result<Self, MetricError> {
        Ok(Self { counts: Arc::new(RequestCounts::new(metrics)?), options })
    }

    /// Counts nowhere: correlation and span alone.
    pub fn uncounted(options: RequestOptions) -> Self {
        let counts = RequestCounts::new(&Metrics::new()).expect("nothing is declared in a new registry");
        let options = options.without(RequestPart::Metrics).without(RequestPart::InFlight);
        Self { counts: Arc::new(counts), options }
    }

    /// How many responses were counted by this layer and its clones. None without [`RequestPart::Metrics`]. Costs a look
    /// at each status code.
    pub fn responses(&self) -> Responses {
        let (all, failed) = self.counts.responses();
        Responses { all, failed }
    }
}

/// How many responses there were since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Responses {
    /// All of them.
    pub all: u64,
    /// Those whose status is one from 500 to 599.
    pub failed: u64,
}

impl<S> Layer<S> for RequestLayer {
    type Service = RequestService<S>;

    fn layer(&self, inner: S) -> RequestService<S> {
        let Self { counts, options } = self.clone();
        RequestService { inner, place: Arc::new(Place { counts, options, cells: OnceLock::new() }) }
    }
}

/// What [`RequestLayer`] makes of a service.
#[derive(Debug, Clone)]
pub struct RequestService<S> {
    inner: S,
    place: Arc<Place>,
}

/// Where the layer stands: as a rule before one route, so that its series are found without a search.
#[derive(Debug)]
struct Place {
    counts: Arc<RequestCounts>,
    options: RequestOptions,
    cells: OnceLock<Arc<RouteCells>>,
}

impl Place {
    fn cells(&self, route: &str) -> Arc<RouteCells> {
        let cells = self.cells.get_or_init(|| self.counts.route(route));
        // A nested service that takes several routes.
        if cells.route() == route { Arc::clone(cells) } else { self.counts.route(route) }
    }
}

impl<S, B, R> Service<Request<B>> for RequestService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: http_body::Body,
{
    type Response = Response<MeasuredBody<R>>;
    type Error = S::Error;
    type Future = RequestFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let options = self.place.options;
        let correlation = options.has(RequestPart::Correlation).then(|| correlate(&mut request, options.trust));
        let method = MethodWord::of(request.method());
        let route = request.extensions().get::<MatchedPath>();
        let cells = self.place.cells(route.map_or(UNMATCHED, MatchedPath::as_str));
        let span = if options.has(RequestPart::Span) {
            // In scope, so that the span knows it; of the highest level, so that no filter takes the context from a line.
            let span = || tracing::error_span!(target: CONTEXT_TARGET, "http request", method = method.as_str(), route = cells.route());
            match &correlation {
                Some(correlation) => correlation.clone().in_scope(span),
                None => span(),
            }
        } else {
            Span::none()
        };
        let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let announced = announced.filter(|length| *length <= MOST_ANNOUNCED);
        let is_head = request.method() == Method::HEAD;
        let trace = correlation.as_ref().map(Correlation::trace_id);
        let counted = Counted { cells, method, trace, received: announced.unwrap_or(0) };
        let timing = Timing::begin(&self.place.counts, options, counted);
        let entered = span.enter();
        let inner = match correlation.clone() {
            Some(correlation) => {
                let inner = correlation.clone().in_scope(|| self.inner.call(request));
                Within::Correlation { inner: correlation.scope(inner) }
            }
            None => Within::Nothing { inner: self.inner.call(request) },
        };
        drop(entered);
        RequestFuture { inner, span, correlation, timing: Some(timing), is_head }
    }
}

pin_project! {
    #[project = WithinProjection]
    enum Within<F> {
        Correlation { #[pin] inner: Scoped<F> },
        Nothing { #[pin] inner: F },
    }
}

pin_project! {
    /// The response to come.
    pub struct RequestFuture<F> {
        #[pin]
        inner: Within<F>,
        span: Span,
        correlation: Option<Correlation>,
        timing: Option<Timing>,
        is_head: bool,
    }
}

impl<F> fmt::Debug for RequestFuture<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RequestFuture").field("correlation", &self.correlation).finish_non_exhaustive()
    }
}

impl<F: Future<Output = Result<Response<R>, E>>, R: http_body::Body, E> Future for RequestFuture<F> {
    type Output = Result<Response<MeasuredBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.span.enter();
        let polled = match this.inner.project() {
            WithinProjection::Correlation { inner } => inner.poll(context),
            WithinProjection::Nothing { inner } => inner.poll(context),
        };
        drop(entered);
        let Poll::Ready(answered) = polled else { return Poll::Pending };
        let mut timing = this.timing.take();
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                if let Some(timing) = &mut timing {
                    timing.fail();
                }
                return Poll::Ready(Err(error));
            }
        };
        let correlation = this.correlation.take();
        if let Some(correlation) = &correlation {
            return_id(response.headers_mut(), correlation);
        }
        if let Some(timing) = &mut timing {
            timing.head(response.status(), lasts(&response));
        }
        let (span, is_head) = (std::mem::replace(this.span, Span::none()), *this.is_head);
        Poll::Ready(Ok(response.map(|body| MeasuredBody::new(body, correlation, span, timing, is_head))))
    }
}

/// What a response lasts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// Its length.
    Itself,
    /// The events to come (HTML, section 9.2).
    Events,
    /// What is spoken from now on on its connection.
    Upgraded,
}

fn lasts<R>(response: &Response<R>) -> Lasts {
    let is_events = |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        Lasts::Upgraded
    } else if response.headers().get(CONTENT_TYPE).is_some_and(is_events) {
        Lasts::Events
    } else {
        Lasts::Itself
    }
}

#[cfg(test)]
mod tests;
