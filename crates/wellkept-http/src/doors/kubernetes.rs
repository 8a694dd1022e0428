//! Kubernetes' own spellings: `/livez`, `/readyz`, `/healthz`, with `?verbose` and `?exclude=`, and one check by its
//! path. Answers are text like those of the kube-apiserver (Kubernetes, "Kubernetes API health endpoints").

use std::collections::HashSet;
use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use wellkept_health::wire::{Seen, Sight, Subject, View};
use wellkept_health::{Checker, Life, Lifecycle, Origins, Status};

use super::formats::pairs;
use super::routes::{Operation, Routes};
use super::{CODES, Doors, NoBody, Segment, TEXT, answer, so_or_503};
use crate::error::ApiError;

/// How many exclusions that name nothing are told.
const WARNINGS: usize = 10;

pub(super) fn routes() -> Routes {
    let probe = |path, summary| {
        Operation::get(path, summary)
            .query::<String>("verbose", "With one line for each check.")
            .query::<String>("exclude", "A check to be left out. May be given more than once.")
            .text(TEXT, &CODES)
    };
    let one = |path, summary| {
        Operation::get(path, summary)
            .segment::<String>("name", "The check's name.")
            .text(TEXT, &CODES)
            .error(ApiError::NotFound)
    };
    Routes::new()
        .route(probe("/livez", "Whether this process lives, in a word."), livez)
        .route(probe("/readyz", "Whether traffic may come, in a word."), readyz)
        .route(probe("/healthz", "The service as a whole, in a word."), healthz)
        .route(one("/livez/{name}", "One check that liveness sees."), livez_one)
        .route(one("/readyz/{name}", "One check that readiness sees."), readyz_one)
        .route(one("/healthz/{name}", "One check."), healthz_one)
}

async fn livez(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    answered(&doors, request, Subject::Live, Checker::is_alive).await
}

async fn readyz(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    answered(&doors, request, Subject::Ready, |checker| checker.readiness().ready).await
}

async fn healthz(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    answered(&doors, request, Subject::Service, |checker| checker.snapshot().overall().is_ready()).await
}

async fn livez_one(doors: State<Doors>, _: NoBody, name: Segment, request: Request) -> Result<Response, ApiError> {
    one(&doors, &name, request, Subject::Live)
}

async fn readyz_one(doors: State<Doors>, _: NoBody, name: Segment, request: Request) -> Result<Response, ApiError> {
    one(&doors, &name, request, Subject::Ready)
}

async fn healthz_one(doors: State<Doors>, _: NoBody, name: Segment, request: Request) -> Result<Response, ApiError> {
    one(&doors, &name, request, Subject::Service)
}

/// The path's name, and what it says when the probe fails.
fn words(subject: &Subject) -> (&'static str, &'static str) {
    match subject {
        Subject::Live => ("livez", "not alive"),
        Subject::Ready => ("readyz", "not ready"),
        _ => ("healthz", "not healthy"),
    }
}

/// The probe's answer. Without a query, which is how probes ask, it costs no more than reading a word.
async fn answered(doors: &Doors, request: Request, subject: Subject, quick: fn(&Checker) -> bool) -> Response {
    let (parts, _) = request.into_parts();
    if parts.uri.query().is_none() && !parts.headers.contains_key(Origins::ASKER) {
        return word(&subject, quick(&doors.inner.checker));
    }
    doors.on_subject(parts, subject, queried).await
}

fn word(subject: &Subject, good: bool) -> Response {
    answer(so_or_503(good), TEXT, if good { "ok" } else { words(subject).1 })
}

/// The answer to a query, or to another service.
fn queried(doors: &Doors, parts: &Parts, subject: &Subject) -> Response {
    let query = parts.uri.query().unwrap_or_default();
    let verbose = pairs(query).any(|(key, _)| key == "verbose");
    let excluded: HashSet<_> = pairs(query).filter(|(key, _)| key == "exclude").map(|(_, name)| name).collect();
    let view = doors.view(subject.clone(), parts);
    // Whoever may not read names may not find them out by leaving them out either.
    let may_exclude = doors.sight(parts) >= Sight::Names;
    let is_excluded = |name: &str| may_exclude && excluded.contains(name);
    let good = view.is_good_without(is_excluded);
    // Origins know of no exclusion: without the header, the answer is judged by itself.
    let leaves_out = may_exclude && !excluded.is_empty();
    let told = |response| if leaves_out { response } else { doors.tell(parts, subject, response) };
    if !verbose {
        return told(word(subject, good));
    }
    let mut text = own_lines(doors, &view);
    let mut unknown: HashSet<&str> = excluded.iter().map(AsRef::as_ref).collect();
    // Writing to a String can't fail.
    for seen in view.components() {
        let name = &*seen.component.name;
        let _ = if is_excluded(name) {
            unknown.remove(name);
            writeln!(text, "[+]{name} excluded: ok")
        } else {
            writeln!(text, "{}", line(&seen, view.has_details()))
        };
    }
    let mut unknown: Vec<_> = unknown.into_iter().collect();
    unknown.sort_unstable();
    for name in unknown.into_iter().take(WARNINGS) {
        let name: String = name.chars().take(128).collect();
        let _ = writeln!(text, "warn: nothing is excluded by \"{}\"", name.escape_debug());
    }
    let _ = writeln!(text, "{} check {}", words(subject).0, if good { "passed" } else { "failed" });
    told(answer(so_or_503(good), TEXT, text))
}

/// What the probe looks at besides the components.
fn own_lines(doors: &Doors, view: &View<'_>) -> String {
    let checker = &doors.inner.checker;
    let lifecycle = checker.lifecycle();
    let mut text = match view.subject() {
        Subject::Live => match checker.life() {
            Life::Alive | Life::Failing => "[+]runtime ok\n[+]heartbeats ok\n".to_owned(),
            Life::Late { heartbeat, .. } if view.has_details() => {
                format!("[+]runtime ok\n[-]heartbeats failed: {heartbeat} is late\n")
            }
            Life::Late { .. } => "[+]runtime ok\n[-]heartbeats failed: reason withheld\n".to_owned(),
            _ => "[-]runtime failed: stalled\n".to_owned(),
        },
        Subject::Ready => {
            let startup = if checker.is_started() { "[+]startup ok" } else { "[-]startup failed: not complete" };
            let shutdown = lifecycle == Lifecycle::Draining;
            let shutdown = if shutdown { "[-]shutdown failed: draining" } else { "[+]shutdown ok" };
            format!("{startup}\n{shutdown}\n")
        }
        _ => String::new(),
    };
    if !view.is_good() && view.status() == Status::Maintenance {
        text.push_str("[-]service failed: maintenance\n");
    }
    text
}

fn line(seen: &Seen<'_>, details: bool) -> String {
    let name = &seen.component.name;
    match seen.counts {
        None => format!("[+]{name} left out: {}", seen.standing.status),
        Some(Status::Healthy) => format!("[+]{name} ok"),
        Some(Status::Degraded) => format!("[+]{name} ok: counts as degraded"),
        Some(_) => format!("[-]{name} {}", failure(seen, details)),
    }
}

/// Why a check fails, for those who may know.
fn failure(seen: &Seen<'_>, details: bool) -> String {
    let reason = seen.standing.reason.as_ref().filter(|_| details);
    match reason {
        Some(reason) => format!("failed: {reason}: {}", seen.standing.message),
        None => "failed: reason withheld".to_owned(),
    }
}

/// One check, by itself: not what it counts for the others.
fn one(doors: &Doors, Segment(name): &Segment, request: Request, subject: Subject) -> Result<Response, ApiError> {
    let (parts, _) = request.into_parts();
    let view = doors.view(subject, &parts);
    let seen = view.component(name).ok_or(ApiError::NotFound)?;
    // Maintenance is no reason for a restart.
    let tolerated = *view.subject() == Subject::Live && seen.standing.status == Status::Maintenance;
    let good = seen.standing.status.is_ready() || tolerated;
    let text = if good { "ok".to_owned() } else { failure(&seen, view.has_details()) };
    Ok(answer(so_or_503(good), TEXT, text))
}
