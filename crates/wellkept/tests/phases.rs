//! A service's shutdown held in each of its phases: where it can be seen meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use wellkept::http::Access;
use wellkept::shutdown::{Cause, Phase, Settings};
use wellkept::{Service, ServiceOptions};
use wellkept_testkit::{free_address, http, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// Those in which the admin door is open; it closes before the flush.
const SEEN_FROM_OUTSIDE: [Phase; 6] = [
    Phase::Initiated,
    Phase::Delaying,
    Phase::Announcing,
    Phase::StoppingNewRequests,
    Phase::DrainingConnections,
    Phase::ClosingResources,
];
const SEEN_FROM_INSIDE: [Phase; 2] = [Phase::FlushingBuffers, Phase::Completed];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_phase_is_told_in_its_order_and_shown_by_the_endpoint_and_by_the_metrics_while_it_lasts() {
    let admin = free_address();
    let shutdown = Settings { announce: Duration::ZERO, ..Settings::default() };
    let options = ServiceOptions { shutdown, ..ServiceOptions::default() };
    let service = Service::with_options("orders", "1.4.2", options).admin(admin, Access::loopback_only());
    let (handle, checker) = (service.shutdown().clone(), service.checker().clone());
    let app = Router::new().route("/", get(async || "hello"));
    let served = tokio::spawn(service.serve(app, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
    until(PATIENCE, "the service to be ready", || checker.readiness().ready);
    until(PATIENCE, "the admin door", || http::request(admin, "GET", "/readyz", &[], b"").is_ok());

    // Whoever listens holds the sequence until the test has looked.
    let (tell, told) = mpsc::channel();
    let (go_on, allowed) = mpsc::channel::<()>();
    let allowed = std::sync::Mutex::new(allowed);
    handle.on_phase(move |phase| {
        tell.send(phase).unwrap();
        tokio::task::block_in_place(|| allowed.lock().unwrap().recv_timeout(PATIENCE)).unwrap();
    });
    let trigger = handle.clone();
    let triggered = tokio::task::spawn_blocking(move || trigger.trigger(Cause::requested("test")));
    let next = || told.recv_timeout(PATIENCE).unwrap();
    for phase in SEEN_FROM_OUTSIDE {
        assert_eq!(next(), phase);
        let ending = http::get(admin, "/api/v1/shutdown").json();
        assert_eq!((&ending["phase"], &ending["is_shutting_down"]), (&phase.as_str().into(), &true.into()));
        let metric = |phase: &str, value| format!("wellkept_shutdown_phase{{phase=\"{phase}\"}} {value}");
        let page = http::get(admin, "/metrics").text();
        assert!(page.contains(&metric(phase.as_str(), 1)) && page.contains(&metric("running", 0)), "{page}");
        assert_eq!(http::get(admin, "/readyz").status, 503);
        assert_eq!(http::get(admin, "/livez").status, 200);
        go_on.send(()).unwrap();
    }
    for phase in SEEN_FROM_INSIDE {
        assert_eq!(next(), phase);
        assert_eq!(handle.phase(), phase);
        go_on.send(()).unwrap();
    }
    triggered.await.unwrap();
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    assert_eq!(*handle.subscribe().borrow(), Phase::Completed);
}
