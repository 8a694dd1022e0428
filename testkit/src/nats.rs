//! A throw-away NATS server: own folder, own port, ended when dropped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{Server, tail};
use crate::{binaries, free_port};

/// A NATS server of the test's own, on 127.0.0.1. Dropping it ends it.
#[derive(Debug)]
pub struct Nats {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    folder: TempDir,
    port: u16,
}

impl Nats {
    /// Starts one that lets everybody in.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts one with these lines in its configuration, such as `max_connections: 1`. It writes each message of the
    /// protocol into its log. What JetStream keeps is in its folder.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn with(configuration: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-nats-").tempdir().expect("a temporary folder");
        fs::write(folder.path().join("nats.conf"), configuration).expect("the folder can be written");
        let (server, port) = (0..3)
            .find_map(|_| {
                // Somebody may take a free port before NATS does, so a failed start tries another one.
                let port = free_port();
                Some((try_run(&folder, port)?, port))
            })
            .unwrap_or_else(|| panic!("NATS does not start:\n{}", tail(&folder.path().join("log"))));
        Self { server, folder, port }
    }

    /// `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Where it listens; the same after [`Nats::start_again`].
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// All that it has written so far.
    ///
    /// # Panics
    /// When the log can't be read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the log can be read")
    }

    /// Tells it that it will be stopped: it lets nobody in any more, and after ten seconds ends what connections it has
    /// ("lame duck mode").
    pub fn become_lame_duck(&self) {
        self.server.signal(Signal::USR2);
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
        self.server = try_run(&self.folder, self.port)
            .unwrap_or_else(|| panic!("NATS does not start again:\n{}", tail(&self.folder.path().join("log"))));
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

fn try_run(folder: &TempDir, port: u16) -> Option<Server> {
    let mut command = Command::new(binaries::nats());
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--trace"]);
    command.arg("--store_dir").arg(folder.path()).arg("--config").arg(folder.path().join("nats.conf"));
    let mut server = Server::start(&mut command, &folder.path().join("log"), &[Signal::INT]);
    server.wait_ready(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()).then_some(server)
}
