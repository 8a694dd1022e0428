//! A mail server, by SMTP: its greeting, what it offers, and whether it lets one in. No mail is ever sent.
//!
//! The URL is `smtp://host:25`, or `smtps://host:465` for a server that speaks TLS from the first byte on. A user and a
//! password in it, `smtp://user:password@host:587`, are for servers that take mail from those who log in; they are sent
//! over TLS only, unless `starttls` is `false`.
//!
//! The certificate is verified against the system's roots, or those in `ca_file`; `SSL_CERT_FILE` names others for the
//! whole process. When it ends is in the component's trend.
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
//! | the server asks to come back later (421 and other codes from 400 to 499): mail waits and is not lost | degraded | `not_ready` |
//! | the server takes no mail (554 and other codes from 500 to 599) | unhealthy | `not_ready` |
//! | `EHLO` is refused | unhealthy | `error` |
//! | STARTTLS is asked for and not offered, or refused; the handshake failed, or the certificate is not trusted | unhealthy | `tls` |
//! | the certificate ends soon | degraded, then unhealthy | `threshold` |
//! | user or password not accepted, or no login is offered that is spoken here | unhealthy | `auth` |
//! | a login is not possible for now (454) | degraded | `not_ready` |
//! | what `capabilities` lists is not offered | unhealthy | `unexpected` |
//! | what came is no answer that a mail server gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! None, or to log in, by `AUTH PLAIN` or `AUTH LOGIN`.
//!
//! # Cost
//!
//! One connection per run, as mail servers end those that are silent: its greeting, `EHLO` and `QUIT`, which are three
//! round trips. STARTTLS or TLS adds a handshake, and the former two round trips; a login one to three. The server writes
//! its usual lines for a connection into its log, and many count connections by address: every minute is often enough.

pub(crate) mod dialogue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::Target;
use wellkept_net::tls::{Client, Session};

use self::dialogue::{Dialogue, NOBODY, Reply};
use crate::certificate::{self, Certificate};
use crate::kind::built;
use crate::lines::{Failure, before, over_tcp};
use crate::reach::{Stream, give_up_at};
use crate::server_url::ServerUrl;
use crate::{InvalidOption, Kind, Opens};

/// How long the reply to `QUIT` is waited for: what it says changes nothing.
const FAREWELL: Duration = Duration::from_secs(1);

/// The settings of an [`Smtp`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// Whether a connection that begins in plain text must be encrypted by `STARTTLS` before anything else. Default:
    /// where the URL has a user.
    pub starttls: Option<bool>,
    /// What the server must offer in its answer to `EHLO`, before or after TLS has begun: `SIZE`, `STARTTLS`, or with what
    /// stands behind it, `AUTH PLAIN`. Default: nothing.
    pub capabilities: Vec<String>,
    /// The name that is told in `EHLO`. Default `wellkept.invalid`.
    pub helo: String,
    /// The name that the certificate has to be for. Default: the host of the URL.
    pub server_name: Option<String>,
    /// How long the certificate has to be valid yet, where TLS is spoken. Default: as its keys say.
    pub certificate: Certificate,
    /// A file of certificates in PEM that are trusted instead of the system's. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// For a server.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            starttls: None,
            capabilities: Vec::new(),
            helo: NOBODY.to_owned(),
            server_name: None,
            certificate: Certificate::default(),
            ca_file: None,
        }
    }
}

/// A mail server, by SMTP.
///
/// The metadata holds `server_name`, as the server calls itself, `capabilities`, `max_size_bytes` where it tells one, and
/// `encrypted`; over TLS `tls_version`, `not_after` and `certificate_days`.
pub struct Smtp {
    target: Target,
    encryption: Encryption,
    login: Option<Login>,
    capabilities: Vec<String>,
    helo: String,
    server_name: String,
    certificate: Certificate,
    client: Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    None,
    StartTls,
    FromTheFirstByte,
}

struct Login {
    user: String,
    password: SecretString,
}

impl Smtp {
    /// Refuses a URL, a name or a capability that can't be used, limits in the wrong order, and a file of certificates
    /// that can't be used, which it reads. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { url, starttls, capabilities, helo, server_name, certificate, ca_file } = options;
        let url = ServerUrl::parse("url", &url, &["smtp", "smtps"], "smtp://user:password@host:587")?;
        let encryption = match (url.scheme, starttls) {
            ("smtps", Some(true)) => {
                return Err(InvalidOption::new("starttls", "with smtps:// TLS is spoken from the first byte on"));
            }
            ("smtps", _) => Encryption::FromTheFirstByte,
            (_, asked) if asked.unwrap_or(url.user.is_some()) => Encryption::StartTls,
            _ => Encryption::None,
        };
        let target = url.target("url", if encryption == Encryption::FromTheFirstByte { 465 } else { 25 })?;
        let login = match (url.user, url.password) {
            (None, None) => None,
            (Some(user), Some(password)) => Some(Login { user, password }),
            _ => return Err(InvalidOption::new("url", "write both user and password")),
        };
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_word(&helo) {
            return Err(InvalidOption::new("helo", "expected a name such as monitor.example.com"));
        }
        // The first word is a keyword (RFC 5321, 4.1.1.1).
        let is_keyword = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_offer = |text: &str| text.split(' ').all(is_word) && text.split(' ').next().is_some_and(is_keyword);
        if !capabilities.iter().all(|capability| is_offer(capability)) {
            return Err(InvalidOption::new("capabilities", "expected words such as SIZE or AUTH PLAIN"));
        }
        Ok(Self {
            server_name: server_name.unwrap_or_else(|| target.host().to_owned()),
            target,
            encryption,
            login,
            capabilities,
            helo,
            certificate: certificate.checked()?,
            client: certificate::trusting(ca_file)?,
        })
    }

    /// As [`Smtp::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Outcome, Failure> {
        let mut stream = over_tcp(&self.target, deadline).await?;
        let mut session = None;
        if self.encryption == Encryption::FromTheFirstByte {
            stream = self.encrypt(stream, &mut session, deadline).await?;
        }
        let mut dialogue = Dialogue::new(stream);
        let mut offer = match before(deadline, "waiting for the server's greeting", self.greet(&mut dialogue)).await {
            Ok(offer) => offer,
            Err(failure) => {
                leave(dialogue, deadline).await;
                return Err(failure);
            }
        };
        if self.encryption == Encryption::StartTls {
            before(deadline, "waiting for TLS to begin", begin_tls(&mut dialogue, &offer)).await?;
            let stream = self.encrypt(dialogue.into_stream()?, &mut session, deadline).await?;
            dialogue = Dialogue::new(stream);
            let again = before(deadline, "waiting for the answer to EHLO", self.introduce(&mut dialogue)).await?;
            offer.extend(again);
        }
        let let_in = match &self.login {
            Some(login) => before(deadline, "logging in", login.log_in(&mut dialogue, &offer)).await,
            None => Ok(()),
        };
        leave(dialogue, deadline).await;
        let_in?;
        Ok(self.judge(&offer, session.as_ref()))
    }

    async fn encrypt(
        &self,
        stream: Box<dyn Stream>,
        session: &mut Option<Session>,
        deadline: Instant,
    ) -> Result<Box<dyn Stream>, Failure> {
        let stream = self.client.connect(stream, &self.server_name, deadline).await.map_err(Failure::Tls)?;
        *session = Some(Session::of(&stream));
        Ok(Box::new(stream))
    }

    async fn greet(&self, dialogue: &mut Dialogue<Box<dyn Stream>>) -> Result<Offer, Failure> {
        let greeting = dialogue.reply().await?;
        match greeting.code {
            220 => self.introduce(dialogue).await,
            500..600 => Err(refused(Outcome::fail(Reason::NotReady, "server takes no mail"), &greeting)),
            _ => Err(not_as_hoped(&greeting, Outcome::fail(Reason::Protocol, "greeting is none of a mail server"))),
        }
    }

    async fn introduce(&self, dialogue: &mut Dialogue<Box<dyn Stream>>) -> Result<Offer, Failure> {
        let reply = dialogue.say(&format!("EHLO {}", self.helo)).await?;
        match reply.code {
            250 => Ok(Offer::of(&reply)),
            _ => Err(not_as_hoped(&reply, Outcome::fail(Reason::Error, "EHLO is refused"))),
        }
    }

    fn judge(&self, offer: &Offer, session: Option<&Session>) -> Outcome {
        let missing: Vec<_> = self.capabilities.iter().filter(|wanted| !offer.has(wanted)).map(String::as_str).collect();
        let mut outcome = if missing.is_empty() {
            Outcome::pass()
        } else {
            let message = "server does not offer what is expected";
            Outcome::fail(Reason::Unexpected, message).with_detail(format!("missing: {}", missing.join(", ")))
        };
        if let Some(session) = session {
            if let Some(not_after) = session.not_after {
                outcome = certificate::told(self.certificate.judge(outcome, not_after), not_after);
            }
            outcome = outcome.with("tls_version", session.version);
        }
        if let Some(size) = offer.max_size() {
            outcome = outcome.with("max_size_bytes", size);
        }
        let keywords: Vec<_> = offer.capabilities.iter().filter_map(|line| line.split(' ').next()).collect();
        outcome
            .with("server_name", offer.server_name.as_str())
            .with("capabilities", keywords)
            .with("encrypted", session.is_some())
    }
}

impl Check for Smtp {
    async fn run(&self, context: &Context) -> Outcome {
        self.ask(give_up_at(context)).await.unwrap_or_else(Failure::into_outcome)
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Smtp").field("encryption", &self.encryption).finish_non_exhaustive()
    }
}

/// ```yaml
/// smtp:
///   url: "${SMTP_URL}"
///   starttls: true
///   capabilities: [SIZE, AUTH PLAIN]
///   certificate: { degraded_below: 14d, unhealthy_below: 3d }
/// ```
pub const KIND: Kind = Kind {
    name: "smtp",
    summary: "A mail server, its greeting, offer, certificate and login",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required::<SecretString>("url");
    let defaults = Options::new("");
    let starttls = section.optional("starttls");
    let capabilities = section.or("capabilities", defaults.capabilities);
    let helo = section.or("helo", defaults.helo);
    let server_name = section.optional("server_name");
    let certificate = Certificate::read(section).unwrap_or_default();
    let ca_file = section.file("ca_file");
    built(section, Smtp::new(Options { url: url?, starttls, capabilities, helo, server_name, certificate, ca_file }))
}

/// What a server offers in its answers to `EHLO`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offer {
    server_name: String,
    capabilities: Vec<String>,
}

impl Offer {
    fn of(reply: &Reply) -> Self {
        let mut lines = reply.lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let first = lines.next().unwrap_or_default();
        let server_name = first.split(' ').next().unwrap_or_default().to_owned();
        Self { server_name, capabilities: lines.filter(|line| !line.is_empty()).collect() }
    }

    /// With what is offered once TLS is spoken.
    fn extend(&mut self, again: Self) {
        for capability in again.capabilities {
            if !self.capabilities.contains(&capability) {
                self.capabilities.push(capability);
            }
        }
    }

    /// What stands behind this word on all lines that begin with it, or nothing if there is no such line.
    fn behind<'o>(&'o self, keyword: &'o str) -> Option<Vec<&'o str>> {
        let mut lines = self.capabilities.iter().filter_map(move |line| {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            first.eq_ignore_ascii_case(keyword).then_some(rest)
        });
        let first = lines.next()?;
        Some(std::iter::once(first).chain(lines).flat_map(|rest| rest.split(' ')).collect())
    }

    fn has(&self, wanted: &str) -> bool {
        let (keyword, rest) = wanted.split_once(' ').unwrap_or((wanted, ""));
        let is_there = |behind: &[&str], word: &str| behind.iter().any(|other| other.eq_ignore_ascii_case(word));
        self.behind(keyword)
            .is_some_and(|behind| rest.split(' ').filter(|word| !word.is_empty()).all(|word| is_there(&behind, word)))
    }

    fn max_size(&self) -> Option<u64> {
        self.behind("SIZE")?.first()?.parse().ok().filter(|size| *size > 0)
    }
}

async fn begin_tls(dialogue: &mut Dialogue<Box<dyn Stream>>, offer: &Offer) -> Result<(), Failure> {
    if !offer.has("STARTTLS") {
        return Err(Failure::refused(Outcome::fail(Reason::Tls, "server does not offer STARTTLS")));
    }
    let reply = dialogue.say("STARTTLS").await?;
    match reply.code {
        220 => Ok(()),
        _ => Err(refused(Outcome::fail(Reason::Tls, "STARTTLS is refused"), &reply)),
    }
}

impl Login {
    /// In one message where the server takes that (RFC 4954), or name by name.
    async fn log_in(&self, dialogue: &mut Dialogue<Box<dyn Stream>>, offer: &Offer) -> Result<(), Failure> {
        let password = self.password.expose_secret();
        let mut reply = if offer.has("AUTH PLAIN") {
            let secret = BASE64.encode(format!("\0{}\0{password}", self.user));
            dialogue.say(&format!("AUTH PLAIN {secret}")).await?
        } else if offer.has("AUTH LOGIN") {
            dialogue.say("AUTH LOGIN").await?
        } else {
            let outcome = Outcome::fail(Reason::Auth, "server offers no login that is spoken here");
            return Err(Failure::refused(outcome.with_detail("expected AUTH PLAIN or AUTH LOGIN")));
        };
        for text in [self.user.as_str(), password] {
            if reply.code == 334 {
                reply = dialogue.say(&BASE64.encode(text)).await?;
            }
        }
        match reply.code {
            235 => Ok(()),
            535 => Err(refused(Outcome::fail(Reason::Auth, "user or password not accepted"), &reply)),
            _ if reply.is_temporary() => {
                Err(refused(Outcome::warn(Reason::NotReady, "login is not possible for now"), &reply))
            }
            _ => Err(refused(Outcome::fail(Reason::Auth, "login is refused"), &reply)),
        }
    }
}

/// What says to come back later is one thing, whatever it answers.
fn not_as_hoped(reply: &Reply, otherwise: Outcome) -> Failure {
    let later = Outcome::warn(Reason::NotReady, "server asks to come back later");
    refused(if reply.is_temporary() { later } else { otherwise }, reply)
}

fn refused(outcome: Outcome, reply: &Reply) -> Failure {
    Failure::refused(outcome.with_detail(reply.text()))
}

/// As one leaves (RFC 5321, 4.1.1.10). What the server says to that changes nothing.
async fn leave(mut dialogue: Dialogue<Box<dyn Stream>>, deadline: Instant) {
    let until = deadline.min(Instant::now() + FAREWELL);
    let _ = before(until, "leaving", dialogue.say("QUIT")).await;
}
