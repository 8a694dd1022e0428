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

use std::fmt;

use percent_encoding::percent_decode_str;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError, Value};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::tls::{self, TlsError};
use wellkept_net::{AddressRules, ConnectError, Target, connect};

use self::info::Info;
use self::overheard::{Heard, Overheard};
use crate::driver::Driver;
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::{explained, give_up_at, no_tls, not_connected, timed_out};
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
    target: Target,
    encrypted: bool,
    login: RedisConnectionInfo,
    kept: Kept<Session>,
}

impl Redis {
    /// Refuses a URL that can't be used. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url } = options;
        let expected = || {
            let message = "expected a Redis URL such as redis://:password@host:6379/0, special characters in user and \
                           password percent-encoded";
            InvalidOption::new("url", message)
        };
        // The parser's errors are not shown: they say too little to be worth the risk.
        let url = Url::parse(url.expose_secret()).map_err(|_| expected())?;
        let encrypted = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(expected()),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => decoded(name).ok_or_else(expected)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(InvalidOption::new("url", "the URL names no host")),
        };
        let database = match url.path().trim_matches('/') {
            "" => 0,
            number => number.parse::<u32>().map_err(|_| {
                InvalidOption::new("url", "after the host comes the number of a database, such as /0")
            })?,
        };
        let mut login = RedisConnectionInfo::default()
            .set_db(i64::from(database))
            .set_lib_name("wellkept", env!("CARGO_PKG_VERSION"));
        if !url.username().is_empty() {
            login = login.set_username(decoded(url.username()).ok_or_else(expected)?);
        }
        if let Some(password) = url.password().filter(|password| !password.is_empty()) {
            login = login.set_password(decoded(password).ok_or_else(expected)?);
        }
        Ok(Self { target: Target::new(host, url.port().unwrap_or(6379)), encrypted, login, kept: Kept::nothing() })
    }

    /// As [`Redis::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Answers, Failure> {
        if let Some(mut session) = self.kept.take() {
            match session.ask(deadline).await {
                // It may have broken long ago, with nobody there to notice.
                Err(Failure::Driver(error)) if error.is_unrecoverable_error() => {}
                answers => return self.keep_if_usable(session, answers),
            }
        }
        let mut session = self.connect(deadline).await?;
        let answers = session.ask(deadline).await;
        self.keep_if_usable(session, answers)
    }

    /// After a failure an answer may still be under way. What the server refused is an answer, not a failure.
    fn keep_if_usable(&self, session: Session, answers: Result<Answers, Failure>) -> Result<Answers, Failure> {
        if answers.is_ok() {
            self.kept.put(session);
        }
        answers
    }

    async fn connect(&self, deadline: Instant) -> Result<Session, Failure> {
        let stream =
            connect(&self.target, AddressRules::configured(), deadline).await.map_err(Failure::Connect)?;
        if self.encrypted {
            let stream = tls::connect(stream, self.target.host(), deadline).await.map_err(Failure::Tls)?;
            return Session::start(stream, &self.login, deadline).await;
        }
        Session::start(stream, &self.login, deadline).await
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
        formatter.debug_struct("Redis").field("encrypted", &self.encrypted).finish_non_exhaustive()
    }
}

/// `redis: { url: "redis://127.0.0.1:6379/0" }`
pub const KIND: Kind =
    Kind { name: "redis", summary: "A Redis or Valkey server, with PING and INFO", scope: Scope::Remote, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required::<SecretString>("url");
    built(section, Redis::new(Options { url: url? }))
}

/// An open session. Dropping it closes the connection at once.
struct Session {
    connection: MultiplexedConnection,
    heard: Heard,
    _driver: Driver,
}

impl Session {
    async fn start<S>(stream: S, login: &RedisConnectionInfo, deadline: Instant) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The deadline is ours; the driver's own half second would end slow answers that are still in time.
        let settings = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let (stream, heard) = Overheard::new(stream);
        let logging_in = MultiplexedConnection::new_with_config(login, stream, settings);
        let (connection, driver) = timeout_at(deadline, logging_in)
            .await
            .map_err(|_elapsed| Failure::Timeout("logging in"))?
            .map_err(|error| Failure::of(error, &heard))?;
        Ok(Self { connection, heard, _driver: Driver::start(driver) })
    }

    /// Both commands in one message, so in one round trip.
    async fn ask(&mut self, deadline: Instant) -> Result<Answers, Failure> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("PING").cmd("INFO").ignore_errors();
        let answered = timeout_at(deadline, pipeline.query_async::<Vec<Value>>(&mut self.connection)).await;
        let answers = answered.map_err(|_elapsed| Failure::Timeout("waiting for the answer to PING"))?;
        let mut answers = answers.map_err(|error| Failure::of(error, &self.heard))?.into_iter();
        match (answers.next(), answers.next()) {
            (Some(ping), Some(info)) => Ok(Answers { ping, info }),
            _ => Err(Failure::Unexpected("fewer answers than commands")),
        }
    }
}

/// What the server said, whether it liked the questions or not.
struct Answers {
    ping: Value,
    info: Value,
}

impl Answers {
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

enum Failure {
    Connect(ConnectError),
    Tls(TlsError),
    /// The deadline passed. Completes "timed out while …".
    Timeout(&'static str),
    Unexpected(&'static str),
    /// The server said why and hung up.
    Refused(String, String),
    Driver(RedisError),
}

impl Failure {
    fn of(error: RedisError, heard: &Heard) -> Self {
        match heard.last_words() {
            Some((code, text)) => Self::Refused(code, text),
            None => Self::Driver(error),
        }
    }

    fn outcome(&self) -> Outcome {
        let error = match self {
            Self::Connect(error) => return not_connected(error),
            Self::Tls(error) => return no_tls(error),
            Self::Timeout(doing) => return timed_out(doing),
            Self::Unexpected(what) => {
                return Outcome::fail(Reason::Protocol, "not an answer that Redis gives").with_detail(*what);
            }
            Self::Refused(code, text) => return refused(code, text),
            Self::Driver(error) => error,
        };
        if let Some(code) = error.code() {
            return refused(code, error.detail().unwrap_or_default());
        }
        let outcome = match error.kind() {
            ErrorKind::AuthenticationFailed => Outcome::fail(Reason::Auth, "password not accepted"),
            ErrorKind::Io => Outcome::fail(Reason::Network, "connection broken"),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                Outcome::fail(Reason::Protocol, "not an answer that Redis gives")
            }
            _ => Outcome::fail(Reason::Error, "check failed"),
        };
        outcome.with_detail(explained(error))
    }
}

/// By the word that begins an error of Redis's.
fn refused(code: &str, text: &str) -> Outcome {
    let outcome = match code {
        "LOADING" => Outcome::fail(Reason::NotReady, "server is loading its data"),
        "MASTERDOWN" => Outcome::fail(Reason::NotReady, "replica has lost its primary"),
        "CLUSTERDOWN" => Outcome::fail(Reason::NotReady, "cluster is down"),
        "BUSY" => Outcome::fail(Reason::NotReady, "server is busy with a script"),
        "READONLY" => Outcome::warn(Reason::NotReady, "server does not accept writes"),
        // PING is refused as a write would be; reads still work.
        "MISCONF" => Outcome::warn(Reason::NotReady, "writes are refused as the data can't be saved"),
        "OOM" => Outcome::warn(Reason::Exhausted, "writes are refused as the memory is full"),
        "NOAUTH" => Outcome::fail(Reason::Auth, "password is required"),
        "WRONGPASS" => Outcome::fail(Reason::Auth, "password not accepted"),
        "NOPERM" | "DENIED" => Outcome::fail(Reason::Auth, "user is not permitted"),
        _ if text.contains("max number of clients") => Outcome::fail(Reason::Exhausted, "too many connections"),
        _ => Outcome::fail(Reason::Error, "command refused"),
    };
    outcome.with_detail(format!("{code} {text}").trim_end().to_owned())
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests;
