//! A span for each request, as OpenTelemetry's conventions for HTTP servers have it: for traces, not for the log.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::MatchedPath;
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;
use wellkept_telemetry::correlation::REQUEST_TARGET;

/// Opens a span for each request, with the route's template, the method and the status, until the last byte of the answer
/// has been handed on. A status of 500 and above is an error. Neither the path nor the query is in it: they may be secrets.
///
/// Goes inside of [`CorrelationLayer`](crate::CorrelationLayer), whose ids the span bears. The log does not show its fields.
///
/// ```
/// use axum::{Router, routing::get};
/// use wellkept_http::{CorrelationLayer, RequestSpanLayer};
///
/// let app: Router = Router::new().route("/orders/{id}", get(async || "an order"));
/// let app = app.layer(RequestSpanLayer).layer(CorrelationLayer::default());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestSpanLayer;

impl<S> Layer<S> for RequestSpanLayer {
    type Service = RequestSpanService<S>;

    fn layer(&self, inner: S) -> RequestSpanService<S> {
        RequestSpanService { inner }
    }
}

/// What [`RequestSpanLayer`] makes of a service.
#[derive(Debug, Clone)]
pub struct RequestSpanService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for RequestSpanService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<RequestSpanBody<R>>;
    type Error = S::Error;
    type Future = RequestSpanFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let open = OpenSpan(span_of(&request));
        let inner = open.0.in_scope(|| self.inner.call(request));
        RequestSpanFuture { inner, open: Some(open) }
    }
}

pin_project! {
    /// The response to come.
    #[derive(Debug)]
    pub struct RequestSpanFuture<F> {
        #[pin]
        inner: F,
        open: Option<OpenSpan>,
    }
}

impl<F: Future<Output = Result<Response<R>, E>>, R, E> Future for RequestSpanFuture<F> {
    type Output = Result<Response<RequestSpanBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.open {
            Some(open) => ready!(open.0.in_scope(|| this.inner.poll(context))),
            None => ready!(this.inner.poll(context)),
        };
        let open = this.open.take();
        if let Some(OpenSpan(span)) = &open {
            let status = result.as_ref().ok().map(|response| response.status().as_u16());
            if let Some(status) = status {
                span.record("http.response.status_code", status);
            }
            if status.is_none_or(|status| status >= 500) {
                span.record("otel.status_code", "error");
            }
        }
        Poll::Ready(result.map(|response| response.map(|body| RequestSpanBody { body, open })))
    }
}

pin_project! {
    /// A body that is made within its request's span.
    #[derive(Debug)]
    pub struct RequestSpanBody<B> {
        #[pin]
        body: B,
        open: Option<OpenSpan>,
    }
}

impl<B: http_body::Body> http_body::Body for RequestSpanBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        match this.open {
            Some(open) => open.0.in_scope(|| this.body.poll_frame(context)),
            None => this.body.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends the span when the request does, though what was spawned from it may keep the span itself.
#[derive(Debug)]
struct OpenSpan(Span);

impl Drop for OpenSpan {
    fn drop(&mut self) {
        self.0.record("otel.ended", true);
    }
}

fn span_of<B>(request: &Request<B>) -> Span {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let method = method(request.method());
    // Anyone may send any method: what is unknown is no name (OpenTelemetry, "HTTP spans").
    let shown = if method == OTHER { "HTTP" } else { method };
    let name = route.map(|route| format!("{shown} {route}"));
    tracing::info_span!(
        target: REQUEST_TARGET,
        "request",
        otel.name = name.as_deref().unwrap_or(shown),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        otel.status_code = Empty,
        otel.ended = Empty,
    )
}

const OTHER: &str = "_OTHER";

fn method(method: &Method) -> &'static str {
    const KNOWN: [(Method, &str); 9] = [
        (Method::GET, "GET"),
        (Method::HEAD, "HEAD"),
        (Method::POST, "POST"),
        (Method::PUT, "PUT"),
        (Method::PATCH, "PATCH"),
        (Method::DELETE, "DELETE"),
        (Method::OPTIONS, "OPTIONS"),
        (Method::CONNECT, "CONNECT"),
        (Method::TRACE, "TRACE"),
    ];
    KNOWN.iter().find(|(known, _)| known == method).map_or(OTHER, |(_, name)| name)
}
