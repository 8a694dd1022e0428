//! Takes an address to listen on, and says in words why it can't be had.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen as listen_on, socket, sockopt};

use super::address::Address;
use super::socket_file::{self, SocketFile};

/// How many connections the system keeps for us to take. Linux cuts it to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 1_024;

/// A socket that listens: TCP or Unix. Does not block. Dropping it closes it, and removes the file of a Unix socket that
/// it made and that is still its own.
#[derive(Debug)]
pub struct Listener {
    /// Before the socket: as long as the file is there somebody listens, so that no successor takes it for a stale one.
    file: Option<SocketFile>,
    socket: ListeningSocket,
    address: Address,
    managed: bool,
}

#[derive(Debug)]
pub(super) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on `address` now, with a queue of 1,024. Needs no runtime.
    ///
    /// TCP: with `SO_REUSEADDR`, so that a restart does not wait for old connections. Port 0 takes any free port. `[::]`
    /// takes IPv4 too where the system can, and becomes `0.0.0.0` where there is no IPv6.
    ///
    /// A Unix socket's file has the permissions `mode`, whatever the process's umask says; they do not matter for TCP.
    /// The file of a socket that nobody listens on any more is replaced; anything else that is there is an error, and a
    /// symbolic link is not followed. The folder is locked meanwhile (`flock`), so that of two processes that start at
    /// once one gets it; waits for that lock for at most 2 s.
    pub fn bind(address: impl Into<Address>, mode: u32) -> Result<Self, BindError> {
        match address.into() {
            Address::Tcp(address) => {
                let (socket, address) = listen(address)?;
                Ok(Self {
                    file: None,
                    socket: ListeningSocket::Tcp(socket),
                    address: Address::Tcp(address),
                    managed: false,
                })
            }
            Address::Unix(path) => Self::bind_unix(path, mode),
        }
    }

    fn bind_unix(path: Arc<Path>, mode: u32) -> Result<Self, BindError> {
        let (socket, file) = socket_file::listen(&path, mode)?;
        Ok(Self {
            file: Some(file),
            socket: ListeningSocket::Unix(socket),
            address: Address::Unix(path),
            managed: false,
        })
    }

    /// Of a socket that listens already and was handed over, TCP or Unix. How it treats old connections and how long its
    /// queue is was decided by who bound it. The file of a Unix socket stays that of who made it, until
    /// [`Listener::adopt_file`].
    pub fn from_fd(socket: OwnedFd) -> Result<Self, BindError> {
        let unusable = |source| BindError::Unusable { source };
        let family = check(&socket).map_err(unusable)?;
        // What is handed over is open to each program that this one starts.
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|error| unusable(error.into()))?;
        match family {
            AddressFamily::UNIX => Self::try_from(UnixListener::from(socket)),
            _ => Self::try_from(TcpListener::from(socket)),
        }
    }

    /// Where it listens, with the port that was taken. Of a Unix socket in no folder (unix(7), "abstract") it is its
    /// name with `@` before it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Has the file of a Unix socket that was handed over removed at the end, as if it were made here. For the successor
    /// of a process that has called [`Listener::leave_file`]; never for a socket that systemd holds. Does nothing for
    /// TCP, and where the file is gone.
    pub fn adopt_file(&mut self) {
        if let Address::Unix(path) = &self.address
            && !self.managed
        {
            self.file = SocketFile::of(path).ok();
        }
    }

    /// Marks it as one that a service manager holds too, such as systemd: at the end what waits in its queue is left to the
    /// next start, and its file is left alone.
    #[must_use]
    pub fn managed(mut self) -> Self {
        self.leave_file();
        self.managed = true;
        self
    }

    /// Whether a service manager holds it, too.
    pub fn is_managed(&self) -> bool {
        self.managed
    }

    /// The socket of the standard library; `None` for a Unix socket, which is closed.
    pub(crate) fn into_tcp(self) -> Option<TcpListener> {
        match self.socket {
            ListeningSocket::Tcp(socket) => Some(socket),
            ListeningSocket::Unix(_) => None,
        }
    }

    /// Leaves the file of a Unix socket where it is at the end: it belongs to a successor now.
    pub fn leave_file(&mut self) {
        if let Some(file) = self.file.take() {
            file.leave();
        }
    }

    /// Removes the file if there is one that is ours: from now on nobody new can connect.
    pub(super) fn remove_file(&mut self) {
        self.file = None;
    }

    pub(super) fn socket(&self) -> &ListeningSocket {
        &self.socket
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListeningSocket::Tcp(socket) => socket.as_fd(),
            ListeningSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Of a socket that listens already, whether it blocks or not.
impl TryFrom<TcpListener> for Listener {
    type Error = BindError;

    fn try_from(socket: TcpListener) -> Result<Self, BindError> {
        let address = socket.set_nonblocking(true).and_then(|()| socket.local_addr());
        let address = address.map_err(|source| BindError::Unusable { source })?;
        Ok(Self { file: None, socket: ListeningSocket::Tcp(socket), address: Address::Tcp(address), managed: false })
    }
}

/// Of a socket that listens already, whether it blocks or not. Its file stays that of who made it.
impl TryFrom<UnixListener> for Listener {
    type Error = BindError;

    fn try_from(socket: UnixListener) -> Result<Self, BindError> {
        let address = socket.set_nonblocking(true).and_then(|()| socket.local_addr());
        let address = address.map_err(|source| BindError::Unusable { source })?;
        let address = Address::unix(socket_file::name(&address));
        Ok(Self { file: None, socket: ListeningSocket::Unix(socket), address, managed: false })
    }
}

/// The family of a socket that listens for connections.
fn check(socket: &OwnedFd) -> io::Result<AddressFamily> {
    let family = getsockname(socket)?.address_family();
    let known = [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX].contains(&family);
    let is_stream = sockopt::socket_type(socket)? == SocketType::STREAM;
    // Apple's systems don't tell.
    #[cfg(target_vendor = "apple")]
    let listens = true;
    #[cfg(not(target_vendor = "apple"))]
    let listens = sockopt::socket_acceptconn(socket)?;
    if known && is_stream && listens {
        Ok(family)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no TCP or Unix socket that listens for connections"))
    }
}

/// Why an address can't be listened on. The program's exit code for it is 69.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Something listens there already.
    #[error("cannot listen on {address}: another process listens there; stop it, or choose another {}", place(address))]
    InUse {
        /// The address asked for.
        address: Address,
    },
    /// The process may not.
    #[error("cannot listen on {address}: not permitted; {}", permit(address))]
    NotPermitted {
        /// The address asked for.
        address: Address,
    },
    /// The machine has no such address.
    #[error(
        "cannot listen on {address}: this machine has no such address; use one of its own, or 0.0.0.0 for all of them"
    )]
    NoSuchAddress {
        /// The address asked for.
        address: Address,
    },
    /// The folder of a Unix socket is not there.
    #[error("cannot listen on {address}: its folder is not there; make it first (systemd: `RuntimeDirectory=`)")]
    NoSuchFolder {
        /// The address asked for.
        address: Address,
    },
    /// Something else than a socket is where a Unix socket should be.
    #[error(
        "cannot listen on {address}: there is a {found} of that name, which is left alone; remove it, or choose another path"
    )]
    NotASocket {
        /// The address asked for.
        address: Address,
        /// What it is, in a word or two.
        found: &'static str,
    },
    /// The path of a Unix socket is longer than the system takes.
    #[error("cannot listen on {address}: the path is too long for a Unix socket; use one of at most 100 bytes")]
    PathTooLong {
        /// The address asked for.
        address: Address,
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
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

fn place(address: &Address) -> &'static str {
    match address {
        Address::Tcp(_) => "port",
        Address::Unix(_) => "path",
    }
}

fn permit(address: &Address) -> &'static str {
    match address {
        Address::Tcp(_) => "choose a port from 1024 up, or grant the capability CAP_NET_BIND_SERVICE",
        Address::Unix(_) => "let the process's user write to the folder, or choose another one",
    }
}

impl BindError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "server.address_in_use",
            Self::NotPermitted { .. } => "server.address_not_permitted",
            Self::NoSuchAddress { .. } => "server.no_such_address",
            Self::NoSuchFolder { .. } => "server.no_such_folder",
            Self::NotASocket { .. } => "server.not_a_socket",
            Self::PathTooLong { .. } => "server.path_too_long",
            Self::Unusable { .. } => "server.unusable_socket",
            Self::Other { .. } => "server.cannot_listen",
        }
    }

    pub(super) fn of(address: Address, source: io::Error) -> Self {
        match (source.kind(), &address) {
            (io::ErrorKind::AddrInUse, _) => Self::InUse { address },
            (io::ErrorKind::PermissionDenied, _) => Self::NotPermitted { address },
            (io::ErrorKind::AddrNotAvailable, _) => Self::NoSuchAddress { address },
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Address::Unix(_)) => {
                Self::NoSuchFolder { address }
            }
            _ => Self::Other { address, source },
        }
    }
}

/// What is a listener already can't fail to become one.
impl From<Infallible> for BindError {
    fn from(never: Infallible) -> Self {
        match never {}
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
        .map_err(|source| BindError::of(Address::Tcp(address), source))
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    // Connections of the process before may still be closing.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    listen_on(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
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

    #[test]
    fn a_descriptor_is_taken_for_what_it_is_and_kept_from_other_programs() {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        fcntl_setfd(&tcp, FdFlags::empty()).unwrap();
        let listener = Listener::from_fd(tcp.into()).unwrap();
        assert_eq!(*listener.address(), Address::Tcp(address));
        assert_eq!(rustix::io::fcntl_getfd(&listener).unwrap(), FdFlags::CLOEXEC);
        let refused = |socket: OwnedFd| Listener::from_fd(socket).unwrap_err().code();
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(refused(one.into()), "server.unusable_socket");
        let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert_eq!(refused(udp.into()), "server.unusable_socket");
        assert_eq!(refused(std::fs::File::open("/dev/null").unwrap().into()), "server.unusable_socket");
    }
}
