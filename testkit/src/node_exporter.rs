//! A throw-away node exporter, Prometheus' own reader of the machine's figures.

use std::net::SocketAddr;
use std::process::Command;

use crate::server::PATIENCE;
use crate::{Program, binaries, free_address, http, poll};

/// A node exporter with a few of its collectors. Dropping it ends it.
#[derive(Debug)]
pub struct NodeExporter {
    program: Program,
    address: SocketAddr,
}

impl NodeExporter {
    /// Starts one with these collectors only, as it calls them (`cpu`, `meminfo`), and without metrics of itself. `None`
    /// where it is not installed.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(collectors: &[&str]) -> Option<Self> {
        let address = free_address();
        let mut command = Command::new(binaries::node_exporter()?);
        command.arg(format!("--web.listen-address={address}"));
        command.args(["--web.disable-exporter-metrics", "--collector.disable-defaults", "--log.level=warn"]);
        command.args(collectors.iter().map(|collector| format!("--collector.{collector}")));
        let mut program = Program::spawn(&mut command);
        let answers = || http::request(address, "GET", "/", &[], b"").is_ok_and(|answer| answer.status == 200);
        let started = poll(PATIENCE, || match program.ended() {
            None => answers().then_some(true),
            Some(_) => Some(false),
        });
        assert_eq!(started, Some(true), "node exporter does not start:\n{}", program.output());
        Some(Self { program, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}
