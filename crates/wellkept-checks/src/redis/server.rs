//! Where a Redis server is, read from a URL, how a connection to it is made, and what its refusals mean.

use std::fmt;

use percent_encoding::percent_decode_str;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{AsyncConnectionConfig, ErrorKind, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use wellkept_health::{Outcome, Reason};
use wellkept_net::tls::{self, TlsError};
use wellkept_net::{AddressRules, ConnectError, Target, connect};

use super::overheard::{Heard, Overheard};
use crate::InvalidOption;
use crate::driver::Driver;
use crate::reach::{explained, no_tls, not_connected, timed_out};

/// A Redis server, by the URL that the [module](super) describes. Shows nothing of the URL.
pub(crate) struct Server {
    pub(super) target: Target,
    pub(super) encrypted: bool,
    pub(super) login: RedisConnectionInfo,
}

impl Server {
    /// Refuses a URL that can't be used, as the value of `option`. Connects to nothing yet.
    pub(crate) fn parse(option: &'static str, url: &str) -> Result<Self, InvalidOption> {
        let expected = || {
            let message = "expected a Redis URL such as redis://:password@host:6379/0, special characters in user and \
                           password percent-encoded";
            InvalidOption::new(option, message)
        };
        // The parser's errors are not shown: they say too little to be worth the risk.
        let url = Url::parse(url).map_err(|_| expected())?;
        let encrypted = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(expected()),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => decoded(name).ok_or_else(expected)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(InvalidOption::new(option, "the URL names no host")),
        };
        let database = match url.path().trim_matches('/') {
            "" => 0,
            number => number.parse::<u32>().map_err(|_| {
                InvalidOption::new(option, "after the host comes the number of a database, such as /0")
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
        Ok(Self { target: Target::new(host, url.port().unwrap_or(6379)), encrypted, login })
    }

    /// The number of the database.
    pub(crate) fn database(&self) -> i64 {
        self.login.db()
    }

    /// The same server, asked for what it tells by itself too (RESP3, so Redis 6 or later).
    pub(crate) fn with_pushes(self) -> Self {
        Self { login: self.login.set_protocol(ProtocolVersion::RESP3), ..self }
    }

    /// Connects and logs in. Cancel-safe.
    pub(crate) async fn connect(&self, deadline: Instant) -> Result<Session, Failure> {
        // The deadline is ours; the driver's own half second would end slow answers that are still in time.
        self.connect_with(AsyncConnectionConfig::new(), deadline).await
    }

    /// As [`Server::connect`], for a server [`with_pushes`](Server::with_pushes): each is handed to `told`, which must
    /// not block.
    pub(crate) async fn connect_told(
        &self,
        told: impl AsyncPushSender,
        deadline: Instant,
    ) -> Result<Session, Failure> {
        self.connect_with(AsyncConnectionConfig::new().set_push_sender(told), deadline).await
    }

    async fn connect_with(&self, settings: AsyncConnectionConfig, deadline: Instant) -> Result<Session, Failure> {
        let stream =
            connect(&self.target, AddressRules::configured(), deadline).await.map_err(Failure::Connect)?;
        if self.encrypted {
            let stream = tls::connect(stream, self.target.host(), deadline).await.map_err(Failure::Tls)?;
            return Session::start(stream, &self.login, settings, deadline).await;
        }
        Session::start(stream, &self.login, settings, deadline).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("encrypted", &self.encrypted).finish_non_exhaustive()
    }
}

/// An open session. Dropping it closes the connection at once.
pub(crate) struct Session {
    connection: MultiplexedConnection,
    heard: Heard,
    _driver: Driver,
}

impl Session {
    async fn start<S>(
        stream: S,
        login: &RedisConnectionInfo,
        settings: AsyncConnectionConfig,
        deadline: Instant,
    ) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings = settings.set_connection_timeout(None).set_response_timeout(None);
        let (stream, heard) = Overheard::new(stream);
        let logging_in = MultiplexedConnection::new_with_config(login, stream, settings);
        let (connection, driver) = timeout_at(deadline, logging_in)
            .await
            .map_err(|_elapsed| Failure::Timeout("logging in"))?
            .map_err(|error| Failure::of(error, &heard))?;
        Ok(Self { connection, heard, _driver: Driver::start(driver) })
    }

    /// All commands in one message, so in one round trip; an answer for each. What the server refuses is among them.
    /// `waiting` completes "timed out while …".
    pub(crate) async fn ask(
        &mut self,
        commands: &mut Pipeline,
        waiting: &'static str,
        deadline: Instant,
    ) -> Result<Vec<Value>, Failure> {
        let answers = commands.ignore_errors().query_async::<Vec<Value>>(&mut self.connection);
        let answers = timeout_at(deadline, answers).await.map_err(|_elapsed| Failure::Timeout(waiting))?;
        answers.map_err(|error| Failure::of(error, &self.heard))
    }

    /// Hears of what is published on the channels of this pattern from now on.
    pub(crate) async fn subscribe(&mut self, pattern: &str, deadline: Instant) -> Result<(), Failure> {
        let subscribed = timeout_at(deadline, self.connection.psubscribe(pattern)).await;
        let subscribed = subscribed.map_err(|_elapsed| Failure::Timeout("subscribing"))?;
        subscribed.map_err(|error| Failure::of(error, &self.heard))
    }
}

/// Why there is no answer.
pub(crate) enum Failure {
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
    /// Whether a connection that was kept has turned out to be broken.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Driver(error) if error.is_unrecoverable_error())
    }

    fn of(error: RedisError, heard: &Heard) -> Self {
        match heard.last_words() {
            Some((code, text)) => Self::Refused(code, text),
            None => Self::Driver(error),
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
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
pub(crate) fn refused(code: &str, text: &str) -> Outcome {
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
