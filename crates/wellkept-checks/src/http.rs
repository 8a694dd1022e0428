//! An HTTP or HTTPS URL, judged by what is expected of its answer: a status, a text, JSON values, headers.
//!
//! Each run is one request over a connection of its own, so that it takes the way a new client would. No redirect is
//! followed: a redirect is an answer with its own status, and not the expected one unless that is said. Certificates
//! are verified against the system's roots; `SSL_CERT_FILE` names others.
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
//! | what came is not HTTP | unhealthy | `protocol` |
//! | the status is 401, 403 or 407, and not expected | unhealthy | `auth` |
//! | the status is 429, and not expected | unhealthy | `exhausted` |
//! | another status, or a header, the body or a JSON value is not as expected | unhealthy | `unexpected` |
//!
//! # Rights
//!
//! Whatever the URL asks for: a user and password in it, or a header.
//!
//! # Cost
//!
//! One connection and one request per run; at most 64 KiB of head and 1 MiB of body are read.

mod expect;
mod json_path;

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use url::Url;
use wellkept_config::{FromNode, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::AddressRules;

pub use self::expect::{Expect, StatusPattern};
pub use self::json_path::{InvalidJsonPath, JsonPath};
use crate::fetch::{self, FetchError, InvalidRequest, Request};
use crate::kind::built;
use crate::reach::{give_up_at, no_tls, not_connected, timed_out};
use crate::{InvalidOption, Kind};

/// The settings of an [`Http`] check. `Debug` shows neither the URL nor the headers' values.
#[derive(Clone)]
pub struct Options {
    /// What is asked for. Required. A user and password in it are sent as `Authorization: Basic`.
    pub url: Url,
    /// How it is asked. Default `GET`.
    pub method: Method,
    /// Headers to send, by name. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// What is expected of the answer. All of it must hold. Default: any status from 200 to 299.
    pub expect: Expect,
}

impl Options {
    /// A `GET`, of which any status from 200 to 299 is expected.
    pub fn new(url: Url) -> Self {
        Self { url, method: Method::Get, headers: Vec::new(), expect: Expect::default() }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("method", &self.method)
            .field("expect", &self.expect)
            .finish_non_exhaustive()
    }
}

/// The methods that change nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Method {
    /// With a body in the answer.
    #[default]
    Get,
    /// Without one.
    Head,
}

impl FromNode for Method {
    const EXPECTED: &'static str = "GET or HEAD";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &[("GET", Self::Get), ("HEAD", Self::Head)])
    }
}

/// An HTTP or HTTPS URL. The metadata holds `status`, the answer's status code.
#[derive(Debug)]
pub struct Http {
    request: Request,
    expect: Expect,
}

impl Http {
    /// Refuses a URL or header that can't be sent, and a body expected of `HEAD`. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, method, headers, expect } = options;
        if method == Method::Head && expect.needs_body() {
            return Err(InvalidOption::new("expect", "an answer to HEAD has no body: use GET"));
        }
        let method = match method {
            Method::Get => fetch::Method::GET,
            Method::Head => fetch::Method::HEAD,
        };
        let invalid = |option| move |error: InvalidRequest| InvalidOption::new(option, error.to_string());
        let mut request = Request::new(method, &url).map_err(invalid("url"))?;
        for (name, value) in &headers {
            request = request.with_header(name, value.expose_secret()).map_err(invalid("headers"))?;
        }
        Ok(Self { request, expect })
    }

    /// As [`Http::new`] with [`Options::new`].
    pub fn by_url(url: Url) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }
}

impl Check for Http {
    async fn run(&self, context: &Context) -> Outcome {
        match self.request.send(AddressRules::configured(), give_up_at(context)).await {
            Ok(response) => self.expect.judge(&response).with("status", response.status.as_u16()),
            Err(error) => failed(&error),
        }
    }
}

/// `http: { url: "https://payments.internal/health", expect: { status: 200, json: { "$.status": healthy } } }`
pub const KIND: Kind =
    Kind { name: "http", summary: "A URL, by its status, text, JSON or headers", scope: Scope::Remote, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required("url");
    let method = section.or("method", Method::default());
    let headers = named_secrets(section, "headers");
    let expect = section.section("expect", Expect::read);
    let expect = if section.has("expect") { expect } else { Some(Expect::default()) };
    built(section, Http::new(Options { url: url?, method, headers: headers?, expect: expect? }))
}

/// `headers: { NAME: value }`, or nothing when the key is not there.
pub(crate) fn named_secrets(section: &mut Section<'_>, key: &'static str) -> Option<Vec<(String, SecretString)>> {
    let entries = section.entries(key);
    if !section.has(key) {
        return Some(Vec::new());
    }
    let values: Vec<_> = entries?.into_iter().map(|(name, _, node)| Some((name, section.value(node)?))).collect();
    values.into_iter().collect()
}

/// What there is to say when there is no answer.
pub(crate) fn failed(error: &FetchError) -> Outcome {
    match error {
        FetchError::Connect(error) => not_connected(error),
        FetchError::Tls(error) => no_tls(error),
        FetchError::Timeout(doing) => timed_out(doing),
        error if error.code() == "network" => {
            Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string())
        }
        error => Outcome::fail(Reason::Protocol, "not an answer in HTTP").with_detail(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
