//! Restarts of two instances in turn, behind a real HAProxy or nginx, under constant load: how many requests fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use wellkept_testkit::{Haproxy, Nginx, free_port, until};

use crate::instance::{Instance, Times};
use crate::load::on_own_runtime;
use crate::polite::Connection;
use crate::rounds::Effort;
use crate::serve::System;

const RESTARTS: u32 = 100;
const RESTARTS_OF_PEERS: u32 = 20;
/// Six times what HAProxy asks readiness at, and three times what it needs to see it fail.
const DELAY: Duration = Duration::from_millis(300);
const NAMES: [&str; 2] = ["one", "two"];
/// Clients that keep their connection, and clients that open one for each request.
const KEEPING: usize = 16;
const FRESH: usize = 4;
/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(1);
/// Longer than the proxies' own limits.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long the load goes on between two restarts.
const BETWEEN: Duration = Duration::from_millis(150);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Front {
    /// A request that a server loses is an answer with 502.
    HaproxyWithoutRetries,
    Haproxy,
    Nginx,
}

enum Proxy {
    Haproxy(Haproxy),
    Nginx(Nginx),
}

#[derive(Debug, Default)]
struct Counts {
    over: AtomicBool,
    answered: AtomicU64,
    /// 503 with `Retry-After`, by a server that leaves.
    late: AtomicU64,
    /// Any other answer but 200: by the proxy, most likely.
    refused: AtomicU64,
    /// No complete answer.
    broken: AtomicU64,
}

pub(crate) fn run(effort: Effort) {
    let quick = effort.rounds < Effort::FULL.rounds;
    println!("| in front | served by | restarts | requests | failed | between nginx and the servers |");
    println!("|---|---|---|---|---|---|");
    for front in [Front::HaproxyWithoutRetries, Front::Haproxy, Front::Nginx] {
        for system in [System::Service, System::Axum] {
            let restarts = match system {
                _ if quick => 3,
                System::Service => RESTARTS,
                _ => RESTARTS_OF_PEERS,
            };
            row(front, system, restarts);
        }
    }
}

fn row(front: Front, system: System, restarts: u32) {
    let times = Times { delay: DELAY, ..Times::default() };
    let mut instances = NAMES.map(|_| Instance::start(system, free_port(), times));
    let backends: Vec<SocketAddr> = instances.iter().map(Instance::address).collect();
    let proxy = match front {
        Front::HaproxyWithoutRetries => Proxy::Haproxy(Haproxy::balancing(&backends, "retries 0")),
        Front::Haproxy => Proxy::Haproxy(Haproxy::balancing(&backends, "")),
        Front::Nginx => Proxy::Nginx(Nginx::balancing(&backends)),
    };
    for name in NAMES {
        proxy.takes(name);
    }
    let counts = Arc::new(Counts::default());
    let load = thread::spawn({
        let (counts, target) = (Arc::clone(&counts), proxy.address());
        move || on_own_runtime(load(target, counts))
    });
    thread::sleep(BETWEEN);
    for (instance, name) in (0..restarts).map(|restart| restart as usize % NAMES.len()).map(|at| (at, NAMES[at])) {
        let port = instances[instance].address().port();
        instances[instance].terminate();
        assert!(instances[instance].wait(PATIENCE).cleanly, "{} leaves", system.name());
        instances[instance] = Instance::start(system, port, times);
        proxy.takes(name);
        thread::sleep(BETWEEN);
    }
    counts.over.store(true, Ordering::SeqCst);
    load.join().expect("the clients do not panic");
    let [answered, late, refused, broken] =
        [&counts.answered, &counts.late, &counts.refused, &counts.broken].map(|count| count.load(Ordering::SeqCst));
    let failed = late + refused + broken;
    let how = match failed {
        0 => String::new(),
        _ => format!(" ({late} told to retry, {refused} refused, {broken} broken)"),
    };
    println!(
        "| {} | {} | {restarts} | {} | {failed}{how} | {} |",
        front.text(),
        system.name(),
        answered + failed,
        proxy.asked_others()
    );
}

impl Front {
    fn text(self) -> &'static str {
        match self {
            Self::HaproxyWithoutRetries => "HAProxy, `retries 0`",
            Self::Haproxy => "HAProxy, its defaults",
            Self::Nginx => "nginx, `max_fails=0`",
        }
    }
}

impl Proxy {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Haproxy(haproxy) => haproxy.address(),
            Self::Nginx(nginx) => nginx.address(),
        }
    }

    /// Waits until it gives requests to this server. nginx, which asks nobody, always does.
    fn takes(&self, name: &str) {
        if let Self::Haproxy(haproxy) = self {
            until(PATIENCE, "HAProxy to take the server", || haproxy.server(name).0 == "UP");
        }
    }

    /// How often a request that had gone to one server went to another, and why.
    fn asked_others(&self) -> String {
        match self {
            Self::Haproxy(_) => String::new(),
            Self::Nginx(nginx) => {
                let (failed, untaken) = (nginx.logged("upstream: "), nginx.logged("while connecting to upstream"));
                format!("{untaken} times not taken, {} times lost", failed.saturating_sub(untaken))
            }
        }
    }
}

async fn load(target: SocketAddr, counts: Arc<Counts>) {
    let mut clients = JoinSet::new();
    for number in 0..KEEPING + FRESH {
        clients.spawn(client(target, number < KEEPING, Arc::clone(&counts)));
    }
    clients.join_all().await;
}

async fn client(target: SocketAddr, keeps: bool, counts: Arc<Counts>) {
    let mut open: Option<Connection> = None;
    while !counts.over.load(Ordering::Relaxed) {
        let asked = timeout(PATIENCE, async {
            let mut connection = match open.take().filter(Connection::is_open) {
                Some(connection) => connection,
                None => Connection::new(TcpStream::connect(target).await?),
            };
            let answer = connection.ask().await?;
            Ok::<_, std::io::Error>((connection, answer))
        });
        let count = match asked.await {
            Ok(Ok((connection, answer))) => {
                open = Some(connection).filter(|_| keeps && !answer.close);
                match answer.status {
                    200 => &counts.answered,
                    503 if answer.retry_after => &counts.late,
                    _ => &counts.refused,
                }
            }
            _ => &counts.broken,
        };
        count.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}
