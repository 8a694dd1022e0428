//! What probes and people without credentials read: status words, the service's name and version, component names.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use wellkept_health::wire;

use super::{Doors, Names, so_or_503};
use crate::access::Caller;

/// `GET /health`: the service as a whole. 200 when healthy or degraded, 503 otherwise.
pub(super) async fn health(State(doors): State<Doors>) -> Response {
    let health = wire::Health::of(&doors.inner.checker);
    (so_or_503(health.status.is_ready()), Json(health)).into_response()
}

/// `GET /health/live`: this process only. 200 while it lives, also while it drains.
pub(super) async fn live(State(doors): State<Doors>) -> Response {
    let live = wire::Live::of(&doors.inner.checker);
    (so_or_503(live.alive), Json(live)).into_response()
}

/// `GET /health/ready` and `GET /ready`: whether traffic may come. `?detailed=true` adds the components for
/// operators; from others it is ignored, and the status code is the same.
pub(super) async fn ready(State(doors): State<Doors>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asked = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "detailed=true"));
    let operator = doors.caller(&parts) == Caller::Operator;
    let mut ready = wire::Ready::of(&doors.inner.checker, asked && operator);
    if doors.inner.names == Names::Hidden && !operator {
        ready.dependencies.clear();
    }
    (so_or_503(ready.ready), Json(ready)).into_response()
}

/// `GET /health/startup`: 503 until the start is complete, 200 from then on.
pub(super) async fn startup(State(doors): State<Doors>) -> Response {
    let started = doors.inner.checker.is_started();
    (so_or_503(started), Json(wire::Startup { started })).into_response()
}

/// `GET /livez`: as `/health/live`, in a word.
pub(super) async fn livez(State(doors): State<Doors>) -> Response {
    word(doors.inner.checker.is_alive(), "ok", "not alive")
}

/// `GET /readyz`: as `/health/ready`, in a word.
pub(super) async fn readyz(State(doors): State<Doors>) -> Response {
    word(doors.inner.checker.readiness().ready, "ok", "not ready")
}

fn word(so: bool, yes: &'static str, no: &'static str) -> Response {
    (so_or_503(so), if so { yes } else { no }).into_response()
}
