//! A throw-away HAProxy: in front of one server, which it asks by its agent check, or of several by their readiness.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{PATIENCE, Server, tail};
use crate::{binaries, free_address};

/// An HAProxy of the test's own with a backend `app` of servers `one`, `two` and so on. Dropping it ends it.
#[derive(Debug)]
pub struct Haproxy {
    // Declared before the folder: the server ends before its folder goes.
    _server: Server,
    address: SocketAddr,
    socket: PathBuf,
    _folder: TempDir,
}

impl Haproxy {
    /// Starts one in front of `backend`, whose agent is asked every 100 ms at `agent`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn with_agent(backend: SocketAddr, agent: SocketAddr) -> Self {
        Self::with(&format!(
            "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
             backend app\n  server one {backend} check inter 100ms weight 100 \
             agent-check agent-addr {} agent-port {} agent-inter 100ms\n",
            agent.ip(),
            agent.port(),
        ))
    }

    /// Starts one that gives each request to the next of at most three servers of HTTP/1.1, whose `/readyz` it asks every
    /// 50 ms: two failures take a server out, and one success brings it back. An answer may take a second, or a busy machine
    /// would look like servers that fail. `defaults` are lines of that section, such as `retries 0`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn balancing(backends: &[SocketAddr], defaults: &str) -> Self {
        let servers = ["one", "two", "three"].iter().zip(backends);
        let servers: Vec<String> = servers.map(|(name, backend)| format!("  server {name} {backend}\n")).collect();
        Self::with(&format!(
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n  timeout check 1s\n\
             \x20 {defaults}\n\
             backend app\n  balance roundrobin\n  option httpchk GET /readyz\n\
             \x20 default-server check inter 50ms fall 2 rise 1\n{}",
            servers.concat(),
        ))
    }

    fn with(sections: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-haproxy-").tempdir().expect("a temporary folder");
        let (address, log) = (free_address(), folder.path().join("log"));
        let (socket, file) = (folder.path().join("socket"), folder.path().join("haproxy.cfg"));
        let configuration = format!(
            "global\n  stats socket {} mode 600 level admin\n{sections}frontend in\n  bind {address}\n  default_backend app\n",
            socket.display(),
        );
        fs::write(&file, configuration).expect("the folder can be written");
        let mut command = Command::new(binaries::haproxy());
        let mut server = Server::start(command.arg("-db").arg("-f").arg(&file), &log, &[Signal::TERM]);
        let ready = server.wait_ready(|| UnixStream::connect(&socket).is_ok());
        assert!(ready, "HAProxy does not start:\n{}", tail(&log));
        Self { _server: server, address, socket, _folder: folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of the first server: the status and the weight, for example `("UP", "100")`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn backend(&self) -> (String, String) {
        self.server("one")
    }

    /// As [`backend`](Self::backend), of the server of this name.
    ///
    /// # Panics
    /// When it does not answer, or has no such server.
    pub fn server(&self, name: &str) -> (String, String) {
        let table = self.ask("show stat app 4 -1");
        let mut lines = table.lines();
        let heads: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
        let mut rows = lines.map(|row| heads.iter().copied().zip(row.split(',')).collect::<HashMap<_, _>>());
        let row = rows.find(|row| row.get("svname") == Some(&name)).unwrap_or_else(|| panic!("no {name} in {table}"));
        let of = |head: &str| row.get(head).unwrap_or_else(|| panic!("no {head} in {table}")).to_string();
        (of("status"), of("weight"))
    }

    fn ask(&self, question: &str) -> String {
        let asked = UnixStream::connect(&self.socket).and_then(|mut socket| {
            socket.set_read_timeout(Some(PATIENCE.min(Duration::from_secs(5))))?;
            socket.write_all(format!("{question}\n").as_bytes())?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).map(|_| answer)
        });
        asked.expect("HAProxy answers on its socket")
    }
}
