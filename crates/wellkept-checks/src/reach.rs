//! How failing to reach something becomes an outcome: in one place, so that every kind names it alike.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use wellkept_health::{Context, Outcome, Reason};
use wellkept_net::ConnectError;
use wellkept_net::tls::{Fault, TlsError};

use crate::certificate;

/// What a protocol is spoken over: a socket, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// When a run gives up by itself: a little before its deadline, at which it would be dropped and could no longer say
/// what it was waiting for.
pub(crate) fn give_up_at(context: &Context) -> Instant {
    const MOST: Duration = Duration::from_millis(50);
    let margin = (context.timeout() / 20).min(MOST);
    context.deadline().checked_sub(margin).unwrap_or_else(|| context.deadline())
}

/// There was no answer before the deadline. `doing` completes "timed out while …".
pub(crate) fn timed_out(doing: &str) -> Outcome {
    Outcome::fail(Reason::Timeout, "no answer in time").with_detail(format!("timed out while {doing}"))
}

/// There is no connection.
pub(crate) fn not_connected(error: &ConnectError) -> Outcome {
    let outcome = match error.code() {
        "dns" => Outcome::fail(Reason::Dns, "name could not be resolved"),
        "refused" => Outcome::fail(Reason::Refused, "connection refused"),
        "timeout" => Outcome::fail(Reason::Timeout, "no answer in time"),
        "blocked" => Outcome::fail(Reason::Custom("blocked"), "address is not allowed"),
        // The lack is on this side: of descriptors, or of threads to resolve names.
        "exhausted" => Outcome::fail(Reason::Internal, "no room for another connection on this machine"),
        _ => Outcome::fail(Reason::Network, "connection failed"),
    };
    outcome.with_detail(error.to_string())
}

/// There is a connection, and no TLS on it.
pub(crate) fn no_tls(error: &TlsError) -> Outcome {
    let Some(fault) = error.fault() else {
        return match error {
            TlsError::Timeout => timed_out("shaking hands for TLS"),
            error => Outcome::fail(Reason::Tls, "TLS handshake failed").with_detail(error.to_string()),
        };
    };
    let (reason, message) = match fault {
        Fault::Expired { .. } => (Reason::Tls, "certificate has expired"),
        Fault::NotYetValid => (Reason::Tls, "certificate is not valid yet"),
        Fault::OtherName => (Reason::Tls, "certificate is for another name"),
        Fault::Untrusted => (Reason::Tls, "certificate is not trusted"),
        Fault::Version => (Reason::Tls, "no common version of TLS"),
        Fault::NotTls => (Reason::Tls, "what answers does not speak TLS"),
        Fault::Broken => (Reason::Network, "connection broken"),
        _ => (Reason::Tls, "TLS handshake failed"),
    };
    let outcome = Outcome::fail(reason, message).with_detail(error.to_string());
    match fault {
        Fault::Expired { not_after: Some(not_after) } => certificate::told(outcome, not_after),
        _ => outcome,
    }
}

/// An error with all its causes. Drivers tend to say what happened only in the causes.
pub(crate) fn explained(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let error_text = error.to_string();
        if !text.ends_with(&error_text) {
            text = format!("{text}: {error_text}");
        }
        cause = error.source();
    }
    text
}
