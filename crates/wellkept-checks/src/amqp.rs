//! A minimal client of AMQP 0-9-1: the handshake, channels, and what comes by itself. For checks on RabbitMQ and on what
//! stands behind it.

pub(crate) mod wire;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::pin::Pin;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};
use wellkept_health::{Outcome, Reason};
use wellkept_net::tls::{self, TlsError};
use wellkept_net::{AddressRules, ConnectError, Target, connect};

use self::wire::{Arguments, Batch, Field, Frame, Id, Reader, method};
use crate::InvalidOption;
use crate::driver::Driver;
use crate::reach::{Stream, no_tls, not_connected, timed_out};

/// Frames that wait for a run. A run reads what it asked for, so there are few.
const MOST_WAITING: usize = 256;

/// A server, by its URL: `amqp://user:password@host:5672/vhost`. Shows nothing of it.
pub(crate) struct Server {
    target: Target,
    encrypted: bool,
    user: String,
    password: SecretString,
    vhost: String,
}

impl Server {
    /// Refuses a URL that can't be used, as the value of `option`. Connects to nothing yet.
    pub(crate) fn parse(option: &'static str, url: &str) -> Result<Self, InvalidOption> {
        let expected = || {
            let message = "expected an AMQP URL such as amqp://user:password@host:5672/vhost, special characters in \
                           its parts percent-encoded";
            InvalidOption::new(option, message)
        };
        // The parser's errors are not shown: they say too little to be worth the risk.
        let url = Url::parse(url).map_err(|_| expected())?;
        let encrypted = match url.scheme() {
            "amqp" | "pyamqp" => false,
            "amqps" => true,
            _ => return Err(expected()),
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => decoded(name).ok_or_else(expected)?,
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(InvalidOption::new(option, "the URL names no host")),
        };
        let or_guest = |text: &str| if text.is_empty() { Some("guest".to_owned()) } else { decoded(text) };
        let user = or_guest(url.username()).ok_or_else(expected)?;
        let password = or_guest(url.password().unwrap_or_default()).ok_or_else(expected)?;
        // Nothing, `/` and `//` all mean the virtual host `/`: clients differ, and one without a name is never meant.
        let vhost = match url.path().strip_prefix('/').unwrap_or_default() {
            "" | "/" => "/".to_owned(),
            name => decoded(name).filter(|name| name.len() <= 255).ok_or_else(expected)?,
        };
        let port = url.port().unwrap_or(if encrypted { 5671 } else { 5672 });
        Ok(Self { target: Target::new(host, port), encrypted, user, password: password.into(), vhost })
    }

    /// Connects, logs in and opens the virtual host. What is delivered from then on goes to `told`, which must not
    /// block. Cancel-safe.
    pub(crate) async fn connect(
        &self,
        told: impl FnMut(Delivery) + Send + 'static,
        deadline: Instant,
    ) -> Result<Connection, Failure> {
        let stream = connect(&self.target, AddressRules::configured(), deadline).await.map_err(Failure::Connect)?;
        let stream: Box<dyn Stream> = if self.encrypted {
            Box::new(tls::connect(stream, self.target.host(), deadline).await.map_err(Failure::Tls)?)
        } else {
            Box::new(stream)
        };
        let mut connection = Connection::start(stream, told);
        let logging_in = timeout_at(deadline, self.log_in(&mut connection)).await;
        logging_in.map_err(|_elapsed| Failure::Timeout("logging in"))??;
        Ok(connection)
    }

    async fn log_in(&self, connection: &mut Connection) -> Result<(), Failure> {
        connection.write(wire::HEADER).await?;
        let start = connection.expect(0, method::CONNECTION_START).await?;
        let mut start = Reader(&start.arguments);
        let (_major, _minor) = (start.octet(), start.octet());
        let properties = start.texts().ok_or(MALFORMED)?;
        let mechanisms = start.longstr().ok_or(MALFORMED)?;
        let found = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, text)| text.clone());
        (connection.product, connection.version) = (found("product"), found("version"));
        if !mechanisms.split(u8::is_ascii_whitespace).any(|mechanism| mechanism == b"PLAIN") {
            return Err(Failure::Closed(403, "the server does not take a user and a password (PLAIN)".to_owned()));
        }
        let capabilities = [("authentication_failure_close", Field::True), ("connection.blocked", Field::True)];
        let us = [
            ("product", Field::Text("wellkept")),
            ("version", Field::Text(env!("CARGO_PKG_VERSION"))),
            ("capabilities", Field::Table(&capabilities)),
        ];
        let secret = format!("\0{}\0{}", self.user, self.password.expose_secret());
        let answer = Arguments::default().table(&us).shortstr("PLAIN").longstr(secret.as_bytes()).shortstr("en_US");
        connection.send(Batch::default().method(0, method::CONNECTION_START_OK, answer)).await?;

        let tune = connection.expect(0, method::CONNECTION_TUNE).await?;
        let mut tune = Reader(&tune.arguments);
        let (channels, frame) = (tune.short().ok_or(MALFORMED)?, tune.long().ok_or(MALFORMED)?);
        let frame = if frame == 0 { wire::MAX_FRAME } else { frame.min(wire::MAX_FRAME) };
        // No heartbeats: between two runs nobody is there to answer them, and a run has a deadline.
        let tuned = Arguments::default().short(channels).long(frame).short(0);
        let open = Arguments::default().shortstr(&self.vhost).shortstr("").octet(0);
        let mut batch = Batch::default();
        batch.method(0, method::CONNECTION_TUNE_OK, tuned).method(0, method::CONNECTION_OPEN, open);
        connection.send(&batch).await?;
        connection.expect(0, method::CONNECTION_OPEN_OK).await.map(drop)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("encrypted", &self.encrypted).finish_non_exhaustive()
    }
}

/// A method that came in.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) channel: u16,
    pub(crate) id: Id,
    pub(crate) arguments: Vec<u8>,
}

/// A message that came in.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) exchange: String,
    /// Those of its headers that are text.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// An open connection. Dropping it closes it at once.
pub(crate) struct Connection {
    writer: WriteHalf<Box<dyn Stream>>,
    incoming: mpsc::Receiver<io::Result<Method>>,
    pub(crate) product: Option<String>,
    pub(crate) version: Option<String>,
    _driver: Driver,
}

impl Connection {
    fn start(stream: Box<dyn Stream>, told: impl FnMut(Delivery) + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (sender, incoming) = mpsc::channel(MOST_WAITING);
        Self { writer, incoming, product: None, version: None, _driver: Driver::start(receive(reader, sender, told)) }
    }

    /// Sends all of it at once.
    pub(crate) async fn send(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.write(batch.bytes()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = Pin::new(&mut self.writer).write_all(bytes).await;
        match written {
            Ok(()) => Ok(self.writer.flush().await.map_err(Failure::Broken)?),
            // It may have said why before it hung up.
            Err(error) => loop {
                match self.next().await {
                    Ok(_) => {}
                    Err(Failure::Broken(_)) => return Err(Failure::Broken(error)),
                    Err(failure) => return Err(failure),
                }
            },
        }
    }

    /// The next method on any channel. The end of the connection is a failure, and so is that the server takes no
    /// messages for now.
    pub(crate) async fn next(&mut self) -> Result<Method, Failure> {
        let method = match self.incoming.recv().await {
            Some(Ok(method)) => method,
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(Failure::Unexpected("what came is no AMQP 0-9-1"));
            }
            Some(Err(error)) => return Err(Failure::Broken(error)),
            None => return Err(Failure::Broken(io::ErrorKind::UnexpectedEof.into())),
        };
        match method.id {
            method::CONNECTION_CLOSE => {
                let (code, text) = closing(&method.arguments).ok_or(MALFORMED)?;
                Err(Failure::Closed(code, text))
            }
            method::CONNECTION_BLOCKED => {
                Err(Failure::Blocked(Reader(&method.arguments).shortstr().unwrap_or_default()))
            }
            _ => Ok(method),
        }
    }

    /// The next method, which must be this one.
    pub(crate) async fn expect(&mut self, channel: u16, id: Id) -> Result<Method, Failure> {
        let method = self.next().await?;
        match method.channel == channel && method.id == id {
            true => Ok(method),
            false if method.id == method::CHANNEL_CLOSE => {
                let (code, text) = closing(&method.arguments).ok_or(MALFORMED)?;
                Err(Failure::Closed(code, text))
            }
            false => Err(Failure::Unexpected("a method that was not asked for")),
        }
    }
}

/// Why a connection or a channel was closed: the code and the text.
pub(crate) fn closing(arguments: &[u8]) -> Option<(u16, String)> {
    let mut arguments = Reader(arguments);
    Some((arguments.short()?, arguments.shortstr()?))
}

/// Reads until the connection ends. Messages go to `told`, methods to the run that asked.
async fn receive(
    mut reader: ReadHalf<Box<dyn Stream>>,
    sender: mpsc::Sender<io::Result<Method>>,
    mut told: impl FnMut(Delivery),
) {
    let mut content = Content::default();
    loop {
        let frame = match Frame::read(&mut reader).await {
            Ok(frame) => frame,
            Err(error) => {
                // Nobody may be there any more to be told.
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        match frame.kind {
            wire::METHOD => {
                let mut arguments = Reader(&frame.payload);
                let (Some(class), Some(method)) = (arguments.short(), arguments.short()) else { continue };
                content = Content::begun_by((class, method), arguments);
                let method = Method { channel: frame.channel, id: (class, method), arguments: arguments.0.to_vec() };
                // A message's method is told with the message.
                if method.id != DELIVER && sender.send(Ok(method)).await.is_err() {
                    return;
                }
            }
            wire::CONTENT_HEADER | wire::CONTENT_BODY => {
                if let Some(delivery) = content.take(&frame) {
                    told(delivery);
                }
            }
            _ => {}
        }
    }
}

const DELIVER: Id = (60, 60);
/// Longer messages are passed over.
const LONGEST_BODY: u64 = 256 * 1024;

/// A message whose frames are coming in. Frames of one message are not mixed with others' on its channel, and messages
/// come on one channel only.
#[derive(Default)]
struct Content {
    exchange: Option<String>,
    length: u64,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Content {
    fn begun_by(id: Id, mut arguments: Reader<'_>) -> Self {
        if id != DELIVER {
            return Self::default();
        }
        let (_consumer, _tag, _redelivered) = (arguments.shortstr(), arguments.longlong(), arguments.octet());
        Self { exchange: arguments.shortstr(), ..Self::default() }
    }

    /// The message, once it is whole.
    fn take(&mut self, frame: &Frame) -> Option<Delivery> {
        let exchange = self.exchange.as_ref()?;
        if frame.kind == wire::CONTENT_HEADER {
            let mut header = Reader(&frame.payload);
            let (_class, _weight) = (header.short()?, header.short()?);
            self.length = header.longlong()?;
            self.headers = headers(header).unwrap_or_default();
        } else if self.length <= LONGEST_BODY {
            self.body.extend(&frame.payload);
        }
        let is_whole = self.length <= LONGEST_BODY && self.body.len() as u64 >= self.length;
        is_whole.then(|| Delivery {
            exchange: exchange.clone(),
            headers: std::mem::take(&mut self.headers),
            body: std::mem::take(&mut self.body),
        })
    }
}

/// The headers among a message's properties, which come after its type and encoding.
fn headers(mut properties: Reader<'_>) -> Option<Vec<(String, String)>> {
    const CONTENT_TYPE: u16 = 1 << 15;
    const CONTENT_ENCODING: u16 = 1 << 14;
    const HEADERS: u16 = 1 << 13;
    let flags = properties.short()?;
    for property in [CONTENT_TYPE, CONTENT_ENCODING] {
        if flags & property != 0 {
            properties.shortstr()?;
        }
    }
    if flags & HEADERS == 0 { None } else { properties.texts() }
}

const MALFORMED: Failure = Failure::Unexpected("a method with too few arguments");

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Connect(ConnectError),
    Tls(TlsError),
    /// The deadline passed. Completes "timed out while …".
    Timeout(&'static str),
    Unexpected(&'static str),
    /// The connection ended without a word.
    Broken(io::Error),
    /// The server closed the connection or a channel: AMQP's code, and its text.
    Closed(u16, String),
    /// The server takes no messages for now: its text.
    Blocked(String),
}

impl Failure {
    /// Whether a connection that was kept has turned out to be broken.
    pub(crate) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(error) => not_connected(error),
            Self::Tls(error) => no_tls(error),
            Self::Timeout(doing) => timed_out(doing),
            Self::Unexpected(what) => {
                Outcome::fail(Reason::Protocol, "not an answer that the server gives").with_detail(*what)
            }
            Self::Broken(error) => Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string()),
            Self::Closed(code, text) => closed(*code, text),
            Self::Blocked(text) => {
                let message = if text.contains("memory") {
                    "messages are refused as memory is low"
                } else if text.contains("disk") {
                    "messages are refused as disk space is low"
                } else {
                    "messages are refused for now"
                };
                Outcome::warn(Reason::Exhausted, message).with_detail(text.clone())
            }
        }
    }
}

/// By the specification's code, and by RabbitMQ's text where one code means several things.
fn closed(code: u16, text: &str) -> Outcome {
    let outcome = match code {
        320 => Outcome::fail(Reason::NotReady, "server is shutting down"),
        403 if text.contains("PLAIN") => Outcome::fail(Reason::Auth, "user or password not accepted"),
        403 => Outcome::fail(Reason::Auth, "user is not permitted"),
        404 => Outcome::fail(Reason::Unexpected, "what was asked for does not exist"),
        530 if text.contains("limit") => Outcome::fail(Reason::Exhausted, "too many connections"),
        530 if text.contains("not found") => Outcome::fail(Reason::Unexpected, "virtual host does not exist"),
        530 => Outcome::fail(Reason::Auth, "user may not use the virtual host"),
        541 => Outcome::fail(Reason::NotReady, "virtual host is down"),
        _ => Outcome::fail(Reason::Error, "refused by the server"),
    };
    outcome.with_detail(format!("{code} {text}"))
}
