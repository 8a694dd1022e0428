//! A connection to a NATS server: the greeting, the login, and a task that answers the server between two runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use wellkept_health::{Outcome, Reason};

use super::{Login, Server};
use crate::driver::Driver;
use crate::lines::{Failure, Lines, before, over_tcp};
use crate::reach::Stream;

/// What the server said that a run has not read yet. It says little by itself, and then hangs up.
const MOST_WAITING: usize = 8;

/// What a server tells of itself, first and whenever it changes ("INFO" in the description of the client protocol).
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Info {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) jetstream: bool,
    pub(super) lame_duck: bool,
    asks_for_login: bool,
    encryption: Encryption,
}

/// What a server says of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Encryption {
    #[default]
    Unknown,
    Offered,
    Required,
}

impl Info {
    /// Of a line such as `INFO {"server_id": …}`.
    fn parse(line: &str) -> Option<Self> {
        let (_info, rest) = line.split_once(' ').filter(|(operation, _)| operation.eq_ignore_ascii_case("INFO"))?;
        let told: Value = serde_json::from_str(rest).ok().filter(Value::is_object)?;
        let text = |key: &str| told.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let is = |key: &str| told.get(key).and_then(Value::as_bool).unwrap_or_default();
        Some(Self {
            name: text("server_name"),
            version: text("version"),
            cluster: text("cluster"),
            jetstream: is("jetstream"),
            lame_duck: is("ldm"),
            asks_for_login: is("auth_required"),
            encryption: match (is("tls_required"), is("tls_available")) {
                (true, _) => Encryption::Required,
                (false, true) => Encryption::Offered,
                (false, false) => Encryption::Unknown,
            },
        })
    }
}

/// What one run has found out.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) info: Info,
    pub(super) encrypted: bool,
    pub(super) round_trip: Duration,
}

/// An open session. Dropping it closes the connection at once.
pub(super) struct Session {
    info: Arc<Mutex<Info>>,
    encrypted: bool,
    /// Each asks for one `PONG`.
    questions: mpsc::Sender<()>,
    answers: mpsc::Receiver<Result<(), Failure>>,
    _driver: Driver,
}

impl Session {
    /// Connects and logs in, without waiting for what the server says to that: it comes with the first answer.
    pub(super) async fn begin(server: &Server, deadline: Instant) -> Result<Self, Failure> {
        let mut lines = Lines::new(over_tcp(&server.target, deadline).await?);
        let greeting = before(deadline, "waiting for the server's greeting", lines.next()).await?;
        if let Some(text) = error(&greeting) {
            return Err(Failure::refused(refused(text, false)));
        }
        let info = Info::parse(&greeting).ok_or(Failure::Unexpected("the greeting of another protocol"))?;
        let encrypted = server.must_encrypt || info.encryption == Encryption::Required;
        if encrypted {
            lines = encrypt(lines, server, &info, deadline).await?;
        }
        lines.send(&format!("CONNECT {}\r\n", login(&server.login, encrypted))).await;
        let asked_in_vain = info.asks_for_login && matches!(server.login, Login::Nobody);
        let info = Arc::new(Mutex::new(info));
        let (questions, asked) = mpsc::channel(1);
        let (answering, answers) = mpsc::channel(MOST_WAITING);
        let told = Arc::clone(&info);
        let driver = Driver::start(drive(lines, asked, answering, told, asked_in_vain));
        Ok(Self { info, encrypted, questions, answers, _driver: driver })
    }

    /// One `PING`, and the server's `PONG`.
    pub(super) async fn ask(&mut self, deadline: Instant) -> Result<Answer, Failure> {
        let begun = Instant::now();
        // Where the task has ended, it has said why.
        let _ = self.questions.try_send(());
        let answer = async { self.answers.recv().await.unwrap_or_else(|| Err(ended())) };
        before(deadline, "waiting for the answer to PING", answer).await?;
        let info = self.info.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Answer { info, encrypted: self.encrypted, round_trip: begun.elapsed() })
    }
}

fn ended() -> Failure {
    Failure::Broken(std::io::ErrorKind::UnexpectedEof.into())
}

async fn encrypt(
    lines: Lines<Box<dyn Stream>>,
    server: &Server,
    info: &Info,
    deadline: Instant,
) -> Result<Lines<Box<dyn Stream>>, Failure> {
    if info.encryption == Encryption::Unknown {
        return Err(Failure::refused(Outcome::fail(Reason::Tls, "server does not speak TLS")));
    }
    let stream = server.client.connect(lines.into_stream()?, server.target.host(), deadline).await;
    Ok(Lines::new(Box::new(stream.map_err(Failure::Tls)?)))
}

/// What is said at login. `protocol` 1 asks to be told when the server is about to stop.
fn login(login: &Login, encrypted: bool) -> Value {
    let mut told = json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": encrypted,
        "name": "wellkept",
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "echo": false,
    });
    match login {
        Login::Nobody => {}
        Login::Token(token) => told["auth_token"] = token.expose_secret().into(),
        Login::User(user, password) => {
            told["user"] = user.as_str().into();
            told["pass"] = password.expose_secret().into();
        }
    }
    told
}

/// Answers the server and passes on what it says to a run, until the connection ends.
async fn drive(
    mut lines: Lines<Box<dyn Stream>>,
    mut questions: mpsc::Receiver<()>,
    answers: mpsc::Sender<Result<(), Failure>>,
    told: Arc<Mutex<Info>>,
    asked_in_vain: bool,
) {
    loop {
        let line = tokio::select! {
            question = questions.recv() => match question {
                Some(()) => {
                    lines.send("PING\r\n").await;
                    continue;
                }
                None => return,
            },
            line = lines.next() => line,
        };
        let line = match line {
            Ok(line) => line,
            Err(failure) => {
                // Full only of what says more.
                let _ = answers.try_send(Err(failure));
                return;
            }
        };
        let answer = match line.as_str() {
            "PING" => {
                lines.send("PONG\r\n").await;
                continue;
            }
            "PONG" => Ok(()),
            "+OK" | "" => continue,
            line => {
                if let Some(info) = Info::parse(line) {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = info;
                    continue;
                }
                Err(match error(line) {
                    Some(text) => Failure::refused(refused(text, asked_in_vain)),
                    None => Failure::Unexpected("a line that was not asked for"),
                })
            }
        };
        let _ = answers.try_send(answer);
    }
}

/// The text of a line such as `-ERR 'Authorization Violation'`.
fn error(line: &str) -> Option<&str> {
    line.strip_prefix("-ERR").map(|text| text.trim().trim_matches('\''))
}

/// By the texts that the server has for each (`errors.go` in its source): there are no codes.
fn refused(text: &str, asked_in_vain: bool) -> Outcome {
    let lower = text.to_ascii_lowercase();
    let has = |words: &str| lower.contains(words);
    let outcome = if has("connections exceeded") {
        Outcome::fail(Reason::Exhausted, "too many connections")
    } else if has("slow consumer") {
        Outcome::warn(Reason::Exhausted, "connection was ended as one that reads too slowly")
    } else if has("authentication timeout") {
        Outcome::fail(Reason::Timeout, "login took too long for the server")
    } else if has("expired") || has("revoked") {
        Outcome::fail(Reason::Auth, "login has expired")
    } else if (has("authorization") || has("authentication")) && asked_in_vain {
        Outcome::fail(Reason::Auth, "user and password, or a token, are required")
    } else if has("authorization") || has("authentication") {
        Outcome::fail(Reason::Auth, "user, password or token not accepted")
    } else if has("tls required") {
        Outcome::fail(Reason::Tls, "server wants TLS")
    } else if has("shutdown") {
        Outcome::fail(Reason::NotReady, "server is shutting down")
    } else {
        Outcome::fail(Reason::Error, "refused by the server")
    };
    outcome.with_detail(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_server_tells_of_itself_is_read() {
        let line = r#"INFO {"server_name":"n1","version":"2.10.4","jetstream":true,"tls_available":true,"cluster":"c"} "#;
        let info = Info::parse(line).unwrap();
        assert_eq!((info.name.as_deref(), info.version.as_deref()), (Some("n1"), Some("2.10.4")));
        assert!(info.jetstream && !info.lame_duck && info.encryption == Encryption::Offered);
        assert!(Info::parse(r#"INFO {"ldm":true}"#).unwrap().lame_duck);
        for other in ["INFO", "INFO ", "INFO []", "INFOS {}", "PING", "220 mail"] {
            assert_eq!(Info::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_a_reader_panic(line in ".{0,80}", info in "INFO .{0,60}") {
            for line in [line, info] {
                let _ = (Info::parse(&line), error(&line).map(|text| refused(text, false)));
            }
        }
    }
}
