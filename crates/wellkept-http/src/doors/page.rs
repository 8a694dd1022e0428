//! `GET /` of the admin door: a plain status page. No script, nothing from elsewhere; it renews itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};
use maud::{DOCTYPE, Markup, html};
use wellkept_health::trend::Brief;
use wellkept_health::{Checker, ComponentHealth, Criticality, Lifecycle, Part, Snapshot, Status, StatusChange, wire};

use super::aside::aside;
use super::{Doors, NoBody, answer};
use crate::error::ApiError;

/// How many of the latest changes are shown.
const CHANGES: usize = 15;
/// How long the page waits for the history.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many components are shown; a larger service has the JSON.
const COMPONENTS: usize = 500;

type Briefs = BTreeMap<Arc<str>, Brief>;

const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn page(State(doors): State<Doors>, _: NoBody) -> Response {
    let checker = doors.inner.checker.clone();
    // To read the history may take a while, and so may many components: not on the thread that answers probes.
    let page = aside(move || {
        let history = checker.history();
        let changes = history.as_ref().and_then(|history| history.changes(None, CHANGES, PATIENCE)).unwrap_or_default();
        let briefs = history.map(|history| history.briefs()).unwrap_or_default();
        render(&checker, &changes, &briefs).into_string()
    });
    let Ok(page) = page.await else { return ApiError::Internal.into_response() };
    let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", page);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

pub(super) async fn style(_: NoBody) -> Response {
    answer(StatusCode::OK, "text/css; charset=utf-8", include_str!("page/status.css"))
}

fn render(checker: &Checker, changes: &[StatusChange], briefs: &Briefs) -> Markup {
    let snapshot = checker.snapshot();
    let overall = snapshot.overall();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content="5";
                title { (overall) " · " (checker.service()) }
                link rel="stylesheet" href="/status.css";
            }
            body {
                header {
                    h1 { (checker.service()) @if !checker.version().is_empty() { " " small { (checker.version()) } } }
                    p.overall { (badge(overall)) " " (sentence(checker, &snapshot)) }
                }
                main {
                    @if let Some(what) = snapshot.maintenance() {
                        p.overall { "The service is in maintenance " (wire::Maintenance::of(what, what.since).sentence()) }
                    }
                    (components(&snapshot, briefs))
                    (history(changes))
                }
                footer {
                    p {
                        "Up " (wire::hours(checker.uptime())) ". As of "
                        time { (wire::rfc3339(checker.clock().wall())) } ", renewed every 5 s. "
                        a href="/health/detailed" { "JSON" } " · " a href="/metrics" { "Metrics" }
                    }
                }
            }
        }
    }
}

/// What the status means, in words: colour alone says nothing to some.
fn sentence(checker: &Checker, snapshot: &Snapshot) -> String {
    let readiness = checker.readiness();
    let traffic = match readiness.lifecycle {
        Lifecycle::Starting => "still starting, takes no traffic yet",
        Lifecycle::Draining => "on its way out, takes no new traffic",
        Lifecycle::Running if readiness.ready => "takes traffic",
        Lifecycle::Running => "takes no traffic",
    };
    let not_healthy = snapshot.components().filter(|one| snapshot.standing(one).status != Status::Healthy).count();
    let total = snapshot.components().len();
    format!("{} of {total} components healthy; {traffic}", total - not_healthy)
}

fn components(snapshot: &Snapshot, briefs: &Briefs) -> Markup {
    let mut listed: Vec<_> = snapshot.components().collect();
    listed.sort_by_key(|one| match snapshot.standing(one).status {
        Status::Unhealthy => 0,
        Status::Unknown => 1,
        Status::Degraded => 2,
        Status::Maintenance => 3,
        Status::Healthy => 4,
    });
    let hidden = listed.len().saturating_sub(COMPONENTS);
    html! {
        section aria-labelledby="components" {
            h2 #components { "Components" }
            @if listed.is_empty() {
                p { "None is registered." }
            } @else {
                table {
                    thead { tr {
                        th scope="col" { "Component" } th scope="col" { "Status" } th scope="col" { "For" }
                        th scope="col" { "Took" } th scope="col" { "What it found" }
                    } }
                    tbody { @for one in listed.into_iter().take(COMPONENTS) { (row(snapshot, one, briefs.get(&one.name))) } }
                }
            }
            @if hidden > 0 { p { "And " (hidden) " more: see the JSON." } }
        }
    }
}

fn row(snapshot: &Snapshot, component: &ComponentHealth, brief: Option<&Brief>) -> Markup {
    let standing = snapshot.standing(component);
    let reason = standing.reason.as_ref().map(ToString::to_string);
    html! {
        tr {
            th scope="row" {
                (component.name)
                @if component.criticality == Criticality::Optional { " " small { "optional" } }
            }
            td data-label="Status" { (badge(standing.status)) }
            td data-label="For" { (lasting(snapshot.lasting(component))) }
            td data-label="Took" { @if let Some(time) = component.response_time { (wire::short_time(time)) } }
            td data-label="Found" {
                @if let Some(reason) = reason { code { (reason) } " " }
                (standing.message)
                @if let Some(what) = snapshot.maintenance_of(component) { " " (wire::Maintenance::of(what, what.since).sentence()) }
                @if let Some(root) = snapshot.root_cause(component) { ", because of " b { (root.name) } }
                @if !component.detail.is_empty() { small { (component.detail) } }
                @if let Some(brief) = brief { (past(brief)) }
                @if !component.depends_on.is_empty() { small { "depends on " (component.depends_on.join(", ")) } }
                (readings(component))
            }
        }
        @if let Some(parts) = &component.parts {
            (part_rows(parts.list(), 1))
            @if parts.is_cut() { tr { td class="part level-1" colspan="5" { "And more, which are left out." } } }
        }
    }
}

/// What a component consists of, as another service tells it: further rows below its own.
fn part_rows(parts: &[Part], level: usize) -> Markup {
    html! {
        @for part in parts {
            tr {
                th scope="row" class={ "part level-" (level) } { (part.name()) }
                td data-label="Status" { (badge(part.status())) }
                td {}
                td data-label="Took" { @if let Some(time) = part.response_time() { (wire::short_time(time)) } }
                td data-label="Found" {
                    @if let Some(reason) = part.reason() { code { (reason) } " " }
                    (part.message())
                }
            }
            (part_rows(part.parts(), level + 1))
        }
    }
}

/// The last day and the last 30 in a line; what is not known of them is not there.
fn past(brief: &Brief) -> Markup {
    let up = |share: Option<f64>, span: &str, observed: Option<Duration>| {
        let observed = observed.map(|observed| format!(" ({} observed)", lasting(observed))).unwrap_or_default();
        share.map(|share| format!("up {} of {span}{observed}", percent(share)))
    };
    let p95 = brief.p95_ms_24h.map(|p95| format!("p95 {}", wire::short_time(Duration::from_secs_f64(p95 / 1000.0))));
    // Where nothing is known of the days before, 30 days say the same.
    let day_is_all = brief.short_of_24h().is_some() && brief.short_of_24h() == brief.short_of_30d();
    let month = brief.availability_30d.filter(|_| !day_is_all);
    let known =
        [up(brief.availability_24h, "24 h", brief.short_of_24h()), up(month, "30 d", brief.short_of_30d()), p95];
    let known: Vec<String> = known.into_iter().flatten().collect();
    html! { @if !known.is_empty() { small.past { (known.join(", ")) } } }
}

/// A share in percent, cut off after two digits: what was not always up is not called 100 %.
fn percent(share: f64) -> String {
    format!("{:.2}%", (share * 1e4).floor() / 1e2)
}

fn readings(component: &ComponentHealth) -> Markup {
    html! {
        @if !component.metadata.is_empty() {
            details { summary { "Readings" }
                dl { @for (key, value) in component.metadata.iter() {
                    dt { (key) }
                    dd { @match value { serde_json::Value::String(text) => { (text) } other => { (other) } } }
                } }
            }
        }
    }
}

fn history(changes: &[StatusChange]) -> Markup {
    html! {
        section aria-labelledby="changes" {
            h2 #changes { "Latest changes" }
            @if changes.is_empty() { p { "None is remembered." } }
            ol {
                @for change in changes {
                    li {
                        time { (wire::rfc3339(change.at)) } " "
                        @match &change.component { Some(name) => { b { (name) } } None => { b { "the service" } } }
                        " " @if let Some(from) = change.from { (from) " → " } (badge(change.to)) " "
                        @if let Some(reason) = &change.reason { code { (reason) } " " }
                        (change.message)
                        @match (&change.component, &change.caused_by) {
                            (Some(_), Some(root)) => { " because of " b { (root) } }
                            _ => {}
                        }
                    }
                }
            }
        }
    }
}

fn badge(status: Status) -> Markup {
    let sign = match status {
        Status::Healthy => "✓",
        Status::Degraded => "!",
        Status::Unhealthy => "✕",
        Status::Unknown => "?",
        Status::Maintenance => "⏸",
    };
    html! { span class={ "badge " (status) } { span aria-hidden="true" { (sign) " " } (status) } }
}

/// A duration in its largest unit: `45s`, `12m`, `3h`, `2d`.
fn lasting(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
