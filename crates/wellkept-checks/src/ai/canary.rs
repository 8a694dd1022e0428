//! The canary: one real completion, now and then, within a budget that restarts don't stretch.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use url::Url;
use wellkept_config::Section;
use wellkept_health::{Outcome, Reason, Verdict};
use wellkept_net::AddressRules;

use super::answer::{Refused, refused};
use super::calls::AiCalls;
use super::provider::{Provider, joined};
use crate::InvalidOption;
use crate::fetch::{Method, Request, Response};
use crate::http::failed;
use crate::reach::timed_out;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A completion that was refused has cost nothing, and is tried again after this, if the pause is not shorter.
const AGAIN: Duration = Duration::from_secs(60);
/// The most that fit into a day.
const MOST_A_DAY: u32 = 24 * 60;
/// The most that one completion may be asked for.
const MOST_TOKENS: u32 = 1000;

/// A real completion now and then. It costs money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// How many completions in 24 hours, at most 1440; evenly spread. Required.
    pub daily_budget: u32,
    /// How many tokens one may make, at most 1000. A model that reasons may need some more than one to answer at all.
    /// Default 1.
    pub max_tokens: u32,
}

impl Canary {
    /// With completions of one token.
    pub fn new(daily_budget: u32) -> Self {
        Self { daily_budget, max_tokens: 1 }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let daily_budget = section.required("daily_budget");
        let max_tokens = section.or("max_tokens", 1);
        Some(Self { daily_budget: daily_budget?, max_tokens })
    }

    fn pause(self) -> Duration {
        DAY / self.daily_budget
    }
}

/// What sends it when it is due, and remembers what it said.
#[derive(Debug)]
pub(super) struct Completions {
    provider: Provider,
    request: Request,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// When the next one is due. The first comes after a whole pause, so that no restart makes more of them.
    pub(super) due: Instant,
    latest: Option<Latest>,
    sent: u64,
    tokens: u64,
}

/// What the latest one said.
#[derive(Debug, Clone)]
struct Latest {
    at: Instant,
    outcome: Outcome,
    tokens: Option<u64>,
}

impl Completions {
    /// `sign` adds the headers that every request bears.
    pub(super) fn new(
        canary: Canary,
        provider: Provider,
        base: &Url,
        model: Option<&str>,
        sign: impl Fn(Request) -> Result<Request, InvalidOption>,
    ) -> Result<Self, InvalidOption> {
        let Canary { daily_budget, max_tokens } = canary;
        if !(1..=MOST_A_DAY).contains(&daily_budget) {
            return Err(InvalidOption::new("daily_budget", format!("must be from 1 to {MOST_A_DAY}")));
        }
        if !(1..=MOST_TOKENS).contains(&max_tokens) {
            return Err(InvalidOption::new("max_tokens", format!("must be from 1 to {MOST_TOKENS}")));
        }
        let model = model.ok_or_else(|| InvalidOption::new("canary", "needs a `model`"))?;
        let (path, body) = completion(provider, base, model, max_tokens);
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let request = Request::new(Method::POST, &joined(base, &path));
        let request = request.map_err(|error| InvalidOption::new("url", error.to_string()))?;
        let state = State { due: Instant::now() + canary.pause(), latest: None, sent: 0, tokens: 0 };
        let request = sign(request.with_json(body.to_string()))?;
        Ok(Self { provider, request, pause: canary.pause(), state: Mutex::new(state) })
    }

    /// Adds to a pass what the latest completion said; sends one before when it is due. While the application's own calls
    /// are answered, they say as much.
    pub(super) async fn judge(&self, outcome: Outcome, calls: &AiCalls, deadline: Instant) -> Outcome {
        if calls.is_answered() {
            self.state().latest = None;
        } else if self.take_turn() {
            let (outcome, tokens, spent) = self.send(deadline).await;
            let mut state = self.state();
            state.tokens = state.tokens.saturating_add(tokens.unwrap_or(0));
            if let Spent::Nothing { wait } = spent {
                state.due = Instant::now() + wait.unwrap_or_default().max(AGAIN).min(self.pause);
            }
            state.latest = Some(Latest { at: Instant::now(), outcome, tokens });
        }
        self.told(outcome)
    }

    /// Whether it is due, and then it counts as sent from now on: a run that is cut off may have cost as much.
    pub(super) fn take_turn(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let is_due = state.due <= now;
        if is_due {
            state.due = now + self.pause;
            state.sent += 1;
            let outcome = timed_out("waiting for a completion");
            state.latest = Some(Latest { at: now, outcome, tokens: None });
        }
        is_due
    }

    async fn send(&self, deadline: Instant) -> (Outcome, Option<u64>, Spent) {
        let response = match self.request.send(AddressRules::configured(), deadline).await {
            Ok(response) => response,
            Err(error) => return (failed(&error), None, Spent::Perhaps),
        };
        if !response.status.is_success() {
            let Refused { outcome, wait } = refused(self.provider, true, &response);
            return (outcome, None, Spent::Nothing { wait });
        }
        let (is_answer, tokens) = answered(self.provider, &response);
        let outcome = if is_answer {
            Outcome::pass()
        } else {
            Outcome::fail(Reason::Protocol, "not a completion of this provider's API")
        };
        (outcome, tokens, Spent::Perhaps)
    }

    fn told(&self, outcome: Outcome) -> Outcome {
        let state = self.state();
        let now = Instant::now();
        let mut told = Map::new();
        let mut judged = outcome;
        if let Some(Latest { at, outcome: latest, tokens }) = &state.latest {
            let verdict = latest.reason().map_or("answered", Reason::as_str);
            told.insert("latest".to_owned(), verdict.into());
            told.insert("age_ms".to_owned(), millis(now.saturating_duration_since(*at)).into());
            told.extend(tokens.map(|tokens| ("tokens".to_owned(), tokens.into())));
            if latest.verdict() != Verdict::Pass {
                judged = of_the_canary(latest, &judged);
            }
        }
        told.insert("sent_total".to_owned(), state.sent.into());
        told.insert("tokens_total".to_owned(), state.tokens.into());
        told.insert("next_in_ms".to_owned(), millis(state.due.saturating_duration_since(now)).into());
        judged.with("canary", Value::Object(told))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left is whole: every change is of one number or of the latest.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a completion may have cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    Perhaps,
    /// It was refused; the provider may have said for how long.
    Nothing { wait: Option<Duration> },
}

/// The canary's failure, called so, with what was found besides.
fn of_the_canary(latest: &Outcome, besides: &Outcome) -> Outcome {
    let message = format!("canary: {}", latest.message());
    let reason = latest.reason().cloned().unwrap_or(Reason::Error);
    let outcome = match latest.verdict() {
        Verdict::Warn => Outcome::warn(reason, message),
        _ => Outcome::fail(reason, message),
    };
    let outcome = outcome.with_detail(latest.detail().to_owned());
    besides.metadata().clone().into_iter().fold(outcome, |outcome, (key, value)| outcome.with(key, value))
}

/// Where the smallest completion is asked for, and how.
pub(super) fn completion(provider: Provider, base: &Url, model: &str, max_tokens: u32) -> (Vec<String>, Value) {
    let messages = json!([{ "role": "user", "content": "ping" }]);
    let path = |segments: &[&str]| segments.iter().map(ToString::to_string).collect();
    match provider {
        Provider::Gemini => {
            let path = vec!["v1beta".to_owned(), "models".to_owned(), format!("{model}:generateContent")];
            let contents = json!([{ "parts": [{ "text": "ping" }] }]);
            (path, json!({ "contents": contents, "generationConfig": { "maxOutputTokens": max_tokens } }))
        }
        Provider::Anthropic => {
            (path(&["v1", "messages"]), json!({ "model": model, "max_tokens": max_tokens, "messages": messages }))
        }
        Provider::Ollama => {
            let options = json!({ "num_predict": max_tokens });
            let body = json!({ "model": model, "prompt": "ping", "stream": false, "options": options });
            (path(&["api", "generate"]), body)
        }
        Provider::OpenAi | Provider::Vllm | Provider::LiteLlm => {
            // The newer models of OpenAI's refuse the older word, and who is compatible may not know the newer one:
            // a limit that nobody reads would be none.
            let is_openai = provider == Provider::OpenAi && base.host() == Provider::OpenAi.usual_url().host();
            let limit = if is_openai { "max_completion_tokens" } else { "max_tokens" };
            (path(&["v1", "chat", "completions"]), json!({ "model": model, "messages": messages, limit: max_tokens }))
        }
    }
}

/// Whether this is a completion, be it empty, and how many tokens it cost, where that is said.
fn answered(provider: Provider, response: &Response) -> (bool, Option<u64>) {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let has_some = |key: &str| body[key].as_array().is_some_and(|list| !list.is_empty());
    let sum = |object: &Value, keys: [&str; 2]| {
        let counts = keys.map(|key| object[key].as_u64());
        counts.iter().any(Option::is_some).then(|| counts.into_iter().flatten().fold(0, u64::saturating_add))
    };
    match provider {
        Provider::Gemini => (has_some("candidates"), body["usageMetadata"]["totalTokenCount"].as_u64()),
        Provider::Anthropic => (body["type"] == "message", sum(&body["usage"], ["input_tokens", "output_tokens"])),
        Provider::Ollama => (body["done"] == true, sum(&body, ["prompt_eval_count", "eval_count"])),
        Provider::OpenAi | Provider::Vllm | Provider::LiteLlm => {
            (has_some("choices"), body["usage"]["total_tokens"].as_u64())
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
