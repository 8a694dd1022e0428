//! Connections to servers that speak in lines, in plain text or over TLS, and why there is no answer.

use std::io;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use wellkept_health::{Outcome, Reason};
use wellkept_net::tls::TlsError;
use wellkept_net::{AddressRules, ConnectError, Target, connect, connect_unix};

use crate::reach::{Stream, no_tls, not_connected, timed_out};

/// Longest line that is taken, in bytes. NATS tells of itself and of all servers of its cluster in one.
const LONGEST: usize = 64 * 1024;

/// Connects over TCP. Cancel-safe.
pub(crate) async fn over_tcp(target: &Target, deadline: Instant) -> Result<Box<dyn Stream>, Failure> {
    Ok(Box::new(connect(target, AddressRules::configured(), deadline).await.map_err(Failure::Connect)?))
}

/// Connects to a Unix socket. Cancel-safe.
pub(crate) async fn over_unix(path: &Path, deadline: Instant) -> Result<Box<dyn Stream>, Failure> {
    Ok(Box::new(connect_unix(path, deadline).await.map_err(Failure::Connect)?))
}

/// A connection on which both sides speak in lines.
pub(crate) struct Lines<S> {
    stream: S,
    /// What has come and was not taken yet.
    came: Vec<u8>,
    /// How much of it is known to hold no end of a line.
    searched: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lines<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, came: Vec::new(), searched: 0 }
    }

    /// Sends all of it at once. That the other side has hung up shows in what is read next, which may say why.
    pub(crate) async fn send(&mut self, text: &str) {
        if self.stream.write_all(text.as_bytes()).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// The next line, without its end. Cancel-safe: what has come of a line is there for the next call.
    pub(crate) async fn next(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(line) = self.take() {
                return Ok(line);
            }
            if self.came.len() > LONGEST {
                return Err(Failure::Unexpected("a line that does not end"));
            }
            if self.stream.read_buf(&mut self.came).await.map_err(Failure::Broken)? == 0 {
                return Err(if self.came.is_empty() {
                    Failure::Broken(io::ErrorKind::UnexpectedEof.into())
                } else {
                    Failure::Unexpected("the connection ended within a line")
                });
            }
        }
    }

    fn take(&mut self) -> Option<String> {
        let unsearched = self.came.get(self.searched..).unwrap_or_default();
        let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.came.len();
            return None;
        };
        let line: Vec<u8> = self.came.drain(..=self.searched + end).collect();
        self.searched = 0;
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The connection alone, on which something else is spoken from now on. What was said ahead of that is not ours to
    /// pass on: it would count as said over TLS, by whoever sat in between.
    pub(crate) fn into_stream(self) -> Result<S, Failure> {
        if self.came.is_empty() {
            Ok(self.stream)
        } else {
            Err(Failure::Unexpected("more was said than was asked for"))
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Connect(ConnectError),
    Tls(TlsError),
    /// The deadline passed. Completes "timed out while …".
    Timeout(&'static str),
    /// What came is not what the protocol has there.
    Unexpected(&'static str),
    /// The connection ended without a word.
    Broken(io::Error),
    /// The server refused, in words that the kind has understood.
    Refused(Box<Outcome>),
}

impl Failure {
    /// The server refused.
    pub(crate) fn refused(outcome: Outcome) -> Self {
        Self::Refused(Box::new(outcome))
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        match self {
            Self::Connect(error) => not_connected(&error),
            Self::Tls(error) => no_tls(&error),
            Self::Timeout(doing) => timed_out(doing),
            Self::Unexpected(what) => {
                Outcome::fail(Reason::Protocol, "not an answer that the server gives").with_detail(what)
            }
            Self::Broken(error) => Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string()),
            Self::Refused(outcome) => *outcome,
        }
    }
}

/// Waits for it until the deadline. `doing` completes "timed out while …".
pub(crate) async fn before<T>(
    deadline: Instant,
    doing: &'static str,
    asking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout_at(deadline, asking).await.map_err(|_elapsed| Failure::Timeout(doing))?
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn lines_are_taken_one_by_one_however_they_arrive() {
        let (near, mut far) = duplex(4);
        let mut lines = Lines::new(near);
        let writing = async {
            far.write_all(b"one\r\ntwo\n\r\nth\xffree\r\nrest").await.unwrap();
            drop(far);
        };
        let reading = async {
            for expected in ["one", "two", "", "th\u{fffd}ree"] {
                assert_eq!(lines.next().await.unwrap(), expected);
            }
            assert!(matches!(lines.next().await, Err(Failure::Unexpected(_))), "it ends within a line");
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let (near, mut far) = duplex(1024);
        let endless = tokio::spawn(async move { while far.write_all(&[b'x'; 512]).await.is_ok() {} });
        let mut lines = Lines::new(near);
        assert!(matches!(lines.next().await, Err(Failure::Unexpected("a line that does not end"))));
        assert!(lines.came.len() <= 2 * LONGEST, "{}", lines.came.len());
        drop(lines);
        endless.await.unwrap();
    }

    #[tokio::test]
    async fn what_was_said_ahead_of_tls_is_not_taken_for_what_is_said_over_it() {
        let (near, mut far) = duplex(1024);
        far.write_all(b"220 ready\r\n250 injected\r\n").await.unwrap();
        let mut lines = Lines::new(near);
        assert_eq!(lines.next().await.unwrap(), "220 ready");
        assert!(lines.into_stream().is_err(), "something is left");
    }
}
