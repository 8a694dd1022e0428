//! A Redis or Valkey server, asked with `PING` and `INFO` in one round trip over one connection that is kept.
//!
//! A server that answers is not always one that works: while it loads its data, when it can't save and so refuses
//! writes, when its memory is full and it may evict nothing, or when a replica has lost its primary, the check says so.
//!
//! The URL is `redis://user:password@host:6379/0`; user, password, port and database may be left out. With `rediss://`
//! the connection is encrypted and the certificate verified against the system's roots; `SSL_CERT_FILE` names others.
//! `valkey://` and `valkeys://` mean the same.
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
//! | a password is required or not accepted, or the user may not ask | unhealthy | `auth` |
//! | the server loads its data, is busy with a script, or its cluster is down | unhealthy | `not_ready` |
//! | a replica has lost its primary | degraded; unhealthy where it then refuses reads | `not_ready` |
//! | writes are refused: the server is a replica, or can't save its data | degraded | `not_ready` |
//! | writes are refused: the memory is full, and nothing may be evicted | degraded | `exhausted` |
//! | the last save failed | degraded | `error` |
//! | too many connections | unhealthy | `exhausted` |
//! | another refusal | unhealthy | `error` |
//! | what came is no answer that Redis gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! `PING`; `INFO` for all that goes beyond it. A user who may not run `INFO` gets a verdict from `PING` alone.
//!
//! # Cost
//!
//! One connection, kept from run to run, and one round trip per run.

mod info;
mod overheard;
pub(crate) mod server;

use std::fmt;

use redis::Value;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};

use self::info::Info;
use self::server::{Failure, Server, Session, refused};
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind};

/// The settings of a [`Redis`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
}

impl Options {
    /// For a server.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self { url: url.into() }
    }
}

/// A Redis or Valkey server, asked with `PING` and `INFO`.
///
/// The metadata holds what `INFO` tells: `server_version`, `role`, `connected_clients`, `used_memory_bytes`,
/// `memory_usage` (of `maxmemory`, or of the machine's memory where there is no such limit), with that limit also
/// `maxmemory_bytes`, and once there were reads, `hit_rate` since the server's start. A user who may not run `INFO` gets a verdict from `PING` alone.
pub struct Redis {
    server: Server,
    kept: Kept<Session>,
}

impl Redis {
    /// Refuses a URL that can't be used. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url } = options;
        Ok(Self { server: Server::parse("url", url.expose_secret())?, kept: Kept::nothing() })
    }

    /// As [`Redis::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Answers, Failure> {
        if let Some(mut session) = self.kept.take() {
            match Answers::to_both(&mut session, deadline).await {
                // It may have broken long ago, with nobody there to notice.
                Err(failure) if failure.is_broken_connection() => {}
                answers => return self.keep_if_usable(session, answers),
            }
        }
        let mut session = self.server.connect(deadline).await?;
        let answers = Answers::to_both(&mut session, deadline).await;
        self.keep_if_usable(session, answers)
    }

    /// After a failure an answer may still be under way. What the server refused is an answer, not a failure.
    fn keep_if_usable(&self, session: Session, answers: Result<Answers, Failure>) -> Result<Answers, Failure> {
        if answers.is_ok() {
            self.kept.put(session);
        }
        answers
    }
}

impl Check for Redis {
    async fn run(&self, context: &Context) -> Outcome {
        match self.ask(give_up_at(context)).await {
            Ok(answers) => answers.outcome(),
            Err(failure) => failure.outcome(),
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redis").field("server", &self.server).finish_non_exhaustive()
    }
}

/// `redis: { url: "redis://127.0.0.1:6379/0" }`
pub const KIND: Kind =
    Kind { name: "redis", summary: "A Redis or Valkey server, with PING and INFO", scope: Scope::Remote, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required::<SecretString>("url");
    built(section, Redis::new(Options { url: url? }))
}

/// What the server said, whether it liked the questions or not.
struct Answers {
    ping: Value,
    info: Value,
}

impl Answers {
    /// Both commands in one message, so in one round trip.
    async fn to_both(session: &mut Session, deadline: Instant) -> Result<Self, Failure> {
        let waiting = "waiting for the answer to PING";
        let answers = session.ask(redis::pipe().cmd("PING").cmd("INFO"), waiting, deadline).await?;
        match <[Value; 2]>::try_from(answers) {
            Ok([ping, info]) => Ok(Self { ping, info }),
            Err(_) => Err(Failure::Unexpected("fewer answers than commands")),
        }
    }

    fn outcome(&self) -> Outcome {
        let info = match &self.info {
            Value::BulkString(bytes) => Info::parse(&String::from_utf8_lossy(bytes)),
            Value::VerbatimString { text, .. } | Value::SimpleString(text) => Info::parse(text),
            _ => Info::default(),
        };
        let outcome = match &self.ping {
            Value::ServerError(error) => refused(error.code(), error.details().unwrap_or_default()),
            Value::SimpleString(pong) if pong == "PONG" => info.judge(),
            _ => Failure::Unexpected("the answer to PING is not PONG").outcome(),
        };
        info.describe(outcome)
    }
}

#[cfg(test)]
mod tests;
