//! A throw-away HAProxy in front of one server, which it asks by its agent check.

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

use crate::binaries;
use crate::server::{PATIENCE, Server, tail};

/// An HAProxy of the test's own with a backend `app` of one server `one`. Dropping it ends it.
#[derive(Debug)]
pub struct Haproxy {
    // Declared before the folder: the server ends before its folder goes.
    _server: Server,
    socket: PathBuf,
    _folder: TempDir,
}

impl Haproxy {
    /// Starts one in front of `backend`, whose agent is asked every 100 ms at `agent`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn with_agent(backend: SocketAddr, agent: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-haproxy-").tempdir().expect("a temporary folder");
        let (socket, file) = (folder.path().join("socket"), folder.path().join("haproxy.cfg"));
        let configuration = format!(
            "global\n  stats socket {} mode 600 level admin\n\
             defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
             backend app\n  server one {backend} check inter 100ms weight 100 \
             agent-check agent-addr {} agent-port {} agent-inter 100ms\n",
            socket.display(),
            agent.ip(),
            agent.port(),
        );
        fs::write(&file, configuration).expect("the folder can be written");
        let mut command = Command::new(binaries::haproxy());
        let mut server =
            Server::start(command.arg("-db").arg("-f").arg(&file), &folder.path().join("log"), &[Signal::TERM]);
        let ready = server.wait_ready(|| UnixStream::connect(&socket).is_ok());
        assert!(ready, "HAProxy does not start:\n{}", tail(&folder.path().join("log")));
        Self { _server: server, socket, _folder: folder }
    }

    /// What it says of the server: the status and the weight, for example `("UP", "100")`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn backend(&self) -> (String, String) {
        let table = self.ask("show stat app 4 -1");
        let mut lines = table.lines();
        let heads = lines.next().unwrap_or_default().trim_start_matches("# ").split(',');
        let row = lines.next().unwrap_or_default().split(',');
        let row: HashMap<_, _> = heads.zip(row).collect();
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
