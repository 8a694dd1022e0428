//! What the layers of every request cost: an axum handler bare, and with all of them on, under load.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use tokio::runtime::{Builder, Runtime};
use wellkept::http::{RequestLayer, RequestOptions, RequestPart};
use wellkept::telemetry::logging::{self, Options, Output, SinkOptions};
use wellkept::telemetry::metrics::Metrics;

use crate::load::saturate;
use crate::rounds::{Effort, interleaved};

pub(crate) fn run(effort: Effort) {
    // A span costs what its subscriber does with it: the log is on, as in a service.
    let output = Output::Writer(Box::new(std::io::sink()));
    let sinks = vec![SinkOptions { output, ..SinkOptions::default() }];
    let _logging = logging::init(Options { sinks, ..Options::default() }).expect("no other log is on");
    let (bare, peer) = serve(None);
    let all = RequestOptions::default();
    let only = |part: RequestPart| {
        use RequestPart::{Correlation, InFlight, Metrics, Span};
        let others = [Correlation, Metrics, Span, InFlight].into_iter().filter(|one| *one != part);
        others.fold(all, RequestOptions::without)
    };
    for (what, options, target) in [
        ("all layers", all, "≥ 0.95"),
        ("correlation alone", only(RequestPart::Correlation), ""),
        ("metrics alone", only(RequestPart::Metrics), ""),
        ("span alone", only(RequestPart::Span), ""),
    ] {
        let (ours, kept) = serve(Some(options));
        saturate(ours, "/orders/7", effort.round / 3);
        saturate(bare, "/orders/7", effort.round / 3);
        let measure = |address| move || saturate(address, "/orders/7", effort.round);
        let compared = interleaved(effort.rounds, measure(ours), measure(bare));
        println!(
            "| a handler with {what}, requests per second, 32 connections | {:.0} | the bare handler: {:.0} | {:.3} | {target} |",
            compared.a, compared.b, compared.ratio
        );
        kept.shutdown_background();
    }
    peer.shutdown_background();
}

fn serve(options: Option<RequestOptions>) -> (SocketAddr, Runtime) {
    // One thread for the server leaves the other core to the clients.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let address = runtime.block_on(async {
        let order = async |Path(_): Path<u64>| ([("content-type", "application/json")], "{\"id\":7}");
        let router = Router::new().route("/orders/{id}", get(order));
        let router = match options {
            Some(options) => {
                let layer = RequestLayer::new(&Metrics::new(), options).expect("nothing else is declared");
                router.layer(layer)
            }
            None => router,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    (address, runtime)
}
