//! What probes and people without credentials read: status words, the service's name and version, component names.

use axum::extract::{Request, State};
use axum::response::Response;
use wellkept_health::wire;

use super::routes::{Operation, Routes};
use super::{Doors, Names, NoBody, answer, json, so_or_503};
use crate::access::Caller;

pub(super) fn routes() -> Routes {
    let ready = |path| {
        Operation::get(path, "Whether traffic may come: 503 while starting, draining, or not well.")
            .query::<String>("detailed", "`true`: with all components' readings, for operators.")
            .json::<wire::Ready>(&[200, 503])
    };
    let word = |path, summary| Operation::get(path, summary).text(TEXT, &[200, 503]);
    Routes::new()
        .route(
            Operation::get("/health", "The service as a whole: 200 when healthy or degraded.")
                .json::<wire::Health<'_>>(&[200, 503]),
            health,
        )
        .route(
            Operation::get("/health/live", "Whether this process lives; looks at no dependency.")
                .json::<wire::Live>(&[200, 503]),
            live,
        )
        .route(ready("/health/ready"), self::ready)
        .route(ready("/ready"), self::ready)
        .route(
            Operation::get("/health/startup", "Whether the start is complete.").json::<wire::Startup>(&[200, 503]),
            startup,
        )
        .route(word("/livez", "Whether this process lives, in a word."), livez)
        .route(word("/readyz", "Whether traffic may come, in a word."), readyz)
}

/// The media type of a word.
const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /health`: the service as a whole. 200 when healthy or degraded, 503 otherwise.
pub(super) async fn health(State(doors): State<Doors>, _: NoBody) -> Response {
    let health = wire::Health::of(&doors.inner.checker);
    json(so_or_503(health.status.is_ready()), &health)
}

/// `GET /health/live`: this process only. 200 while it lives, also while it drains.
pub(super) async fn live(State(doors): State<Doors>, _: NoBody) -> Response {
    let live = wire::Live::of(&doors.inner.checker);
    json(so_or_503(live.alive), &live)
}

/// `GET /health/ready` and `GET /ready`: whether traffic may come. `?detailed=true` adds the components for
/// operators; from others it is ignored, and the status code is the same.
pub(super) async fn ready(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let asked = parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "detailed=true"));
    let operator = doors.caller(&parts) == Caller::Operator;
    let mut ready = wire::Ready::of(&doors.inner.checker, asked && operator);
    if doors.inner.names == Names::Hidden && !operator {
        ready.dependencies.clear();
    }
    json(so_or_503(ready.ready), &ready)
}

/// `GET /health/startup`: 503 until the start is complete, 200 from then on.
pub(super) async fn startup(State(doors): State<Doors>, _: NoBody) -> Response {
    let started = doors.inner.checker.is_started();
    json(so_or_503(started), &wire::Startup { started })
}

/// `GET /livez`: as `/health/live`, in a word.
pub(super) async fn livez(State(doors): State<Doors>, _: NoBody) -> Response {
    word(doors.inner.checker.is_alive(), "ok", "not alive")
}

/// `GET /readyz`: as `/health/ready`, in a word.
pub(super) async fn readyz(State(doors): State<Doors>, _: NoBody) -> Response {
    word(doors.inner.checker.readiness().ready, "ok", "not ready")
}

fn word(so: bool, yes: &'static str, no: &'static str) -> Response {
    answer(so_or_503(so), TEXT, if so { yes } else { no })
}
