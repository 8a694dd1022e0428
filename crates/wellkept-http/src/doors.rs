//! The doors: which routes there are, who may use them, and what every answer bears.
//!
//! # Adding an endpoint
//!
//! A route is mounted together with its description, in one call of [`Routes::route`]: an [`Operation`] (method, path,
//! one sentence, its parameters, every answer with its codes and the type of its body) and the handler. The OpenAPI
//! document at `/openapi.json` is made from just these, and nothing else mounts a route, so the two can't differ. A
//! body's type derives `schemars::JsonSchema` besides `Serialize`; what a handler takes derives it besides
//! `Deserialize`; an [`ApiError`] that it may answer with is named by [`Operation::error`]. Put the route into the list
//! that fits: `Doors::probes` for what anyone may read, `Doors::details` for what operators read, `Doors::actions` for what
//! acts. A request to the real program is checked against the description by `schemathesis` in the program's tests.
//!
//! ```text
//! Routes::new().route(
//!     Operation::get("/api/v1/components/{name}/trend", "How a component has been.")
//!         .segment::<String>("name", "The component's name.")
//!         .query::<u32>("hours", "How far to look back. Default 24.")
//!         .json::<Trend>(&[200])
//!         .error(ApiError::NotFound),
//!     trend::trend,
//! )
//! ```

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use wellkept_health::{Checker, Readiness, Status};
use wellkept_shutdown::Shutdown;
use wellkept_telemetry::events::Events;
#[cfg(feature = "grpc")]
use wellkept_telemetry::metrics::Audience;
use wellkept_telemetry::metrics::Metrics;

use crate::access::{Access, Caller};
use crate::collect::{self, Servers};
use crate::error::ApiError;
#[cfg(feature = "grpc")]
use crate::grpc::{Watches, WatchesCollector};
use crate::haproxy::AgentHandle;
use crate::server::ServerHandle;

mod acting;
mod adding;
mod aside;
mod asked;
mod asker;
mod at_once;
mod configuration;
mod control;
mod details;
mod flags;
mod formats;
pub(crate) mod groups;
mod heartbeats;
mod kubernetes;
mod large;
mod logging;
mod maintenance;
mod metrics;
mod momentary;
mod openapi;
mod page;
mod period;
mod probes;
mod room;
pub(crate) mod routes;
mod trends;

use momentary::Momentary;
use routes::{Operation, Routes};

/// What the doors show, and to whom. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Doors {
    inner: Arc<Inner>,
    access: Arc<ArcSwap<Access>>,
}

#[derive(Debug)]
struct Inner {
    checker: Checker,
    shutdown: Shutdown,
    names: Names,
    metrics: Metrics,
    servers: Servers,
    /// The pages of metrics that are being written.
    pages: metrics::Pages,
    /// The bodies that are asked for most.
    health: Momentary<Status>,
    ready: Momentary<Readiness>,
    large: large::LargeAnswers,
    groups: Arc<groups::Groups>,
    adding: adding::AddingHandle,
    configuration: configuration::ConfigurationHandle,
    logging: logging::LoggingHandle,
    flags: flags::FlagsHandle,
    events: Events,
    /// Runs of all components that are waited for.
    runs: Semaphore,
    #[cfg(feature = "grpc")]
    watches: Arc<Watches>,
}

/// How many runs of all components are waited for at the same time.
const RUNS: usize = 4;

/// The paths that probes use, and those below which there is one for each check or group.
const PROBES: [&str; 11] = [
    "/health",
    "/health.json",
    "/health/live",
    "/health/ready",
    "/health/startup",
    "/healthz",
    "/livez",
    "/metrics",
    "/ready",
    "/readyz",
    "/v1/health",
];
const PROBES_BELOW: [&str; 5] = ["/health/component/", "/health/group/", "/healthz/", "/livez/", "/readyz/"];

/// What probes answer.
const CODES: [u16; 2] = [200, 503];

/// The media type of words and lines.
const TEXT: &str = "text/plain; charset=utf-8";
/// That of our own bodies.
const JSON: &str = "application/json";

/// Whether the public may read the components' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Names and status words, nothing else.
    #[default]
    Shown,
    /// Only the service's own status.
    Hidden,
}

impl Doors {
    /// Doors on this checker and this shutdown. `metrics` may hold the application's own; Wellkept's are added to
    /// them.
    pub fn new(checker: Checker, shutdown: Shutdown, access: Access, names: Names, metrics: Metrics) -> Self {
        let servers = collect::register(&metrics, &checker, &shutdown);
        let events = Events::of(&metrics);
        let groups = Arc::new(groups::Groups::default());
        #[cfg(feature = "grpc")]
        let watches = Watches::new(checker.clone(), shutdown.clone(), Arc::clone(&groups));
        #[cfg(feature = "grpc")]
        collect::add(&metrics, "grpc", WatchesCollector(Arc::clone(&watches)), Audience::Everyone);
        let inner = Inner {
            checker,
            shutdown,
            names,
            metrics,
            servers,
            pages: metrics::Pages::new(),
            health: Momentary::new(),
            ready: Momentary::new(),
            groups,
            large: large::LargeAnswers::new(),
            adding: adding::AddingHandle::default(),
            configuration: configuration::ConfigurationHandle::default(),
            logging: logging::LoggingHandle::default(),
            flags: flags::FlagsHandle::default(),
            events,
            runs: Semaphore::new(RUNS),
            #[cfg(feature = "grpc")]
            watches,
        };
        Self { inner: Arc::new(inner), access: Arc::new(ArcSwap::from_pointee(access)) }
    }

    /// The public routes: probes and metrics. They answer GET and HEAD only, never redirect, and ask for no
    /// credentials (Kubernetes, "Configure Liveness, Readiness and Startup Probes").
    pub fn public(&self) -> Router {
        self.mount(Self::probes())
    }

    /// The public routes but `/metrics`: for an application that has a page of metrics of its own.
    pub fn public_without_metrics(&self) -> Router {
        self.mount(Self::probes_alone())
    }

    /// The public routes, those with details and those that act, without a page at `/`: for an application's own
    /// listener.
    pub fn operators(&self) -> Router {
        self.mount(Self::probes().merge(self.guarded(Self::details())).merge(self.acting(Self::actions())))
    }

    /// The public routes, those with details, those that act, the status page, and the description of them all. All but
    /// the first answer 401 to whoever is no operator; those that act also refuse what a page of another origin sends.
    pub fn admin(&self) -> Router {
        let page = Routes::new()
            .route(Operation::get("/", "The status page.").text("text/html; charset=utf-8", &[200]), page::page)
            .route(Operation::get("/status.css", "Its style.").text("text/css; charset=utf-8", &[200]), page::style);
        let read = Self::probes().merge(self.guarded(Self::details().merge(page)));
        let routes = read.merge(self.acting(Self::actions()));
        self.mount(openapi::with_description(routes, |own| self.guarded(own)))
    }

    /// The checker that they read.
    pub fn checker(&self) -> &Checker {
        &self.inner.checker
    }

    /// The same doors for other callers.
    #[must_use]
    pub fn with_access(&self, access: Access) -> Self {
        Self { inner: Arc::clone(&self.inner), access: Arc::new(ArcSwap::from_pointee(access)) }
    }

    /// The books of typed events: what these doors tell of security is counted in them.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Shows a server's connections in the metrics. To be called once for each server, while the process starts.
    pub fn show(&self, server: &Arc<ServerHandle>) {
        self.inner.servers.add(server);
    }

    /// Shows what the agent for `HAProxy` counts in the metrics. To be called once, while the process starts.
    pub fn show_agent(&self, agent: &Arc<AgentHandle>) {
        self.inner.servers.add_agent(agent);
    }

    /// Changes who may come in, from the next request on.
    pub fn set_access(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// Whether a path is one that probes use.
    pub fn is_probe(path: &str) -> bool {
        PROBES.contains(&path) || PROBES_BELOW.iter().any(|above| path.starts_with(above))
    }

    /// The books of the Watch calls on these doors.
    #[cfg(feature = "grpc")]
    pub(crate) fn watches(&self) -> &Arc<Watches> {
        &self.inner.watches
    }

    /// Whether the public may read names.
    #[cfg(feature = "grpc")]
    pub(crate) fn names(&self) -> Names {
        self.inner.names
    }

    fn caller(&self, request: &Parts) -> Caller {
        self.access.load().caller(request)
    }

    fn probes() -> Routes {
        Self::probes_alone().merge(metrics::routes())
    }

    fn probes_alone() -> Routes {
        probes::routes().merge(kubernetes::routes())
    }

    fn details() -> Routes {
        let parts = [
            trends::routes(),
            maintenance::details(),
            configuration::details(),
            logging::details(),
            metrics::json::routes(),
        ];
        parts.into_iter().fold(details::routes(), Routes::merge)
    }

    fn guarded(&self, routes: Routes) -> Routes {
        routes.for_operators(|router| router.layer(middleware::from_fn_with_state(self.clone(), operators_only)))
    }

    /// What acts: each part's routes are merged here, and stand behind [`Doors::acting`].
    fn actions() -> Routes {
        let components =
            control::routes().merge(adding::routes()).merge(heartbeats::routes()).merge(maintenance::actions());
        configuration::actions().merge(components).merge(logging::actions())
    }

    fn mount(&self, routes: Routes) -> Router {
        let mounted = routes.into_router(self);
        mounted.method_not_allowed_fallback(async || ApiError::MethodNotAllowed).fallback(async || ApiError::NotFound)
    }
}

/// Refuses a request that brings a body: nothing here takes one. Not a layer: that would cost every probe a box.
pub(super) struct NoBody;

impl<S: Sync> FromRequestParts<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let length = parts.headers.get(CONTENT_LENGTH);
        let has_body = parts.headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
        if has_body { Err(ApiError::BodyNotAllowed) } else { Ok(Self) }
    }
}

/// An answer, marked as not to be kept and not to be guessed at.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A part of the path, decoded. What can't be is not found.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segment = Path::<String>::from_request_parts(parts, state).await;
        segment.map(|Path(segment)| Self(segment)).map_err(|_| ApiError::NotFound)
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    json_of(status, JSON, value)
}

/// An answer in JSON of another media type.
fn json_of(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response {
    written_as_json(value).map_or_else(|| ApiError::Internal.into_response(), |body| answer(status, kind, body))
}

/// A body in JSON; what can't be written is logged.
fn written_as_json(value: &impl Serialize) -> Option<Vec<u8>> {
    let mut body = Vec::with_capacity(256);
    let written = serde_json::to_writer(&mut body, value);
    written
        .inspect_err(|error| tracing::error!(target: "wellkept::http", %error, "an answer can't be written"))
        .ok()?;
    Some(body)
}

async fn operators_only(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match doors.caller(&parts) {
        Caller::Operator => next.run(Request::from_parts(parts, body)).await,
        Caller::Public => {
            acting::tell_refused(&doors, &parts);
            ApiError::Unauthorized.into_response()
        }
    }
}

/// 200 when something is so, 503 when it is not.
fn so_or_503(so: bool) -> StatusCode {
    if so { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests;
