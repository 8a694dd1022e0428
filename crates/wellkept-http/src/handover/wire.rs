//! What the two processes say to each other: JSON messages, each behind its length, so that no byte is read too many.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Told first by the successor. Another one is refused; what is added to a message later is passed over by those who do
/// not know it.
pub(super) const VERSION: u32 = 1;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// Longest reason that is believed, in characters.
const MAX_REASON: usize = 300;

/// What the successor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Successor {
    /// First of all.
    Take {
        /// The version that it speaks.
        version: u32,
    },
    /// It has all sockets and serves as soon as it is told that they are its own.
    Ready,
    /// It gives up.
    Failed {
        /// Why, for the log.
        reason: String,
    },
}

/// What the predecessor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Predecessor {
    /// The sockets follow, in this order.
    Offer {
        /// What they are.
        sockets: Vec<Offered>,
        /// Whether the predecessor is ready itself: then the successor must be, too.
        ready: bool,
        /// Within how many milliseconds.
        within_ms: u64,
    },
    /// Not now.
    Refused {
        /// The stable code.
        code: String,
        /// Why, for people.
        reason: String,
    },
    /// The sockets are the successor's from now on.
    Yours,
    /// The predecessor ends anyway; the sockets are the successor's from now on.
    Ending,
    /// The predecessor goes on; the sockets are not the successor's.
    Withdrawn {
        /// Why, for people.
        reason: String,
    },
}

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offered {
    pub(super) name: String,
    /// Where it listens, for the log: the system is asked for the truth.
    pub(super) address: String,
    /// Whether a service manager holds it too, and keeps its queue when the service ends.
    #[serde(default)]
    pub(super) managed: bool,
}

impl Predecessor {
    pub(super) fn refused(code: &str, reason: impl Into<String>) -> Self {
        Self::Refused { code: code.to_owned(), reason: reason.into() }
    }

    pub(super) fn offer(sockets: Vec<Offered>, ready: bool, within: Duration) -> Self {
        Self::Offer { sockets, ready, within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// Writes one message. Not cancel-safe.
pub(super) async fn tell(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= MAX_MESSAGE);
    let length = length.ok_or_else(|| rubbish("the message is too long"))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(text);
    stream.write_all(&frame).await
}

/// Reads one message and not a byte more. Not cancel-safe. An end before the first byte is `UnexpectedEof`; what is no
/// message is `InvalidData`.
pub(super) async fn hear<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(rubbish("the message is too long"));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await?;
    serde_json::from_slice(&text).map_err(|error| rubbish(&error.to_string()))
}

/// What the other end says of its reasons, fit for one line of a log.
pub(super) fn tamed(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect()
}

pub(super) fn rubbish(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a word of this protocol: {problem}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heard(bytes: &[u8]) -> io::Result<Successor> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { hear(&mut &*bytes).await })
    }

    #[tokio::test]
    async fn a_message_is_read_as_it_was_written_and_nothing_after_it() {
        let messages = [
            Predecessor::offer(
                vec![Offered { name: "http".to_owned(), address: "127.0.0.1:80".to_owned(), managed: true }],
                true,
                Duration::from_secs(30),
            ),
            Predecessor::refused("handover.busy", "another one"),
            Predecessor::Ending,
        ];
        let mut written = Vec::new();
        for message in &messages {
            tell(&mut written, message).await.unwrap();
        }
        let mut read = &*written;
        for message in messages {
            assert_eq!(hear::<Predecessor>(&mut read).await.unwrap(), message);
        }
        assert!(read.is_empty());
        assert_eq!(hear::<Predecessor>(&mut read).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_length_that_is_a_lie_reserves_no_memory() {
        let error = heard(&[0xff; 64]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let longest = [u32::try_from(MAX_MESSAGE).unwrap().to_be_bytes().as_slice(), b"{"].concat();
        assert_eq!(heard(&longest).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_not_sent() {
        let mut written = Vec::new();
        let long = Predecessor::Withdrawn { reason: "x".repeat(MAX_MESSAGE) };
        assert!(tell(&mut written, &long).await.is_err());
        assert!(written.is_empty());
    }

    #[test]
    fn what_a_newer_version_adds_is_passed_over() {
        let text = br#"{"say":"take","version":2,"colour":"blue"}"#;
        let frame = [u32::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text].concat();
        assert_eq!(heard(&frame).unwrap(), Successor::Take { version: 2 });
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(tamed("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(tamed(&"x".repeat(10_000)).len(), MAX_REASON);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_an_error_or_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = heard(&bytes);
            let framed = [u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), &bytes].concat();
            let _ = heard(&framed);
        }
    }
}
