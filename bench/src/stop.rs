//! Requests lost at a stop: a real SIGTERM to a server in a process of its own, under load by clients that behave well,
//! with nowhere else to go. Wellkept beside its peers, in turn, and the raw counts kept in a file.

mod cells;
mod http1;
mod http2;
mod ledger;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::instance::{Instance, Times};
use crate::load::{on_own_runtime, until};
use crate::rounds::Effort;
use crate::serve::System;
use cells::{Cell, Protocol};
use ledger::Ledger;
use tally::Tally;

/// In this order within a round.
const SYSTEMS: [System; 4] = [System::Server, System::Axum, System::AxumServer, System::TokioGracefulShutdown];
/// Stops of each system in each cell: 1,008 of ours in all.
const STOPS: u32 = 84;
const STOPS_OF_PEERS: u32 = 50;
/// How long there is load before the signal.
const LOAD: Duration = Duration::from_millis(200);
/// How many clients connect at the same time: fewer than fit into the queue of any of the systems, which is 128 at least.
const TOGETHER: u64 = 100;
/// How long all clients may take to have their first answer.
const START: Duration = Duration::from_secs(20);
/// How long a server may take to leave before it is killed.
const LEAVING: Duration = Duration::from_secs(8);
/// How long an answer is waited for: longer than the server may take to leave.
const PATIENCE: Duration = Duration::from_secs(12);

/// What the command line says of it.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Stops of Wellkept in each cell, and at most as many of each peer.
    pub(crate) stops: Option<u32>,
    /// Names of cells; none means all.
    pub(crate) cells: Vec<String>,
}

impl Options {
    /// Whether there are such cells.
    pub(crate) fn are_known(&self) -> bool {
        self.cells.iter().all(|name| Cell::named(name).is_some())
    }
}

pub(crate) fn run(options: &Options, effort: Effort) {
    let quick = effort.rounds < Effort::FULL.rounds;
    let cells: Vec<Cell> = match options.cells.as_slice() {
        [] => Cell::all().into_iter().filter(|cell| !quick || cell.connections == 200).collect(),
        names => names.iter().filter_map(|name| Cell::named(name)).collect(),
    };
    let stops = options.stops.unwrap_or(if quick { 2 } else { STOPS });
    let wanted = |system| if system == System::Server { stops } else { stops.min(STOPS_OF_PEERS) };
    // What a short run says is not kept.
    let mut ledger = if quick { Ledger::in_memory() } else { Ledger::open() };
    // As often as it takes: a run that was interrupted is continued.
    while SYSTEMS.iter().any(|&system| cells.iter().any(|&cell| ledger.stops(system, cell) < wanted(system))) {
        for &cell in &cells {
            for system in SYSTEMS {
                // Who has more to do takes turns twice as often.
                let left = wanted(system).saturating_sub(ledger.stops(system, cell));
                let turns = if left > STOPS_OF_PEERS / 2 && system == System::Server { 2 } else { 1 };
                for _ in 0..turns.min(left) {
                    ledger.add(system, cell, &stop(system, cell));
                }
            }
        }
    }
    print!("{}", ledger.table(&SYSTEMS, &cells));
}

/// One stop, from the start of the server to the end of the last client.
fn stop(system: System, cell: Cell) -> ledger::Stop {
    let instance = Instance::start(system, 0, Times::default());
    let tally = Arc::new(Tally::default());
    on_own_runtime(async {
        let mut clients = JoinSet::new();
        let began = Instant::now();
        for number in 1..=cell.connections {
            match cell.protocol {
                Protocol::Http1 => clients.spawn(http1::client(instance.address(), cell.think, Arc::clone(&tally))),
                Protocol::Http2 => clients.spawn(http2::client(instance.address(), cell.think, Arc::clone(&tally))),
            };
            if number % TOGETHER == 0 {
                while tally.ready() < number {
                    assert!(began.elapsed() < START, "{} of {number} clients had an answer", tally.ready());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        tally.start();
        tokio::time::sleep(LOAD).await;
        let told = instance.terminate();
        // Not on this thread, which is the clients'.
        let ended = tokio::task::spawn_blocking(move || instance.ended(LEAVING)).await.expect("it does not panic");
        clients.join_all().await;
        ledger::Stop { took: ended.at - told, cleanly: ended.cleanly, seen: tally.sum(ended.accepted) }
    })
}

/// A connection, or none if nobody listens.
async fn connect(target: SocketAddr) -> Option<TcpStream> {
    let stream = match TcpStream::connect(target).await {
        Ok(stream) => stream,
        Err(error) => {
            let local = [std::io::ErrorKind::AddrNotAvailable, std::io::ErrorKind::AddrInUse].contains(&error.kind());
            assert!(!local, "this machine has no port left to connect from: {error}");
            return None;
        }
    };
    // With nobody there, the system may connect a port with itself.
    if stream.local_addr().ok()? == target {
        return None;
    }
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// Waits as long as the client thinks, to the microsecond.
async fn think(pause: Duration) {
    if !pause.is_zero() {
        until(tokio::time::Instant::now() + pause).await;
    }
}
