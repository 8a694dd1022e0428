//! A connection to one broker: TLS, the versions that it speaks, the login, and questions that are sent at once.

use std::collections::BTreeMap;
use std::io;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout_at};
use wellkept_health::{Outcome, Reason};
use wellkept_net::tls::{Client, TlsError};
use wellkept_net::{AddressRules, ConnectError, Target, connect};

use super::Mechanism;
use super::messages::{Answer, Api, Code, Request};
use super::scram::{Hash, Scram};
use super::wire::read_frame;
use crate::reach::{Stream, no_tls, not_connected, timed_out};

/// How every broker of a cluster is connected to.
pub(super) struct Access {
    /// The settings of TLS, where it is spoken.
    pub(super) tls: Option<Client>,
    pub(super) login: Option<Login>,
}

/// Who asks.
pub(super) struct Login {
    pub(super) mechanism: Mechanism,
    pub(super) user: String,
    pub(super) password: SecretString,
}

/// An open connection. Dropping it closes it at once.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    versions: BTreeMap<i16, (i16, i16)>,
    correlation: i32,
}

impl Link {
    /// Connects, learns what the broker speaks, and logs in. Cancel-safe.
    pub(super) async fn open(target: &Target, access: &Access, deadline: Instant) -> Result<Self, Failure> {
        let stream = connect(target, AddressRules::configured(), deadline).await.map_err(Failure::Connect)?;
        let stream: Box<dyn Stream> = match &access.tls {
            Some(client) => Box::new(client.connect(stream, target.host(), deadline).await.map_err(Failure::Tls)?),
            None => Box::new(stream),
        };
        let mut link = Self { stream, versions: BTreeMap::new(), correlation: 0 };
        let greeting = timeout_at(deadline, link.greet()).await;
        greeting.map_err(|_elapsed| Failure::Timeout("waiting for the versions that the broker speaks"))??;
        if let Some(login) = &access.login {
            let logging_in = timeout_at(deadline, link.log_in(login)).await;
            logging_in.map_err(|_elapsed| Failure::Timeout("logging in"))??;
        }
        Ok(link)
    }

    /// Sends all requests at once and gives the answers in their order. After a failure the connection is of no use:
    /// answers may still be under way.
    pub(super) async fn ask(&mut self, requests: &[Request], deadline: Instant) -> Result<Vec<Answer>, Failure> {
        let asking = timeout_at(deadline, self.exchange(requests)).await;
        asking.map_err(|_elapsed| Failure::Timeout("waiting for a broker's answer"))?
    }

    pub(super) fn speaks(&self, api: Api) -> bool {
        self.version(api).is_some()
    }

    async fn exchange(&mut self, requests: &[Request]) -> Result<Vec<Answer>, Failure> {
        let mut bytes = Vec::new();
        let mut awaited = Vec::new();
        for request in requests {
            let api = request.api();
            let version = self.version(api).ok_or(Failure::Version(api))?;
            self.correlation = self.correlation.wrapping_add(1);
            bytes.extend(request.written(version, self.correlation));
            awaited.push((api, version, self.correlation));
        }
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let write = async {
            writer.write_all(&bytes).await.map_err(Failure::Broken)?;
            writer.flush().await.map_err(Failure::Broken)
        };
        let read = async {
            let mut answers = Vec::new();
            for (api, version, correlation) in awaited {
                let frame = read_frame(&mut reader).await.map_err(|error| match error.kind() {
                    io::ErrorKind::InvalidData => Failure::Unexpected("an answer that is too long for Kafka's: TLS may be expected there"),
                    _ => Failure::Broken(error),
                })?;
                let answer = Answer::read(api, version, correlation, &frame);
                answers.push(answer.ok_or(Failure::Unexpected("an answer that can't be read"))?);
            }
            Ok(answers)
        };
        let ((), answers) = tokio::try_join!(write, read)?;
        Ok(answers)
    }

    async fn one(&mut self, request: Request) -> Result<Answer, Failure> {
        let answers = self.exchange(&[request]).await?;
        answers.into_iter().next().ok_or(Failure::Unexpected("no answer"))
    }

    fn version(&self, api: Api) -> Option<i16> {
        let (first, last) = api.versions();
        if api == Api::Versions {
            return Some(first);
        }
        let (theirs_first, theirs_last) = self.versions.get(&(api as i16))?;
        let version = last.min(*theirs_last);
        (version >= first && version >= *theirs_first).then_some(version)
    }

    async fn greet(&mut self) -> Result<(), Failure> {
        match self.one(Request::Versions).await? {
            Answer::Versions(code, versions) if code.is_none() => {
                self.versions = versions.into_iter().map(|(api, first, last)| (api, (first, last))).collect();
                Ok(())
            }
            Answer::Versions(code, _) => Err(Failure::Code(code)),
            _ => Err(UNASKED),
        }
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), Failure> {
        match self.one(Request::SaslHandshake(login.mechanism.name())).await? {
            Answer::Mechanisms(code, _) if code.is_none() => {}
            Answer::Mechanisms(Code::UNSUPPORTED_MECHANISM, offered) => {
                return Err(Failure::Mechanism(offered.join(", ")));
            }
            Answer::Mechanisms(code, _) => return Err(Failure::Code(code)),
            _ => return Err(UNASKED),
        }
        let hash = match login.mechanism {
            Mechanism::Plain => {
                let secret = format!("\0{}\0{}", login.user, login.password.expose_secret());
                return self.prove(secret.into_bytes()).await.map(drop);
            }
            Mechanism::ScramSha256 => Hash::Sha256,
            Mechanism::ScramSha512 => Hash::Sha512,
        };
        let scram = Scram::begin(hash, &login.user).ok_or(Failure::Unexpected("no randomness on this machine"))?;
        let challenge = self.prove(scram.first()).await?;
        let (answer, proof) =
            scram.answer(&challenge, &login.password).ok_or(Failure::Unexpected("a challenge that is none"))?;
        let last = self.prove(answer).await?;
        if proof.is_given_by(&last) { Ok(()) } else { Err(Failure::Unproven) }
    }

    async fn prove(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
        match self.one(Request::SaslAuthenticate(bytes)).await? {
            // Some say no in SCRAM's own way (RFC 5802, section 7), and nothing beside.
            Answer::Challenge { code, bytes, .. } if code.is_none() && bytes.starts_with(b"e=") => {
                Err(Failure::NotLetIn(code, String::from_utf8_lossy(&bytes).into_owned()))
            }
            Answer::Challenge { code, bytes, .. } if code.is_none() => Ok(bytes),
            Answer::Challenge { code, text, .. } => Err(Failure::NotLetIn(code, text)),
            _ => Err(UNASKED),
        }
    }
}

const UNASKED: Failure = Failure::Unexpected("an answer to another question");

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Connect(ConnectError),
    Tls(TlsError),
    /// The deadline passed. Completes "timed out while …".
    Timeout(&'static str),
    Unexpected(&'static str),
    /// The connection ended without a word.
    Broken(io::Error),
    /// The broker speaks no version of this that is spoken here.
    Version(Api),
    /// It offers other mechanisms for a login: these.
    Mechanism(String),
    /// The login was refused: the code, and the broker's text.
    NotLetIn(Code, String),
    /// The broker could not prove that it knows the password.
    Unproven,
    /// It said that something went wrong.
    Code(Code),
}

impl Failure {
    /// Whether a connection that was kept has turned out to be broken.
    pub(super) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(error) => not_connected(error),
            Self::Tls(error) => no_tls(error),
            Self::Timeout(doing) => timed_out(doing),
            Self::Unexpected(what) => {
                Outcome::fail(Reason::Protocol, "not an answer that a broker gives").with_detail(*what)
            }
            Self::Broken(error) => Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string()),
            Self::Version(api) => Outcome::fail(Reason::Protocol, "no common version of the protocol")
                .with_detail(format!("{api}: brokers since Kafka 0.11 are understood")),
            Self::Mechanism(offered) => Outcome::fail(Reason::Auth, "this way to log in is not offered")
                .with_detail(format!("offered: {offered}")),
            Self::NotLetIn(code, text) => Outcome::fail(Reason::Auth, "user or password not accepted")
                .with_detail(format!("{} {text}", code.0)),
            Self::Unproven => Outcome::fail(Reason::Auth, "the broker does not know the password"),
            Self::Code(code) => code.outcome(),
        }
    }
}
