//! How TLS is begun on a connection that begins in plain text.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use wellkept_config::{FromNode, Schema, one_of};
use wellkept_health::{Outcome, Reason};

use crate::lines::{Failure, before};
use crate::smtp::dialogue::{Dialogue, NOBODY};

/// The protocol in whose own way TLS is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    /// Mail: `STARTTLS` after `EHLO` (RFC 3207).
    Smtp,
    /// PostgreSQL: a request of its own ahead of everything ("Message Flow, SSL Session Encryption").
    Postgres,
}

const WORDS: [(&str, StartTls); 2] = [("smtp", StartTls::Smtp), ("postgres", StartTls::Postgres)];

impl FromNode for StartTls {
    const EXPECTED: &'static str = "smtp or postgres";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
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
        before(deadline, "waiting for TLS to begin", begun).await
    }
}

fn refused() -> Failure {
    Failure::refused(Outcome::fail(Reason::Protocol, "TLS is not begun there"))
}

async fn smtp<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Failure> {
    let mut dialogue = Dialogue::new(stream);
    let greeted = dialogue.reply().await?.code == 220;
    if !greeted || dialogue.say(&format!("EHLO {NOBODY}")).await?.code != 250 {
        return Err(refused());
    }
    if dialogue.say("STARTTLS").await?.code != 220 {
        return Err(refused());
    }
    dialogue.into_stream().map(drop)
}

async fn postgres<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Failure> {
    // Its length, and the number 80877103 instead of a version.
    let asked = async {
        stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
        stream.flush().await?;
        stream.read_u8().await
    };
    if asked.await.map_err(Failure::Broken)? == b'S' { Ok(()) } else { Err(refused()) }
}
