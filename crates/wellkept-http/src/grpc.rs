//! The gRPC door: `grpc.health.v1.Health` with Check, List and Watch, and nothing else.
//!
//! What it says is what the probes say, in gRPC's words. It speaks HTTP/2 by prior knowledge; TLS and credentials it
//! knows none of, as Kubernetes' gRPC probes know none.

mod call;
mod messages;
mod services;
#[cfg(test)]
mod tests;
mod watches;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::{Method, StatusCode, Version};
use http_body_util::StreamBody;

use crate::doors::{Doors, Names};
use crate::error::ApiError;
use call::{Code, Deadline, Failure};
use messages::{CheckRequest, CheckResponse, ListRequest, ListResponse};
use services::OWN;
use watches::Watching;
pub(crate) use watches::{Watches, WatchesCollector};

/// How many names a List answers with; beyond it clients are told to ask for each (as grpc-go does).
const MAX_LISTED: usize = 100;

impl Doors {
    /// How many Watch calls may be open at once unless told otherwise.
    pub const MAX_WATCHES: usize = 1_000;

    /// `grpc.health.v1.Health`, for a [`Server`](crate::Server) of its own.
    ///
    /// | service asked for | SERVING when | while draining or in maintenance |
    /// |---|---|---|
    /// | `""`, `readiness` | traffic may come, as `/readyz` says | `NOT_SERVING` |
    /// | `liveness` | the process lives, as `/livez` says | stays as it is |
    /// | `startup` | the start was complete once | stays as it is |
    /// | a group of the user's | its components add up to healthy or degraded | `NOT_SERVING` |
    ///
    /// Names are compared whole, without wildcards. Check answers an unknown one with `NOT_FOUND`; Watch says
    /// `SERVICE_UNKNOWN` and stays open for when the group comes. A watcher hears its status at once and then each
    /// change; one that reads slowly hears the latest only. At most `max_watches` may watch at once, more are told
    /// `RESOURCE_EXHAUSTED`; keep it below the server's limit of connections, so that watchers never keep a probe out.
    /// Watch calls end with `UNAVAILABLE` when the resources close. With [`Names::Hidden`] List leaves out the user's
    /// groups; who knows a group's name may still ask for it, as a probe must.
    ///
    /// `grpc-timeout` is kept. Messages are at most 1 KiB, uncompressed. There is neither TLS nor a token here, for
    /// Kubernetes' gRPC probes know neither: what is shown are names and status words. (The protocol: `health.proto` of
    /// gRPC and "GRPC Health Checking Protocol"; the probes: Kubernetes, "Configure Liveness, Readiness and Startup
    /// Probes".)
    pub fn grpc(&self, max_watches: usize) -> Router {
        self.watches().limit_to(max_watches);
        Router::new().fallback(answer).with_state(self.clone())
    }
}

async fn answer(State(doors): State<Doors>, request: Request) -> Response {
    if request.version() < Version::HTTP_2 {
        // Its answers end in trailers, for which HTTP/1 has no reliable place.
        return StatusCode::HTTP_VERSION_NOT_SUPPORTED.into_response();
    }
    if request.method() != Method::POST {
        return ApiError::MethodNotAllowed.into_response();
    }
    if !call::is_grpc(request.headers()) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    dispatch(&doors, request).await.unwrap_or_else(Failure::into_response)
}

async fn dispatch(doors: &Doors, request: Request) -> Result<Response, Failure> {
    let deadline = Deadline::of(request.headers())?;
    match request.uri().path() {
        "/grpc.health.v1.Health/Check" => {
            let CheckRequest { service } = call::message(request, deadline).await?;
            let unknown = Failure::new(Code::NotFound, "unknown service");
            let serving = doors.watches().serving(&service).ok_or(unknown)?;
            Ok(call::answer(&CheckResponse::from(serving)))
        }
        "/grpc.health.v1.Health/List" => {
            let ListRequest {} = call::message(request, deadline).await?;
            Ok(call::answer(&list(doors)?))
        }
        "/grpc.health.v1.Health/Watch" => {
            let CheckRequest { service } = call::message(request, deadline).await?;
            let watching = Watching::begin(doors.watches(), service, deadline)?;
            let frames = stream::unfold(watching, |watching| async move {
                let (frame, watching) = watching.next().await?;
                Some((Ok::<_, Infallible>(frame), watching))
            });
            Ok(call::stream(Body::new(StreamBody::new(frames))))
        }
        _ => Err(Failure::new(Code::Unimplemented, "there is only grpc.health.v1.Health: Check, List, Watch")),
    }
}

fn list(doors: &Doors) -> Result<ListResponse, Failure> {
    let mut table = doors.watches().table();
    if doors.names() == Names::Hidden {
        table.groups.clear();
    }
    if table.groups.len() + OWN.len() > MAX_LISTED {
        return Err(Failure::new(Code::ResourceExhausted, "there are more than 100 services: check each by its name"));
    }
    Ok(ListResponse { statuses: table.all().map(|(name, serving)| (name.to_owned(), serving.into())).collect() })
}
