//! Another service, by its health endpoint: what it says of itself, in the formats that services say it in, and what
//! it consists of, shown below it.
//!
//! One request a run, as the `http` kind makes it. A redirect is not followed and a web page is not a health answer:
//! neither is healthy, whatever its status. The worse of the body and the status counts. An answer that is a copy, kept
//! somewhere past `max_age`, fails; ages are taken between times of one clock, and so hold with any two clocks.
//!
//! Services of this kind that look at each other are told which services a status comes from
//! ([`wellkept_health::Origins`]): what comes from the asking one itself is left out of the verdict and named, so that
//! they do not hold each other down. `docs/upstream.md` has the tables.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer in time, and the detail says in which stage | unhealthy | `timeout` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//! | the TLS handshake failed, or the certificate is not trusted | unhealthy | `tls` |
//! | the service says that it is degraded, or unhealthy | degraded, or unhealthy | `upstream` |
//! | the service says that it is starting, draining or in maintenance | unhealthy | `not_ready` |
//! | only trouble of the asking service itself came back | degraded | `loop` |
//! | the answer is a copy past `max_age`, or its time does not go on | unhealthy | `stale` |
//! | a reading in the answer is older than `max_age` | degraded | `stale` |
//! | it is a web page, broken JSON, more than 1 MiB, or a word that is none | unhealthy | `protocol` |
//! | a redirect, or a bad status without a word | unhealthy | `unexpected` |
//! | the status is 401, 403 or 407; 429 | unhealthy | `auth`; `exhausted` |
//!
//! # Rights
//!
//! None for the verdict. What the service consists of is told to its operators: a header with their token.
//!
//! # Cost
//!
//! One connection and one request per run; at most 64 KiB of head and 1 MiB of body are read.

mod answer;
mod fresh;
mod judge;
mod said;
mod shape;

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;
use wellkept_config::{FromNode, Schema, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Origins, Outcome, Scope};
use wellkept_net::AddressRules;

use self::fresh::Watch;
use crate::certificate;
use crate::fetch::{InvalidRequest, Request};
use crate::http::failed;
use crate::kept::Kept;
use crate::kind::{built, named_secrets};
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// The settings of an [`Upstream`] check. `Debug` shows neither the URL nor the headers' values.
#[derive(Clone)]
pub struct Options {
    /// The other service's health endpoint. Required. A user and password in it are sent as `Authorization: Basic`.
    pub url: Url,
    /// How it says what it says; `auto` finds it out from each answer. Default `auto`.
    pub format: Format,
    /// Headers to send, by name, such as `Authorization: Bearer …` for details. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// How old an answer may be: past it, a copy of an answer fails, and a reading in an answer is a warning. The
    /// readings of a service that Wellkept keeps are held to it only when it is set, as that one calls results that
    /// are too old unknown by itself. Default 60s.
    pub max_age: Option<Duration>,
}

impl Options {
    /// Default of [`Options::max_age`].
    pub const MAX_AGE: Duration = Duration::from_secs(60);

    /// A health endpoint, its format found out.
    pub fn new(url: Url) -> Self {
        Self { url, format: Format::Auto, headers: Vec::new(), max_age: None }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("format", &self.format)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// How a service says how it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Found out from the answer's media type and shape. What says nothing but its status counts by that.
    #[default]
    Auto,
    /// This project's JSON, of any of its endpoints.
    Wellkept,
    /// `application/health+json` (draft-inadarei-api-health-check-06).
    HealthJson,
    /// Spring Boot Actuator.
    Spring,
    /// ASP.NET Core, as a word or as the health checks' UI has it.
    AspNet,
    /// `MicroProfile` Health: Quarkus, Helidon, Open Liberty.
    MicroProfile,
    /// Terminus, of Node.
    Terminus,
    /// The status code only: 200 to 299 is healthy, whatever the body.
    Status,
}

impl Format {
    const WORDS: [(&str, Self); 8] = [
        ("auto", Self::Auto),
        ("wellkept", Self::Wellkept),
        ("health+json", Self::HealthJson),
        ("spring", Self::Spring),
        ("aspnet", Self::AspNet),
        ("microprofile", Self::MicroProfile),
        ("terminus", Self::Terminus),
        ("status", Self::Status),
    ];

    /// The word in the configuration, also shown as the reading `format`.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, format)| *format == self).map_or("auto", |(word, _)| word)
    }

    /// What is asked for. A service that can answer in several ways is asked for what says most.
    fn accept(self) -> &'static str {
        match self {
            Self::HealthJson => "application/health+json, application/json;q=0.9, */*;q=0.1",
            _ => "application/json, application/health+json;q=0.9, text/plain;q=0.5, */*;q=0.1",
        }
    }
}

impl FromNode for Format {
    const EXPECTED: &'static str = "auto, wellkept, health+json, spring, aspnet, microprofile, terminus or status";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &Self::WORDS)
    }

    fn schema() -> Schema {
        Schema::words(&Self::WORDS)
    }
}

/// Another service. The metadata holds `status`, the answer's status code, `format`, the `service` and its `version`
/// where it tells them, and `loop`, the way back to this service when there is one.
#[derive(Debug)]
pub struct Upstream {
    request: Request,
    format: Format,
    max_age: Option<Duration>,
    /// Whether the answers go on, from run to run.
    watch: Kept<Watch>,
}

impl Upstream {
    /// Refuses a URL or header that can't be sent. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, format, headers, max_age } = options;
        let invalid = |option| move |error: InvalidRequest| InvalidOption::new(option, error.to_string());
        if max_age.is_some_and(|max_age| max_age.is_zero()) {
            return Err(InvalidOption::new("max_age", "must be more than 0"));
        }
        let mut request = Request::get(&url).map_err(invalid("url"))?;
        request = request.with_header("accept", format.accept()).map_err(invalid("headers"))?;
        for (name, value) in &headers {
            request = request.with_header(name, value.expose_secret()).map_err(invalid("headers"))?;
        }
        Ok(Self { request, format, max_age, watch: Kept::nothing() })
    }

    /// As [`Upstream::new`] with [`Options::new`].
    pub fn by_url(url: Url) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    /// The request of a run. A service that is looked at by others says which one it is.
    fn request(&self, context: &Context) -> Request {
        let request = self.request.clone();
        let Some(identity) = context.identity() else { return request };
        // Hexadecimal digits: always a header's value.
        request.with_header(Origins::ASKER, &identity.to_string()).unwrap_or_else(|_| self.request.clone())
    }
}

impl Check for Upstream {
    async fn run(&self, context: &Context) -> Outcome {
        match self.request(context).send(AddressRules::configured(), give_up_at(context)).await {
            Ok(response) => {
                let (judged, watch) = judge::Judge {
                    format: self.format,
                    max_age: self.max_age,
                    identity: context.identity(),
                    now: Instant::now(),
                }
                .judge(&response, self.watch.take());
                if let Some(watch) = watch {
                    self.watch.put(watch);
                }
                let judged = judged.with("status", response.status.as_u16());
                match response.not_after {
                    Some(not_after) => certificate::told(judged, not_after),
                    None => judged,
                }
            }
            Err(error) => failed(&error),
        }
    }
}

/// `upstream: { url: "https://billing.internal/health" }`
pub const KIND: Kind = Kind {
    name: "upstream",
    summary: "Another service, by its health endpoint, with what it consists of",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required("url");
    let format = section.or("format", Format::default());
    let headers = named_secrets(section, "headers");
    let max_age = section.optional("max_age");
    built(section, Upstream::new(Options { url: url?, format, headers: headers?, max_age }))
}

#[cfg(test)]
mod tests;
