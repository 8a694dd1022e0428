//! The TLS handshake of a connection that was just taken. Without a time limit of its own; the sweeper keeps it.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::socket::Socket;
use super::transport::Transport;
use crate::tls::Tls;

/// How every handshake begins: the type of its record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What who speaks HTTP here is told.
const REFUSAL: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\
    content-length: 92\r\n\r\n\
    {\"error\":{\"code\":\"server.tls_required\",\"message\":\"this port speaks TLS: ask with https://\"}}";
/// Most that is read of a refused request, in bytes, so that its end does not break the refusal's way.
const MOST_READ: u64 = 64 * 1024;

/// Shakes hands; `None` when the other end has closed without a word. What is wrong with the other end's hello is told to it by an alert, or in plain HTTP if that is what it
/// speaks. The future is boxed, as a session is large.
pub(super) async fn shake(mut socket: Socket, tls: &Tls) -> io::Result<Option<Transport>> {
    match socket.peek().await? {
        None => return Ok(None),
        Some(HANDSHAKE) => {}
        // A method of HTTP begins with a letter, and so does the preface of HTTP/2.
        Some(first) if first.is_ascii_alphabetic() => {
            refuse(&mut socket).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks plain HTTP"));
        }
        Some(_) => {}
    }
    let session = Box::pin(TlsAcceptor::from(tls.config()).accept(socket)).await?;
    Ok(Some(Transport::Tls(Box::new(session))))
}

async fn refuse(socket: &mut Socket) -> io::Result<()> {
    socket.write_all(REFUSAL.as_bytes()).await?;
    socket.shutdown().await?;
    tokio::io::copy(&mut socket.take(MOST_READ), &mut tokio::io::sink()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let (head, body) = REFUSAL.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        let _json: serde_json::Value = serde_json::from_str(body).unwrap();
    }
}
