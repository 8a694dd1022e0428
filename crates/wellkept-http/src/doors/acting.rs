//! The layer for everything that acts: operators only, no page of another origin, a small body of JSON, and one line
//! in the log for each action.

use std::fmt;
use std::time::Duration;

use axum::extract::{FromRequest, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wellkept_telemetry::events::{AUDIT_TARGET, SecurityEvent};

use super::Doors;
use super::routes::Routes;
use crate::access::{Credential, host};
use crate::error::{ApiError, Refusal};
use crate::server::{Arrival, Peer};

/// Longest body taken, in bytes.
pub(super) const MAX_BODY: usize = 16 * 1024;
/// How long a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(5);

impl Doors {
    /// Puts routes that act behind what they need: the caller is an operator (401 otherwise), and the request is none
    /// that a browser sends for a page of another origin (403 otherwise; Fetch, "`Origin` header"). Each request that
    /// passes is one event in the log, and bears an [`Actor`] as an extension.
    ///
    /// A handler takes its body as [`Input`], or refuses one by [`super::NoBody`].
    pub(super) fn acting(&self, routes: Routes) -> Routes {
        let guarded = routes.for_operators(|router| router.layer(middleware::from_fn_with_state(self.clone(), act)));
        guarded.each(|operation| operation.error(ApiError::ForeignOrigin))
    }
}

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Actor {
    pub(super) credential: Credential,
    /// Unknown only where no server of ours took the connection.
    pub(super) peer: Option<Peer>,
}

impl Actor {
    /// What security events call it.
    pub(super) fn user(&self) -> &'static str {
        self.credential.as_str()
    }

    /// Logs and counts a security event of what it does.
    pub(super) fn tell(&self, doors: &Doors, event: SecurityEvent<'_>) {
        tell(doors, self.peer, None, event);
    }
}

/// Logs and counts that a token was refused. Who bears none has not tried one.
pub(super) fn tell_refused(doors: &Doors, request: &Parts) {
    if request.headers.contains_key(AUTHORIZATION) {
        let peer = request.extensions.get::<Arrival>().map(|arrival| arrival.peer);
        tell(doors, peer, Some(request), SecurityEvent::AuthnLoginFail { user: "" });
    }
}

fn tell(doors: &Doors, peer: Option<Peer>, request: Option<&Parts>, event: SecurityEvent<'_>) {
    let shown = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let mut record = doors.events().security(event);
    record = match peer.and_then(Peer::tcp) {
        Some(address) => record.source_ip(address.ip()),
        None => record.peer(&shown),
    };
    if let Some(request) = request {
        record = record.request(request.method.as_str(), request.uri.path());
    }
    record.log();
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(formatter, "{} from {peer}", self.credential.as_str()),
            None => formatter.write_str(self.credential.as_str()),
        }
    }
}

async fn act(State(doors): State<Doors>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(credential) = doors.access.load().credential(&parts) else {
        tell_refused(&doors, &parts);
        return ApiError::Unauthorized.into_response();
    };
    let actor = Actor { credential, peer: parts.extensions.get::<Arrival>().map(|arrival| arrival.peer) };
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    if !is_of_this_origin(&parts) {
        let origin = parts.headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()));
        let referer = origin.as_deref().unwrap_or_default();
        tell(&doors, actor.peer, Some(&parts), SecurityEvent::MaliciousCors { user: actor.user(), referer });
        return ApiError::ForeignOrigin.into_response();
    }
    parts.extensions.insert(actor);
    let response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status().as_u16();
    tracing::info!(target: AUDIT_TARGET, by = %actor, %method, path, status, "acted");
    response
}

/// Whether no browser says that a page of another origin is behind the request. Programs send neither header.
fn is_of_this_origin(request: &Parts) -> bool {
    let mut sites = request.headers.get_all("sec-fetch-site").iter();
    let mut origins = request.headers.get_all(ORIGIN).iter();
    let site_fits = sites.all(|site| site == "same-origin" || site == "none");
    let origin_fits = match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => {
            origin.to_str().is_ok_and(|origin| host(request).is_some_and(|host| names(origin, host)))
        }
        (Some(_), Some(_)) => false,
    };
    site_fits && origin_fits
}

/// Whether an origin is that of a host: the same name and port. The scheme is not compared, for TLS may end in front.
fn names(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    match (parse(authority), parse(host)) {
        (Some(origin), Some(host)) => {
            origin.host().eq_ignore_ascii_case(host.host())
                && origin.port_u16().unwrap_or(usual) == host.port_u16().unwrap_or(usual)
        }
        _ => false,
    }
}

/// A name or address with at most a port.
fn parse(authority: &str) -> Option<Authority> {
    let parsed = authority.parse::<Authority>().ok()?;
    let port = parsed.as_str().get(parsed.host().len()..)?;
    let is_plain = port.is_empty() || (port.starts_with(':') && parsed.port_u16().is_some());
    is_plain.then_some(parsed)
}

/// A body of JSON, at most 16 KiB that come within 5 s. Without a body it is read as `{}`, so that a type whose
/// fields are all optional needs none.
///
/// The type must refuse unknown fields (`#[serde(deny_unknown_fields)]`), or a typing error does something else than
/// was meant and says nothing. Errors: 415 without `Content-Type: application/json`, 413 when it is longer, 408 when
/// it comes too slowly, 400 with the place when it can't be read.
#[derive(Debug)]
pub(super) struct Input<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = match tokio::time::timeout(BODY_WAIT, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(ApiError::BodyTooLong.into()),
            Ok(Err(_)) => return Err(unreadable(&"it ended early")),
            Err(_) => return Err(ApiError::BodyTimeout.into()),
        };
        if bytes.is_empty() {
            return read(b"{}");
        }
        if !is_json(&parts) {
            return Err(ApiError::ContentType.into());
        }
        read(&bytes)
    }
}

/// The body of what takes no settings: none, or `{}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Input<T>, Refusal> {
    // A derived type would take a list as well, by position, where a mistake has no name.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(unreadable(&"expected an object"));
    }
    serde_json::from_slice(bytes).map(Input).map_err(|error| unreadable(&error))
}

fn unreadable(why: &impl ToString) -> Refusal {
    let why: String = why.to_string().chars().take(200).collect();
    Refusal::new(StatusCode::BAD_REQUEST, "http.bad_body", format!("the body can't be read: {why}"))
}

fn is_json(request: &Parts) -> bool {
    let written = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = written.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests;
