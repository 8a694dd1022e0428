//! A connection of a client of HTTP/1.1 that behaves well: it looks whether the connection is still open before each
//! request, and goes where it was told `Connection: close`.

use std::io::{ErrorKind, Result};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::load::{value, whole};

pub(crate) struct Connection {
    stream: TcpStream,
}

/// A complete answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// It says when to come back.
    pub(crate) retry_after: bool,
    /// The connection takes no other request.
    pub(crate) close: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// Asks the system: the runtime may not have heard yet.
    pub(crate) fn is_open(&self) -> bool {
        let mut byte = [0];
        let seen = recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends one request and reads the whole answer.
    pub(crate) async fn ask(&mut self) -> Result<Answer> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await?;
        let mut buffer = [0; 1024];
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            let answer = &buffer[..filled];
            if let Some(status) = whole(answer)? {
                let head = std::str::from_utf8(answer).map_err(|_| ErrorKind::InvalidData)?;
                let retry_after = value(head, "retry-after: ").is_some();
                let close = value(head, "connection: ").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                return Ok(Answer { status, retry_after, close });
            }
        }
    }
}
