//! What can go wrong with a MySQL server, and how an operator would call it.

use std::io;

use wellkept_health::{Outcome, Reason};
use wellkept_net::ConnectError;
use wellkept_net::tls::TlsError;

use super::wire::Refusal;
use crate::reach::{no_tls, not_connected, timed_out};

/// Why there is no connection, or no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Connect(ConnectError),
    Tls(TlsError),
    /// The URL asks for TLS, and the server has none.
    NoTls,
    /// The deadline passed. Completes "timed out while …".
    Timeout(&'static str),
    Broken(io::Error),
    /// What came is nothing that MySQL says.
    Unexpected(&'static str),
    /// The server wants a password proved in a way that is not ours, or not ours on this connection.
    Login(String),
    /// The server refused.
    Refused(Refusal),
}

impl Failure {
    /// Whether a new connection may help.
    pub(super) fn is_lost_connection(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Refused(refusal) => is_farewell(refusal),
            _ => false,
        }
    }

    /// Whether the server answered, and the connection can go on.
    pub(super) fn is_refused_query(&self) -> bool {
        matches!(self, Self::Refused(_)) && !self.is_lost_connection()
    }

    /// As an operator would call it: a reason, a message without address or secret, and in the detail what the server
    /// says.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(error) => not_connected(error),
            Self::Tls(error) => no_tls(error),
            Self::NoTls => {
                Outcome::fail(Reason::Tls, "TLS handshake failed").with_detail("server does not support TLS")
            }
            Self::Timeout(doing) => timed_out(doing),
            Self::Broken(error) => {
                Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string())
            }
            Self::Unexpected(what) => {
                Outcome::fail(Reason::Protocol, "not an answer that MySQL gives").with_detail(*what)
            }
            Self::Login(why) => Outcome::fail(Reason::Auth, "login failed").with_detail(why.clone()),
            Self::Refused(refusal) => refused(refusal.code, &refusal.state, &refusal.message),
        }
    }
}

/// Whether the server says so that it hangs up: it shuts down, was told to (`KILL`), or nobody has asked for long
/// (`wait_timeout`).
fn is_farewell(refusal: &Refusal) -> bool {
    matches!(refusal.code, 1053 | 1927 | 1152 | 1158..=1161 | 1184 | 4031)
}

/// By the number of the error ("Server Error Message Reference" of MySQL, "MariaDB Error Codes"), not by the text,
/// which comes in the server's language.
pub(crate) fn refused(code: u16, state: &str, message: &str) -> Outcome {
    let outcome = match code {
        1040 | 1203 => Outcome::fail(Reason::Exhausted, "too many connections"),
        1226 => Outcome::fail(Reason::Exhausted, "a limit on the user is reached"),
        1021 | 1037 | 1038 | 1041 | 1114 | 1135 => Outcome::fail(Reason::Exhausted, "server is out of resources"),
        1045 | 1698 => Outcome::fail(Reason::Auth, "password not accepted"),
        1129 | 1130 => Outcome::fail(Reason::Auth, "server does not let this host in"),
        1820 | 1862 | 3118 | 4151 => Outcome::fail(Reason::Auth, "user is locked or the password expired"),
        1251 | 1524 => Outcome::fail(Reason::Auth, "login failed"),
        1044 => Outcome::fail(Reason::Auth, "database not permitted"),
        1142 | 1143 | 1227 | 1370 => Outcome::fail(Reason::Auth, "query not permitted"),
        3159 => Outcome::fail(Reason::Tls, "server lets nobody in without TLS"),
        1049 => Outcome::fail(Reason::Error, "database does not exist"),
        // Of Galera, a node that has lost the others or is not level with them yet.
        1047 => Outcome::fail(Reason::NotReady, "server is not ready for queries"),
        1053 | 1927 => Outcome::fail(Reason::NotReady, "server is shutting down"),
        1290 | 1792 | 1836 | 1874 => Outcome::fail(Reason::NotReady, "server does not accept writes"),
        1205 | 1969 | 3024 => Outcome::fail(Reason::Timeout, "no answer in time"),
        _ if state.starts_with("28") => Outcome::fail(Reason::Auth, "user not accepted"),
        _ => Outcome::fail(Reason::Error, "query failed"),
    };
    outcome.with_detail(format!("{code} {state}: {message}").replacen(" :", ":", 1))
}
