//! From an answer to an outcome: the worse of body and status code, its age, and what comes back from this service.

use std::time::Duration;

use tokio::time::Instant;
use wellkept_health::{Identity, Origins, Outcome, Part, Reason, Status};

use super::Format;
use super::answer::{self, Answer, Unsaid};
use super::fresh::{TooOld, Watch, too_old};
use super::said::{Said, usable};
use crate::fetch::{Response, StatusCode};

/// Most parts that a detail names.
const NAMED: usize = 5;

/// What answers are judged by.
pub(super) struct Judge {
    pub(super) format: Format,
    pub(super) max_age: Option<Duration>,
    /// Who asks.
    pub(super) identity: Option<Identity>,
    pub(super) now: Instant,
}

impl Judge {
    /// The outcome, and what the next answer is compared with.
    pub(super) fn judge(&self, response: &Response, before: Option<Watch>) -> (Outcome, Option<Watch>) {
        let code = response.status;
        if let Some(outcome) = refused(code) {
            return (outcome, before);
        }
        let answer = match answer::read(response, self.format) {
            Ok(answer) => answer,
            Err(Unsaid::Nothing) if code.is_success() => Answer::new(Format::Status, Said::Healthy),
            Err(Unsaid::Wrong { message, detail }) if code.is_success() => {
                return (Outcome::fail(Reason::Protocol, message).with_detail(detail), before);
            }
            Err(_) => return (unexpected(code), before),
        };
        let (old, watch) = too_old(response, &answer.times, answer.format, self.max_age, self.now, before);
        (self.of_answer(response, answer, old.as_ref()), watch)
    }

    fn of_answer(&self, response: &Response, answer: Answer, old: Option<&TooOld>) -> Outcome {
        let origins = response.headers.get(Origins::HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let origins: Option<Origins> = origins.map(|origins: Origins| origins.map(usable));
        let service = answer.service.as_deref();
        let (outcome, way_back) = if let Some(TooOld::Answer(age)) = old {
            (with_own(old_copy(*age), origins, Status::Unhealthy), None)
        } else if let Some(outcome) = by_code(&answer, response.status) {
            (with_own(outcome, origins, Status::Unhealthy), None)
        } else if let (Some(TooOld::Reading(age)), Said::Healthy) = (old, answer.said) {
            (with_own(old_reading(*age), origins, Status::Degraded), None)
        } else if let Some(origins) = origins {
            self.by_origins(answer.said, origins, service)
        } else {
            (answer.said.outcome(""), None)
        };
        let mut outcome = outcome.with("format", answer.format.as_str());
        for (key, text) in [("service", answer.service), ("version", answer.version), ("loop", way_back)] {
            if let Some(text) = text {
                outcome = outcome.with(key, Part::new(&text, Status::Healthy).name());
            }
        }
        let troubles = troubles(&answer.parts);
        let detail = [outcome.detail(), &troubles].into_iter().filter(|text| !text.is_empty());
        let detail = detail.collect::<Vec<_>>().join("; ");
        outcome.with_detail(detail).with_parts(answer.parts)
    }

    /// By where the status comes from, without what comes back from this service; and the way on which it does.
    ///
    /// What is left decides, not what the body says: a service in a loop may call itself degraded for no other reason
    /// than the loop. Trouble that no origin explains is the service's own: on its way out, or what is told of too many
    /// services to name them all.
    fn by_origins(&self, said: Said, origins: Origins, service: Option<&str>) -> (Outcome, Option<String>) {
        let Some(identity) = self.identity else { return (said.outcome("").with_origins(origins), None) };
        let (rest, back) = origins.clone().around(identity);
        let way_back = way_back(&back, identity, service);
        let unexplained = !said.means().is_ready() && origins.status().is_ready();
        if unexplained || matches!(said, Said::Starting | Said::Draining) {
            return (with_own(said.outcome(""), Some(origins), said.means()), way_back);
        }
        let outcome = match (rest.status(), back.status()) {
            (rest, _) if rest == said.means() => said.outcome(""),
            (Status::Healthy, Status::Healthy) => Outcome::pass(),
            (Status::Healthy, _) => {
                let detail = format!("it looks back at this service: {}", way_back.as_deref().unwrap_or_default());
                Outcome::warn(Reason::Loop, "not healthy only because of this service").with_detail(detail)
            }
            (Status::Degraded, _) => Said::Degraded.outcome(", apart from what comes from this service"),
            _ => Said::Unhealthy.outcome(""),
        };
        (outcome.with_origins(origins), way_back)
    }
}

/// The way that leads back soonest, by the names of components where they are told.
fn way_back(back: &Origins, identity: Identity, service: Option<&str>) -> Option<String> {
    let path = back.iter().map(|origin| &origin.path).min_by_key(|path| {
        path.iter().position(|hop| hop.identity == identity)
    })?;
    let on_the_way = path.iter().take_while(|hop| hop.identity != identity).enumerate().map(|(index, hop)| {
        if index == 0 { service.unwrap_or("it") } else { hop.component.as_deref().unwrap_or("…") }
    });
    Some(on_the_way.chain(["this service"]).collect::<Vec<_>>().join(" → "))
}

/// What this side has against an answer comes from the service that gave it.
fn with_own(outcome: Outcome, origins: Option<Origins>, status: Status) -> Outcome {
    let teller = origins.and_then(|origins| origins.iter().next()?.path.first().map(|hop| hop.identity));
    match teller {
        Some(identity) => outcome.with_origins(Origins::own(identity, status)),
        None => outcome,
    }
}

/// Status codes that say that there is no health answer at all.
fn refused(code: StatusCode) -> Option<Outcome> {
    let detail = |detail: &str| format!("status {code}{detail}");
    Some(match code.as_u16() {
        300..=399 => Outcome::fail(Reason::Unexpected, "a redirect, not a health answer")
            .with_detail(detail(", and redirects are not followed")),
        401 | 403 | 407 => Outcome::fail(Reason::Auth, "not allowed to ask").with_detail(detail("")),
        429 => Outcome::fail(Reason::Exhausted, "asked too often").with_detail(detail("")),
        _ => return None,
    })
}

fn unexpected(code: StatusCode) -> Outcome {
    Outcome::fail(Reason::Unexpected, format!("unexpected status {}", code.as_u16()))
}

/// What there is to say when body and status code disagree: the worse counts.
fn by_code(answer: &Answer, code: StatusCode) -> Option<Outcome> {
    match (answer.said.means().is_ready(), code.is_success()) {
        (true, false) => {
            let message = format!("status {}, although it says that it {}", code.as_u16(), answer.said.words());
            Some(Outcome::fail(Reason::Unexpected, message))
        }
        (false, true) if answer.code_counts => Some(answer.said.outcome(&format!(", with status {}", code.as_u16()))),
        _ => None,
    }
}

fn old_copy(age: Duration) -> Outcome {
    let detail = format!("the answer is {} s old", age.as_secs());
    Outcome::fail(Reason::Stale, "an old copy of an answer").with_detail(detail)
}

fn old_reading(age: Duration) -> Outcome {
    let detail = format!("the oldest of what it tells is {} s old", age.as_secs());
    Outcome::warn(Reason::Stale, "it tells of what it found out long ago").with_detail(detail)
}

/// The parts that are not healthy, in words.
fn troubles(parts: &[Part]) -> String {
    let mut parts: Vec<_> = parts.iter().filter(|part| part.status() != Status::Healthy).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.status() as u8));
    let more = parts.len().saturating_sub(NAMED);
    let named = parts.iter().take(NAMED).map(|part| {
        let reason = part.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let message = if part.message().is_empty() { String::new() } else { format!(": {}", part.message()) };
        format!("{} is {}{reason}{message}", part.name(), part.status())
    });
    let more = (more > 0).then(|| format!("and {more} more"));
    named.chain(more).collect::<Vec<_>>().join("; ")
}
