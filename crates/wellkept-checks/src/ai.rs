//! The API of a provider of language models, without a token spent: by a question about its models.
//!
//! That proves the key, the network and the model's name. What a provider does under load is seen by real calls alone:
//! `Ai::calls` is a handle on which an application reports how its own went, and what these say counts as well.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the key is not accepted, or may not do this | unhealthy | `auth` |
//! | the provider does not have the model | unhealthy | `model_missing` |
//! | the quota of the minute is used up, or of a time that is not named | degraded | `quota` |
//! | the quota of the day is used up | degraded | `day_quota` |
//! | the key is entitled to nothing of this: a quota of 0 | unhealthy | `not_entitled` |
//! | the budget is empty: the bill is not paid, or the spend limit is reached | unhealthy | `budget` |
//! | the provider is overloaded | degraded | `overloaded` |
//! | vLLM runs requests and has made no token for `stalled_after` | unhealthy | `stalled` |
//! | an engine of one's own is not ready | unhealthy | `not_ready` |
//! | more than half of the application's own calls failed | unhealthy | `calls_failed` |
//! | some of the application's own calls were limited or refused for overload | degraded | `quota` |
//! | the name can't be resolved; nobody listens; no answer in time; TLS failed; the connection broke | unhealthy | `dns`; `refused`; `timeout`; `tls`; `network` |
//! | another answer | unhealthy | `unexpected`, `protocol` |
//! | the latest completion of the canary failed: the message begins with `canary:` | as above | as above |
//!
//! # Rights
//!
//! A key that may list models. It is sent in a header, never in a URL.
//!
//! # Cost
//!
//! One connection and one request per run, of `vllm` two; no token. While a provider asks to be left alone, it is: until
//! then the latest verdict stands, at most for an hour.
//!
//! With `canary`, which is off by default, also one completion of one token at most as often as its `daily_budget` says,
//! which is paid for. What it costs with the few tokens of its question, the metadata's `canary` says: `latest`, `age_ms`,
//! `tokens` of the latest, `sent_total` and `tokens_total` since the start, `next_in_ms`.
//!
//! # The canary
//!
//! A list of models says nothing of credit, quotas and engines that hang: a completion does. They are spread evenly over
//! the day, and the first comes a whole pause after the start: with `daily_budget: 24` after an hour. So the budget holds
//! through any number of restarts, and nothing is written down for it. A process that never lives so long sends none, nor
//! does `wellkept check`; each instance has a budget of its own. One that is refused has cost nothing, and is tried again
//! a minute later; one that comes to no end in time counts as spent. None is sent while calls that were reported by
//! `Ai::calls` in the last five minutes were answered. Give the component a `timeout` that a completion fits in.
//!
//! # What is asked
//!
//! | provider | asked | with a model |
//! |---|---|---|
//! | `gemini` | `/v1beta/models?pageSize=1` | `/v1beta/models/MODEL` |
//! | `openai` | `/v1/models` | `/v1/models/MODEL` |
//! | `anthropic` | `/v1/models?limit=1` | `/v1/models/MODEL` |
//! | `ollama` | `/api/tags` | the same |
//! | `vllm` | `/v1/models` and `/metrics` | the same |
//! | `litellm` | `/v1/models`; without key and model `/health/readiness` | the same |
//!
//! `LiteLLM`'s `/health` is never asked: it calls every model, which costs tokens.

mod answer;
mod calls;
mod canary;
mod progress;
mod provider;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope, Verdict};
use wellkept_net::AddressRules;

use self::answer::{has_model, refused};
pub use self::calls::{AiCall, AiCalls};
pub use self::canary::Canary;
use self::canary::Completions;
use self::progress::Progress;
pub use self::provider::Provider;
use crate::fetch::{Request, Response};
use crate::http::failed;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// The settings of an [`Ai`] check. `Debug` shows neither the URL nor the key.
#[derive(Clone)]
pub struct Options {
    /// Whose API it is. Required.
    pub provider: Provider,
    /// Where it is, without the path that belongs to the API. Default: the provider's own; of an engine of one's own
    /// its usual port on 127.0.0.1.
    pub url: Option<Url>,
    /// The key. Default: none.
    pub key: Option<SecretString>,
    /// A file that holds the key instead, read once. Default: none.
    pub key_file: Option<PathBuf>,
    /// The model that must be there. Default: any.
    pub model: Option<String>,
    /// For how long vLLM may run requests without making a token. Default 30s.
    pub stalled_after: Duration,
    /// A real completion now and then, which is paid for; needs a model. Default: none.
    pub canary: Option<Canary>,
}

impl Options {
    /// For a provider, at its usual place, without a key.
    pub fn new(provider: Provider) -> Self {
        let stalled_after = Duration::from_secs(30);
        Self { provider, url: None, key: None, key_file: None, model: None, stalled_after, canary: None }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Options");
        shown.field("provider", &self.provider).field("model", &self.model).finish_non_exhaustive()
    }
}

/// The API of a provider of language models. The metadata holds `status`, the answer's status code, and where they are
/// known `retry_in_ms`, `requests_running`, `calls` and `canary`.
#[derive(Debug)]
pub struct Ai {
    provider: Provider,
    model: Option<String>,
    request: Request,
    metrics: Option<Request>,
    progress: Mutex<Progress>,
    /// Until when the provider asks to be left alone, and what it said then.
    quiet: Mutex<Option<(Instant, Outcome)>>,
    calls: AiCalls,
    completions: Option<Completions>,
}

/// A provider that asks to be left alone for longer is asked after this all the same.
const LONGEST_QUIET: Duration = Duration::from_secs(3600);

impl Ai {
    /// Refuses a URL or a key that can't be sent, a URL with a query, and a file that can't be read, which it reads.
    /// Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { provider, url, key, key_file, model, stalled_after, canary } = options;
        let key = match (key, key_file) {
            (Some(_), Some(_)) => return Err(InvalidOption::new("key_file", "there is a key already: take one of the two")),
            (None, Some(path)) => Some(read_key(&path)?),
            (key, None) => key,
        };
        let base = url.unwrap_or_else(|| provider.usual_url());
        if base.query().is_some() || base.fragment().is_some() {
            return Err(InvalidOption::new("url", "must have no query: the key has an option of its own"));
        }
        let model = model.map(|model| model.trim_start_matches("models/").to_owned());
        if model.as_ref().is_some_and(String::is_empty) {
            return Err(InvalidOption::new("model", "must not be empty"));
        }
        let invalid = |option| move |error: crate::fetch::InvalidRequest| InvalidOption::new(option, error.to_string());
        let url = provider.question(&base, model.as_deref(), key.is_some());
        let sign = |mut request: Request| {
            if provider == Provider::Anthropic {
                request = request.with_header("anthropic-version", "2023-06-01").map_err(invalid("provider"))?;
            }
            if let Some(key) = &key {
                let (name, value) = provider.header(key.expose_secret());
                request = request.with_header(name, &value).map_err(invalid("key"))?;
            }
            Ok(request)
        };
        let request = sign(Request::get(&url).map_err(invalid("url"))?)?;
        let completions = canary.map(|canary| Completions::new(canary, provider, &base, model.as_deref(), sign)).transpose()?;
        let metrics = match provider {
            Provider::Vllm => Some(Request::get(&provider::joined(&base, &["metrics"])).map_err(invalid("url"))?),
            _ => None,
        };
        let progress = Mutex::new(Progress::new(stalled_after));
        let (quiet, calls) = (Mutex::new(None), AiCalls::default());
        Ok(Self { provider, model, request, metrics, progress, quiet, calls, completions })
    }

    /// A handle on which the application reports how its own calls went. Clones report to the same check.
    pub fn calls(&self) -> AiCalls {
        self.calls.clone()
    }

    async fn ask(&self, context: &Context) -> Outcome {
        if let Some(outcome) = self.still_quiet() {
            return outcome;
        }
        let deadline = give_up_at(context);
        let response = match self.request.send(AddressRules::configured(), deadline).await {
            Ok(response) => response,
            Err(error) => return failed(&error),
        };
        let outcome = self.judge(&response).with("status", response.status.as_u16());
        let outcome = match &self.metrics {
            Some(request) if outcome.verdict() == Verdict::Pass => {
                match request.send(AddressRules::configured(), deadline).await {
                    Ok(metrics) => self.locked_progress().judge(outcome, &metrics),
                    Err(error) => failed(&error),
                }
            }
            _ => outcome,
        };
        match &self.completions {
            Some(completions) if outcome.verdict() == Verdict::Pass => {
                completions.judge(outcome, &self.calls, deadline).await
            }
            _ => outcome,
        }
    }

    fn judge(&self, response: &Response) -> Outcome {
        if !response.status.is_success() {
            let refused = refused(self.provider, self.model.is_some(), response);
            if let Some(wait) = refused.wait {
                *self.quiet.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now() + wait.min(LONGEST_QUIET), refused.outcome.clone()));
            }
            return refused.outcome;
        }
        match has_model(self.provider, self.model.as_deref(), response) {
            Some(true) => Outcome::pass(),
            Some(false) => Outcome::fail(Reason::Custom("model_missing"), "the model is not there"),
            None => Outcome::fail(Reason::Protocol, "not an answer of this provider's API"),
        }
    }

    fn still_quiet(&self) -> Option<Outcome> {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        match &*quiet {
            Some((until, outcome)) if *until > Instant::now() => {
                let left = u64::try_from((*until - Instant::now()).as_millis()).unwrap_or(u64::MAX);
                Some(outcome.clone().with("retry_in_ms", left))
            }
            _ => {
                *quiet = None;
                None
            }
        }
    }

    fn locked_progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check for Ai {
    async fn run(&self, context: &Context) -> Outcome {
        let outcome = self.ask(context).await;
        self.calls.judge(outcome)
    }
}

fn read_key(path: &std::path::Path) -> Result<SecretString, InvalidOption> {
    let unread = |error: std::io::Error| InvalidOption::new("key_file", format!("can't be read: {error}"));
    Ok(SecretString::from(std::fs::read_to_string(path).map_err(unread)?.trim().to_owned()))
}

/// `ai: { provider: ollama, url: "http://127.0.0.1:11434", model: llama3.2 }`
pub const KIND: Kind = Kind {
    name: "ai",
    summary: "A provider of language models, without a token spent",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let provider = section.required("provider");
    let url = section.optional("url");
    let key = section.optional("key");
    let key_file = section.file("key_file");
    let model = section.optional("model");
    let stalled_after = section.or("stalled_after", Duration::from_secs(30));
    let canary = section.section("canary", Canary::read);
    if section.has("canary") && canary.is_none() {
        return None;
    }
    built(section, Ai::new(Options { provider: provider?, url, key, key_file, model, stalled_after, canary }))
}

#[cfg(test)]
mod tests;
