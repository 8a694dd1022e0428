//! A connection's socket as it was taken: TCP or Unix, read and written through one type without a box.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::address::{Peer, PeerProcess};
use super::listen::ListeningSocket;

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// The first byte that the other end has said, left where it is; `None` when it has closed. Cancel-safe.
    #[cfg(feature = "tls")]
    pub(super) async fn peek(&self) -> io::Result<Option<u8>> {
        use rustix::net::{RecvFlags, recv};
        use tokio::io::Interest;

        let mut first = [0];
        let read = match self {
            Self::Tcp(socket) => socket.peek(&mut first).await?,
            Self::Unix(socket) => {
                let peek = || Ok(recv(socket, &mut first, RecvFlags::PEEK)?.0);
                socket.async_io(Interest::READABLE, peek).await?
            }
        };
        Ok((read > 0).then_some(first[0]))
    }

    /// Writes what the system takes without waiting.
    #[cfg(feature = "tls")]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            Self::Unix(socket) => socket.try_write(bytes),
        }
    }

    fn of_tcp(socket: TcpStream) -> Self {
        // Without it small answers wait for the other end's acknowledgement. It fails only when that end has gone.
        let _ = socket.set_nodelay(true);
        Self::Tcp(socket)
    }
}

/// A listening socket that the runtime watches.
pub(super) enum Watched {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Watched {
    /// Fails for want of descriptors or memory. Needs a runtime.
    pub(super) fn new(listener: &ListeningSocket) -> io::Result<Self> {
        match listener {
            ListeningSocket::Tcp(listener) => listener.try_clone().and_then(TcpListener::from_std).map(Self::Tcp),
            ListeningSocket::Unix(listener) => listener.try_clone().and_then(UnixListener::from_std).map(Self::Unix),
        }
    }

    /// The next connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok((Socket::of_tcp(socket), Peer::Tcp(peer)))
            }
            Self::Unix(listener) => {
                let (socket, _unnamed) = listener.accept().await?;
                Ok(of_unix(socket))
            }
        }
    }
}

impl ListeningSocket {
    /// What the system has queued, without waiting.
    pub(super) fn accept_now(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                socket.set_nonblocking(true)?;
                Ok((Socket::of_tcp(TcpStream::from_std(socket)?), Peer::Tcp(peer)))
            }
            Self::Unix(listener) => {
                let (socket, _unnamed) = listener.accept()?;
                socket.set_nonblocking(true)?;
                Ok(of_unix(UnixStream::from_std(socket)?))
            }
        }
    }
}

fn of_unix(socket: UnixStream) -> (Socket, Peer) {
    let process = socket.peer_cred().ok().map(|process| PeerProcess { user: process.uid(), id: process.pid() });
    (Socket::Unix(socket), Peer::Unix(process))
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, parts),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // Of both, by the system.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Unix(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
