//! What providers answer: who has the model, and which refusal is which.

use std::time::Duration;

use serde_json::Value;
use wellkept_health::{Outcome, Reason};

use super::Provider;
use crate::fetch::Response;

/// Whether the model is there; `None` for what is no answer of this API.
pub(super) fn has_model(provider: Provider, model: Option<&str>, response: &Response) -> Option<bool> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    let name = |one: &Value, key: &str| one[key].as_str().map(ToOwned::to_owned);
    if model.is_some() && provider.has_page_of_model() {
        let key = if provider == Provider::Gemini { "name" } else { "id" };
        return name(&body, key).map(|_named| true);
    }
    let (list, key) = match provider {
        Provider::Gemini | Provider::Ollama => ("models", "name"),
        Provider::LiteLlm if body.get("status").is_some() => return Some(true),
        _ => ("data", "id"),
    };
    let names: Vec<String> = body[list].as_array()?.iter().filter_map(|one| name(one, key)).collect();
    let Some(model) = model else { return Some(true) };
    // Ollama adds a tag where none is named.
    let is_it = |name: &String| name == model || (provider == Provider::Ollama && name.strip_suffix(":latest") == Some(model));
    Some(names.iter().any(is_it))
}

/// A refusal in the words of all providers.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) outcome: Outcome,
    /// For how long the provider asks to be left alone.
    pub(super) wait: Option<Duration>,
}

/// Tells refusals apart by status, by the codes in the body, and by headers. Texts are for the detail alone.
pub(super) fn refused(provider: Provider, asked_for_model: bool, response: &Response) -> Refused {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    // Gemini answers some errors as a list of one.
    let error = body.get("error").or_else(|| body.get(0).and_then(|first| first.get("error"))).unwrap_or(&Value::Null);
    let wait = retry_delay(error).or_else(|| response.retry_after());
    let outcome = match response.status.as_u16() {
        401 | 403 => Outcome::fail(Reason::Auth, "the key is not accepted"),
        400 if says(error, "API_KEY_INVALID") => Outcome::fail(Reason::Auth, "the key is not accepted"),
        402 => budget(),
        404 if asked_for_model => Outcome::fail(Reason::Custom("model_missing"), "the model is not there"),
        429 => limited(provider, error, wait),
        529 => overloaded(),
        503 if !provider.is_own() => overloaded(),
        500..=599 if provider.is_own() => Outcome::fail(Reason::NotReady, "the engine is not ready"),
        status => Outcome::fail(Reason::Unexpected, format!("status {status}")),
    };
    let message = error["message"].as_str().or_else(|| error.as_str()).unwrap_or_default();
    let kind = error["status"].as_str().or_else(|| error["code"].as_str()).or_else(|| error["type"].as_str());
    // Providers repeat a wrong key, in part or whole.
    let detail = if matches!(outcome.reason(), Some(Reason::Auth)) { "" } else { message };
    let outcome = outcome.with_detail(format!("{} {detail}", kind.unwrap_or_default()).trim());
    let outcome = match wait {
        Some(wait) => outcome.with("retry_in_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        None => outcome,
    };
    Refused { outcome, wait }
}

fn budget() -> Outcome {
    Outcome::fail(Reason::Custom("budget"), "the budget is empty")
}

fn overloaded() -> Outcome {
    Outcome::warn(Reason::Custom("overloaded"), "the provider is overloaded")
}

fn limited(provider: Provider, error: &Value, wait: Option<Duration>) -> Outcome {
    let quota = || Outcome::warn(Reason::Custom("quota"), "the quota is used up");
    match provider {
        Provider::Gemini => {
            let violations = details(error, "QuotaFailure").flat_map(|detail| detail["violations"].as_array().into_iter().flatten());
            let violations: Vec<_> = violations.collect();
            let is_none = |violation: &&Value| violation["quotaValue"] == "0";
            let is_called = |part: &str| {
                violations.iter().any(|violation| violation["quotaId"].as_str().is_some_and(|id| id.contains(part)))
            };
            if violations.iter().any(is_none) {
                Outcome::fail(Reason::Custom("not_entitled"), "the key is entitled to none of this")
            } else if is_called("PerDay") {
                Outcome::warn(Reason::Custom("day_quota"), "the quota of the day is used up")
            } else if is_called("Spend") {
                budget()
            } else if is_called("PerMinute") {
                Outcome::warn(Reason::Custom("quota"), "the quota of the minute is used up")
            } else {
                quota()
            }
        }
        Provider::Anthropic if wait.is_none() && says(error, "enforced_spend_limit_reached") => budget(),
        Provider::Anthropic => quota(),
        _ if ["insufficient_quota", "billing_hard_limit_reached", "budget_exceeded"].iter().any(|code| says(error, code)) => {
            budget()
        }
        _ => quota(),
    }
}

/// Whether an error bears a code, wherever providers put it.
fn says(error: &Value, code: &str) -> bool {
    let own = ["code", "type", "status", "reason"].iter().any(|key| error[key] == code);
    let nested = error["details"].as_array().into_iter().flatten().any(|detail| detail["reason"] == code);
    own || nested || error["details"]["error_code"] == code
}

/// Google's details of a type (`google.rpc`).
fn details<'e>(error: &'e Value, wanted: &'static str) -> impl Iterator<Item = &'e Value> {
    let is_wanted = move |detail: &&Value| detail["@type"].as_str().is_some_and(|kind| kind.ends_with(wanted));
    error["details"].as_array().into_iter().flatten().filter(is_wanted)
}

/// `"retryDelay": "34.07s"`, a `google.protobuf.Duration`.
fn retry_delay(error: &Value) -> Option<Duration> {
    let text = details(error, "RetryInfo").find_map(|detail| detail["retryDelay"].as_str())?;
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
