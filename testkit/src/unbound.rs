//! A throw-away name server with names of the test's own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{Server, tail};
use crate::{binaries, free_address};

/// An Unbound of the test's own that knows what it is told and asks nobody. Dropping it ends it.
#[derive(Debug)]
pub struct Unbound {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    address: SocketAddr,
    _folder: TempDir,
}

impl Unbound {
    /// Starts one that has these records, each as in a zone's file: `orders.test. 60 IN A 192.0.2.7`. Names below
    /// `test.` that it is not told of do not exist; it refuses to speak of `refused.test.`, and fails for
    /// `broken.test.`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn with(records: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-unbound-").tempdir().expect("a temporary folder");
        let (address, file) = (free_address(), folder.path().join("unbound.conf"));
        let data = records.iter().map(|record| format!("  local-data: '{record}'\n")).collect::<Vec<_>>().concat();
        let configuration = format!(
            "server:\n  interface: 127.0.0.1\n  port: {}\n  do-daemonize: no\n  use-syslog: no\n  logfile: \"\"\n  \
             username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  pidfile: \"pid\"\n  module-config: \"iterator\"\n  local-zone: \"test.\" static\n{data}  \
             local-zone: \"refused.test.\" always_refuse\n  local-zone: \"broken.test.\" transparent\n\
             forward-zone:\n  name: \"broken.test.\"\n  forward-addr: 127.0.0.1\n",
            address.port(),
            folder.path().display(),
        );
        fs::write(&file, configuration).expect("the folder can be written");
        let log = folder.path().join("log");
        let mut server = Server::start(Command::new(binaries::unbound()).arg("-c").arg(&file), &log, &[Signal::TERM]);
        assert!(server.wait_ready(|| answers(address)), "Unbound does not start:\n{}", tail(&log));
        Self { server, address, _folder: folder }
    }

    /// Where it listens, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it where it stands.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }
}

/// Whether it says anything at all when it is asked for a zone of its own.
fn answers(address: SocketAddr) -> bool {
    let question = *b"\x2a\x2a\0\0\0\x01\0\0\0\0\0\0\x04test\0\0\x06\0\x01";
    let asked = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.connect(address)?;
        socket.send(&question)?;
        socket.recv(&mut [0; 512])
    });
    asked.is_ok()
}
