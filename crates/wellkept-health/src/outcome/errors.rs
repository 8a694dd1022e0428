//! What an error of a check's own says: its chain of sources as a text, and the reason that is among them.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;

use super::{Outcome, Reason};

/// Sources that are looked at: a chain can lead in a circle.
const MOST_SOURCES: usize = 16;

fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    successors(Some(error), |error: &&'e (dyn Error + 'static)| (*error).source()).take(MOST_SOURCES)
}

/// The texts of an error and its sources, without those that the text before holds already.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in sources(error) {
        let next = error.to_string();
        if text.is_empty() {
            text = next;
        } else if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        if text.len() > Outcome::MAX_DETAIL {
            break;
        }
    }
    text
}

/// The reason that the first of them tells that has one.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Reason {
    sources(error).find_map(told_by).unwrap_or(Reason::Error)
}

/// What everyone may read of it.
pub(super) fn message(reason: &Reason) -> &'static str {
    match reason {
        Reason::Timeout => "no answer in time",
        Reason::Refused => "connection refused",
        Reason::Network => "connection failed",
        Reason::Protocol => "answer not understood",
        Reason::Exhausted => "no room left",
        _ => "check failed",
    }
}

fn told_by(error: &(dyn Error + 'static)) -> Option<Reason> {
    if error.is::<tokio::time::error::Elapsed>() {
        return Some(Reason::Timeout);
    }
    let error = error.downcast_ref::<io::Error>()?;
    // An input error that wraps another tells that one's sources, and not itself, as its own.
    let inner = || error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()).map(io::Error::kind);
    of_kind(error.kind()).or_else(|| inner().and_then(of_kind))
}

fn of_kind(kind: ErrorKind) -> Option<Reason> {
    Some(match kind {
        ErrorKind::ConnectionRefused => Reason::Refused,
        // What the standard library calls a socket's time that is up, on Unix.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Reason::Timeout,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::UnexpectedEof
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => Reason::Network,
        ErrorKind::InvalidData => Reason::Protocol,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => Reason::Exhausted,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::{IntoOutcome, Verdict};

    /// A driver's error whose text does not say what is under it.
    #[derive(Debug, thiserror::Error)]
    #[error("error connecting to server at {0}")]
    struct Driver(&'static str, #[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("can't count the orders")]
    struct Application(#[from] Driver);

    fn outcome(error: impl Into<Box<dyn Error + Send + Sync>>) -> Outcome {
        Err::<(), _>(error).into_outcome()
    }

    #[test]
    fn an_errors_sources_are_its_detail_and_tell_the_reason() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        let outcome = outcome(Application(Driver("db:5432", refused)));
        assert_eq!((outcome.verdict(), outcome.reason()), (Verdict::Fail, Some(&Reason::Refused)));
        assert_eq!(outcome.message(), "connection refused", "and nothing of the error's own words");
        let begin = "can't count the orders: error connecting to server at db:5432: Connection refused";
        assert!(outcome.detail().starts_with(begin), "{}", outcome.detail());
    }

    #[test]
    fn each_kind_of_input_error_has_its_reason() {
        for (kind, reason) in [
            (ErrorKind::ConnectionRefused, Reason::Refused),
            (ErrorKind::TimedOut, Reason::Timeout),
            (ErrorKind::WouldBlock, Reason::Timeout),
            (ErrorKind::ConnectionReset, Reason::Network),
            (ErrorKind::UnexpectedEof, Reason::Network),
            (ErrorKind::InvalidData, Reason::Protocol),
            (ErrorKind::StorageFull, Reason::Exhausted),
            (ErrorKind::NotFound, Reason::Error),
        ] {
            assert_eq!(outcome(io::Error::from(kind)).reason(), Some(&reason), "{kind:?}");
            let wrapped = io::Error::other(io::Error::new(kind, "inside"));
            assert_eq!(outcome(wrapped).reason(), Some(&reason), "wrapped {kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_of_tokios_is_a_timeout_and_a_text_is_an_error() {
        let elapsed = tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(outcome(elapsed).reason(), Some(&Reason::Timeout));
        let text = outcome("the queue is gone");
        assert_eq!(
            (text.reason(), text.message(), text.detail()),
            (Some(&Reason::Error), "check failed", "the queue is gone")
        );
    }

    /// An error that is its own source, many times over.
    #[derive(Debug)]
    struct Deep(usize);

    impl std::fmt::Display for Deep {
        fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(formatter, "<{}>", self.0)
        }
    }

    impl Error for Deep {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(Box::leak(Box::new(Self(self.0 + 1))))
        }
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let text = chain(&Deep(0));
        assert!(text.starts_with("<0>: <1>: <2>") && text.ends_with("<15>"), "{text}");
    }
}
