//! A WebSocket server (RFC 6455): the handshake, and a ping that comes back, or a message that is expected.
//!
//! Each run opens a connection of its own and closes it again. Without `expect` the server is sent a ping, which every
//! server has to answer by itself; with it, the first message that comes must hold a text. Certificates are verified
//! against the system's roots, or those in `ca_file`; `SSL_CERT_FILE` names others for the whole process.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the server refuses the upgrade, with its status: 401, 403 or 407 | unhealthy | `auth` |
//! | the same with 429 | unhealthy | `exhausted` |
//! | the same with any other status, 200 of a plain web server among them | unhealthy | `unexpected` |
//! | the first message is not as expected, or the server closes the connection instead | unhealthy | `unexpected` |
//! | no answer in time, and the detail says in which stage | unhealthy | `timeout` |
//! | what answers does not speak WebSocket | unhealthy | `protocol` |
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
//! Whatever the URL asks for: a user and password in it, or a header. What `send` says is done.
//!
//! # Cost
//!
//! One connection per run, an upgrade, and one ping or message each way; at most 64 KiB of a message are read.

mod talk;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::tls::{self, Session};
use wellkept_net::{AddressRules, Target, connect};

use self::talk::Talk;
use crate::certificate::{self, Certificate};
use crate::kind::{built, named_secrets};
use crate::reach::{give_up_at, no_tls, not_connected};
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`WebSocket`] check. `Debug` shows neither the URL nor what is sent.
#[derive(Clone)]
pub struct Options {
    /// The server, as `ws://` or `wss://`. Required. A user and password in it are sent as `Authorization: Basic`.
    pub url: Url,
    /// Headers to send, by name, such as `Origin` or `Sec-WebSocket-Protocol`. Default: none.
    pub headers: Vec<(String, SecretString)>,
    /// A text to send after the handshake. Default: none.
    pub send: Option<SecretString>,
    /// A text that the first message must hold. Default: a ping is sent, and has to come back.
    pub expect: Option<String>,
    /// How long the server's certificate has to be valid yet. Default: it is enough that it is valid.
    pub certificate: Option<Certificate>,
    /// A file of certificates in PEM that are trusted instead of the system's. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// A ping that has to come back.
    pub fn new(url: Url) -> Self {
        Self { url, headers: Vec::new(), send: None, expect: None, certificate: None, ca_file: None }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Options").field("expect", &self.expect).finish_non_exhaustive()
    }
}

/// A WebSocket server. The metadata holds `status` when the upgrade was refused, and over TLS `not_after` and
/// `certificate_days` of the server's certificate.
#[derive(Debug)]
pub struct WebSocket {
    target: Target,
    secure: bool,
    talk: Talk,
    certificate: Option<Certificate>,
    tls: tls::Client,
}

impl WebSocket {
    /// Refuses a URL that is neither `ws` nor `wss`, what can't be sent, and a file of certificates that can't be used,
    /// which it reads. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, headers, send, expect, certificate, ca_file } = options;
        let secure = match url.scheme() {
            "ws" => false,
            "wss" => true,
            _ => return Err(InvalidOption::new("url", "the URL must begin with ws:// or wss://")),
        };
        let no_host = || InvalidOption::new("url", "the URL names no host");
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(no_host)?;
        Ok(Self {
            target: Target::new(host, url.port_or_known_default().ok_or_else(no_host)?),
            secure,
            talk: Talk::new(&url, &headers, send, expect)?,
            certificate: certificate.map(Certificate::checked).transpose()?,
            tls: certificate::trusting(ca_file)?,
        })
    }
}

impl Check for WebSocket {
    async fn run(&self, context: &Context) -> Outcome {
        let deadline = give_up_at(context);
        let stream = match connect(&self.target, AddressRules::configured(), deadline).await {
            Ok(stream) => stream,
            Err(error) => return not_connected(&error),
        };
        if !self.secure {
            return self.talk.over(stream, deadline).await;
        }
        let stream = match self.tls.connect(stream, self.target.host(), deadline).await {
            Ok(stream) => stream,
            Err(error) => return no_tls(&error),
        };
        let session = Session::of(&stream);
        let outcome = self.talk.over(stream, deadline).await;
        let Some(not_after) = session.not_after else { return outcome };
        let judged = match self.certificate {
            Some(certificate) => certificate.judge(outcome, not_after),
            None => outcome,
        };
        certificate::told(judged, not_after)
    }
}

/// `websocket: { url: "wss://chat.internal/socket" }`
pub const KIND: Kind = Kind {
    name: "websocket",
    summary: "A WebSocket server, with a ping or a message",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required("url");
    let headers = named_secrets(section, "headers");
    let send = section.optional("send");
    let expect = section.optional("expect");
    let certificate = Certificate::read(section);
    let ca_file = section.file("ca_file");
    built(section, WebSocket::new(Options { url: url?, headers: headers?, send, expect, certificate, ca_file }))
}

/// An answer that is none of a WebSocket server's.
fn refused(status: u16) -> Outcome {
    let reason = match status {
        401 | 403 | 407 => Reason::Auth,
        429 => Reason::Exhausted,
        _ => Reason::Unexpected,
    };
    Outcome::fail(reason, format!("upgrade refused with status {status}")).with("status", status)
}
