//! One request: counted, marked with where it came from, handed to the router or refused, and told of the announcement.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::future::RouteFuture;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service as _;
use wellkept_shutdown::Refused;

use super::Arrival;
use super::address::Peer;
use super::body::{InFlight, ServedBody};
use super::connection::{Connection, Protocol, Upload};
use super::events::EventsEnd;
use super::options::AtOnce;
use super::shared::{Shared, Stage};
use super::upload::UploadBody;

/// Hyper's service of one connection.
pub(super) struct RequestService {
    connection: Arc<Connection>,
}

impl RequestService {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }
}

impl hyper::service::Service<Request<Incoming>> for RequestService {
    type Response = Response<ServedBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let connection = &self.connection;
        let server = &*connection.server;
        let version = request.version();
        let opens = if request.method() == Method::CONNECT { Opens::Tunnel } else { Opens::Nothing };
        let first = connection.begin();
        let is_whole = http_body::Body::is_end_stream(request.body());
        connection.upload_is(if is_whole { Upload::None } else { Upload::Coming });
        let late = server.has_reached(Stage::Stopped) && !first;
        let mut request = request;
        if let Err(refusal) = admit(server, late, &request) {
            let (parts, body) = request.into_parts();
            // Counted in either case: the refusal is in flight too, until it has left.
            server.tracker.begin_exempt_request();
            if !server.exempts(refusal, &parts) {
                return Answer::known(refuse(refusal, &server.retry_after), connection, version);
            }
            request = Request::from_parts(parts, body);
        }
        let known = |at_once: &AtOnce| at_once(request.method(), request.uri(), request.headers());
        if let Some(answer) = server.answers.at_once.as_ref().and_then(known) {
            return Answer::known(answer, connection, version);
        }
        let in_flight = InFlight::named(Arc::clone(connection), request.method(), request.uri());
        let extensions = request.extensions_mut();
        extensions
            .insert(Arrival { connection: Arc::downgrade(connection), ..Arrival::new(&server.bound, connection.peer) });
        if let Peer::Tcp(peer) = connection.peer {
            extensions.insert(ConnectInfo::<SocketAddr>(peer));
        }
        let route = server.answers.router.clone().call(request.map(|body| UploadBody::of(body, connection)));
        Answer::Routed { route, in_flight: Some(in_flight), version, opens }
    }
}

/// Why a request is answered by the server itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// It came after the stop.
    Late,
    /// Too many are in flight.
    Overload,
    /// It has more header fields than allowed.
    TooManyFields,
}

/// What a request gets with an answer that says yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    Nothing,
    /// `CONNECT` (RFC 9110, section 9.3.6).
    Tunnel,
}

/// Counts the request on the tracker, or says why not.
fn admit(server: &Shared, late: bool, request: &Request<Incoming>) -> Result<(), Refusal> {
    // Looked at here because hyper's own limit allocates at each request.
    if request.headers().len() > server.options.max_headers {
        return Err(Refusal::TooManyFields);
    }
    if late || server.refuses_gradually() {
        return Err(Refusal::Late);
    }
    match server.tracker.begin_request() {
        Ok(()) => Ok(()),
        // The tracker refuses while this server does not: a door that closes later, or a first request.
        Err(Refused::Draining) => {
            server.tracker.begin_exempt_request();
            Ok(())
        }
        Err(Refused::TooManyInFlight) => Err(Refusal::Overload),
    }
}

impl Shared {
    /// Whether the request is served nevertheless; counts the refusal if it is not.
    fn exempts(&self, refusal: Refusal, parts: &Parts) -> bool {
        let count = match refusal {
            Refusal::Late => &self.counts.refused_late,
            Refusal::Overload => &self.counts.refused_overload,
            Refusal::TooManyFields => return false,
        };
        let exempt = self.options.exempt.as_ref().is_some_and(|exempt| exempt(parts));
        if !exempt {
            count.fetch_add(1, Ordering::Relaxed);
        }
        exempt
    }
}

pin_project! {
    /// The response to come.
    #[project = AnswerProjection]
    pub(super) enum Answer {
        Routed {
            #[pin]
            route: RouteFuture<Infallible>,
            in_flight: Option<InFlight>,
            version: Version,
            opens: Opens,
        },
        Known {
            response: Option<Response<ServedBody>>,
        },
    }
}

impl Answer {
    /// One that waits for nobody, and so has no name to be missed by.
    fn known(response: Response<Body>, connection: &Arc<Connection>, version: Version) -> Self {
        let in_flight = InFlight::unnamed(Arc::clone(connection));
        Self::Known { response: Some(finish(response, in_flight, version, Opens::Nothing)) }
    }
}

impl Future for Answer {
    type Output = Result<Response<ServedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = match self.project() {
            AnswerProjection::Routed { route, in_flight, version, opens } => {
                let response = ready!(route.poll(context))?;
                in_flight.take().map(|in_flight| finish(response, in_flight, *version, *opens))
            }
            AnswerProjection::Known { response } => response.take(),
        };
        Poll::Ready(Ok(answered.expect("hyper does not poll a future that has ended")))
    }
}

fn finish(mut response: Response<Body>, in_flight: InFlight, version: Version, opens: Opens) -> Response<ServedBody> {
    let connection = in_flight.connection();
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS
        || (opens == Opens::Tunnel && response.status().is_success());
    if switches && connection.is(Protocol::Http1) {
        let to = if speaks_websocket(response.headers()) { Protocol::WebSocket } else { Protocol::Upgraded };
        in_flight.upgrade(to);
        return response.map(ServedBody::free);
    }
    // HTTP/2 says it with GOAWAY, and forbids the header (RFC 9113, section 8.2.2).
    if version < Version::HTTP_2 && connection.server.has_reached(Stage::Announcing) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let events = EventsEnd::of(response.headers(), connection);
    response.map(|body| ServedBody::new(body, events, in_flight))
}

fn speaks_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn refuse(refusal: Refusal, retry_after: &HeaderValue) -> Response<Body> {
    let mut response = match refusal {
        Refusal::Late => super::refusal(Refused::Draining),
        Refusal::Overload => super::refusal(Refused::TooManyInFlight),
        Refusal::TooManyFields => answer(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            r#"{"error":{"code":"server.too_many_header_fields","message":"the request has too many header fields"}}"#,
        ),
    };
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, retry_after.clone());
    }
    response
}

/// What a refused request gets, without `Retry-After`.
pub(crate) fn refusal(refused: Refused) -> Response<Body> {
    let body = match refused {
        Refused::Draining => {
            r#"{"error":{"code":"shutdown.draining","message":"the service is shutting down; retry elsewhere"}}"#
        }
        Refused::TooManyInFlight => {
            r#"{"error":{"code":"shutdown.too_many_in_flight","message":"too many requests are in flight; retry later"}}"#
        }
    };
    answer(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn answer(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
