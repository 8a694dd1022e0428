//! A receiver of GELF that others wrote: graygelf, on Node. It puts chunks together and takes both compressions.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::{Program, node};

/// A receiver of the test's own, on UDP. Dropping it ends it.
#[derive(Debug)]
pub struct Graygelf {
    program: Program,
    address: SocketAddr,
}

/// Prints each message as one line of JSON.
const SCRIPT: &str = "
const server = require('graygelf/server')();
server.on('message', message => console.log(JSON.stringify(message)));
server.on('error', error => { console.log('error ' + error); process.exit(1); });
const port = Number(process.argv[1]);
server.listen(port, '127.0.0.1');
server._udp.on('listening', () => console.log('listening on ' + port));
";

impl Graygelf {
    /// Starts one.
    ///
    /// # Panics
    /// When Node or the package can't be had, or it does not start.
    pub fn start() -> Self {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let port = port.expect("loopback has a free port").port();
        let mut command = Command::new("node");
        command.args(["-e", SCRIPT, &port.to_string()]).env("NODE_PATH", node::modules(&["graygelf@2.0.0"]));
        let (program, address) = Program::listening(&mut command, Duration::from_secs(20));
        Self { program, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The messages so far, each as JSON. Those that came together may be in another order than they were sent in.
    pub fn messages(&self) -> Vec<String> {
        self.program.stdout().lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect()
    }
}
