//! A throw-away mail server, by the Python package `aiosmtpd`: own folder, own port, ended when dropped.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::server::{Server, tail};
use crate::{Issued, free_address, python};

/// Writes what it is told to its log. Passwords are left out of it by the package.
const PROGRAM: &str = r#"
import asyncio, json, logging, ssl, sys
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult, SMTP

logging.basicConfig(stream=sys.stdout, level=logging.INFO)
told = json.loads(sys.argv[1])

def authenticate(server, session, envelope, mechanism, data):
    given = [text.decode() for text in (data.login, data.password)]
    return AuthResult(success=given == told["login"], handled=False)

async def serve():
    tls = None
    if told["certificate"]:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(told["certificate"], told["key"])
    begins_in_plain = told["tls"] == "starttls"
    more = {}
    if told["login"]:
        more = dict(authenticator=authenticate, auth_exclude_mechanism=told["without"], auth_require_tls=begins_in_plain)
    def session():
        return SMTP(Sink(), hostname="mail.example", tls_context=tls if begins_in_plain else None, loop=loop, **more)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, told["host"], told["port"], ssl=None if begins_in_plain else tls)
    await server.serve_forever()

asyncio.run(serve())
"#;

/// How a [`Smtp`] is started.
#[derive(Debug, Clone, Default)]
pub struct SmtpOptions {
    /// How it speaks TLS.
    pub tls: SmtpTls,
    /// The user and the password that it lets in; nobody logs in by default.
    pub login: Option<(String, String)>,
    /// The mechanism that it does not offer: `PLAIN` or `LOGIN`.
    pub without: Option<&'static str>,
}

/// How a mail server speaks TLS.
#[derive(Debug, Clone, Default)]
pub enum SmtpTls {
    /// Not at all.
    #[default]
    None,
    /// When it is asked to, with this certificate. It lets nobody log in before.
    Start(Issued),
    /// From the first byte on, with this certificate.
    Only(Issued),
}

/// A mail server of the test's own, on 127.0.0.1. It calls itself `mail.example` and throws away what it is sent.
#[derive(Debug)]
pub struct Smtp {
    // Declared before the folder: the server ends before its folder goes.
    server: Server,
    folder: TempDir,
    address: SocketAddr,
}

impl Smtp {
    /// Starts one.
    ///
    /// # Panics
    /// When the package can't be had, or it does not start.
    pub fn with(options: SmtpOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-smtp-").tempdir().expect("a temporary folder");
        let python = python::environment(&["aiosmtpd==1.4.6"]).join("python");
        let address = free_address();
        let (tls, issued) = match options.tls {
            SmtpTls::None => ("none", None),
            SmtpTls::Start(issued) => ("starttls", Some(issued)),
            SmtpTls::Only(issued) => ("only", Some(issued)),
        };
        let told = serde_json::json!({
            "host": address.ip(),
            "port": address.port(),
            "tls": tls,
            "certificate": issued.as_ref().map(|issued| &issued.certificate),
            "key": issued.as_ref().map(|issued| &issued.key),
            "login": options.login,
            "without": options.without.into_iter().collect::<Vec<_>>(),
        });
        let mut command = Command::new(python);
        command.args(["-u", "-c", PROGRAM, &told.to_string()]);
        let log = folder.path().join("log");
        let mut server = Server::start(&mut command, &log, &[Signal::KILL]);
        assert!(server.wait_ready(|| TcpStream::connect(address).is_ok()), "aiosmtpd does not start:\n{}", tail(&log));
        Self { server, folder, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it has written so far: a line with `>> b'…'` for each that it was told.
    ///
    /// # Panics
    /// When the log can't be read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the log can be read")
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
