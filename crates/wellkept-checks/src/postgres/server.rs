//! Where a PostgreSQL server is, read from a URL, and how a connection to it is made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use wellkept_net::{AddressRules, Target, connect, tls};

use super::failure::Failure;
use crate::InvalidOption;
use crate::driver::Driver;

/// A PostgreSQL server, by the URL that the [module](super) describes. Shows nothing of the URL.
pub struct Server {
    config: Config,
    places: Vec<Place>,
}

impl Server {
    /// Refuses a URL that can't be used. Connects to nothing yet.
    pub fn parse(url: &str) -> Result<Self, InvalidOption> {
        let config = parse(url)?;
        let places = Place::all_of(&config);
        if places.is_empty() {
            return Err(InvalidOption::new("url", "the URL names no host"));
        }
        Ok(Self { config, places })
    }

    /// Connects to the first of the hosts that lets it, and ends at `deadline` at the latest. Cancel-safe. Needs a
    /// runtime of tokio's, on which the connection lives.
    pub async fn connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        let mut failed = None;
        for (index, place) in self.places.iter().enumerate() {
            // One that does not answer leaves time for the next.
            let left = u32::try_from(self.places.len() - index).unwrap_or(u32::MAX);
            let share = Instant::now() + deadline.saturating_duration_since(Instant::now()) / left;
            match Connection::open(place, &self.config, share).await {
                Ok(connection) => return Ok(connection),
                Err(failure) => failed = Some(failure),
            }
        }
        Err(failed.unwrap_or(Failure::Timeout("connecting")))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").finish_non_exhaustive()
    }
}

/// A connection that is logged in. Dropping it closes it at once.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    version: Option<String>,
    encoding: Option<String>,
    _driver: Driver,
}

impl Connection {
    async fn open(place: &Place, config: &Config, deadline: Instant) -> Result<Self, Failure> {
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
            encoding: connection.parameter("server_encoding").map(ToOwned::to_owned),
            // How the connection ended is told to whoever waits for an answer.
            _driver: Driver::start(async move { drop(connection.await) }),
        })
    }

    /// What asks and tells the server.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Whether the server, as far as is known, is still there.
    pub fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// The server's version, for example `15.14`.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// In which encoding the database keeps its texts, for example `UTF8`.
    pub fn encoding(&self) -> Option<&str> {
        self.encoding.as_deref()
    }
}

/// One way to the server.
#[derive(Debug)]
enum Place {
    /// The host is the name that a certificate must be for; the target may be an address given beside it.
    Tcp { host: String, target: Target },
    /// The socket's path.
    Unix(PathBuf),
}

impl Place {
    /// All hosts of the URL, in its order.
    fn all_of(config: &Config) -> Vec<Self> {
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

/// The driver's errors quote the text that it could not read, and that is the secret itself: none of them is shown.
fn parse(url: &str) -> Result<tokio_postgres::Config, InvalidOption> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let message = "expected a PostgreSQL URL such as postgres://user@host:5432/database";
        return Err(InvalidOption::new("url", message));
    }
    let (place, parameters) = url.split_once('?').unwrap_or((url, ""));
    let parameters = parameters
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require")
        .replace("sslmode=allow", "sslmode=prefer");
    let mut config: tokio_postgres::Config = format!("{place}?{parameters}").parse().map_err(|_quotes_the_url| {
        let message = "the PostgreSQL URL can't be read: special characters in user and password are percent-encoded, \
                       and some of libpq's parameters are not supported (sslrootcert: set SSL_CERT_FILE instead)";
        InvalidOption::new("url", message)
    })?;
    if config.get_application_name().is_none() {
        config.application_name("wellkept");
    }
    Ok(config)
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
