//! The log over the network as GELF: one datagram per line, or frames on a connection.
//!
//! The format: <https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>.

mod dial;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use self::tcp::TcpFrames;
use self::udp::Datagrams;
use super::Destination;
use super::compression::Compression;

/// The port of GELF where none is named.
pub const GELF_PORT: u16 = 12_201;

/// A receiver of GELF: Graylog, or whatever else takes it. Its name is looked up and the connection made on a thread
/// besides, so that nothing waits for either; while there is none the lines wait in the queue, and it is tried again
/// after a quarter of a second, then after twice as long each time, up to 30 s.
///
/// There is no TLS in here: what must not be read on the way needs a relay on this machine, or a network that encrypts.
///
/// ```
/// use wellkept_telemetry::logging::{GelfOptions, GelfTransport};
///
/// let receiver: GelfOptions = "tcp://graylog.example".parse()?;
/// assert_eq!((receiver.host.as_str(), receiver.port), ("graylog.example", 12201));
/// assert_eq!(receiver.transport, GelfTransport::Tcp);
/// # Ok::<(), wellkept_telemetry::logging::GelfUrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GelfOptions {
    /// Its name, or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub transport: GelfTransport,
}

/// How a receiver is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GelfTransport {
    /// One message per line, cut into at most 128 chunks where it does not fit into a datagram. Fast, and silent about
    /// what the network or a full receiver drops. What the kernel hears of (no such port, no way there) is counted as
    /// failed, one line for each such answer; the lines behind it wait for a moment. The name is looked up again each
    /// minute, for a receiver that moves.
    Udp {
        /// How messages are compressed. Default: gzip.
        compression: Compression,
        /// Bytes of the longest datagram, without the headers of IP and UDP: 512 to 8192. Default: 1420, which passes
        /// any network; more makes sense on one's own.
        datagram: u16,
    },
    /// Frames that end with a zero byte, never compressed. A line counts as written when the kernel has all of it:
    /// when the connection breaks later, what the receiver has not read is lost, which TCP does not tell: at most
    /// 128 KiB on this side, and what the receiver's machine has buffered. Whatever the kernel has not got whole goes to the receiver again on the next connection, in order.
    Tcp,
}

impl GelfTransport {
    /// UDP with gzip and datagrams of 1420 bytes.
    pub const UDP: Self = Self::Udp { compression: Compression::Gzip, datagram: 1420 };
}

/// Smallest and largest datagram.
const DATAGRAM: std::ops::RangeInclusive<u16> = 512..=8192;

/// A text that is no URL of a receiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a URL such as udp://graylog:12201 or tcp://graylog:12201{}{hint}", if hint.is_empty() { "" } else { ": " })]
pub struct GelfUrlError {
    hint: &'static str,
}

impl GelfUrlError {
    /// What is wrong with it, where that can be said; empty otherwise.
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

impl FromStr for GelfOptions {
    type Err = GelfUrlError;

    /// Reads `udp://host:port` or `tcp://host:port`; the port may be left out. An IPv6 address stands in brackets.
    fn from_str(url: &str) -> Result<Self, GelfUrlError> {
        let wrong = |hint| GelfUrlError { hint };
        let Some((scheme, rest)) = url.split_once("://") else { return Err(wrong("")) };
        let transport = match scheme {
            "udp" => GelfTransport::UDP,
            "tcp" => GelfTransport::Tcp,
            "tls" | "tcps" | "https" => return Err(wrong("TLS is not a part of it")),
            _ => return Err(wrong("")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let is_plain = !authority.contains(['/', '@', '?', '#']) && !authority.contains(char::is_whitespace);
        if !is_plain {
            return Err(wrong("nothing but a host and a port"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or(wrong(""))?),
            None => authority.rsplit_once(':').unwrap_or((authority, "")),
        };
        if host.is_empty() || (host.contains(':') && !authority.starts_with('[')) {
            return Err(wrong("an IPv6 address stands in brackets"));
        }
        let port = if port.is_empty() && !authority.ends_with(':') {
            GELF_PORT
        } else {
            port.parse().ok().filter(|port| *port > 0).ok_or(wrong("the port is a number up to 65535"))?
        };
        Ok(Self { host: host.to_owned(), port, transport })
    }
}

impl fmt::Display for GelfOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            GelfTransport::Udp { .. } => "udp",
            GelfTransport::Tcp => "tcp",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// The destination. Nothing is waited for: the receiver may come later.
pub(in crate::logging) fn destination(options: &GelfOptions) -> Box<dyn Destination> {
    match options.transport {
        GelfTransport::Udp { compression, datagram } => {
            let datagram = datagram.clamp(*DATAGRAM.start(), *DATAGRAM.end());
            Box::new(Datagrams::new(options, compression, datagram.into()))
        }
        GelfTransport::Tcp => Box::new(TcpFrames::new(options)),
    }
}

/// How often it is looked whether a connection has come.
const GLANCE: Duration = Duration::from_millis(20);
