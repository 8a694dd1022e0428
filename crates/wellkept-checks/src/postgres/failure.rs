//! What can go wrong with a PostgreSQL server, and how an operator would call it.

use std::io;
use std::path::PathBuf;

use wellkept_health::{Outcome, Reason};
use wellkept_net::ConnectError;

use crate::reach::{explained, not_connected, timed_out};

/// Why there is no connection, or no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// No connection over TCP.
    Connect(ConnectError),
    /// No connection over a Unix socket.
    Socket(PathBuf, io::Error),
    /// The deadline passed. Completes "timed out while …".
    Timeout(&'static str),
    /// The URL asks for a server that accepts writes, and this one does not.
    ReadOnly,
    /// The server or the driver refused.
    Driver(tokio_postgres::Error),
}

impl Failure {
    /// Whether a new connection may help.
    pub fn is_lost_connection(&self) -> bool {
        let Self::Driver(error) = self else { return false };
        match error.code() {
            // 57P: the server shuts down, crashed, or is not up yet. 08: connection exceptions.
            Some(code) => code.code().starts_with("57P") || code.code().starts_with("08"),
            None => error.is_closed() || matches!(kind(error), Some(DriverError::Io | DriverError::Garbled)),
        }
    }

    /// Whether the server answered, and the connection can go on.
    pub(super) fn is_refused_query(&self) -> bool {
        matches!(self, Self::Driver(error) if error.as_db_error().is_some()) && !self.is_lost_connection()
    }

    /// As an operator would call it: a reason, a message without address or secret, and in the detail what the server
    /// or the driver says.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(error) => not_connected(error),
            Self::Timeout(doing) => timed_out(doing),
            Self::ReadOnly => Outcome::fail(Reason::NotReady, "server does not accept writes"),
            Self::Socket(path, error) => {
                let outcome = match error.kind() {
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                        Outcome::fail(Reason::Refused, "connection refused")
                    }
                    _ => Outcome::fail(Reason::Network, "connection failed"),
                };
                outcome.with_detail(format!("{}: {error}", path.display()))
            }
            Self::Driver(error) => match error.as_db_error() {
                Some(answer) => refused(answer),
                None => broken(error),
            },
        }
    }
}

/// By the SQLSTATE (PostgreSQL documentation, appendix A), not by the text, which comes in the server's language.
fn refused(answer: &tokio_postgres::error::DbError) -> Outcome {
    let code = answer.code().code();
    let outcome = match code {
        "57P03" => Outcome::fail(Reason::NotReady, "server is starting up or shutting down"),
        "57P01" | "57P02" => Outcome::fail(Reason::NotReady, "server is shutting down"),
        "57014" => Outcome::fail(Reason::Timeout, "no answer in time"),
        "25006" => Outcome::fail(Reason::NotReady, "server does not accept writes"),
        "53300" => Outcome::fail(Reason::Exhausted, "too many connections"),
        "28P01" => Outcome::fail(Reason::Auth, "password not accepted"),
        "3D000" => Outcome::fail(Reason::Error, "database does not exist"),
        "42501" => Outcome::fail(Reason::Auth, "query not permitted"),
        _ if code.starts_with("28") => Outcome::fail(Reason::Auth, "user not accepted"),
        _ if code.starts_with("53") => Outcome::fail(Reason::Exhausted, "server is out of resources"),
        _ if code.starts_with("08") => Outcome::fail(Reason::Protocol, "protocol error"),
        _ => Outcome::fail(Reason::Error, "query failed"),
    };
    outcome.with_detail(format!("{} {code}: {}", answer.severity(), answer.message()))
}

fn broken(error: &tokio_postgres::Error) -> Outcome {
    let outcome = match kind(error) {
        Some(DriverError::Tls) => Outcome::fail(Reason::Tls, "TLS handshake failed"),
        Some(DriverError::Login) => Outcome::fail(Reason::Auth, "login failed"),
        Some(DriverError::Io) => Outcome::fail(Reason::Network, "connection broken"),
        Some(DriverError::Connect) => not_reached(error),
        Some(DriverError::Late) => Outcome::fail(Reason::Timeout, "no answer in time"),
        None if error.is_closed() => Outcome::fail(Reason::Network, "connection broken"),
        Some(DriverError::Garbled) | None => Outcome::fail(Reason::Protocol, "not an answer that PostgreSQL gives"),
    };
    outcome.with_detail(explained(error))
}

/// The driver has connected by itself, as it does in a pool of the application's.
fn not_reached(error: &tokio_postgres::Error) -> Outcome {
    use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut};
    match io_cause(error).map(io::Error::kind) {
        Some(ConnectionRefused | NotFound) => Outcome::fail(Reason::Refused, "connection refused"),
        Some(TimedOut) => Outcome::fail(Reason::Timeout, "no answer in time"),
        _ => Outcome::fail(Reason::Network, "connection failed"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DriverError {
    Tls,
    /// Also a password that is asked for and not there, which the driver calls a wrong configuration.
    Login,
    Io,
    Connect,
    Late,
    /// What came ended within a message, or is none.
    Garbled,
}

/// The driver has these kinds and does not show them; its texts, which hold no causes, are all there is to go by.
fn kind(error: &tokio_postgres::Error) -> Option<DriverError> {
    match error.to_string().as_str() {
        "error performing TLS handshake" => Some(DriverError::Tls),
        "authentication error" | "invalid configuration" => Some(DriverError::Login),
        "error connecting to server" => Some(DriverError::Connect),
        "timeout waiting for server" => Some(DriverError::Late),
        "error communicating with the server" if is_garbled(error) => Some(DriverError::Garbled),
        "error communicating with the server" => Some(DriverError::Io),
        _ => None,
    }
}

/// The driver reports messages that it can't take apart as errors of the connection, with kinds that no connection has.
fn is_garbled(error: &tokio_postgres::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other};
    io_cause(error).is_some_and(|cause| {
        cause.raw_os_error().is_none() && matches!(cause.kind(), InvalidData | InvalidInput | Other)
    })
}

fn io_cause(error: &tokio_postgres::Error) -> Option<&io::Error> {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>())
}
