//! Probe endpoints, all layers on, beside a bare axum handler with a body of the same size.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::runtime::{Builder, Runtime};
use wellkept::health::{AnyCheck, Checker, Component, Settings};
use wellkept::http::{Access, Doors, Names, Server, ServerOptions};
use wellkept::shutdown::{Shutdown, Tracker};

use crate::load::{saturate, steady};
use crate::rounds::{Effort, interleaved};

/// How many dependencies there are, all of which hang.
const HANGING: usize = 50;

pub(crate) fn run(effort: Effort) {
    let (ours, kept) = wellkept();
    let (bare, peer) = bare_axum();
    for (path, like) in
        [("/livez", "/2"), ("/readyz", "/2"), ("/health", "/180"), ("/health/live", "/60"), ("/health/ready", "/1040")]
    {
        // Warms both up, and the machine.
        saturate(ours, path, effort.round / 3);
        saturate(bare, like, effort.round / 3);
        let compared =
            interleaved(effort.rounds, || saturate(ours, path, effort.round), || saturate(bare, like, effort.round));
        println!(
            "| `{path}`, requests per second, 32 connections | {:.0} | bare axum handler: {:.0} | {:.2} | ≥ 0.95 |",
            compared.a, compared.b, compared.ratio
        );
        let half = compared.a / 2.0;
        let (at_half, peers) = (steady(ours, path, half, effort.round * 2), steady(bare, like, half, effort.round * 2));
        println!(
            "| `{path}`, latency at half of that, {HANGING} dependencies hanging | median {:.0} µs, p99 {:.0} µs | \
             bare axum handler: median {:.0} µs, p99 {:.0} µs | | p99 < 1 ms |",
            micros(at_half.median),
            micros(at_half.slow),
            micros(peers.median),
            micros(peers.slow)
        );
    }
    kept.shutdown_background();
    peer.shutdown_background();
}

fn wellkept() -> (SocketAddr, Runtime) {
    let runtime = one_thread();
    let address = runtime.block_on(async {
        let (checker, engine) = Checker::new(Settings::new("orders"));
        for number in 0..HANGING {
            let hangs = AnyCheck::from_fn(async || std::future::pending::<()>().await);
            let component =
                Component::new(format!("hangs-{number}"), hangs).interval(Duration::from_secs(1)).optional();
            checker.register(component).expect("the name is new");
        }
        tokio::spawn(engine.run(std::future::pending()));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (shutdown, _sequence) = Shutdown::new(wellkept::shutdown::Settings::default());
        let registry = wellkept::telemetry::metrics::Metrics::new();
        let doors = Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, registry);
        let server = Server::bind(([127, 0, 0, 1], 0), ServerOptions::default()).expect("a port is free");
        let address = server.local_address().tcp().expect("it is bound to TCP");
        server.at_once(doors.at_once()).serve("bench", doors.public(), Tracker::default());
        address
    });
    (address, runtime)
}

fn bare_axum() -> (SocketAddr, Runtime) {
    let runtime = one_thread();
    let address = runtime.block_on(async {
        let json = |size: usize| {
            let body: &'static str = Box::leak("x".repeat(size).into_boxed_str());
            get(move || async move { ([("content-type", "application/json")], body) })
        };
        let router = Router::new()
            .route("/2", json(2))
            .route("/60", json(60))
            .route("/180", json(180))
            .route("/1040", json(1200));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    (address, runtime)
}

/// One thread for the server leaves the other core to the clients.
fn one_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made")
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}
