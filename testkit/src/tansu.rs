//! A throw-away Tansu, a broker that speaks Kafka's protocol: own port, own memory, ended when dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{Server, tail};
use crate::{binaries, free_port, packages};

/// The release that the tests are written against.
pub const TANSU_VERSION: &str = "0.6.0";

/// How a [`Tansu`] is started.
#[derive(Debug, Clone, Default)]
pub struct TansuOptions {
    /// Where clients are told that it is; where it listens by default.
    pub advertised: Option<SocketAddr>,
    /// Whether clients have to log in. There is nobody who could.
    pub authentication: bool,
}

/// A broker of the test's own on 127.0.0.1 that keeps everything in memory. It is the whole cluster. Produce one record
/// per batch: it counts batches where records are asked for.
#[derive(Debug)]
pub struct Tansu {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    folder: TempDir,
    options: TansuOptions,
    port: u16,
}

impl Tansu {
    /// Starts one and waits until it listens.
    ///
    /// # Panics
    /// When it is not there, or does not start.
    pub fn start() -> Self {
        Self::start_with(free_port(), TansuOptions::default())
    }

    /// Starts one on a port.
    ///
    /// # Panics
    /// When it is not there, or does not start.
    pub fn start_with(port: u16, options: TansuOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-tansu-").tempdir().expect("a temporary folder");
        let server = run(folder.path(), port, &options);
        Self { server, folder, options, port }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Ends it at once, as a crash would, with all that it held.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, empty.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        self.kill();
        self.server = run(self.folder.path(), self.port, &self.options);
    }

    /// Freezes it: connections are accepted by the kernel, nothing is answered.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets a paused one go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

/// Where its program is, or should be.
pub fn tansu_program() -> PathBuf {
    packages::target().join("tools").join(format!("tansu-{TANSU_VERSION}")).join("bin").join("tansu")
}

fn run(folder: &Path, port: u16, options: &TansuOptions) -> Server {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let advertised = options.advertised.unwrap_or(address);
    let mut command = Command::new(binaries::tansu());
    command.current_dir(folder).args(["broker", "--storage-engine", "memory://tansu/"]);
    command.args(["--listener-url", &format!("tcp://{address}")]);
    command.args(["--advertised-listener-url", &format!("tcp://{advertised}")]);
    if options.authentication {
        command.arg("--authentication");
    }
    let log = folder.join("log");
    let mut server = Server::start(&mut command, &log, &[Signal::KILL]);
    let ready = server.wait_ready(|| TcpStream::connect(address).is_ok());
    assert!(ready, "Tansu does not start:\n{}", tail(&log));
    server
}
