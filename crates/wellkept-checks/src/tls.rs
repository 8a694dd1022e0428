//! A TLS server by its handshake alone: its certificate and the version that it speaks. Nothing is asked after it.
//!
//! The handshake is always a whole one: no session is resumed, so that the certificate is the one that the server
//! presents now. Certificates are verified against the system's roots, or those in `ca_file`; `SSL_CERT_FILE` names
//! others for the whole process. When the certificate ends is in the component's trend.
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
//! | the certificate has expired, is not valid yet, is for another name, or not trusted; each has its message | unhealthy | `tls` |
//! | no version of TLS that both speak, or an older one than `min_version` | unhealthy | `tls` |
//! | what answers does not speak TLS | unhealthy | `tls` |
//! | the certificate ends soon | degraded, then unhealthy | `threshold` |
//! | the server does not begin TLS in its protocol's own way (`starttls`) | unhealthy | `protocol` |
//!
//! # Rights
//!
//! None.
//!
//! # Cost
//!
//! One connection and one handshake per run, which costs the target a signature. With `starttls` up to three round
//! trips more.

mod starttls;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use wellkept_config::{FromNode, Schema, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope, Verdict};
use wellkept_net::tls::{Client, Session};
use wellkept_net::{AddressRules, Target, TargetError, connect};

pub use self::starttls::StartTls;
use crate::certificate::{self, Certificate};
use crate::kind::built;
use crate::reach::{give_up_at, no_tls, not_connected};
use crate::{InvalidOption, Kind, Opens};

/// The settings of a [`Tls`] check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to connect to, as `host:port`, an IPv6 address in brackets. Required.
    pub address: String,
    /// The name that is asked for and that the certificate has to be for. Default: the host of the address.
    pub server_name: Option<String>,
    /// How long the certificate has to be valid yet. Default: as its keys say.
    pub certificate: Certificate,
    /// The oldest version of TLS that the server may choose. Default `1.2`.
    pub min_version: MinVersion,
    /// The protocol in whose own way TLS is begun, for servers that begin in plain text. Default: none.
    pub starttls: Option<StartTls>,
    /// A file of certificates in PEM that are trusted instead of the system's. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// For an address such as `mail.example.com:465`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            server_name: None,
            certificate: Certificate::default(),
            min_version: MinVersion::default(),
            starttls: None,
            ca_file: None,
        }
    }
}

/// The oldest version of TLS that may be chosen. Older ones than 1.2 are never spoken here (RFC 8996).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

const WORDS: [(&str, MinVersion); 2] = [("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];

impl FromNode for MinVersion {
    const EXPECTED: &'static str = "1.2 or 1.3";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// A TLS server by its handshake alone. The metadata holds `tls_version`, `not_after` and `certificate_days`.
#[derive(Debug)]
pub struct Tls {
    target: Target,
    server_name: String,
    certificate: Certificate,
    min_version: MinVersion,
    starttls: Option<StartTls>,
    client: Client,
}

impl Tls {
    /// Refuses an address that is not `host:port`, limits in the wrong order, and a file of certificates that can't be
    /// used, which it reads. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { address, server_name, certificate, min_version, starttls, ca_file } = options;
        let target: Target = address.parse().map_err(|error: TargetError| InvalidOption::new("address", error.to_string()))?;
        Ok(Self {
            server_name: server_name.unwrap_or_else(|| target.host().to_owned()),
            target,
            certificate: certificate.checked()?,
            min_version,
            starttls,
            client: certificate::trusting(ca_file)?,
        })
    }

    async fn shake_hands<S>(&self, mut stream: S, deadline: Instant) -> Outcome
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(starttls) = self.starttls
            && let Err(failure) = starttls.begin(&mut stream, deadline).await
        {
            return failure.into_outcome();
        }
        let stream = match self.client.connect(stream, &self.server_name, deadline).await {
            Ok(stream) => stream,
            Err(error) => return no_tls(&error),
        };
        self.judge(&Session::of(&stream))
    }

    fn judge(&self, session: &Session) -> Outcome {
        let outcome = if self.min_version == MinVersion::Tls13 && session.version != "1.3" {
            Outcome::fail(Reason::Tls, format!("TLS {} is too old", session.version))
        } else {
            Outcome::pass()
        };
        let outcome = match session.not_after {
            Some(not_after) => certificate::told(self.certificate.judge(outcome, not_after), not_after),
            None if outcome.verdict() == Verdict::Pass => {
                Outcome::warn(Reason::Protocol, "when the certificate ends can't be read")
            }
            None => outcome,
        };
        outcome.with("tls_version", session.version)
    }
}

impl Check for Tls {
    async fn run(&self, context: &Context) -> Outcome {
        let deadline = give_up_at(context);
        match connect(&self.target, AddressRules::configured(), deadline).await {
            Ok(stream) => self.shake_hands(stream, deadline).await,
            Err(error) => not_connected(&error),
        }
    }
}

/// `tls: { address: "mail.example.com:465", certificate: { degraded_below: 14d, unhealthy_below: 3d } }`
pub const KIND: Kind =
    Kind { name: "tls", summary: "A TLS server, by its handshake and certificate", scope: Scope::Remote, opens: Opens::Nothing, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let address = section.required("address");
    let server_name = section.optional("server_name");
    let certificate = Certificate::read(section).unwrap_or_default();
    let min_version = section.or("min_version", MinVersion::default());
    let starttls = section.optional("starttls");
    let ca_file = section.file("ca_file");
    built(section, Tls::new(Options { address: address?, server_name, certificate, min_version, starttls, ca_file }))
}
