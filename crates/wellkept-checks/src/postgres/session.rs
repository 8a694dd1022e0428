//! One session with a PostgreSQL server: how it is opened, and what is asked in it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{Client, Config, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;
use wellkept_net::{AddressRules, Target, connect, tls};

use super::failure::Failure;
use crate::driver::Driver;

/// Ends the query given by the user; its first column's name is how the answers after it are recognised. Nothing in
/// it needs a right that could be missing.
const STATE: &str = "SELECT pg_catalog.pg_is_in_recovery() AS wellkept_in_recovery, \
                     pg_catalog.current_setting('max_connections')";
const STATE_COLUMN: &str = "wellkept_in_recovery";

/// Sessions of clients, and of these the ones whose state is not known: others' is hidden from users without
/// `pg_read_all_stats`, and nobody's is tracked with `track_activities` off. A server that only speaks like PostgreSQL
/// may not have the view.
const CONNECTIONS: &str = "SELECT count(*), count(*) FILTER (WHERE state IS NULL OR state = 'disabled'), \
                           count(*) FILTER (WHERE state IN ('active', 'fastpath function call')), \
                           count(*) FILTER (WHERE state = 'idle'), \
                           count(*) FILTER (WHERE state LIKE 'idle in transaction%') \
                           FROM pg_catalog.pg_stat_activity \
                           WHERE datid IS NOT NULL AND usesysid IS NOT NULL";

/// One way to the server.
#[derive(Debug)]
pub(super) enum Place {
    /// The host is the name that a certificate must be for; the target may be an address given beside it.
    Tcp { host: String, target: Target },
    /// The socket's path.
    Unix(PathBuf),
}

impl Place {
    /// All hosts of the URL, in its order.
    pub(super) fn all_of(config: &Config) -> Vec<Self> {
        let port = |index: usize| match config.get_ports() {
            [one] => *one,
            ports => ports.get(index).copied().unwrap_or(5432),
        };
        let place = |(index, host): (usize, &Host)| match host {
            Host::Tcp(host) => {
                let address = config.get_hostaddrs().get(index).map(ToString::to_string);
                let target = Target::new(address.unwrap_or_else(|| host.clone()), port(index));
                Self::Tcp { host: host.clone(), target }
            }
            Host::Unix(folder) => Self::Unix(folder.join(format!(".s.PGSQL.{}", port(index)))),
        };
        config.get_hosts().iter().enumerate().map(place).collect()
    }
}

/// An open session. Dropping it closes the connection at once.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    version: Option<String>,
    counts_connections: bool,
    _driver: Driver,
}

/// What one round trip tells.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) version: Option<String>,
    pub(super) in_recovery: Option<bool>,
    pub(super) connections: Connections,
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) active: Option<u64>,
    pub(super) idle: Option<u64>,
    pub(super) idle_in_transaction: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) max: Option<u64>,
}

impl Session {
    pub(super) async fn open(place: &Place, config: &Config, deadline: Instant) -> Result<Self, Failure> {
        match place {
            Place::Unix(path) => {
                let stream = timeout_at(deadline, UnixStream::connect(path))
                    .await
                    .map_err(|_elapsed| Failure::Timeout("connecting"))?
                    .map_err(|error| Failure::Socket(path.clone(), error))?;
                // As in libpq, `sslmode` is not meant for Unix sockets.
                let mut config = config.clone();
                config.ssl_mode(SslMode::Disable);
                Self::start(stream, NoTls, &config, deadline).await
            }
            Place::Tcp { host, target } => {
                let stream =
                    connect(target, AddressRules::configured(), deadline).await.map_err(Failure::Connect)?;
                if config.get_ssl_mode() == SslMode::Disable {
                    return Self::start(stream, NoTls, config, deadline).await;
                }
                let mut encrypt = MakeRustlsConnect::new(
                    timeout_at(deadline, tls_config(config))
                        .await
                        .map_err(|_elapsed| Failure::Timeout("reading the trust roots"))?,
                );
                let Ok(encrypt) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut encrypt, host);
                Self::start(stream, encrypt, config, deadline).await
            }
        }
    }

    async fn start<S, T>(
        stream: S,
        encrypt: T,
        config: &Config,
        deadline: Instant,
    ) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsConnect<S>,
        T::Stream: Send + 'static,
    {
        let logging_in = config.connect_raw(stream, encrypt);
        let (client, connection) = timeout_at(deadline, logging_in)
            .await
            .map_err(|_elapsed| Failure::Timeout("logging in"))?
            .map_err(Failure::Driver)?;
        let needs_writes = config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        if needs_writes && connection.parameter("in_hot_standby") == Some("on") {
            return Err(Failure::ReadOnly);
        }
        let version = connection.parameter("server_version").and_then(|text| text.split_whitespace().next());
        Ok(Self {
            client,
            version: version.map(ToOwned::to_owned),
            counts_connections: true,
            // How the connection ended is told to whoever waits for an answer.
            _driver: Driver::start(async move { drop(connection.await) }),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// Asks the query and the readings in one message, so in one round trip.
    pub(super) async fn ask(&mut self, query: &str, deadline: Instant) -> Result<Readings, Failure> {
        // The message is one implicit transaction, and so is the reach of this setting: it is gone with it, also in a
        // connection that a pooler shares with others.
        let patience = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
        let counts = if self.counts_connections { CONNECTIONS } else { "" };
        // The line break ends a comment that the query may end with.
        let message = format!("SET LOCAL statement_timeout = {patience}; {query}\n; {STATE}; {counts}");
        match timeout_at(deadline, self.answer(&message)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Failure::Timeout("querying")),
        }
    }

    async fn answer(&mut self, message: &str) -> Result<Readings, Failure> {
        let mut answers = std::pin::pin!(self.client.simple_query_raw(message).await.map_err(Failure::Driver)?);
        let mut readings = Readings { version: self.version.clone(), ..Readings::default() };
        let mut part = Part::Query;
        loop {
            match answers.try_next().await {
                Ok(None) => return Ok(readings),
                Ok(Some(SimpleQueryMessage::RowDescription(columns))) => {
                    let is_state = columns.first().is_some_and(|column| column.name() == STATE_COLUMN);
                    part = part.next(is_state);
                }
                Ok(Some(SimpleQueryMessage::Row(row))) => readings.add(part, &row),
                Ok(Some(_)) => {}
                // The query has passed: what failed is only our counting, for want of rights or of the view.
                Err(error) if part == Part::State && is_unsupported(&error) => {
                    self.counts_connections = false;
                    return Ok(readings);
                }
                Err(error) => return Err(Failure::Driver(error)),
            }
        }
    }
}

/// Which part of the message the rows belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Query,
    State,
    Connections,
}

impl Part {
    fn next(self, is_state: bool) -> Self {
        match self {
            Self::Query if is_state => Self::State,
            Self::Query => Self::Query,
            Self::State | Self::Connections => Self::Connections,
        }
    }
}

impl Readings {
    fn add(&mut self, part: Part, row: &SimpleQueryRow) {
        let number = |column| row.try_get(column).ok().flatten()?.parse::<u64>().ok();
        match part {
            Part::Query => {}
            Part::State => {
                self.in_recovery = row.try_get(0).ok().flatten().map(|text| text == "t");
                self.connections.max = number(1);
            }
            Part::Connections => {
                self.connections.total = number(0);
                if number(1) == Some(0) {
                    self.connections.active = number(2);
                    self.connections.idle = number(3);
                    self.connections.idle_in_transaction = number(4);
                }
            }
        }
    }
}

/// Classes 42 (undefined, or not permitted) and 0A (not supported).
fn is_unsupported(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42") || code.code().starts_with("0A"))
}

async fn tls_config(config: &Config) -> tls::ClientConfig {
    let mut settings = match config.get_ssl_mode() {
        SslMode::Prefer => tls::opportunistic_config(),
        _ => Arc::unwrap_or_clone(tls::load().await),
    };
    if config.get_ssl_negotiation() == SslNegotiation::Direct {
        // Demanded of clients that begin with TLS (PostgreSQL documentation, 54.2.11).
        settings.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    settings
}
