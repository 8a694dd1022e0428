//! Where a server listens and where a connection comes from: TCP, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Where something listens. Cheap to clone.
///
/// Written as `127.0.0.1:8080` or `unix:/run/wellkept.sock`, and read the same way.
///
/// ```
/// use wellkept_http::Address;
///
/// assert_eq!(Address::from(([127, 0, 0, 1], 8080)).to_string(), "127.0.0.1:8080");
/// let socket: Address = "unix:/run/wellkept.sock".parse()?;
/// assert_eq!(socket, Address::unix("/run/wellkept.sock"));
/// # Ok::<(), wellkept_http::AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(Arc<Path>),
}

impl Address {
    /// Of a Unix socket.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(path.as_ref().into())
    }

    /// The IP address and port; `None` for a Unix socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path; `None` for TCP.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether only this machine reaches it: a loopback address or a Unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(address: (I, u16)) -> Self {
        Self::Tcp(address.into())
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::unix(PathBuf::from(path))),
            Some(_) => Err(AddressError::RelativePath),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError::Malformed),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Why a text is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Neither an IP address with a port nor a Unix socket.
    #[error("expected an address such as 127.0.0.1:8080 or unix:/run/wellkept.sock")]
    Malformed,
    /// Where a relative path leads depends on where the process was started.
    #[error("the path of a Unix socket must be absolute, such as unix:/run/wellkept.sock")]
    RelativePath,
}

impl AddressError {
    /// The stable code: `address.malformed` or `address.relative_path`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "address.malformed",
            Self::RelativePath => "address.relative_path",
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket. The process that connected, as the system knows it; `None` where it does not tell.
    Unix(Option<PeerProcess>),
}

/// The process at the other end of a Unix socket, as it was when it connected (`SO_PEERCRED`, unix(7)). It can't lie
/// about it, but may have handed the connection on since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerProcess {
    /// Its effective user.
    pub user: u32,
    /// Its id; `None` where the system does not tell it.
    pub id: Option<i32>,
}

impl Peer {
    /// The IP address and port; `None` over a Unix socket.
    pub fn tcp(self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(Some(PeerProcess { user, id: Some(id) })) => write!(formatter, "process {id} of user {user}"),
            Self::Unix(Some(PeerProcess { user, id: None })) => write!(formatter, "a process of user {user}"),
            Self::Unix(None) => formatter.write_str("a process on this machine"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["127.0.0.1:8080", "[::1]:80", "unix:/run/wellkept.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "8080", "localhost:80", "unix", "/run/wellkept.sock", "127.0.0.1"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Malformed), "{text}");
        }
        for text in ["unix:", "unix:wellkept.sock", "unix:./wellkept.sock"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::RelativePath), "{text}");
        }
    }

    #[test]
    fn local_is_what_only_this_machine_reaches() {
        let local = |text: &str| text.parse::<Address>().unwrap().is_local();
        assert!(local("127.0.0.1:80") && local("[::1]:80") && local("unix:/run/wellkept.sock"));
        assert!(!local("0.0.0.0:80") && !local("[::]:80") && !local("10.0.0.1:80"));
    }
}
