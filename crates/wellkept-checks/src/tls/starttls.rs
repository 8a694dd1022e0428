//! How TLS is begun on a connection that begins in plain text.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use wellkept_config::{FromNode, one_of};
use wellkept_health::{Outcome, Reason};

use super::timed_out;

/// Most that a server may say before TLS begins, in bytes.
const MOST: usize = 16 * 1024;

/// The protocol in whose own way TLS is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    /// Mail: `STARTTLS` after `EHLO` (RFC 3207).
    Smtp,
    /// PostgreSQL: a request of its own ahead of everything ("Message Flow, SSL Session Encryption").
    Postgres,
}

impl FromNode for StartTls {
    const EXPECTED: &'static str = "smtp or postgres";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &[("smtp", Self::Smtp), ("postgres", Self::Postgres)])
    }
}

impl StartTls {
    /// Says what has to be said, until TLS can begin.
    pub(super) async fn begin<S>(self, stream: &mut S, deadline: Instant) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = async {
            match self {
                Self::Smtp => smtp(stream).await,
                Self::Postgres => postgres(stream).await,
            }
        };
        timeout_at(deadline, begun).await.map_err(|_elapsed| Failure::Timeout)?
    }
}

/// Why TLS can't begin.
#[derive(Debug)]
pub(super) enum Failure {
    Timeout,
    Broken(io::Error),
    Refused,
}

impl Failure {
    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Timeout => timed_out("waiting for TLS to begin"),
            Self::Broken(error) => Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string()),
            Self::Refused => Outcome::fail(Reason::Protocol, "TLS is not begun there"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

async fn smtp<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Failure> {
    // `.invalid` names nobody (RFC 2606).
    for (say, expected) in [("", b"220"), ("EHLO wellkept.invalid\r\n", b"250"), ("STARTTLS\r\n", b"220")] {
        stream.write_all(say.as_bytes()).await?;
        stream.flush().await?;
        // All lines of an answer but the last have a hyphen behind the code (RFC 5321, 4.2.1).
        let mut left = MOST;
        let last = loop {
            let line = line(stream, &mut left).await?;
            if line.get(3) != Some(&b'-') {
                break line;
            }
        };
        if !last.starts_with(expected) {
            return Err(Failure::Refused);
        }
    }
    Ok(())
}

/// One line, byte by byte: what comes behind it is not ours to take.
async fn line<S: AsyncRead + Unpin>(stream: &mut S, left: &mut usize) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    loop {
        *left = left.checked_sub(1).ok_or(Failure::Refused)?;
        match stream.read_u8().await? {
            b'\n' => return Ok(line),
            byte => line.push(byte),
        }
    }
}

async fn postgres<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Failure> {
    // Its length, and the number 80877103 instead of a version.
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
    stream.flush().await?;
    if stream.read_u8().await? == b'S' { Ok(()) } else { Err(Failure::Refused) }
}
