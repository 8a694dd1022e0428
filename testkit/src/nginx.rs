//! A throw-away nginx: one that passes everything on to one server, or one with a server of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
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
        let folder = tempfile::Builder::new().prefix("wellkept-nginx-").tempdir().expect("a temporary folder");
        let (address, file) = (free_address(), folder.path().join("nginx.conf"));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| {
            let path = folder.path().join(kind);
            format!("  {kind}_temp_path {};\n", path.display())
        });
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{}\
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
        Self { server, address, _folder: folder }
    }

    /// Stops it where it stands: it accepts, by the kernel, and answers nothing.
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.server.resume();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
