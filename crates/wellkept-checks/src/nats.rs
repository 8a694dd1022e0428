//! A NATS server: whether it lets one in, answers a `PING`, and is there to stay.
//!
//! The URL is `nats://user:password@host:4222`, or `nats://token@host:4222`; with nothing before the `@` nobody logs in.
//! The connection is encrypted where the server asks for that, and always with `tls://`; the certificate is verified
//! against the system's roots, or those in `ca_file`. `SSL_CERT_FILE` names others for the whole process.
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
//! | the TLS handshake failed, or the certificate is not trusted, or `tls://` is asked for and not spoken there | unhealthy | `tls` |
//! | user, password or token are required or not accepted, or have expired | unhealthy | `auth` |
//! | too many connections, of the server or the account | unhealthy | `exhausted` |
//! | the server has ended the connection as one that reads too slowly | degraded | `exhausted` |
//! | the server is about to stop (lame duck mode) | degraded | `not_ready` |
//! | the server shuts down | unhealthy | `not_ready` |
//! | JetStream is expected and not there | unhealthy | `unexpected` |
//! | another refusal | unhealthy | `error` |
//! | what came is no answer that NATS gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! To log in, with a user and a password or with a token; nothing is published and nothing subscribed to. Keys (`nkey`,
//! `.creds`) and certificates of clients are left out.
//!
//! # Cost
//!
//! One connection, kept from run to run, and one round trip per run. The server's own `PING`s are answered also between
//! two runs.

mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use tokio::time::Instant;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::Target;
use wellkept_net::tls::Client;

use self::session::{Answer, Session};
use crate::findings::Findings;
use crate::kept::Kept;
use crate::kind::built;
use crate::lines::Failure;
use crate::reach::give_up_at;
use crate::server_url::ServerUrl;
use crate::{InvalidOption, Kind, Opens, certificate};

/// The settings of a [`Nats`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// Whether the server must have JetStream, which keeps messages. Default `false`, with or without.
    pub jetstream: bool,
    /// A file of certificates in PEM that are trusted instead of the system's. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// For a server.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self { url: url.into(), jetstream: false, ca_file: None }
    }
}

/// A NATS server, asked with `PING`.
///
/// The metadata holds what the server tells of itself: `server_name`, `server_version`, `cluster` where it is in one,
/// `jetstream` and `lame_duck`; and `encrypted` and `round_trip_ms`.
pub struct Nats {
    server: Server,
    jetstream: bool,
    kept: Kept<Session>,
}

/// Where the server is, and who asks. Shows neither.
struct Server {
    target: Target,
    must_encrypt: bool,
    login: Login,
    client: Client,
}

enum Login {
    Nobody,
    Token(SecretString),
    User(String, SecretString),
}

impl Nats {
    /// Refuses a URL that can't be used, and a file of certificates that can't, which it reads. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, jetstream, ca_file } = options;
        let url = ServerUrl::parse("url", &url, &["nats", "tls"], "nats://user:password@host:4222")?;
        let server = Server {
            target: url.target("url", 4222)?,
            must_encrypt: url.scheme == "tls",
            login: match (url.user, url.password) {
                (None, None) => Login::Nobody,
                (Some(token), None) => Login::Token(token.into()),
                (user, Some(password)) => Login::User(user.unwrap_or_default(), password),
            },
            client: certificate::trusting(ca_file)?,
        };
        Ok(Self { server, jetstream, kept: Kept::nothing() })
    }

    /// As [`Nats::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Answer, Failure> {
        if let Some(mut session) = self.kept.take() {
            match session.ask(deadline).await {
                // It may have ended long ago, with a last word or without, and nobody there to notice.
                Err(failure) if !matches!(failure, Failure::Timeout(_)) => {}
                answer => return self.keep_if_usable(session, answer),
            }
        }
        let mut session = Session::begin(&self.server, deadline).await?;
        let answer = session.ask(deadline).await;
        self.keep_if_usable(session, answer)
    }

    /// After a failure an answer may still be under way.
    fn keep_if_usable(&self, session: Session, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        if answer.is_ok() {
            self.kept.put(session);
        }
        answer
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        let info = &answer.info;
        let mut findings = Findings::default();
        if self.jetstream && !info.jetstream {
            findings.add(Outcome::fail(Reason::Unexpected, "server has no JetStream"));
        }
        if info.lame_duck {
            findings.add(Outcome::warn(Reason::NotReady, "server is about to stop"));
        }
        let mut outcome = findings.worst();
        let texts = [("server_name", &info.name), ("server_version", &info.version), ("cluster", &info.cluster)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))) {
            outcome = outcome.with(name, text);
        }
        let truths = [("jetstream", info.jetstream), ("lame_duck", info.lame_duck), ("encrypted", answer.encrypted)];
        for (name, truth) in truths {
            outcome = outcome.with(name, truth);
        }
        outcome.with("round_trip_ms", (answer.round_trip.as_secs_f64() * 1e6).round() / 1e3)
    }
}

impl Check for Nats {
    async fn run(&self, context: &Context) -> Outcome {
        match self.ask(give_up_at(context)).await {
            Ok(answer) => self.judge(&answer),
            Err(failure) => failure.into_outcome(),
        }
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Nats").field("jetstream", &self.jetstream).finish_non_exhaustive()
    }
}

/// `nats: { url: "nats://127.0.0.1:4222", jetstream: true }`
pub const KIND: Kind =
    Kind { name: "nats", summary: "A NATS server, its answer and JetStream", scope: Scope::Remote, opens: Opens::Nothing, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required::<SecretString>("url");
    let jetstream = section.or("jetstream", false);
    let ca_file = section.file("ca_file");
    built(section, Nats::new(Options { url: url?, jetstream, ca_file }))
}
