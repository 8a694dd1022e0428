//! A throw-away memcached: own port or socket, ended when dropped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::server::{Server, tail};
use crate::{binaries, free_port};

/// A memcached of the test's own. Dropping it ends it.
#[derive(Debug)]
pub struct Memcached {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    folder: TempDir,
    arguments: Vec<String>,
    port: u16,
}

impl Memcached {
    /// Starts one on 127.0.0.1 with these arguments, such as `["-m", "64"]`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-memcached-").tempdir().expect("a temporary folder");
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let (server, port) = (0..3)
            .find_map(|_| {
                // Somebody may take a free port before memcached does, so a failed start tries another one.
                let port = free_port();
                Some((try_run(&folder, &["-l", "127.0.0.1", "-p", &port.to_string()], &arguments, || on(port))?, port))
            })
            .unwrap_or_else(|| panic!("memcached does not start:\n{}", tail(&folder.path().join("log"))));
        Self { server, folder, arguments, port }
    }

    /// Starts one that wants this user and password (memcached 1.5.15 or later).
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn with_login(user: &str, password: &str) -> Self {
        let file = tempfile::Builder::new().prefix("wellkept-memcached-").tempdir().expect("a temporary folder");
        let path = file.path().join("users");
        fs::write(&path, format!("{user}:{password}\n")).expect("the folder can be written");
        Self::with(&["-Y", &path.display().to_string()])
    }

    /// Starts one on a Unix socket.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn on_a_socket() -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-memcached-").tempdir().expect("a temporary folder");
        let socket = folder.path().join("socket");
        let answers = || UnixStream::connect(&socket).is_ok();
        let server = try_run(&folder, &["-s", &socket.display().to_string()], &[], answers)
            .unwrap_or_else(|| panic!("memcached does not start:\n{}", tail(&folder.path().join("log"))));
        Self { server, folder, arguments: Vec::new(), port: 0 }
    }

    /// The socket of one [`on_a_socket`](Self::on_a_socket).
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// `memcached://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("memcached://{}", self.address())
    }

    /// Where it listens; the same after [`Memcached::start_again`].
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Ends it and waits. Does nothing when it has ended.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts a stopped one again, on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.stop();
        let port = self.port;
        let listen = ["-l", "127.0.0.1", "-p", &port.to_string()];
        self.server = try_run(&self.folder, &listen, &self.arguments, || on(port))
            .unwrap_or_else(|| panic!("memcached does not start again:\n{}", tail(&self.folder.path().join("log"))));
    }

    /// Freezes it: connections are accepted by the kernel, nothing is answered.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets a paused server go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

fn on(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn try_run(folder: &TempDir, listen: &[&str], more: &[String], answers: impl Fn() -> bool) -> Option<Server> {
    let mut command = Command::new(binaries::memcached());
    // One thread, as each takes descriptors, of which a small limit on connections leaves few.
    command.args(listen).args(["-t", "1", "-U", "0"]).args(more);
    if geteuid().is_root() {
        command.args(["-u", "root"]);
    }
    // It has nothing to save, and takes a second to end when it is asked to.
    let mut server = Server::start(&mut command, &folder.path().join("log"), &[Signal::KILL]);
    server.wait_ready(answers).then_some(server)
}
