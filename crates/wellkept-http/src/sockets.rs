//! Listening sockets that this process did not open: those of a service manager (socket activation), or of the process
//! before.

use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use wellkept_shutdown::{BoxFuture, Entrance};

use crate::server::{Address, BindError, Listener};

/// Most sockets that are taken from a service manager.
const MAX_SOCKETS: usize = 256;
/// The name of a socket that was given none (`sd_listen_fds(3)`).
const UNNAMED: &str = "unknown";

/// An entrance that listens and can let another process listen in its place. Its name is the one by which the successor
/// knows its socket.
pub trait Listening: Entrance {
    /// The listening socket once more, to be sent.
    ///
    /// # Errors
    /// When there is none any more, or too many files are open.
    fn share(&self) -> io::Result<SharedSocket>;

    /// From now on the file of a Unix socket belongs to another process, and stays where it is.
    fn leave_file(&self);

    /// Accepts nothing more and closes this process's end of the listening socket, whose queue is left to those who hold
    /// it too, and its file with it. Connections that are open go on as they were. Ends when that is done.
    fn leave(&self) -> BoxFuture<'_, ()>;
}

/// A listening socket once more, for another process.
#[derive(Debug)]
pub struct SharedSocket {
    /// Where it listens.
    pub address: Address,
    /// Whether a service manager holds it too ([`Listener::is_managed`]).
    pub managed: bool,
    /// The socket.
    pub socket: OwnedFd,
}

/// Listening sockets that another process opened, each with a name. Those that nobody takes are closed when this is
/// dropped.
#[derive(Debug, Default)]
pub struct Sockets {
    list: Vec<(String, Listener)>,
}

impl Sockets {
    pub(crate) fn of(list: Vec<(String, Listener)>) -> Self {
        Self { list }
    }

    /// Adds what another one has, to be looked at last.
    pub fn extend(&mut self, others: impl IntoIterator<Item = Self>) {
        self.list.extend(others.into_iter().flat_map(|others| others.list));
    }

    /// Takes the first socket of this name.
    pub fn take(&mut self, name: &str) -> Option<Listener> {
        self.take_if(|known, _| known == name)
    }

    /// Takes the first socket that listens on this address. Of port 0, one on any port of the same IP address.
    pub fn take_at(&mut self, address: &Address) -> Option<Listener> {
        self.take_if(|_, listener| is_at(listener, address))
    }

    /// Takes the socket that is meant for `name`, which is to listen on `address`: one of a service manager by its name,
    /// wherever it listens; any other by its address.
    pub fn take_for(&mut self, name: &str, address: &Address) -> Option<Listener> {
        self.take_if(|known, listener| known == name && (listener.is_managed() || is_at(listener, address)))
            .or_else(|| self.take_at(address))
    }

    /// Takes the only socket that is left, if there is just one and a service manager holds it: who has a unit with one
    /// socket means that one, whatever its name.
    pub fn take_only(&mut self) -> Option<Listener> {
        if self.list.len() == 1 { self.take_if(|_, listener| listener.is_managed()) } else { None }
    }

    /// Those that are left, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Listener)> {
        self.list.iter().map(|(name, listener)| (name.as_str(), listener))
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    fn take_if(&mut self, fits: impl Fn(&str, &Listener) -> bool) -> Option<Listener> {
        let index = self.list.iter().position(|(name, listener)| fits(name, listener))?;
        Some(self.list.remove(index).1)
    }
}

fn is_at(listener: &Listener, address: &Address) -> bool {
    match (listener.address(), address) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let same_port = one.port() == other.port() || other.port() == 0;
            // Everywhere is everywhere: `[::]` becomes `0.0.0.0` where there is no IPv6.
            let same_ip = one.ip() == other.ip() || (one.ip().is_unspecified() && other.ip().is_unspecified());
            same_port && same_ip
        }
        (one, other) => one == other,
    }
}

/// The sockets that a service manager opened for this process: those of systemd's socket units, of
/// `systemd-socket-activate`, of whatever else speaks `sd_listen_fds(3)`. None when there is no such manager, or when the
/// sockets are meant for another process (`LISTEN_PID`).
///
/// Takes the variables `LISTEN_PID` and `LISTEN_FDS` away, so that a second call finds nothing and no child takes the
/// sockets for its own, which it does not inherit either. A process's variables may only be changed while nobody else
/// reads them: call this first thing in `main`, before there is a runtime or another thread. Does not block.
///
/// A server on such a socket stops accepting at its end and leaves what waits in the queue to the next start, as systemd
/// keeps the socket; [`Listener::is_managed`] tells.
///
/// ```no_run
/// use std::net::SocketAddr;
/// use wellkept_http::{Server, ServerOptions, activated};
///
/// let mut sockets = activated()?;
/// let server = match sockets.take("http") {
///     Some(socket) => Server::on(socket, ServerOptions::default())?,
///     None => Server::bind(SocketAddr::from(([127, 0, 0, 1], 8080)), ServerOptions::default())?,
/// };
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn activated() -> Result<Sockets, ActivationError> {
    let variable = |name| std::env::var(name).ok();
    let names = names(
        variable("LISTEN_PID").as_deref(),
        variable("LISTEN_FDS").as_deref(),
        variable("LISTEN_FDNAMES").as_deref(),
        std::process::id(),
    )?;
    if names.is_empty() {
        return Ok(Sockets::default());
    }
    let mut handed = ListenFd::from_env();
    let list = names.into_iter().enumerate().map(|(index, name)| match take(&mut handed, index) {
        Ok(listener) => Ok((name, listener)),
        Err(source) => Err(ActivationError::Unusable { name, source }),
    });
    list.collect::<Result<_, _>>().map(Sockets::of)
}

/// The names of the sockets that are meant for the process `own`.
fn names(
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
    own: u32,
) -> Result<Vec<String>, ActivationError> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(Vec::new()) };
    if pid.parse() != Ok(own) {
        return Ok(Vec::new());
    }
    let count: usize = count.parse().map_err(|_| ActivationError::Count)?;
    if count > MAX_SOCKETS {
        return Err(ActivationError::TooMany { count });
    }
    let given = names.into_iter().flat_map(|names| names.split(':')).map(readable);
    Ok(given.chain(std::iter::repeat_with(|| UNNAMED.to_owned())).take(count).collect())
}

/// Systemd allows what is printable in ASCII; nothing else gets into a log from here.
fn readable(name: &str) -> String {
    let name: String = name.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { UNNAMED.to_owned() } else { name }
}

fn take(handed: &mut ListenFd, index: usize) -> Result<Listener, BindError> {
    let missing = || std::io::Error::other("it is missing");
    // What is no TCP socket may be a Unix one, and what is neither is told by the last error.
    let taken = match handed.take_tcp_listener(index) {
        Ok(Some(socket)) => Ok(socket.into()),
        _ => handed.take_unix_listener(index).and_then(|socket| socket.map(Into::into).ok_or_else(missing)),
    };
    let socket = taken.map_err(|error| {
        let problem = match handed.take_udp_socket(index) {
            Ok(Some(_)) => "it is a datagram socket, and a stream socket is needed (`ListenStream=`)".to_owned(),
            _ => error.to_string(),
        };
        BindError::Unusable { source: std::io::Error::new(std::io::ErrorKind::InvalidInput, problem) }
    })?;
    Listener::from_fd(socket).map(Listener::managed)
}

/// Why the sockets of a service manager can't be used. The program's exit code for it is 69.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// The number of sockets is none.
    #[error("LISTEN_FDS is not a number")]
    Count,
    /// More sockets than any service has.
    #[error("LISTEN_FDS says {count} sockets, and at most {MAX_SOCKETS} are taken")]
    TooMany {
        /// How many are said to be there.
        count: usize,
    },
    /// One of them is not what is needed.
    #[error("socket `{name}` of the service manager: {source}")]
    Unusable {
        /// Its name (`FileDescriptorName=`).
        name: String,
        /// What is wrong with it.
        source: BindError,
    },
}

impl ActivationError {
    /// The stable code: `activation.count`, `activation.too_many`, `activation.unusable`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Count => "activation.count",
            Self::TooMany { .. } => "activation.too_many",
            Self::Unusable { .. } => "activation.unusable",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn sockets_that_are_meant_for_another_process_are_none_of_ours() {
        let none: Vec<String> = Vec::new();
        for pid in [None, Some(""), Some("1"), Some("x"), Some("70 "), Some("4294967366")] {
            assert_eq!(names(pid, Some("2"), None, 70).unwrap(), none, "{pid:?}");
        }
        assert_eq!(names(Some("70"), None, None, 70).unwrap(), none);
        assert_eq!(names(Some("70"), Some("0"), None, 70).unwrap(), none);
    }

    #[test]
    fn a_number_of_sockets_that_can_not_be_is_refused() {
        let code = |count: &str| names(Some("70"), Some(count), None, 70).unwrap_err().code();
        for count in ["", "x", "-1", "99999999999999999999"] {
            assert_eq!(code(count), "activation.count", "{count}");
        }
        assert_eq!(code("99999999"), "activation.too_many");
    }

    #[test]
    fn each_socket_has_the_name_that_it_was_given() {
        let of = |count, given| names(Some("70"), Some(count), given, 70).unwrap();
        assert_eq!(of("2", Some("http:admin")), ["http", "admin"]);
        assert_eq!(of("3", Some("http")), ["http", "unknown", "unknown"]);
        assert_eq!(of("1", Some("http:admin")), ["http"]);
        assert_eq!(of("2", Some(":a\nb")), ["unknown", "ab"]);
        assert_eq!(of("1", None), ["unknown"]);
    }

    #[test]
    fn sockets_are_found_by_name_and_by_address() {
        let open = || Listener::from_fd(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into()).unwrap();
        let (one, two) = (open(), open());
        let (first, second) = (one.address().clone(), two.address().clone());
        let mut sockets = Sockets::of(vec![("http".to_owned(), one), ("admin".to_owned(), two)]);
        assert!(sockets.take("grpc").is_none());
        assert!(sockets.take_at(&"127.0.0.2:0".parse().unwrap()).is_none());
        assert!(sockets.take_only().is_none());
        assert_eq!(sockets.take_at(&second).unwrap().address(), &second);
        assert!(sockets.take_only().is_none(), "nobody but us knows it");
        assert_eq!(sockets.take_for("http", &"127.0.0.1:0".parse().unwrap()).unwrap().address(), &first);
        assert!(sockets.is_empty());
    }

    #[test]
    fn a_socket_of_a_service_manager_is_for_whom_it_is_named_after_wherever_it_listens() {
        let open = || Listener::from_fd(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into()).unwrap();
        let (one, two) = (open().managed(), open().managed());
        let (first, second) = (one.address().clone(), two.address().clone());
        let mut sockets = Sockets::of(vec![("unknown".to_owned(), one), ("http".to_owned(), two)]);
        assert!(sockets.take_only().is_none());
        let elsewhere = "127.0.0.2:80".parse().unwrap();
        assert_eq!(sockets.take_for("http", &elsewhere).unwrap().address(), &second);
        assert!(sockets.take_for("http", &elsewhere).is_none());
        assert_eq!(sockets.take_only().unwrap().address(), &first);
    }
}
