//! One HTTP request over one connection, before one deadline. Bounded: headers to 64 KiB, the body to 1 MiB.
//!
//! Uses no proxy, keeps no connection, resumes no TLS session: what it tells is what the named server does now. A
//! redirect is followed by whoever asked, with [`Request::redirected`].

mod redirect;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
pub use hyper::{Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio::time::Instant;
use url::Url;
use wellkept_config::{FromNode, Schema, one_of};
use wellkept_net::tls::{self, Fault, Session, TlsError};
use wellkept_net::{AddressRules, ConnectError, Target, connect, connect_unix};

use crate::reach::Stream;

pub use self::redirect::{NotFollowed, RedirectTo};

/// Most that is kept of a body, in bytes.
pub const MOST_OF_A_BODY: usize = 1024 * 1024;
/// Most that is read for a head: status line and headers, in bytes.
pub const MOST_OF_A_HEAD: usize = 64 * 1024;

/// What is asked. `Debug` shows neither the URL nor the headers' values: both may hold secrets.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Url,
    target: Target,
    host: HeaderValue,
    headers: HeaderMap,
    body: Bytes,
    version: Version,
    tls: tls::Client,
    unix_socket: Option<PathBuf>,
    most: usize,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 and nothing else: by ALPN over TLS, by prior knowledge without it (RFC 9113, 3.2 and 3.3).
    Http2,
    /// Over TLS what the server chooses of the two, without it HTTP/1.1.
    Auto,
}

const WORDS: [(&str, Version); 3] = [("1.1", Version::Http1), ("2", Version::Http2), ("auto", Version::Auto)];

impl FromNode for Version {
    const EXPECTED: &'static str = "1.1, 2 or auto";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

impl Version {
    fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1 => &[],
            Self::Http2 => &[b"h2"],
            Self::Auto => &[b"h2", b"http/1.1"],
        }
    }
}

impl Request {
    /// A `GET` of an `http` or `https` URL. A user and password in it become `Authorization: Basic` (RFC 7617).
    pub fn get(url: &Url) -> Result<Self, InvalidRequest> {
        Self::new(Method::GET, url)
    }

    /// As [`Request::get`], with another method.
    pub fn new(method: Method, url: &Url) -> Result<Self, InvalidRequest> {
        let (target, host) = destination(url)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("wellkept/", env!("CARGO_PKG_VERSION"))));
        if let Some(credentials) = credentials(url)? {
            headers.insert(AUTHORIZATION, credentials);
        }
        Ok(Self {
            method,
            url: url.clone(),
            target,
            host,
            headers,
            body: Bytes::new(),
            version: Version::default(),
            tls: tls::Client::new(),
            unix_socket: None,
            most: MOST_OF_A_BODY,
        })
    }

    /// Adds a header, or replaces the one of that name, among them `Host`.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, InvalidRequest> {
        let name = HeaderName::try_from(name).map_err(|_| InvalidRequest::HeaderName)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| InvalidRequest::HeaderValue)?;
        value.set_sensitive(true);
        if name == HOST {
            self.host = value;
        } else {
            self.headers.insert(name, value);
        }
        Ok(self)
    }

    /// Sends this along, as JSON. Nothing is sent by default.
    #[must_use]
    pub fn with_json(self, body: impl Into<Bytes>) -> Self {
        self.with_body("application/json", body)
    }

    /// As [`Request::with_json`], of another media type.
    #[must_use]
    pub fn with_body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.body = body.into();
        self
    }

    /// Speaks this HTTP. Default HTTP/1.1.
    #[must_use]
    pub fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Shakes hands by these settings. By default the system's roots are trusted.
    #[must_use]
    pub fn with_tls(self, tls: tls::Client) -> Self {
        Self { tls, ..self }
    }

    /// Connects to a Unix socket. The URL's host is then only named in the request, and in the TLS handshake.
    #[must_use]
    pub fn with_unix_socket(self, path: impl Into<PathBuf>) -> Self {
        Self { unix_socket: Some(path.into()), ..self }
    }

    /// Takes so many bytes of the body of the answer at most. Default [`MOST_OF_A_BODY`].
    #[must_use]
    pub fn taking(self, most: usize) -> Self {
        Self { most, ..self }
    }

    fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Sends it and waits for the answer, until `deadline` at the latest. Whatever its status, an answer is an answer.
    ///
    /// The addresses of the host are judged by `rules`. Cancel-safe: dropping the future closes the connection.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use wellkept_checks::fetch::Request;
    /// use wellkept_net::AddressRules;
    ///
    /// let request = Request::get(&"http://127.0.0.1:8080/health".parse()?)?;
    /// let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    /// let response = request.send(AddressRules::configured(), deadline).await?;
    /// assert!(response.status.is_success());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&self, rules: AddressRules, deadline: Instant) -> Result<Response, FetchError> {
        match &self.unix_socket {
            Some(path) => self.send_over(connect_unix(path, deadline).await?, deadline).await,
            None => self.send_over(connect(&self.target, rules, deadline).await?, deadline).await,
        }
    }

    async fn send_over<S: Stream>(&self, stream: S, deadline: Instant) -> Result<Response, FetchError> {
        if self.is_secure() {
            // A handshake has a large state, which the many runs without one need not have room for.
            return Box::pin(self.send_secured(stream, deadline)).await;
        }
        wire::exchange(self, stream, self.version == Version::Http2, deadline).await
    }

    async fn send_secured<S: Stream>(&self, stream: S, deadline: Instant) -> Result<Response, FetchError> {
        let tls = self.tls.clone().offering(self.version.alpn());
        let stream = match tls.connect(stream, self.target.host(), deadline).await {
            Err(error) if error.fault() == Some(Fault::Protocol) => return Err(FetchError::NoHttp2),
            connected => connected?,
        };
        let session = Session::of(&stream);
        let http2 = session.alpn.as_deref() == Some(b"h2");
        if self.version == Version::Http2 && !http2 {
            return Err(FetchError::NoHttp2);
        }
        let response = wire::exchange(self, stream, http2, deadline).await?;
        Ok(Response { not_after: session.not_after, ..response })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

/// What was answered. `Debug` shows neither headers nor body.
#[derive(Clone)]
pub struct Response {
    /// The status, of a redirect too.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or as much of its beginning as is taken: [`MOST_OF_A_BODY`], or what [`Request::taking`] says.
    pub body: Bytes,
    /// Whether there was more of the body.
    pub truncated: bool,
    /// What came behind the body, as headers.
    pub trailers: HeaderMap,
    /// Whether it came over HTTP/2.
    pub http2: bool,
    /// When the server's certificate ends; `None` without TLS.
    pub not_after: Option<SystemTime>,
}

impl Response {
    /// How long the server asks to wait before the next request, if it says so in seconds (RFC 9110, 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        value.trim().parse().ok().map(Duration::from_secs)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Response");
        shown.field("status", &self.status).field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// Why a request can't be made. Holds nothing of the URL or of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// Neither `http` nor `https`.
    #[error("the URL must begin with http:// or https://")]
    Scheme,
    /// No host, or one that can't be in a header.
    #[error("the URL names no host")]
    Host,
    /// The user or password holds what is no text once decoded.
    #[error("the URL's user and password must be percent-encoded UTF-8")]
    Credentials,
    /// Not a header's name.
    #[error("a header's name holds letters, digits and hyphens")]
    HeaderName,
    /// Not a header's value.
    #[error("a header's value holds no line breaks and control characters")]
    HeaderValue,
}

impl InvalidRequest {
    /// The stable code: `fetch.scheme`, `fetch.host`, `fetch.credentials`, `fetch.header_name` or
    /// `fetch.header_value`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Scheme => "fetch.scheme",
            Self::Host => "fetch.host",
            Self::Credentials => "fetch.credentials",
            Self::HeaderName => "fetch.header_name",
            Self::HeaderValue => "fetch.header_value",
        }
    }
}

/// Why there is no response. The texts are for operators: they may hold addresses.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// No TLS on it.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The deadline passed. Says what it was waiting for.
    #[error("timed out while {0}")]
    Timeout(&'static str),
    /// The connection broke, or what came was not HTTP.
    #[error("{}", crate::reach::explained(.0))]
    Protocol(hyper::Error),
    /// The URL's path can't be sent.
    #[error("the URL's path can't be sent")]
    Path,
    /// HTTP/2 was asked for, and the server does not speak it over TLS.
    #[error("the server did not agree on HTTP/2")]
    NoHttp2,
}

impl FetchError {
    /// The stable code: `dns`, `blocked`, `refused`, `timeout`, `network`, `exhausted`, `tls` or `protocol`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.code(),
            Self::Tls(error) => error.code(),
            Self::Timeout(_) => "timeout",
            Self::Protocol(error) if error.is_incomplete_message() || error.is_canceled() || is_io(error) => "network",
            Self::Protocol(_) | Self::Path | Self::NoHttp2 => "protocol",
        }
    }

    /// Where it was when the deadline passed: `dns`, `connect`, `tls`, `first_byte` or `body`. `None` for what is no
    /// timeout.
    pub fn stage(&self) -> Option<&'static str> {
        match self {
            Self::Connect(ConnectError::Timeout { stage: "resolving", .. }) => Some("dns"),
            Self::Connect(ConnectError::Timeout { .. }) => Some("connect"),
            Self::Tls(TlsError::Timeout) => Some("tls"),
            Self::Timeout(wire::READING) => Some("body"),
            Self::Timeout(_) => Some("first_byte"),
            _ => None,
        }
    }
}

/// Whether the connection broke. HTTP/2 has a layer of its own between.
fn is_io(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Where a URL leads, and how that is called in a request (RFC 9110, 7.2): with the port only where it is not the
/// scheme's own.
fn destination(url: &Url) -> Result<(Target, HeaderValue), InvalidRequest> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InvalidRequest::Scheme);
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(InvalidRequest::Host)?;
    let port = url.port_or_known_default().ok_or(InvalidRequest::Host)?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok((Target::new(host, port), HeaderValue::try_from(authority).map_err(|_| InvalidRequest::Host)?))
}

/// `Basic` credentials, marked so that no `Debug` shows them.
pub(crate) fn credentials(url: &Url) -> Result<Option<HeaderValue>, InvalidRequest> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decoded = |text| percent_decode_str(text).decode_utf8().map_err(|_| InvalidRequest::Credentials);
    let pair = format!("{}:{}", decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        .map_err(|_| InvalidRequest::Credentials)?;
    value.set_sensitive(true);
    Ok(Some(value))
}
