//! The socket as hyper sees it: gives back what was read to know the protocol, and tells the connection what happens.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, AsyncReadExt, ReadBuf};
use tokio::time::Sleep;

use super::connection::{Ended, Protocol, Side, Upload};
use super::drive::Open;
use super::transport::Transport;
use super::websocket::{Farewell, Said};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client that still sends its request may do so after the answer.
const DISCARDING: Duration = Duration::from_secs(2);

pub(super) struct Stream {
    /// Before the connection, which is told when this is closed.
    socket: TokioIo<Transport>,
    connection: Open,
    first: [u8; PREFACE.len()],
    /// How much of `first` was read from the socket, and how much of that was given on.
    first_read: usize,
    first_given: usize,
    blocked: bool,
    /// From the upgrade to a WebSocket on.
    farewell: Option<Farewell>,
    /// From the end of an answer on whose request was not read to its end.
    discarding: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    pub(super) fn new(transport: Transport, connection: Open) -> Self {
        Self {
            socket: TokioIo::new(transport),
            connection,
            first: [0; PREFACE.len()],
            first_read: 0,
            first_given: 0,
            blocked: false,
            farewell: None,
            discarding: None,
        }
    }

    /// Reads until the protocol is known: as far as the bytes agree with the HTTP/2 preface. Without a time limit of its
    /// own; the sweeper keeps it.
    pub(super) async fn sniff(&mut self) -> io::Result<Protocol> {
        loop {
            let (_, free) = self.first.split_at_mut(self.first_read);
            let read = self.socket.inner_mut().read(free).await?;
            self.first_read += read;
            let (seen, _) = self.first.split_at(self.first_read);
            if !PREFACE.starts_with(seen) || (read == 0 && self.first_read > 0) {
                return Ok(Protocol::Http1);
            }
            if self.first_read == PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// After an upgrade another task holds this end; it learns here that the connection shall end, and a WebSocket's
    /// client hears it before.
    fn look_if_upgraded(&mut self, side: Side, context: &mut Context<'_>) -> io::Result<()> {
        if !self.connection.is(Protocol::Upgraded) && !self.connection.is(Protocol::WebSocket) {
            return Ok(());
        }
        self.connection.enlist(side, context);
        if self.connection.is_ending() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if self.connection.is(Protocol::WebSocket) {
            let farewell = self.farewell.get_or_insert_with(Farewell::new);
            let socket = &mut self.socket;
            // Each half may be polled by a task of its own, and either must get on with it.
            let both = Waker::from(Arc::clone(&self.connection));
            let said =
                farewell.poll(self.connection.leaves_after(), &mut Context::from_waker(&both), |context, bytes| {
                    Pin::new(&mut *socket).poll_write(context, bytes)
                });
            if said == Poll::Ready(Said::InVain) {
                self.connection.end(Ended::Unanswered);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if self.swallows() && self.socket.inner().keeps_what_is_written() {
                // The application may have nothing to write that would bring it out.
                let _ = Pin::new(&mut self.socket).poll_flush(context)?;
            }
        }
        Ok(())
    }

    /// What the application writes after the close frame goes nowhere.
    fn swallows(&self) -> bool {
        self.farewell.as_ref().is_some_and(Farewell::swallows)
    }

    /// Follows what has left of these bytes.
    fn passed(&mut self, parts: &[&[u8]], polled: &Poll<io::Result<usize>>) {
        let (Some(farewell), Poll::Ready(Ok(written))) = (&mut self.farewell, polled) else { return };
        let mut left = *written;
        for part in parts {
            let part = part.get(..left.min(part.len())).unwrap_or_default();
            farewell.pass(part);
            left -= part.len();
        }
        if farewell.is_held_up() {
            // This was the rest of a frame, perhaps; who writes may have no more to say.
            self.connection.wake();
        }
    }

    /// What was kept has left, or waits for the other end like anything that is written.
    fn brought_out(&mut self, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if self.socket.inner().keeps_what_is_written() { self.wrote(polled) } else { polled }
    }

    /// Takes what a client still sends that has been answered, until it closes its end: a socket that is closed with
    /// something unread is reset, and the answer may be lost with it (RFC 9112, section 9.6).
    fn discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(time) = &mut self.discarding else { return Poll::Ready(()) };
        let mut bytes = [0; 8 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(self.socket.inner_mut()).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                // Also now and then when there is more, by tokio's budget.
                Poll::Pending => return time.as_mut().poll(context),
            }
        }
    }

    fn wrote<T>(&mut self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() != self.blocked {
            self.blocked = polled.is_pending();
            if self.blocked { self.connection.blocked() } else { self.connection.unblocked() }
        }
        polled
    }
}

/// Over TLS an end in order is said to be one. In the middle of an answer it is not: the client must see that it was cut.
#[cfg(feature = "tls")]
impl Drop for Stream {
    fn drop(&mut self) {
        let connection = &self.connection;
        if connection.is_idle() || (connection.is_upgraded() && !connection.is_ending()) {
            self.socket.inner_mut().say_goodbye();
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.look_if_upgraded(Side::Read, context)?;
        let stream = &mut *self;
        if let Some(rest) = stream.first.get(stream.first_given..stream.first_read)
            && !rest.is_empty()
        {
            let (given, _) = rest.split_at(rest.len().min(buffer.remaining()));
            buffer.put_slice(given);
            stream.first_given += given.len();
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut stream.socket).poll_read(context, buffer))?;
        stream.connection.heard();
        Poll::Ready(Ok(()))
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.look_if_upgraded(Side::Write, context)?;
        if self.swallows() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.passed(&[bytes], &polled);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.look_if_upgraded(Side::Write, context)?;
        if self.swallows() {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        if self.farewell.is_some() {
            let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
            self.passed(&parts, &polled);
        }
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// Hyper flushes when it has written all that it holds, so what was handed over has left.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        ready!(self.brought_out(polled))?;
        self.connection.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.discarding.is_none() {
            let polled = Pin::new(&mut self.socket).poll_shutdown(context);
            ready!(self.brought_out(polled))?;
            if self.connection.is(Protocol::Http1) && self.connection.has_upload(Upload::Coming) {
                self.connection.upload_is(Upload::Discarded);
                self.discarding = Some(Box::pin(tokio::time::sleep(DISCARDING)));
            }
        }
        self.discard(context).map(Ok)
    }
}
