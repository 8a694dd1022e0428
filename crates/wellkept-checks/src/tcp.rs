//! Whether an address accepts TCP connections, and says what is expected.
//!
//! A connection is accepted by the kernel before the program behind it has seen it: a program that hangs still passes,
//! unless something is expected of it. Where there is a kind that speaks the program's protocol, that one says more.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer in time, and the detail says in which stage | unhealthy | `timeout` |
//! | what came in time is not what is expected | unhealthy | `unexpected` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//!
//! # Rights
//!
//! None. What `send` says is done.
//!
//! # Cost
//!
//! One connection per run, closed as soon as it is accepted or what is expected has come; at most 64 KiB are read.

mod bytes;
#[cfg(test)]
mod tests;

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::{AddressRules, Target, connect};

pub use self::bytes::Bytes;
use crate::kind::built;
use crate::reach::{give_up_at, not_connected, timed_out};
use crate::{InvalidOption, Kind, Opens};

/// Most that is read while what is expected has not come, in bytes.
const MOST: usize = 64 * 1024;

/// The settings of a [`Tcp`] check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to connect to, as `host:port`, an IPv6 address in brackets. Required.
    pub address: String,
    /// What is sent once the connection stands, with `\r`, `\n`, `\t`, `\0`, `\\` and `\x7f` for single bytes. Never shown, as
    /// it may hold a password. Default: nothing.
    pub send: Option<Bytes>,
    /// What has to be in what comes then, anywhere in its first 64 KiB, written likewise. Default: nothing, an accepted connection is
    /// enough.
    pub expect: Option<Bytes>,
}

impl Options {
    /// For an address such as `10.0.0.1:443`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), send: None, expect: None }
    }
}

/// Whether an address accepts TCP connections, and says what is expected.
#[derive(Debug, Clone)]
pub struct Tcp {
    target: Target,
    send: Option<Bytes>,
    expect: Option<Bytes>,
}

impl Tcp {
    /// Refuses an address that is not `host:port`, and something to send when nothing is expected. Connects to nothing
    /// yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { address, send, expect } = options;
        let target = address.parse::<Target>();
        let target = target.map_err(|error| InvalidOption::new("address", error.to_string()))?;
        if send.is_some() && expect.is_none() {
            return Err(InvalidOption::new("send", "say in `expect` what has to come back"));
        }
        Ok(Self { target, send, expect })
    }

    async fn exchange(&self, mut stream: TcpStream, expected: &Bytes, deadline: Instant) -> Outcome {
        let mut came = Vec::new();
        match timeout_at(deadline, self.come(&mut stream, expected, &mut came)).await {
            Ok(Ok(true)) => Outcome::pass(),
            Ok(Ok(false)) => {
                let detail = format!("what is expected is not among the {} bytes that came", came.len());
                Outcome::fail(Reason::Unexpected, "unexpected answer").with_detail(detail)
            }
            Ok(Err(error)) => Outcome::fail(Reason::Network, "connection broken").with_detail(error.to_string()),
            Err(_elapsed) if came.is_empty() => timed_out("waiting for the first byte"),
            Err(_elapsed) => timed_out(&format!("waiting for what is expected, {} bytes have come", came.len())),
        }
    }

    /// Whether what is expected comes, before the end of the stream or of what is read of it.
    async fn come(&self, stream: &mut TcpStream, expected: &Bytes, came: &mut Vec<u8>) -> io::Result<bool> {
        if let Some(send) = &self.send {
            stream.write_all(send.as_slice()).await?;
        }
        loop {
            let before = came.len();
            // Only where the piece and what was there before meet can there be something new.
            let from = before.saturating_sub(expected.as_slice().len());
            let length = stream.read_buf(came).await?;
            if expected.is_in(came.get(from..).unwrap_or_default()) {
                return Ok(true);
            }
            if length == 0 && before == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if length == 0 || came.len() >= MOST {
                return Ok(false);
            }
        }
    }
}

impl Check for Tcp {
    async fn run(&self, context: &Context) -> Outcome {
        let deadline = give_up_at(context);
        match (connect(&self.target, AddressRules::configured(), deadline).await, &self.expect) {
            (Ok(stream), Some(expected)) => self.exchange(stream, expected, deadline).await,
            (Ok(_closed_when_dropped), None) => Outcome::pass(),
            (Err(error), _) => not_connected(&error),
        }
    }
}

/// `tcp: { address: "10.0.0.1:11211", send: 'version\r\n', expect: "VERSION " }`
pub const KIND: Kind = Kind {
    name: "tcp",
    summary: "An address that accepts TCP connections, and what it says",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let address = section.required("address");
    let send = section.optional("send");
    let expect = section.optional("expect");
    built(section, Tcp::new(Options { address: address?, send, expect }))
}
