//! Connecting over TCP: resolve, judge every address, try them in order, all before one deadline.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::address::{AddressRules, Blocked};
use crate::resolve::{ResolveError, resolve};
use crate::target::Target;

/// Most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Connects to the first address of `target` that accepts, with `TCP_NODELAY` set.
///
/// Every address the name resolves to is judged by `rules` first, and one that is not allowed refuses the whole
/// target: a name server must not be able to smuggle one in beside others. Then up to eight addresses are tried in
/// the system's order, each with its share of the time left, so that one that swallows packets leaves time for the
/// next. Ends at `deadline` at the latest. Cancel-safe: dropping the future closes whatever was open.
pub async fn connect(target: &Target, rules: AddressRules, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(target.host(), deadline).await.map_err(|source| match source {
        ResolveError::Timeout => ConnectError::Timeout { stage: "resolving", attempts: String::new() },
        source => ConnectError::Resolve(source),
    })?;
    for &address in addresses.iter() {
        rules.judge(address).map_err(|reason| ConnectError::Blocked { address, reason })?;
    }
    connect_to_any(addresses.get(..MOST_ADDRESSES).unwrap_or(&addresses), target.port(), deadline).await
}

/// Connects to a Unix socket. A path at which nothing is counts as refused, as a port does on which nobody listens.
///
/// Ends at `deadline` at the latest. Cancel-safe.
pub async fn connect_unix(path: &Path, deadline: Instant) -> Result<UnixStream, ConnectError> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let error = match timeout_at(deadline, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => error,
        Err(_elapsed) => {
            return Err(ConnectError::Timeout { stage: "connecting", attempts: told(&"no answer in time") });
        }
    };
    let attempts = told(&error);
    Err(match Failure::of(&error) {
        Failure::Exhausted => ConnectError::Exhausted { attempts },
        Failure::Refused => ConnectError::Refused { attempts },
        _ if error.kind() == io::ErrorKind::NotFound => ConnectError::Refused { attempts },
        // A full queue of connections: whoever listens does not accept.
        _ if error.kind() == io::ErrorKind::WouldBlock => ConnectError::Timeout { stage: "connecting", attempts },
        _ => ConnectError::Network { attempts },
    })
}

async fn connect_to_any(addresses: &[IpAddr], port: u16, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut failures = Failures::default();
    for (index, &address) in addresses.iter().enumerate() {
        let address = SocketAddr::new(address, port);
        let now = Instant::now();
        if now >= deadline && index > 0 {
            break;
        }
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Refused only by a socket that is already dead, which the first write will say better.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failures.add(address, Failure::of(&error), &error.to_string()),
            Err(_elapsed) => failures.add(address, Failure::Timeout, "no answer in time"),
        }
    }
    Err(failures.into_error())
}

/// Why no connection was made. The texts hold addresses: they are for operators, not for the public.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name has no address, or none could be found out.
    #[error("resolving: {0}")]
    Resolve(ResolveError),
    /// An address is one that must not be connected to.
    #[error("{address}: {reason}")]
    Blocked {
        /// The address.
        address: IpAddr,
        /// What stands against it.
        reason: Blocked,
    },
    /// Nobody listens there.
    #[error("{attempts}")]
    Refused {
        /// Each address that was tried, and what it said.
        attempts: String,
    },
    /// The deadline passed.
    #[error("timed out while {stage}{}{attempts}", if attempts.is_empty() { "" } else { ": " })]
    Timeout {
        /// What it was waiting for: `resolving` or `connecting`.
        stage: &'static str,
        /// Each address that was tried, and what it said.
        attempts: String,
    },
    /// There is no way to the other side, or it broke.
    #[error("{attempts}")]
    Network {
        /// Each address that was tried, and what it said.
        attempts: String,
    },
    /// This process or machine has no descriptor, port or memory left for a connection.
    #[error("{attempts}")]
    Exhausted {
        /// Each address that was tried, and what it said.
        attempts: String,
    },
}

impl ConnectError {
    /// The stable code: `dns`, `blocked`, `refused`, `timeout`, `network`, or `exhausted` when the lack is on this
    /// side.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Resolve(source) => source.code(),
            Self::Blocked { .. } => "blocked",
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Network { .. } => "network",
            Self::Exhausted { .. } => "exhausted",
        }
    }
}

/// How one attempt failed, the more telling ones last: that is what a name with several addresses reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    #[default]
    Network,
    Timeout,
    Refused,
    Exhausted,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            // EMFILE and ENFILE have no kind of their own; their numbers are the same on all Unix systems.
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => Self::Exhausted,
            _ => Self::Network,
        }
    }
}

#[derive(Default)]
struct Failures {
    worst: Failure,
    attempts: String,
}

impl Failures {
    fn add(&mut self, address: SocketAddr, failure: Failure, text: &str) {
        self.worst = self.worst.max(failure);
        let separator = if self.attempts.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(self.attempts, "{separator}{address}: {text}");
    }

    fn into_error(self) -> ConnectError {
        let Self { worst, attempts } = self;
        match worst {
            Failure::Network => ConnectError::Network { attempts },
            Failure::Timeout => ConnectError::Timeout { stage: "connecting", attempts },
            Failure::Refused => ConnectError::Refused { attempts },
            Failure::Exhausted => ConnectError::Exhausted { attempts },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpSocket};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn loopback(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    /// A listener whose queue is full, so that the kernel answers no further connection.
    async fn silent_listener() -> (TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(loopback(1), 0)).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
        }
        (listener, queued)
    }

    #[tokio::test]
    async fn a_connection_has_nodelay_set() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new("127.0.0.1", listener.local_addr().unwrap().port());
        let stream = connect(&target, AddressRules::configured(), Instant::now() + PATIENCE).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let target = Target::new("127.0.0.1", port);
        let error = connect(&target, AddressRules::configured(), Instant::now() + PATIENCE).await.unwrap_err();
        assert_eq!(error.code(), "refused");
        assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}: ")), "{error}");
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect_to_any(&[loopback(2), loopback(1)], port, Instant::now() + PATIENCE).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), loopback(1));
    }

    #[tokio::test]
    async fn a_silent_address_leaves_time_for_the_next() {
        let (silent, _queued) = silent_listener().await;
        let port = silent.local_addr().unwrap().port();
        let answering = TcpListener::bind(SocketAddr::new(loopback(2), port)).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        let stream = connect_to_any(&[loopback(1), loopback(2)], port, deadline).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answering.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_silent_address_is_given_up_at_the_deadline() {
        let (silent, _queued) = silent_listener().await;
        let target = Target::new("127.0.0.1", silent.local_addr().unwrap().port());
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(100);
        let error = connect(&target, AddressRules::configured(), deadline).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { stage: "connecting", .. }), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn metadata_is_never_connected_to() {
        for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166", "0xa9.0xfe.0xa9.0xfe"] {
            let target = Target::new(host, 80);
            let error = connect(&target, AddressRules::configured(), Instant::now() + PATIENCE).await.unwrap_err();
            assert!(matches!(error, ConnectError::Blocked { reason: Blocked::Metadata, .. }), "{host}: {error:?}");
        }
    }

    #[tokio::test]
    async fn public_only_does_not_reach_loopback() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for host in ["127.0.0.1", "localhost", "127.1", "::ffff:127.0.0.1"] {
            let target = Target::new(host, listener.local_addr().unwrap().port());
            let error = connect(&target, AddressRules::public_only(), Instant::now() + PATIENCE).await.unwrap_err();
            assert_eq!(error.code(), "blocked", "{host}: {error:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_host_name_is_a_dns_error() {
        let target = Target::new("not a name", 80);
        let error = connect(&target, AddressRules::configured(), Instant::now() + PATIENCE).await.unwrap_err();
        assert_eq!(error, ConnectError::Resolve(ResolveError::InvalidName));
        assert_eq!(error.code(), "dns");
    }
}
