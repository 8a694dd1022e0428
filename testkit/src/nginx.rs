//! A throw-away nginx: one that passes everything on to one server, or one with a server of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{Server, tail};
use crate::{binaries, free_address};

/// An nginx of the test's own. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    address: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

impl Nginx {
    /// Starts one in front of `backend`, to which it speaks HTTP/1.1: what versions from 1.30 on do unless told otherwise.
    /// It sets no header of its own.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn in_front_of(backend: SocketAddr) -> Self {
        Self::with(
            "",
            &format!("location / {{\n      proxy_http_version 1.1;\n      proxy_pass http://{backend};\n    }}"),
        )
    }

    /// Starts one with these parameters of `listen`, such as `ssl http2`, and these directives in its `server`.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn with(listen: &str, directives: &str) -> Self {
        Self::start("", listen, directives)
    }

    /// Starts one that gives each request to the next of these servers of HTTP/1.1, over connections that it keeps. It never
    /// takes a server out by itself (`max_fails=0`), and asks another where one can't be reached, as is its default.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    pub fn balancing(backends: &[SocketAddr]) -> Self {
        let servers: Vec<String> =
            backends.iter().map(|backend| format!("    server {backend} max_fails=0;\n")).collect();
        Self::start(
            &format!("  upstream app {{\n{}    keepalive 32;\n  }}\n", servers.concat()),
            "",
            "location / {\n      proxy_http_version 1.1;\n      proxy_set_header Connection '';\n      \
             proxy_pass http://app;\n    }",
        )
    }

    fn start(http: &str, listen: &str, directives: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-nginx-").tempdir().expect("a temporary folder");
        let (address, file) = (free_address(), folder.path().join("nginx.conf"));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| {
            let path = folder.path().join(kind);
            format!("  {kind}_temp_path {};\n", path.display())
        });
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{}{http}\
             \x20 server {{\n    listen {address} {listen};\n    {directives}\n  }}\n}}\n",
            folder.path().display(),
            temporary.concat(),
        );
        fs::write(&file, configuration).expect("the folder can be written");
        let log = folder.path().join("log");
        let mut command = Command::new(binaries::nginx());
        command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let mut server = Server::start(&mut command, &log, &[Signal::TERM]);
        let ready = server.wait_ready(|| TcpStream::connect(address).is_ok());
        assert!(ready, "nginx does not start:\n{}", tail(&log));
        Self { server, address, log, _folder: folder }
    }

    /// Stops it where it stands: it accepts, by the kernel, and answers nothing.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }

    /// How often it has written this to its log, such as `Connection refused`.
    pub fn logged(&self, what: &str) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().lines().filter(|line| line.contains(what)).count()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
