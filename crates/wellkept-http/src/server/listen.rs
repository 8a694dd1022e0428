//! Takes an address to listen on, and says in words why it can't be had.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// How many connections the system keeps for us to take. Linux cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 1_024;

/// Why an address can't be listened on. The program's exit code for it is 69.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Something listens there already.
    #[error("cannot listen on {address}: another process listens there; stop it, or choose another port")]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The process may not.
    #[error(
        "cannot listen on {address}: not permitted; choose a port from 1024 up, or grant the capability \
         CAP_NET_BIND_SERVICE"
    )]
    NotPermitted {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The machine has no such address.
    #[error(
        "cannot listen on {address}: this machine has no such address; use one of its own, or 0.0.0.0 for all of them"
    )]
    NoSuchAddress {
        /// The address asked for.
        address: SocketAddr,
    },
    /// A socket that was handed over is of no use.
    #[error("cannot use the listening socket that was handed over: {source}")]
    Unusable {
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "server.address_in_use",
            Self::NotPermitted { .. } => "server.address_not_permitted",
            Self::NoSuchAddress { .. } => "server.no_such_address",
            Self::Unusable { .. } => "server.unusable_socket",
            Self::Other { .. } => "server.cannot_listen",
        }
    }

    fn of(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address },
            _ => Self::Other { address, source },
        }
    }
}

/// A listening socket that does not block, and its address.
pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = open(address).or_else(|error| {
        // Everywhere means IPv4 alone on a machine without IPv6.
        if address.is_ipv6() && address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        } else {
            Err(error)
        }
    });
    bound
        .and_then(|listener| listener.local_addr().map(|local| (listener, local)))
        .map_err(|source| BindError::of(address, source))
}

/// A socket that listens already, made not to block, and its address.
pub(super) fn listening(listener: TcpListener) -> Result<(TcpListener, SocketAddr), BindError> {
    let address = listener.set_nonblocking(true).and_then(|()| listener.local_addr());
    address.map(|address| (listener, address)).map_err(|source| BindError::Unusable { source })
}

#[cfg(unix)]
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    // Connections of the process before may still be closing.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(not(unix))]
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_refused_with_what_to_do() {
        let (_listener, address) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let error = listen(address).unwrap_err();
        assert_eq!(error.code(), "server.address_in_use");
        assert_eq!(
            error.to_string(),
            format!("cannot listen on {address}: another process listens there; stop it, or choose another port")
        );
    }

    #[test]
    fn a_foreign_address_is_refused_with_what_to_do() {
        let error = listen("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(error.code(), "server.no_such_address");
    }

    #[test]
    fn everywhere_takes_ipv4_too() {
        let (listener, address) = listen("[::]:0".parse().unwrap()).unwrap();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).expect("IPv4 reaches it");
        drop(listener);
    }
}
