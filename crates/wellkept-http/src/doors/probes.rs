//! What probes and people without credentials read: status words, the service's name and version, component names.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use wellkept_health::Group;
use wellkept_health::wire::health_json::{HealthJson, MEDIA_TYPE};
use wellkept_health::wire::{self, Subject, View};

use super::asked::Asked;
use super::formats::{self, Format};
use super::routes::{Operation, Routes};
use super::{CODES, Doors, NoBody, Segment, json, so_or_503};
use crate::error::ApiError;

pub(super) fn routes() -> Routes {
    let detailed = |operation: Operation| {
        operation.query::<String>("detailed", "`true`: with the readings, for operators. From others it is ignored.")
    };
    let ready = |path| {
        let operation = Operation::get(path, "Whether traffic may come: 503 while starting, draining, or not well.");
        formats::of_probe(detailed(operation).json::<wire::Ready>(&CODES))
    };
    let health = Operation::get("/health", "The service as a whole: 200 when healthy or degraded.");
    let health = formats::of_others(health.json::<wire::Health<'_>>(&CODES));
    let live = Operation::get("/health/live", "Whether this process lives; looks at no dependency.");
    let startup = Operation::get("/health/startup", "Whether the start is complete.");
    let group = Operation::get("/health/group/{group}", "What the components of a group add up to.")
        .segment::<String>("group", "`live`, `ready`, `startup`, or a name of the user's.")
        .json::<wire::Grouped>(&CODES)
        .error(ApiError::NotFound);
    let one = Operation::get("/health/component/{name}", "One component.")
        .segment::<String>("name", "The component's name.")
        .json::<wire::One>(&CODES)
        .error(ApiError::NotFound);
    Routes::new()
        .route(health, get_health)
        .route(formats::of_probe(live.json::<wire::Live>(&CODES)), get_live)
        .route(ready("/health/ready"), get_ready)
        .route(ready("/ready"), get_ready)
        .route(formats::of_probe(startup.json::<wire::Startup>(&CODES)), get_startup)
        .route(formats::of_others(detailed(group)), self::group)
        .route(detailed(one), self::component)
        .route(
            Operation::get("/health.json", "The service as a whole, as draft-inadarei-api-health-check-06 has it.")
                .answers::<HealthJson>(MEDIA_TYPE, &CODES),
            health_json,
        )
        .route(
            Operation::get("/v1/health", "The service as a whole, for those who have read it there before.")
                .json::<wire::V1>(&CODES),
            v1,
        )
}

/// `GET /health`: the service as a whole. 200 when healthy or degraded, 503 otherwise.
async fn get_health(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    doors.brief(request, Subject::Service, health).await
}

/// `GET /health/live`: this process only. 200 while it lives, also while it drains.
async fn get_live(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    doors.brief(request, Subject::Live, live).await
}

/// `GET /health/startup`: 503 until the start is complete, 200 from then on.
async fn get_startup(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    doors.brief(request, Subject::Startup, startup).await
}

/// `GET /health/ready` and `GET /ready`: whether traffic may come. `?detailed=true` adds the components for
/// operators; from others it is ignored, and the status code is the same.
async fn get_ready(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    let asked = doors.asked(request);
    if asked.is_plain() && doors.has_few_components() {
        return formats::varying(ready(&doors));
    }
    doors
        .full(asked, Subject::Ready, |view| {
            let ready = wire::Ready::of_view(view);
            json(so_or_503(ready.ready), &ready)
        })
        .await
}

/// `GET /health/group/{group}`: as readiness, for the components of one group. 404 when no component is in it.
async fn group(State(doors): State<Doors>, _: NoBody, Segment(group): Segment, request: Request) -> Response {
    let Some(subject) = doors.subject_of_group(&group) else {
        return ApiError::NotFound.into_response();
    };
    doors
        .full(doors.asked(request), subject, |view| {
            let readiness = wire::Ready::of_view(view);
            json(so_or_503(readiness.ready), &wire::Grouped { group, readiness })
        })
        .await
}

/// `GET /health/component/{name}`: one component by itself. 404 also where names are hidden.
async fn component(
    State(doors): State<Doors>,
    _: NoBody,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = doors.asked(request);
    let view = doors.native_view(&Subject::Service, &asked);
    let seen = view.component(&name).ok_or(ApiError::NotFound)?;
    let answer = json(so_or_503(seen.standing.status.is_ready()), &wire::One::of(&view, &seen));
    Ok(doors.tell_of_component(&asked, &name, answer))
}

/// `GET /health.json`: `application/health+json` for whoever can't say so by `Accept`.
async fn health_json(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    doors.always(request, Format::HealthJson).await
}

/// `GET /v1/health`: readings for operators; others see names and statuses, and the rest of the shape empty.
async fn v1(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    doors.always(request, Format::V1).await
}

/// The body of `/health`.
pub(super) fn health(doors: &Doors) -> Response {
    let checker = &doors.inner.checker;
    doors.inner.health.answer(checker, checker.status(), || {
        let health = wire::Health::of(checker);
        (so_or_503(health.status.is_ready()), health)
    })
}

/// The body of `/health/live`.
pub(super) fn live(doors: &Doors) -> Response {
    let live = wire::Live::of(&doors.inner.checker);
    json(so_or_503(live.alive), &live)
}

/// The body of `/health/startup`.
pub(super) fn startup(doors: &Doors) -> Response {
    let started = doors.inner.checker.is_started();
    json(so_or_503(started), &wire::Startup { started })
}

/// The body of `/health/ready` without details, for those who may read names.
pub(super) fn ready(doors: &Doors) -> Response {
    let checker = &doors.inner.checker;
    doors.inner.ready.answer(checker, checker.readiness(), || {
        let ready = wire::Ready::of(checker, false);
        (so_or_503(ready.ready), ready)
    })
}

impl Doors {
    /// A subject's answer whose own format lists no component: as it is asked for most, it is written on the spot.
    async fn brief(&self, request: Request, subject: Subject, native: fn(&Self) -> Response) -> Response {
        let asked = self.asked(request);
        let is_brief = !asked.is_of_a_service() && asked.format() == Ok(Format::Native);
        let write = move |doors: &Self, asked: &Asked, subject: &Subject| {
            let view = || doors.view(subject, asked);
            formats::negotiated(asked, subject, view, || native(doors))
        };
        if is_brief { write(self, &asked, &subject) } else { self.on_subject(asked, subject, write).await }
    }

    /// A subject's answer whose own format lists its components.
    async fn full(
        &self,
        asked: Asked,
        subject: Subject,
        native: impl FnOnce(&View<'_>) -> Response + Clone + Send + 'static,
    ) -> Response {
        let write = |doors: &Self, asked: &Asked, subject: &Subject| {
            let native = || native(&doors.native_view(subject, asked));
            formats::negotiated(asked, subject, || doors.view(subject, asked), native)
        };
        self.on_subject(asked, subject, write).await
    }

    /// The service as a whole in one format, whatever is asked for.
    async fn always(&self, request: Request, format: Format) -> Response {
        let write = move |doors: &Self, asked: &Asked, subject: &Subject| {
            formats::written(asked, &doors.view(subject, asked), format)
        };
        self.on_subject(self.asked(request), Subject::Service, write).await
    }

    /// What a group's name stands for; `None` when no component is in it.
    fn subject_of_group(&self, name: &str) -> Option<Subject> {
        let checker = &self.inner.checker;
        match Group::from(name) {
            named @ Group::Named(_) => {
                let known = self.inner.groups.recent(checker).groups.contains_key(name);
                known.then_some(Subject::Named(named))
            }
            _ => Subject::of_group(checker, name),
        }
    }
}
