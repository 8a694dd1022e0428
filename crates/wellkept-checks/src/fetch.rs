//! One HTTP/1.1 request over one connection, before one deadline. Bounded: headers to 64 KiB, the body to 1 MiB.
//!
//! Follows no redirect, uses no proxy, keeps no connection: what it tells is what the named server does now.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
pub use hyper::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use url::Url;
use wellkept_net::tls::{self, TlsError};
use wellkept_net::{AddressRules, ConnectError, Target, connect};

use crate::driver::Driver;

/// Most that is kept of a body, in bytes.
pub const MOST_OF_A_BODY: usize = 1024 * 1024;
/// Most that is read for a head: status line and headers, in bytes.
pub const MOST_OF_A_HEAD: usize = 64 * 1024;

/// What is asked. `Debug` shows neither the URL nor the headers' values: both may hold secrets.
#[derive(Clone)]
pub struct Request {
    method: Method,
    secure: bool,
    target: Target,
    host: HeaderValue,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// A `GET` of an `http` or `https` URL. A user and password in it become `Authorization: Basic` (RFC 7617).
    pub fn get(url: &Url) -> Result<Self, InvalidRequest> {
        Self::new(Method::GET, url)
    }

    /// As [`Request::get`], with another method.
    pub fn new(method: Method, url: &Url) -> Result<Self, InvalidRequest> {
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(InvalidRequest::Scheme),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(InvalidRequest::Host)?;
        let port = url.port_or_known_default().ok_or(InvalidRequest::Host)?;
        // RFC 9110, section 7.2: the port only where it is not the scheme's own.
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("wellkept/", env!("CARGO_PKG_VERSION"))));
        if let Some(credentials) = credentials(url)? {
            headers.insert(AUTHORIZATION, credentials);
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self {
            method,
            secure,
            target: Target::new(host, port),
            host: HeaderValue::try_from(authority).map_err(|_| InvalidRequest::Host)?,
            path: format!("{}{query}", url.path()),
            headers,
            body: Bytes::new(),
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
    pub fn with_json(mut self, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = body.into();
        self
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
        let stream = connect(&self.target, rules, deadline).await?;
        if self.secure {
            let stream = tls::connect(stream, self.target.host(), deadline).await?;
            return self.exchange(stream, deadline).await;
        }
        self.exchange(stream, deadline).await
    }

    async fn exchange<S>(&self, stream: S, deadline: Instant) -> Result<Response, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MOST_OF_A_HEAD);
        let (mut sender, connection) =
            builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(FetchError::Protocol)?;
        // What goes wrong with the connection is told to whoever waits for the response.
        let _driver = Driver::start(async move { drop(connection.await) });
        let mut request = hyper::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.parse().map_err(|_| FetchError::Path)?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        let response = timeout_at(deadline, sender.send_request(request))
            .await
            .map_err(|_elapsed| FetchError::Timeout("waiting for the response"))?
            .map_err(FetchError::Protocol)?;
        let (head, body) = response.into_parts();
        let (body, truncated) = timeout_at(deadline, collect(body))
            .await
            .map_err(|_elapsed| FetchError::Timeout("reading the body"))?
            .map_err(FetchError::Protocol)?;
        Ok(Response { status: head.status, headers: head.headers, body, truncated })
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
    /// The body, or its first [`MOST_OF_A_BODY`] bytes.
    pub body: Bytes,
    /// Whether there was more of the body.
    pub truncated: bool,
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
}

impl FetchError {
    /// The stable code: `dns`, `blocked`, `refused`, `timeout`, `network`, `exhausted`, `tls` or `protocol`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.code(),
            Self::Tls(error) => error.code(),
            Self::Timeout(_) => "timeout",
            Self::Protocol(error) if error.is_incomplete_message() || is_io(error) => "network",
            Self::Protocol(_) | Self::Path => "protocol",
        }
    }
}

fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// `Basic` credentials, marked so that no `Debug` shows them.
fn credentials(url: &Url) -> Result<Option<HeaderValue>, InvalidRequest> {
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

/// The body's beginning, and whether there was more.
async fn collect(mut body: Incoming) -> Result<(Bytes, bool), hyper::Error> {
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = MOST_OF_A_BODY - collected.len();
        collected.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            return Ok((collected.freeze(), true));
        }
    }
    Ok((collected.freeze(), false))
}
