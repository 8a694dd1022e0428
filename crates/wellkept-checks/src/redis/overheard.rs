//! What a server says before it hangs up. Redis refuses a connection (too many clients, protected mode) with one line
//! and closes; the driver waits for as many answers as it sent commands, and then reports only the end.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longer than any such line.
const MOST: usize = 1024;

/// The first bytes that came over a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// The only line that ever came, if it is an error: its code and its text.
    pub(super) fn last_words(&self) -> Option<(String, String)> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = std::str::from_utf8(&heard).ok()?.strip_prefix('-')?.strip_suffix("\r\n")?;
        let (code, text) = line.split_once(' ').unwrap_or((line, ""));
        (!line.contains('\n')).then(|| (code.to_owned(), text.to_owned()))
    }

    fn add(&self, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(heard.len());
        heard.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

/// A stream that is listened to.
#[derive(Debug)]
pub(super) struct Overheard<S> {
    stream: S,
    heard: Heard,
}

impl<S> Overheard<S> {
    pub(super) fn new(stream: S) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { stream, heard: heard.clone() }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.heard.add(buffer.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_words(heard: &[u8]) -> Option<(String, String)> {
        let collected = Heard::default();
        heard.chunks(3).for_each(|chunk| collected.add(chunk));
        collected.last_words()
    }

    #[test]
    fn only_an_error_with_nothing_after_it_was_a_refusal() {
        let refusal = last_words(b"-ERR max number of clients reached\r\n");
        assert_eq!(refusal, Some(("ERR".to_owned(), "max number of clients reached".to_owned())));
        assert_eq!(last_words(b"-ERR unknown subcommand\r\n-ERR unknown subcommand\r\n"), None);
        assert_eq!(last_words(b"-ERR unknown subcommand\r\n+PONG\r\n"), None);
        assert_eq!(last_words(b"-ERR cut of"), None);
        assert_eq!(last_words(b"+OK\r\n"), None);
        assert_eq!(last_words(&[b'-'; 10 * MOST]), None);
    }
}
