//! Where a MySQL server is, read from a URL, and how somebody is let in there.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use wellkept_net::tls;
use wellkept_net::{AddressRules, Target, connect, connect_unix};

use super::connection::{Connection, MOST_AT_LOGIN, not_read, refusal};
use super::failure::Failure;
use super::wire::{self, Greeting, Packet, Reader, capability};
use crate::InvalidOption;
use crate::reach::Stream;

/// Packets that a login takes; the longest takes half of that.
const MOST_STEPS: usize = 8;

/// A MySQL server, by the URL that the [module](super) describes. Shows nothing of the URL.
pub(super) struct Server {
    place: Place,
    encryption: Encryption,
    user: String,
    password: SecretString,
    database: String,
}

#[derive(Debug)]
enum Place {
    Tcp(Target),
    Unix(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    Disabled,
    Preferred,
    Required,
}

impl Server {
    /// Refuses a URL that can't be used. Connects to nothing yet.
    pub(super) fn parse(url: &str) -> Result<Self, InvalidOption> {
        let expected = || {
            let message = "expected a MySQL URL such as mysql://user:password@host:3306/database, special characters \
                           in its parts percent-encoded";
            InvalidOption::new("url", message)
        };
        // The parser's errors are not shown: they say too little to be worth the risk.
        let url = Url::parse(url).map_err(|_| expected())?;
        // Some libraries name their driver too: `mysql+pymysql`.
        if !matches!(url.scheme().split('+').next(), Some("mysql" | "mariadb")) {
            return Err(expected());
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
        let mut encryption = Encryption::Preferred;
        let mut socket = None;
        for (name, value) in url.query_pairs() {
            match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
                "sslmode" => encryption = Encryption::of(&value)?,
                "socket" | "unixsocket" => socket = Some(PathBuf::from(value.as_ref())),
                // Others are the application's, but for a wish for safety that would not be heard.
                other if ["ssl", "tls", "verify"].iter().any(|word| other.contains(word)) => {
                    let message = "of the URL's parameters for TLS only ssl-mode is known; SSL_CERT_FILE names the roots";
                    return Err(InvalidOption::new("url", message));
                }
                _ => {}
            }
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => Some(decoded(name).ok_or_else(expected)?),
            Some(Host::Ipv4(address)) => Some(address.to_string()),
            Some(Host::Ipv6(address)) => Some(address.to_string()),
            _ => None,
        };
        let place = match (socket, host) {
            (Some(path), _) => Place::Unix(path),
            (None, Some(host)) => Place::Tcp(Target::new(host, url.port().unwrap_or(3306))),
            (None, None) => return Err(InvalidOption::new("url", "the URL names no host")),
        };
        // A zero would end them on the wire.
        let text = |text: &str| decoded(text).filter(|text| !text.contains('\0')).ok_or_else(expected);
        let user = text(url.username())?;
        let password = text(url.password().unwrap_or_default())?.into();
        let database = text(url.path().trim_start_matches('/'))?;
        Ok(Self { place, encryption, user, password, database })
    }

    /// Connects and logs in, and ends at `deadline` at the latest. Cancel-safe.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        match &self.place {
            Place::Unix(path) => {
                let stream = connect_unix(path, deadline).await.map_err(Failure::Connect)?;
                self.log_in(stream, None, deadline).await
            }
            Place::Tcp(target) => {
                let stream = connect(target, AddressRules::configured(), deadline).await.map_err(Failure::Connect)?;
                self.log_in(stream, Some(target.host()), deadline).await
            }
        }
    }

    /// `host` is the name that a certificate must be for; there is none on a Unix socket, which is safe by itself.
    async fn log_in<S>(&self, mut stream: S, host: Option<&str>, deadline: Instant) -> Result<Connection, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let greeting = within(deadline, greeted(&mut stream)).await?;
        let capabilities = self.capabilities(&greeting);
        let wants_tls = host.is_some() && self.encryption != Encryption::Disabled;
        let has_tls = greeting.capabilities & capability::TLS != 0;
        let (stream, sequence, safety): (Box<dyn Stream>, _, _) = match host {
            None => (Box::new(stream), 1, Safety::Private),
            Some(host) if wants_tls && has_tls => {
                let request = wire::packet(1, &opening(capabilities | capability::TLS));
                let asked = async { stream.write_all(&request).await.map_err(Failure::Broken) };
                within(deadline, asked).await?;
                (Box::new(self.encrypt(stream, host, deadline).await?), 2, Safety::of(self.encryption))
            }
            Some(_) if self.encryption == Encryption::Required => return Err(Failure::NoTls),
            Some(_) => (Box::new(stream), 1, Safety::None),
        };
        let tls = if sequence == 2 { capability::TLS } else { 0 };
        let mut connection = Connection::new(stream, sequence, &greeting.version);
        within(deadline, self.prove(&mut connection, &greeting, capabilities | tls, safety)).await?;
        connection.let_in();
        Ok(connection)
    }

    async fn encrypt<S>(&self, stream: S, host: &str, deadline: Instant) -> Result<tls::TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.encryption == Encryption::Required {
            return tls::connect(stream, host, deadline).await.map_err(Failure::Tls);
        }
        let config = tls::opportunistic_config().into();
        tls::connect_with(config, stream, host, deadline).await.map_err(Failure::Tls)
    }

    fn capabilities(&self, greeting: &Greeting) -> u32 {
        let wanted = capability::LONG_PASSWORD
            | capability::PROTOCOL_41
            | capability::TRANSACTIONS
            | capability::SECURE_CONNECTION
            | capability::MULTI_STATEMENTS
            | capability::MULTI_RESULTS
            | capability::PLUGIN_AUTH
            | capability::CONNECT_ATTRIBUTES;
        let with_database = if self.database.is_empty() { 0 } else { capability::CONNECT_WITH_DB };
        (wanted | with_database) & greeting.capabilities
    }

    /// Says who is there and proves it, until the server lets us in.
    async fn prove(
        &self,
        connection: &mut Connection,
        greeting: &Greeting,
        capabilities: u32,
        safety: Safety,
    ) -> Result<(), Failure> {
        const USUAL: &str = "mysql_native_password";
        // The way that the server named is the usual one there; it names another when this user has another.
        let (plugin, proof) = match self.proof(&greeting.plugin, &greeting.nonce, safety) {
            Ok(proof) => (greeting.plugin.as_str(), proof),
            Err(_not_ours) => (USUAL, wire::native_proof(self.password.expose_secret(), &greeting.nonce)),
        };
        let mut response = opening(capabilities);
        response.extend([self.user.as_bytes(), &[0, u8::try_from(proof.len()).unwrap_or_default()], &proof].concat());
        if capabilities & capability::CONNECT_WITH_DB != 0 {
            response.extend([self.database.as_bytes(), &[0]].concat());
        }
        if capabilities & capability::PLUGIN_AUTH != 0 {
            response.extend([plugin.as_bytes(), &[0]].concat());
        }
        if capabilities & capability::CONNECT_ATTRIBUTES != 0 {
            response.extend(b"\x16\x0cprogram_name\x08wellkept");
        }
        connection.send(&response).await?;
        for _ in 0..MOST_STEPS {
            let packet = connection.receive(MOST_AT_LOGIN).await?;
            let mut reader = Reader(packet.payload.get(1..).unwrap_or_default());
            match packet.first() {
                Some(0) => return Ok(()),
                Some(0xff) => return Err(refusal(&packet)),
                Some(0xfe) => {
                    let plugin = String::from_utf8_lossy(reader.until_zero());
                    let nonce = reader.0.strip_suffix(&[0]).unwrap_or(reader.0);
                    let proof = self.proof(&plugin, nonce, safety).map_err(Failure::Login)?;
                    connection.send(&proof).await?;
                }
                // The server knows the password already, and says so before it says that all is well.
                Some(1) if reader.0 == [3] => {}
                Some(1) if reader.0 == [4] => {
                    if safety == Safety::None {
                        let why = "the server wants the password itself (caching_sha2_password), which is sent over TLS \
                                   only: leave ssl-mode at preferred, or set it to required";
                        return Err(Failure::Login(why.to_owned()));
                    }
                    connection.send(&self.clear_password()).await?;
                }
                _ => return Err(Failure::Unexpected("a login that goes on in an unknown way")),
            }
        }
        Err(Failure::Unexpected("a login without an end"))
    }

    /// What proves the password in the way of this name; why not, when it can't be.
    fn proof(&self, plugin: &str, nonce: &[u8], safety: Safety) -> Result<Vec<u8>, String> {
        let password = self.password.expose_secret();
        match plugin {
            "mysql_native_password" => Ok(wire::native_proof(password, nonce)),
            "caching_sha2_password" => Ok(wire::sha2_proof(password, nonce)),
            // Who runs this process is the proof, which the server sees by itself.
            "auth_socket" | "unix_socket" => Ok(Vec::new()),
            // Anybody could stand behind a certificate that was not verified.
            "mysql_clear_password" if safety == Safety::Private => Ok(self.clear_password()),
            "mysql_clear_password" => {
                Err("the server wants the password itself, which is sent with ssl-mode=required only".to_owned())
            }
            "" => Err("the server wants the login method of MySQL 4.0, which is not supported".to_owned()),
            other => Err(format!("the server wants the login method {other}, which is not supported")),
        }
    }

    fn clear_password(&self) -> Vec<u8> {
        [self.password.expose_secret().as_bytes(), &[0]].concat()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("encryption", &self.encryption).finish_non_exhaustive()
    }
}

impl Encryption {
    fn of(mode: &str) -> Result<Self, InvalidOption> {
        match mode.to_ascii_lowercase().replace('_', "-").as_str() {
            "disabled" | "disable" => Ok(Self::Disabled),
            "preferred" | "prefer" => Ok(Self::Preferred),
            "required" | "require" | "verify-ca" | "verify-identity" | "verify-full" => Ok(Self::Required),
            _ => {
                let message = "ssl-mode is disabled, preferred, required, verify_ca or verify_identity";
                Err(InvalidOption::new("url", message))
            }
        }
    }
}

/// What a password that goes over the wire is safe from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Safety {
    None,
    /// Those who listen.
    Encrypted,
    /// Those who redirect, too.
    Private,
}

impl Safety {
    fn of(encryption: Encryption) -> Self {
        if encryption == Encryption::Required { Self::Private } else { Self::Encrypted }
    }
}

async fn within<T>(deadline: Instant, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout_at(deadline, step).await.map_err(|_elapsed| Failure::Timeout("logging in"))?
}

/// Reads not a byte further, as TLS may begin there.
async fn greeted(stream: &mut (impl AsyncRead + Unpin)) -> Result<Greeting, Failure> {
    let packet = Packet::read(stream, MOST_AT_LOGIN).await.map_err(not_read)?;
    if packet.first() == Some(0xff) {
        return Err(refusal(&packet));
    }
    let greeting = Greeting::of(&packet.payload).ok_or(Failure::Unexpected("what came is no MySQL"))?;
    let needed = capability::PROTOCOL_41 | capability::SECURE_CONNECTION;
    if greeting.capabilities & needed != needed {
        return Err(Failure::Unexpected("the server is older than MySQL 4.1"));
    }
    Ok(greeting)
}

/// What both the request for TLS and the login begin with. The character set is `utf8mb4`.
fn opening(capabilities: u32) -> Vec<u8> {
    const LARGEST: u32 = 1 << 24;
    [&capabilities.to_le_bytes()[..], &LARGEST.to_le_bytes(), &[45], &[0; 23]].concat()
}
