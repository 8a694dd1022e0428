//! A tower layer for those who keep a server of their own: counts what is in flight, announces, and refuses what comes late.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, Version};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{BoxError, Layer, Service};
use wellkept_shutdown::{Phase, Refused, RequestGuard, Shutdown, Work};

use crate::server::{Exempt, refusal};

/// Wraps a service so that the shutdown waits for its requests, until the server has taken the last byte of each answer; that
/// it is also sent is for the server to say, whose end is waited for as a resource. From the announcement on, HTTP/1 responses say `Connection: close`; after the stop requests get 503 with `Retry-After`, as they do above the
/// tracker's limit of requests in flight.
///
/// What a layer can't do is the server's matter: half a request, idle connections, GOAWAY, the accept queue. Our own
/// [`Server`](crate::Server) does it.
///
/// ```
/// use axum::{Router, routing::get};
/// use wellkept_http::ShutdownLayer;
/// use wellkept_shutdown::{Phase, Resource, ResourceType, Settings, Shutdown};
///
/// # async fn run(listener: tokio::net::TcpListener) -> Result<(), wellkept_shutdown::RegisterError> {
/// let (shutdown, sequence) = Shutdown::new(Settings::default());
/// let app: Router = Router::new().route("/", get(async || "hello")).layer(ShutdownLayer::new(&shutdown));
/// let stop = shutdown.clone();
/// let stopped = async move { stop.reached(Phase::StoppingNewRequests).await };
/// let server = tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(stopped).into_future());
/// shutdown.register(Resource::new("server", ResourceType::Custom, async || server.await?).priority(0))?;
/// sequence.run().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ShutdownLayer {
    shutdown: Shutdown,
    retry_after: HeaderValue,
    exempt: Option<Exempt>,
}

impl ShutdownLayer {
    /// Counts on the shutdown's own tracker. `Retry-After` says 1 s.
    pub fn new(shutdown: &Shutdown) -> Self {
        Self { shutdown: shutdown.clone(), retry_after: HeaderValue::from(1), exempt: None }
    }

    /// Sets what `Retry-After` says, in whole seconds, one at least.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = HeaderValue::from(after.as_secs().max(1));
        self
    }

    /// Sets which requests are served to the last, and above the limit: probes, for instance. Default none.
    #[must_use]
    pub fn exempt(mut self, exempt: Exempt) -> Self {
        self.exempt = Some(exempt);
        self
    }
}

impl fmt::Debug for ShutdownLayer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ShutdownLayer").field("shutdown", &self.shutdown).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ShutdownLayer {
    type Service = ShutdownService<S>;

    fn layer(&self, inner: S) -> ShutdownService<S> {
        ShutdownService { inner, layer: self.clone() }
    }
}

/// What [`ShutdownLayer`] makes of a service.
#[derive(Debug, Clone)]
pub struct ShutdownService<S> {
    inner: S,
    layer: ShutdownLayer,
}

impl<S, B, R> Service<Request<B>> for ShutdownService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ShutdownFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let layer = &self.layer;
        let tracker = layer.shutdown.tracker();
        let (version, shutdown) = (request.version(), layer.shutdown.clone());
        let work = Work::new("request", format!("{} {}", request.method(), request.uri().path()));
        let (guard, request) = match tracker.start_work(work) {
            Ok(guard) => (guard, request),
            Err(refused) => {
                let (parts, body) = request.into_parts();
                if !layer.exempt.as_ref().is_some_and(|exempt| exempt(&parts)) {
                    let retry_after = Some(layer.retry_after.clone());
                    return ShutdownFuture::Refused { refused, retry_after, version };
                }
                (tracker.start_exempt_request(), Request::from_parts(parts, body))
            }
        };
        ShutdownFuture::Served { inner: self.inner.call(request), guard: Some(guard), shutdown, version }
    }
}

pin_project! {
    /// The response to come.
    #[project = Projection]
    pub enum ShutdownFuture<F> {
        /// From the service.
        #[doc(hidden)]
        Served {
            #[pin]
            inner: F,
            guard: Option<RequestGuard>,
            shutdown: Shutdown,
            version: Version,
        },
        /// From the layer.
        #[doc(hidden)]
        Refused {
            refused: Refused,
            retry_after: Option<HeaderValue>,
            version: Version,
        },
    }
}

impl<F> fmt::Debug for ShutdownFuture<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ShutdownFuture")
    }
}

impl<F, R, E> Future for ShutdownFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match self.project() {
            Projection::Served { inner, guard, shutdown, version } => {
                let response = ready!(inner.poll(context)?);
                let mut response = response.map(|body| Body::new(Counted { body, _guard: guard.take() }));
                if shutdown.phase() >= Phase::Announcing {
                    close(&mut response, *version);
                }
                response
            }
            Projection::Refused { refused, retry_after, version } => {
                let mut response = refusal(*refused);
                if let Some(retry_after) = retry_after.take() {
                    response.headers_mut().insert(RETRY_AFTER, retry_after);
                }
                if *refused == Refused::Draining {
                    close(&mut response, *version);
                }
                response
            }
        }))
    }
}

/// HTTP/2 forbids the header (RFC 9113, section 8.2.2), and its GOAWAY is the server's to say.
fn close(response: &mut Response<Body>, version: Version) {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

pin_project! {
    /// A body that keeps its request counted.
    struct Counted<B> {
        #[pin]
        body: B,
        _guard: Option<RequestGuard>,
    }
}

impl<B: http_body::Body> http_body::Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    use wellkept_shutdown::{Cause, Settings};

    use super::*;

    async fn ask(app: &Router, path: &str) -> Response<Body> {
        app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_to_its_last_byte_and_what_comes_late_is_refused() {
        let (shutdown, sequence) = Shutdown::new(Settings::default());
        let exempt: Exempt = Arc::new(|parts| parts.uri.path() == "/livez");
        let layer = ShutdownLayer::new(&shutdown).retry_after(Duration::from_secs(5)).exempt(exempt);
        let app = Router::new().route("/", get(async || "hello")).route("/livez", get(async || "alive")).layer(layer);
        let tracker = shutdown.tracker();

        let answer = ask(&app, "/").await;
        assert_eq!(answer.headers().get(CONNECTION), None);
        assert_eq!(tracker.in_flight(1)[0].name, "GET /");
        shutdown.trigger(Cause::requested("test"));
        let sequence = tokio::spawn(sequence.run());
        shutdown.reached(Phase::Announcing).await;
        assert_eq!(ask(&app, "/").await.headers()[CONNECTION], "close", "announced, and still served");

        shutdown.reached(Phase::DrainingConnections).await;
        let late = ask(&app, "/").await;
        assert_eq!(
            (late.status(), &late.headers()[RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(5))
        );
        assert_eq!(late.headers()[CONNECTION], "close");
        let body = late.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("shutdown.draining"), "{body:?}");
        assert_eq!(ask(&app, "/livez").await.status(), StatusCode::OK);

        assert_eq!(tracker.in_flight_requests(), 1, "its body has not been taken yet");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        assert_eq!(sequence.await.unwrap().exit_code(), 0);
    }

    #[tokio::test]
    async fn above_the_limit_a_request_is_refused_and_its_connection_kept() {
        let (shutdown, _sequence) = Shutdown::new(Settings::default());
        shutdown.tracker().set_max_in_flight_requests(1);
        let app = Router::new().route("/", get(async || "hello")).layer(ShutdownLayer::new(&shutdown));
        let first = ask(&app, "/").await;
        let refused = ask(&app, "/").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((refused.headers().get(CONNECTION), &refused.headers()[RETRY_AFTER]), (None, &HeaderValue::from(1)));
        drop(first);
        assert_eq!(ask(&app, "/").await.status(), StatusCode::OK);
    }
}
