//! Correlation over HTTP: what a request brings is taken over or replaced, follows the work, goes on to whoever is called,
//! and is returned.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{Entry, HeaderMap, HeaderName};
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use wellkept_telemetry::correlation::{Correlation, Incoming, Scoped, Trust};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives each request a [`Correlation`]: by its `traceparent`, `tracestate` (W3C Trace Context) and `x-request-id`, or a new
/// one. It is current while the service and the response's body run, shows in each log line, is an extension of the
/// request, and goes back as `x-request-id` unless the service has set one.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use wellkept_http::CorrelationLayer;
/// use wellkept_telemetry::correlation::Correlation;
///
/// async fn order(Extension(correlation): Extension<Correlation>) -> String {
///     tracing::info!("bears trace_id, span_id and correlation_id");
///     correlation.id().to_owned()
/// }
/// let app: Router = Router::new().route("/order", get(order)).layer(CorrelationLayer::default());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CorrelationLayer {
    trust: Trust,
}

impl CorrelationLayer {
    /// Takes over the ids of those who are trusted. The default trusts callers.
    pub fn new(trust: Trust) -> Self {
        Self { trust }
    }
}

impl<S> Layer<S> for CorrelationLayer {
    type Service = CorrelationService<S>;

    fn layer(&self, inner: S) -> CorrelationService<S> {
        CorrelationService { inner, trust: self.trust }
    }
}

/// What [`CorrelationLayer`] makes of a service.
#[derive(Debug, Clone)]
pub struct CorrelationService<S> {
    inner: S,
    trust: Trust,
}

impl<S, B, R> Service<Request<B>> for CorrelationService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<CorrelatedBody<R>>;
    type Error = S::Error;
    type Future = CorrelationFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let correlation = correlate(&mut request, self.trust);
        let inner = correlation.clone().in_scope(|| self.inner.call(request));
        CorrelationFuture { inner: correlation.clone().scope(inner), correlation }
    }
}

pin_project! {
    /// The response to come.
    #[derive(Debug)]
    pub struct CorrelationFuture<F> {
        #[pin]
        inner: Scoped<F>,
        correlation: Correlation,
    }
}

impl<F: Future<Output = Result<Response<R>, E>>, R, E> Future for CorrelationFuture<F> {
    type Output = Result<Response<CorrelatedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        return_id(response.headers_mut(), this.correlation);
        let correlation = this.correlation.clone();
        Poll::Ready(Ok(response.map(|body| CorrelatedBody { body, correlation })))
    }
}

pin_project! {
    /// A body that is made within its request's correlation.
    #[derive(Debug)]
    pub struct CorrelatedBody<B> {
        #[pin]
        body: B,
        correlation: Correlation,
    }
}

impl<B: http_body::Body> http_body::Body for CorrelatedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        this.correlation.clone().in_scope(|| this.body.poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Has the requests of a client tell where they come from, as [`propagate`] does: for any tower client that sends
/// [`http::Request`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct PropagationLayer;

impl<S> Layer<S> for PropagationLayer {
    type Service = PropagationService<S>;

    fn layer(&self, inner: S) -> PropagationService<S> {
        PropagationService { inner }
    }
}

/// What [`PropagationLayer`] makes of a client.
#[derive(Debug, Clone)]
pub struct PropagationService<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for PropagationService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        propagate(request.headers_mut());
        self.inner.call(request)
    }
}

/// Sets `traceparent`, `tracestate` and `x-request-id` as the current correlation has them, where there is one; a header
/// that is set already stays, and a `traceparent` of one's own keeps both of the trace's away. For a client without layers:
/// `propagate(request.headers_mut())`, which a `reqwest::Request` has too.
///
/// ```
/// use http::HeaderMap;
/// use wellkept_http::propagate;
/// use wellkept_telemetry::correlation::Correlation;
///
/// let mut headers = HeaderMap::new();
/// Correlation::begin().in_scope(|| propagate(&mut headers));
/// assert!(headers.contains_key("traceparent") && headers.contains_key("x-request-id"));
/// ```
pub fn propagate(headers: &mut HeaderMap) {
    let Some(correlation) = Correlation::current() else { return };
    return_id(headers, &correlation);
    let Ok(parent) = HeaderValue::try_from(correlation.traceparent()) else { return };
    let Entry::Vacant(place) = headers.entry(TRACEPARENT) else { return };
    place.insert(parent);
    if let Some(Ok(state)) = correlation.tracestate().map(HeaderValue::from_str) {
        headers.insert(TRACESTATE, state);
    }
}

/// The correlation of a request: that which it bears already, of a layer before, or what it brings, which it then bears.
pub(crate) fn correlate<B>(request: &mut Request<B>, trust: Trust) -> Correlation {
    if let Some(correlation) = request.extensions().get::<Correlation>() {
        return correlation.clone();
    }
    let correlation = accept(request.headers(), trust);
    request.extensions_mut().insert(correlation.clone());
    correlation
}

/// Sets `x-request-id` where it is not set.
pub(crate) fn return_id(headers: &mut HeaderMap, correlation: &Correlation) {
    if let (Entry::Vacant(place), Ok(id)) = (headers.entry(REQUEST_ID), HeaderValue::from_str(correlation.id())) {
        place.insert(id);
    }
}

fn accept(headers: &HeaderMap, trust: Trust) -> Correlation {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        // Of several nobody knows which one is meant.
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let states: Vec<_> = headers.get_all(TRACESTATE).iter().map(|state| state.to_str().unwrap_or_default()).collect();
    let states = states.join(",");
    let tracestate = Some(states.as_str()).filter(|states| !states.is_empty());
    Correlation::accept(Incoming { traceparent: one(TRACEPARENT), tracestate, request_id: one(REQUEST_ID) }, trust)
}

#[cfg(test)]
mod tests;
