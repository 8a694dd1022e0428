//! Kubernetes' own spellings: `/livez`, `/readyz`, `/healthz`, with `?verbose` and `?exclude=`, and one check by its
//! path. Answers are text like those of the kube-apiserver (Kubernetes, "Kubernetes API health endpoints").

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::response::Response;
use wellkept_health::wire::{Seen, Sight, Subject, View};
use wellkept_health::{Life, Lifecycle, Status};

use super::asked::Asked;
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
    answered(&doors, request, Subject::Live).await
}

async fn readyz(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    answered(&doors, request, Subject::Ready).await
}

async fn healthz(State(doors): State<Doors>, _: NoBody, request: Request) -> Response {
    answered(&doors, request, Subject::Service).await
}

async fn livez_one(doors: State<Doors>, _: NoBody, name: Segment, request: Request) -> Result<Response, ApiError> {
    one(&doors, &name, request, &Subject::Live)
}

async fn readyz_one(doors: State<Doors>, _: NoBody, name: Segment, request: Request) -> Result<Response, ApiError> {
    one(&doors, &name, request, &Subject::Ready)
}

async fn healthz_one(doors: State<Doors>, _: NoBody, name: Segment, request: Request) -> Result<Response, ApiError> {
    one(&doors, &name, request, &Subject::Service)
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
async fn answered(doors: &Doors, request: Request, subject: Subject) -> Response {
    let asked = doors.asked(request);
    let query = asked.request.uri.query();
    let verbose = query.is_some_and(|query| pairs(query).any(|(key, _)| key == "verbose"));
    if !verbose && !asked.is_of_a_service() {
        return if query.is_none() { quick(doors, &subject) } else { judged(doors, &asked, &subject) };
    }
    let of_whole = subject.clone();
    let whole = move |doors: &Doors, asked: &Asked| {
        let answer = if verbose { listed(doors, asked, &of_whole) } else { judged(doors, asked, &of_whole) };
        // Origins know of no exclusion: without the header, the answer is judged by itself.
        if Exclusion::of(asked).is_nothing() { doors.tell(asked, &of_whole, answer) } else { answer }
    };
    // When too many want large answers, the word is the same.
    doors.large(&asked, whole).await.unwrap_or_else(|_| judged(doors, &asked, &subject))
}

/// The word as of now, of which a checker keeps each at hand.
pub(super) fn quick(doors: &Doors, subject: &Subject) -> Response {
    let checker = &doors.inner.checker;
    let good = match subject {
        Subject::Live => checker.is_alive(),
        Subject::Ready => checker.readiness().ready,
        _ => checker.snapshot().overall().is_ready(),
    };
    word(subject, good)
}

fn word(subject: &Subject, good: bool) -> Response {
    answer(so_or_503(good), TEXT, if good { "ok" } else { words(subject).1 })
}

/// What a query wants to be left out.
struct Exclusion<'q> {
    names: HashSet<Cow<'q, str>>,
    /// Whoever may not read names may not find them out by leaving them out either.
    is_allowed: bool,
}

impl<'q> Exclusion<'q> {
    fn of(asked: &'q Asked) -> Self {
        let named = pairs(asked.request.uri.query().unwrap_or_default()).filter(|(key, _)| key == "exclude");
        Self { names: named.map(|(_, name)| name).collect(), is_allowed: asked.sight >= Sight::Names }
    }

    fn leaves_out(&self, name: &str) -> bool {
        self.is_allowed && self.names.contains(name)
    }

    fn is_nothing(&self) -> bool {
        !self.is_allowed || self.names.is_empty()
    }
}

/// The answer in a word, with what is left out left out.
fn judged(doors: &Doors, asked: &Asked, subject: &Subject) -> Response {
    let exclusion = Exclusion::of(asked);
    word(subject, doors.view(subject, asked).is_good_without(|name| exclusion.leaves_out(name)))
}

/// The answer with a line for each check.
fn listed(doors: &Doors, asked: &Asked, subject: &Subject) -> Response {
    let (view, exclusion) = (doors.view(subject, asked), Exclusion::of(asked));
    let good = view.is_good_without(|name| exclusion.leaves_out(name));
    let mut text = own_lines(doors, &view);
    let mut unknown: HashSet<&str> = exclusion.names.iter().map(AsRef::as_ref).collect();
    // Writing to a String can't fail.
    for seen in view.components() {
        let name = &*seen.component.name;
        let _ = if exclusion.leaves_out(name) {
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
    answer(so_or_503(good), TEXT, text)
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
fn one(doors: &Doors, Segment(name): &Segment, request: Request, subject: &Subject) -> Result<Response, ApiError> {
    let view = doors.view(subject, &doors.asked(request));
    let seen = view.component(name).ok_or(ApiError::NotFound)?;
    // Maintenance is no reason for a restart.
    let tolerated = *view.subject() == Subject::Live && seen.standing.status == Status::Maintenance;
    let good = seen.standing.status.is_ready() || tolerated;
    let text = if good { "ok".to_owned() } else { failure(&seen, view.has_details()) };
    Ok(answer(so_or_503(good), TEXT, text))
}
