//! An HTTP or HTTPS URL, judged by what is expected of its answer: a status, a text, JSON values, headers, a media type.
//!
//! Each run is one request over a connection of its own, so that it takes the way a new client would. No redirect is
//! followed unless that is said: a redirect is an answer with its own status, and not the expected one. Certificates
//! are verified against the system's roots, or those in `ca_file`; `SSL_CERT_FILE` names others for the whole process.
//! When the certificate ends is in the component's trend.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer in time; the reading `stage` is `dns`, `connect`, `tls`, `first_byte` or `body` | unhealthy | `timeout` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//! | the certificate has expired, is for another name or not trusted; what answers does not speak TLS, or no version of it that is spoken here | unhealthy | `tls` |
//! | the certificate ends soon, where `certificate` is set | degraded, then unhealthy | `threshold` |
//! | what came is not HTTP, or not HTTP/2 where that is asked for | unhealthy | `protocol` |
//! | the status is 401, 403 or 407, and not expected | unhealthy | `auth` |
//! | the status is 429, and not expected | unhealthy | `exhausted` |
//! | another status, or a header, the media type, the body or a JSON value is not as expected | unhealthy | `unexpected` |
//! | a redirect that may not be followed, or one too many | unhealthy | `unexpected` |
//!
//! # Rights
//!
//! Whatever the URL asks for: a user and password in it, or a header. For a Unix socket, the right to write to it.
//!
//! # Cost
//!
//! One connection, with a whole TLS handshake where the URL is `https`, and one request per run, the same again for each
//! redirect that is followed; at most 64 KiB of head and 1 MiB of body are read.

mod expect;
mod json_path;

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;
use wellkept_config::{FromNode, Schema, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::AddressRules;

pub use crate::Comparison;
pub use self::expect::{Expect, StatusPattern};
pub use self::json_path::{InvalidJsonPath, JsonPath};
use crate::certificate::{self, Certificate};
use crate::fetch::{self, FetchError, InvalidRequest, NotFollowed, RedirectTo, Request, Response, Version};
use crate::kind::{built, named_secrets};
use crate::reach::{give_up_at, no_tls, not_connected, timed_out};
use crate::{InvalidOption, Kind, Opens};

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
    /// Which redirects are followed. Default: none.
    pub redirects: Redirects,
    /// Which HTTP is spoken: `2` is agreed on in the TLS handshake, or simply spoken where there is none; `auto` is what
    /// the server chooses in the handshake, and 1.1 where there is none. Default `1.1`.
    pub version: Version,
    /// The Unix socket to connect to, instead of the URL's host, which is then only named in the request. Default: none.
    pub unix_socket: Option<PathBuf>,
    /// How long the server's certificate has to be valid yet. Default: it is enough that it is valid.
    pub certificate: Option<Certificate>,
    /// A file of certificates in PEM that are trusted instead of the system's. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// A `GET`, of which any status from 200 to 299 is expected.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            method: Method::Get,
            headers: Vec::new(),
            expect: Expect::default(),
            redirects: Redirects::default(),
            version: Version::default(),
            unix_socket: None,
            certificate: None,
            ca_file: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("method", &self.method)
            .field("expect", &self.expect)
            .field("redirects", &self.redirects)
            .field("version", &self.version)
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

const WORDS: [(&str, Method); 2] = [("GET", Method::Get), ("HEAD", Method::Head)];

impl FromNode for Method {
    const EXPECTED: &'static str = "GET or HEAD";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// Which redirects are followed. A redirect from `https` to `http` never is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redirects {
    /// How many in a row are followed, up to 10. Default: none is, and a redirect is judged by its status.
    pub follow: u8,
    /// How far: `same_host` to another path, port or scheme of the host that was asked, or to `any` host, to which
    /// headers and credentials do not go along. Default `same_host`.
    pub to: RedirectTo,
}

impl Redirects {
    /// Most that can be followed.
    pub const MOST: u8 = 10;

    fn read(section: &mut Section<'_>) -> Self {
        let follow = section.or("follow", 0);
        let to = section.or("to", RedirectTo::default());
        Self { follow, to }
    }
}

/// An HTTP or HTTPS URL. The metadata holds `status`, the answer's status code, `http_version`, `redirects` when some
/// were followed, and over TLS `not_after` and `certificate_days` of the server's certificate.
#[derive(Debug)]
pub struct Http {
    request: Request,
    expect: Expect,
    redirects: Redirects,
    certificate: Option<Certificate>,
}

impl Http {
    /// Refuses a URL or header that can't be sent, a body expected of `HEAD`, and a file of certificates that can't be
    /// used, which it reads. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, method, headers, expect, redirects, version, unix_socket, certificate, ca_file } = options;
        if method == Method::Head && expect.needs_body() {
            return Err(InvalidOption::new("expect", "an answer to HEAD has no body: use GET"));
        }
        if redirects.follow > Redirects::MOST {
            return Err(InvalidOption::new("redirects", "at most 10 are followed"));
        }
        if unix_socket.is_some() && redirects.to == RedirectTo::Any {
            return Err(InvalidOption::new("redirects", "through a socket there is only one host"));
        }
        let method = match method {
            Method::Get => fetch::Method::GET,
            Method::Head => fetch::Method::HEAD,
        };
        let invalid = |option| move |error: InvalidRequest| InvalidOption::new(option, error.to_string());
        let mut request = Request::new(method, &url).map_err(invalid("url"))?;
        request = request.with_version(version).with_tls(certificate::trusting(ca_file)?);
        if let Some(path) = unix_socket {
            request = request.with_unix_socket(path);
        }
        for (name, value) in &headers {
            request = request.with_header(name, value.expose_secret()).map_err(invalid("headers"))?;
        }
        let certificate = certificate.map(Certificate::checked).transpose()?;
        Ok(Self { request, expect, redirects, certificate })
    }

    /// As [`Http::new`] with [`Options::new`].
    pub fn by_url(url: Url) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }
}

impl Check for Http {
    async fn run(&self, context: &Context) -> Outcome {
        let deadline = give_up_at(context);
        let (mut request, mut followed) = (None::<Request>, 0_u8);
        loop {
            let current = request.as_ref().unwrap_or(&self.request);
            let response = match current.send(AddressRules::configured(), deadline).await {
                Ok(response) => response,
                Err(error) => return told_redirects(failed(&error), followed),
            };
            if !response.is_redirect() || self.redirects.follow == 0 {
                return self.judge(current, &response, followed);
            }
            let next = current.redirected(&response, self.redirects.to);
            if followed >= self.redirects.follow {
                let outcome = Outcome::fail(Reason::Unexpected, "redirected too often");
                return told_redirects(outcome.with_detail(leads(current, &response)), followed);
            }
            match next {
                Ok(next) => request = Some(next),
                Err(error) => return told_redirects(not_followed(error, current, &response), followed),
            }
            followed += 1;
        }
    }
}

impl Http {
    fn judge(&self, request: &Request, response: &Response, followed: u8) -> Outcome {
        let mut outcome = self.expect.judge(response);
        if response.is_redirect() && outcome.reason().is_some() {
            let detail = format!("{}; {}, and redirects are not followed", outcome.detail(), leads(request, response));
            outcome = outcome.with_detail(detail);
        }
        if let Some(not_after) = response.not_after {
            if let Some(certificate) = self.certificate {
                outcome = certificate.judge(outcome, not_after);
            }
            outcome = certificate::told(outcome, not_after);
        }
        let version = if response.http2 { "2" } else { "1.1" };
        told_redirects(outcome.with("status", response.status.as_u16()).with("http_version", version), followed)
    }
}

fn told_redirects(outcome: Outcome, followed: u8) -> Outcome {
    if followed == 0 { outcome } else { outcome.with("redirects", followed) }
}

fn not_followed(error: NotFollowed, request: &Request, response: &Response) -> Outcome {
    let outcome = Outcome::fail(Reason::Unexpected, format!("redirect not followed: {error}"));
    outcome.with_detail(leads(request, response)).with("status", response.status.as_u16())
}

/// Where a redirect leads, without the path and query, which may hold a token.
fn leads(request: &Request, response: &Response) -> String {
    match response.leads_to(request) {
        Some(url) => format!("it leads to {}", url.origin().ascii_serialization()),
        None => "it leads nowhere".to_owned(),
    }
}

/// `http: { url: "https://payments.internal/health", expect: { status: 200, json: { "$.status": healthy } } }`
pub const KIND: Kind =
    Kind { name: "http", summary: "A URL, by its status, text, JSON or headers", scope: Scope::Remote, opens: Opens::Nothing, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required("url");
    let method = section.or("method", Method::default());
    let headers = named_secrets(section, "headers");
    let expect = section.section("expect", Expect::read);
    let expect = if section.has("expect") { expect } else { Some(Expect::default()) };
    let redirects = section.section("redirects", |section| Some(Redirects::read(section))).unwrap_or_default();
    let version = section.or("version", Version::default());
    let unix_socket = section.optional("unix_socket");
    let certificate = Certificate::read(section);
    let ca_file = section.file("ca_file");
    let options = Options {
        url: url?,
        method,
        headers: headers?,
        expect: expect?,
        redirects,
        version,
        unix_socket,
        certificate,
        ca_file,
    };
    built(section, Http::new(options))
}

/// What there is to say when there is no answer.
pub(crate) fn failed(error: &FetchError) -> Outcome {
    let outcome = match error {
        FetchError::Connect(error) => not_connected(error),
        FetchError::Tls(error) => no_tls(error),
        FetchError::Timeout(doing) => timed_out(doing),
        error if error.code() == "network" => {
            Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string())
        }
        FetchError::NoHttp2 => Outcome::fail(Reason::Protocol, "no HTTP/2").with_detail(error.to_string()),
        error => Outcome::fail(Reason::Protocol, "not an answer in HTTP").with_detail(error.to_string()),
    };
    match error.stage() {
        Some(stage) => outcome.with("stage", stage),
        None => outcome,
    }
}

#[cfg(test)]
mod tests;
