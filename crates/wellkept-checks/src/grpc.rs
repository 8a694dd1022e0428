//! A gRPC server, by what it says of itself: `Check` of `grpc.health.v1.Health` ("GRPC Health Checking Protocol").
//!
//! One call over a connection of its own, in HTTP/2: by prior knowledge where the URL is `http`, agreed on in the TLS
//! handshake where it is `https`. The server is told how long it may take (`grpc-timeout`).
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the server says `NOT_SERVING`, or that it is unavailable | unhealthy | `not_ready` |
//! | the server does not know the service (`NOT_FOUND`, `SERVICE_UNKNOWN`), or not how it is (`UNKNOWN`) | unhealthy | `unexpected` |
//! | the server has no health service (`UNIMPLEMENTED`) | unhealthy | `unimplemented` |
//! | the server ran out of time (`DEADLINE_EXCEEDED`), or there is no answer in time; the reading `stage` is `dns`, `connect`, `tls`, `first_byte` or `body` | unhealthy | `timeout` |
//! | the server wants other credentials | unhealthy | `auth` |
//! | the server has no room (`RESOURCE_EXHAUSTED`) | unhealthy | `exhausted` |
//! | any other error of gRPC, or what answers does not speak it | unhealthy | `protocol` |
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//! | the certificate has expired, is for another name or not trusted, or another failure of the handshake | unhealthy | `tls` |
//! | the certificate ends soon, where `certificate` is set | degraded, then unhealthy | `threshold` |
//!
//! # Rights
//!
//! None, unless the server asks for credentials: a header.
//!
//! # Cost
//!
//! One connection and one unary call per run; at most 1 MiB is read.

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use prost::Message as _;
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::AddressRules;

use crate::certificate::{self, Certificate};
use crate::fetch::{InvalidRequest, Method, Request, Response, StatusCode, Version};
use crate::http::failed;
use crate::kind::{built, named_secrets};
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind, Opens};

/// Before each message: whether it is compressed, and its length in four bytes ("gRPC over HTTP2").
const PREFIX: usize = 5;
const GRPC: &str = "application/grpc";

/// The settings of a [`Grpc`] check. `Debug` shows neither the URL nor the headers' values.
#[derive(Clone)]
pub struct Options {
    /// The server, as `http://host:port` or, with TLS, `https://host:port`. Required. A user and password in it are sent
    /// as `Authorization: Basic`.
    pub url: Url,
    /// The service that is asked for. Default: the server as a whole.
    pub service: String,
    /// Headers (metadata) to send, by name. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// The Unix socket to connect to, instead of the URL's host. Default: none.
    pub unix_socket: Option<PathBuf>,
    /// How long the server's certificate has to be valid yet. Default: it is enough that it is valid.
    pub certificate: Option<Certificate>,
    /// A file of certificates in PEM that are trusted instead of the system's. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// The server as a whole.
    pub fn new(url: Url) -> Self {
        Self { url, service: String::new(), headers: Vec::new(), unix_socket: None, certificate: None, ca_file: None }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Options").field("service", &self.service).finish_non_exhaustive()
    }
}

/// A gRPC server. The metadata holds `serving`, the server's word, or `grpc_status`, the number of its error, and over
/// TLS `not_after` and `certificate_days` of its certificate.
#[derive(Debug)]
pub struct Grpc {
    request: Request,
    certificate: Option<Certificate>,
}

impl Grpc {
    /// Refuses a URL with a path, what can't be sent, and a file of certificates that can't be used, which it reads.
    /// Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { mut url, service, headers, unix_socket, certificate, ca_file } = options;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(InvalidOption::new("url", "write http://host:port or https://host:port, without a path"));
        }
        url.set_path("/grpc.health.v1.Health/Check");
        let invalid = |option| move |error: InvalidRequest| InvalidOption::new(option, error.to_string());
        let mut request = Request::new(Method::POST, &url).map_err(invalid("url"))?;
        for (name, value) in &headers {
            request = request.with_header(name, value.expose_secret()).map_err(invalid("headers"))?;
        }
        if let Some(path) = unix_socket {
            request = request.with_unix_socket(path);
        }
        let message = framed(&CheckRequest { service })?;
        let request = request.with_version(Version::Http2).with_tls(certificate::trusting(ca_file)?);
        let request = request.with_header("te", "trailers").map_err(invalid("headers"))?.with_body(GRPC, message);
        Ok(Self { request, certificate: certificate.map(Certificate::checked).transpose()? })
    }

    /// The request of a run, which tells the server how long it may take: at most eight digits.
    fn request(&self, context: &Context) -> Request {
        let left = context.remaining().as_millis().clamp(1, 99_999_999);
        // Digits and a letter: always a header's value.
        let request = self.request.clone().with_header("grpc-timeout", &format!("{left}m"));
        request.unwrap_or_else(|_| self.request.clone())
    }

    fn judge(&self, response: &Response) -> Outcome {
        let mut outcome = answered(response);
        if let Some(not_after) = response.not_after {
            if let Some(certificate) = self.certificate {
                outcome = certificate.judge(outcome, not_after);
            }
            outcome = certificate::told(outcome, not_after);
        }
        outcome
    }
}

impl Check for Grpc {
    async fn run(&self, context: &Context) -> Outcome {
        match self.request(context).send(AddressRules::configured(), give_up_at(context)).await {
            Ok(response) => self.judge(&response),
            Err(error) if error.code() == "protocol" => no_grpc(&error.to_string()),
            Err(error) => failed(&error),
        }
    }
}

/// `HealthCheckRequest`, as `health.proto` numbers its fields.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

fn framed(message: &CheckRequest) -> Result<Vec<u8>, InvalidOption> {
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).map_err(|_| InvalidOption::new("service", "the name is too long"))?;
    Ok([&[0], length.to_be_bytes().as_slice(), &encoded].concat())
}

fn answered(response: &Response) -> Outcome {
    match response.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Outcome::fail(Reason::Auth, "credentials were not accepted").with_detail(response.status.to_string());
        }
        status => return no_grpc(&format!("HTTP status {status}")),
    }
    // Behind the body, or among the headers when there is no body ("Trailers-Only").
    let status = response.trailers.get("grpc-status").or_else(|| response.headers.get("grpc-status"));
    let Some(status) = status.and_then(|status| status.to_str().ok()?.parse::<u16>().ok()) else {
        return no_grpc("there is no `grpc-status`");
    };
    if status == 0 {
        return serving(&response.body);
    }
    let outcome = match status {
        4 => Outcome::fail(Reason::Timeout, "the server ran out of time"),
        5 => Outcome::fail(Reason::Unexpected, "the server does not know the service"),
        7 | 16 => Outcome::fail(Reason::Auth, "credentials were not accepted"),
        8 => Outcome::fail(Reason::Exhausted, "the server has no room"),
        12 => Outcome::fail(Reason::Custom("unimplemented"), "the server has no health service"),
        14 => Outcome::fail(Reason::NotReady, "the server is not available"),
        _ => Outcome::fail(Reason::Protocol, "the server answers with an error"),
    };
    outcome.with_detail(format!("gRPC status {status}")).with("grpc_status", status)
}

fn serving(body: &[u8]) -> Outcome {
    let message = body.split_first_chunk::<PREFIX>().and_then(|([compressed, length @ ..], message)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        (*compressed == 0 && length == message.len()).then(|| CheckResponse::decode(message).ok())?
    });
    let Some(CheckResponse { status }) = message else { return no_grpc("the message can't be read") };
    let (outcome, word) = match status {
        1 => (Outcome::pass(), "SERVING"),
        2 => (Outcome::fail(Reason::NotReady, "the service is not serving"), "NOT_SERVING"),
        3 => (Outcome::fail(Reason::Unexpected, "the server does not know the service"), "SERVICE_UNKNOWN"),
        _ => (Outcome::fail(Reason::Unexpected, "the server does not know how the service is"), "UNKNOWN"),
    };
    outcome.with("serving", word)
}

fn no_grpc(detail: &str) -> Outcome {
    Outcome::fail(Reason::Protocol, "what answers does not speak gRPC").with_detail(detail)
}

/// `grpc: { url: "http://orders.internal:50051", service: orders.v1.Orders }`
pub const KIND: Kind =
    Kind { name: "grpc", summary: "A gRPC server, by its health service", scope: Scope::Remote, opens: Opens::Nothing, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required("url");
    let service = section.or("service", String::new());
    let headers = named_secrets(section, "headers");
    let unix_socket = section.optional("unix_socket");
    let certificate = Certificate::read(section);
    let ca_file = section.file("ca_file");
    let options = Options { url: url?, service, headers: headers?, unix_socket, certificate, ca_file };
    built(section, Grpc::new(options))
}
