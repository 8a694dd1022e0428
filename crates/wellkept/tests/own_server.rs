//! The doors in a server of one's own, as `docs/library.md` shows it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio::sync::Notify;
use wellkept::health::{Checker, Settings};
use wellkept::http::{Access, Doors, Names};
use wellkept::shutdown::{Cause, Phase, Resource, ResourceType, Shutdown, Status};
use wellkept_testkit::http::{self, Connection};
use wellkept_testkit::until;

const PATIENCE: Duration = Duration::from_secs(20);

/// A request that says that it is there, and waits to be let go.
#[derive(Debug)]
struct Gate {
    arrived: Notify,
    open: Notify,
}

async fn slow(State(gate): State<Arc<Gate>>) -> &'static str {
    gate.arrived.notify_one();
    gate.open.notified().await;
    "served"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doors_stand_in_a_server_of_ones_own_which_loses_no_request_in_flight() {
    let gate = Arc::new(Gate { arrived: Notify::new(), open: Notify::new() });
    let (checker, engine) = Checker::new(Settings::new("orders"));
    let (shutdown, sequence) = Shutdown::new(wellkept::shutdown::Settings::default());
    let draining = checker.clone();
    shutdown.on_phase(move |_| draining.begin_draining());
    let access = Access::loopback_only();
    let doors =
        Doors::new(checker, shutdown.clone(), access, Names::Shown, wellkept::telemetry::metrics::Metrics::new());
    let app = doors.operators().fallback_service(Router::new().route("/slow", get(slow)).with_state(gate.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = shutdown.clone();
    let server = axum::serve(listener, app)
        .with_graceful_shutdown(async move { stop.reached(Phase::StoppingNewRequests).await });
    let server = tokio::spawn(server.into_future());
    let drain = shutdown.settings().drain;
    let resource = Resource::new("server", ResourceType::Custom, async || server.await?).priority(0).timeout(drain);
    shutdown.register(resource).unwrap();
    let end = shutdown.clone();
    tokio::spawn(engine.run(async move { end.reached(Phase::ClosingResources).await }));
    let report = tokio::spawn(sequence.run());

    until(PATIENCE, "readiness", || http::get(address, "/readyz").status == 200);
    assert_eq!(
        http::get(address, "/health/detailed").status,
        401,
        "coming over loopback makes nobody an operator here"
    );
    let mut request = Connection::open(address).unwrap();
    request.send("GET", "/slow", &[], b"").unwrap();
    let mut idle = Connection::open(address).unwrap();
    assert_eq!(idle.get("/readyz").unwrap().status, 200);
    gate.arrived.notified().await;
    shutdown.trigger(Cause::requested("test"));
    shutdown.reached(Phase::ClosingResources).await;
    until(PATIENCE, "the listener to close", || std::net::TcpStream::connect(address).is_err());
    gate.open.notify_one();
    assert_eq!(request.read_response(PATIENCE).unwrap().text(), "served");
    assert_eq!(report.await.unwrap().status, Status::Successful);
}
