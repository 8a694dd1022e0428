//! A service's own listener: which doors stand before the application's routes, and who gets in through a real proxy.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::task::JoinHandle;
use wellkept::config::{Live, LiveOptions, Outcome, Rejection, Request, Settings, Sources, Trigger};
use wellkept::health::Checker;
use wellkept::shutdown::{Cause, Report, Shutdown};
use wellkept::telemetry::logging::{Format, Level, Options, SinkOptions, subscriber};
use wellkept::{ApplicationDoors, ServeError, Service, ServiceOptions};
use wellkept_testkit::{Nginx, free_address, http, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// A service that serves, with one healthy component `queue`.
struct Served {
    address: SocketAddr,
    checker: Checker,
    shutdown: Shutdown,
    task: JoinHandle<Result<Report, ServeError>>,
}

impl Served {
    fn with(doors: ApplicationDoors, app: Router) -> Self {
        Self::of(Service::with_options("orders", "1.4.2", ServiceOptions { doors, ..ServiceOptions::default() }), app)
    }

    fn of(service: Service, app: Router) -> Self {
        service.check("queue", async || ()).expect("the name is free");
        let (address, checker, shutdown) = (free_address(), service.checker().clone(), service.shutdown().clone());
        let task = tokio::spawn(service.serve(app, address));
        until(PATIENCE, "the service to be ready", || checker.readiness().ready);
        until(PATIENCE, "the service to listen", || std::net::TcpStream::connect(address).is_ok());
        Self { address, checker, shutdown, task }
    }

    async fn end(self) {
        self.shutdown.trigger(Cause::requested("test"));
        let report = self.task.await.expect("it does not panic").expect("it has served");
        assert_eq!(report.exit_code(), 0);
    }
}

fn post(address: SocketAddr, path: &str) -> u16 {
    http::request(address, "POST", path, &[], b"").expect("it answers").status
}

fn app() -> Router {
    let own = |path| Router::new().route(path, get(async || "own"));
    own("/orders").merge(own("/metrics")).merge(own("/health"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_the_same_machine_makes_nobody_an_operator() {
    let served = Served::with(ApplicationDoors::default(), app());
    let nginx = Nginx::in_front_of(served.address);
    for address in [nginx.address(), served.address] {
        assert_eq!(http::get(address, "/orders").text(), "own");
        assert_eq!(http::get(address, "/readyz").status, 200);
        assert_eq!(post(address, "/api/v1/components/queue/disable"), 404);
        assert_eq!(post(address, "/api/v1/run"), 404);
        assert_eq!(http::get(address, "/health/detailed").status, 404);
        assert_eq!(http::get(address, "/api/v1/history").status, 404);
        let ready = http::get(address, "/health/ready?detailed=true").json();
        assert!(ready["dependencies"]["queue"] == "healthy" && ready.get("components").is_none(), "{ready}");
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_served_on_the_applications_listener_where_that_is_asked_for() {
    let served = Served::with(ApplicationDoors::Operators, app());
    assert_eq!(http::get(served.address, "/health/detailed").json()["components"]["queue"]["status"], "healthy");
    assert_eq!(post(served.address, "/api/v1/components/queue/disable"), 200);
    until(PATIENCE, "the component to be disabled", || {
        let detailed = http::get(served.address, "/health/detailed").json();
        detailed["components"]["queue"]["reason"] == "disabled"
    });
    assert!(served.checker.readiness().ready);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_keeps_the_metrics_and_probes_of_its_own_where_it_says_so() {
    let own = |served: &Served, path: &str| http::get(served.address, path).text() == "own";
    let public = Served::with(ApplicationDoors::Public, app());
    assert!(!own(&public, "/metrics") && !own(&public, "/health") && own(&public, "/orders"));
    public.end().await;
    let without_metrics = Served::with(ApplicationDoors::WithoutMetrics, app());
    assert!(own(&without_metrics, "/metrics") && !own(&without_metrics, "/health"));
    assert_eq!(http::get(without_metrics.address, "/readyz").status, 200);
    without_metrics.end().await;
    let none = Served::with(ApplicationDoors::None, app());
    assert!(own(&none, "/metrics") && own(&none, "/health"));
    assert_eq!(http::get(none.address, "/readyz").status, 404);
    none.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_change_the_levels_of_a_services_log_and_its_events_are_on_its_page() {
    let options = Options::to(SinkOptions::writer(Format::Json, std::io::sink()));
    let (_subscriber, logging) = subscriber(options).expect("the log starts");
    let doors = ServiceOptions { doors: ApplicationDoors::Operators, ..ServiceOptions::default() };
    let service = Service::with_options("orders", "1.4.2", doors).logging(&logging);
    let placed = service.events().business("order_placed").expect("it is a name");
    let served = Served::of(service, Router::new());
    let body = br#"{"module":"sqlx","level":"debug","for":"10m"}"#;
    let headers = [("content-type", "application/json")];
    let set = http::request(served.address, "PUT", "/api/v1/logging", &headers, body).expect("it answers");
    assert_eq!((set.status, logging.levels()[1].level), (200, Level::Debug));
    wellkept::telemetry::business!(placed, order = 4711);
    let page = http::get(served.address, "/metrics").text();
    for line in [
        "wellkept_business_events_total{event=\"order_placed\"} 1",
        "wellkept_security_events_total{event=\"authz_admin\"} 1",
        "wellkept_log_lines_dropped_total{sink=\"writer\",reason=\"queue_full\"} 0",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line} is missing: {page}");
    }
    served.end().await;
}

#[derive(Settings)]
struct Shop {
    /// Whether orders are refused.
    #[setting(default = false)]
    broken: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_makes_requests_fail_goes_back_by_itself_and_stays_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, "broken: false").expect("it is written");
    let live = Live::<Shop>::load(Sources::new().file(&file), LiveOptions::default()).expect("it is valid");
    let shop = live.handle(|shop| &shop.broken);
    let orders = async move || if *shop.read() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let service = Service::new("shop", "1.0").configuration(&live).probation(Duration::from_secs(600));
    let served = Served::of(service, Router::new().route("/orders", get(orders)));

    std::fs::write(&file, "broken: true").expect("it is written");
    let report = live.reload(Request::new(Trigger::Code)).await;
    assert!(report.outcome == Outcome::Applied || live.current().broken, "the watcher may have been first");
    let mut failed = 0;
    until(PATIENCE, "the change to go back", || {
        failed += u32::from(http::get(served.address, "/orders").status == 500);
        !live.current().broken
    });
    assert!(failed >= 50, "{failed}");
    assert_eq!(http::get(served.address, "/orders").status, 200);
    let stats = live.stats();
    assert!(stats.rolled_back == 1 && stats.pinned, "{stats:?}");
    assert_eq!(live.running().trigger, Trigger::Probation);
    let again = live.reload(Request::new(Trigger::Code)).await;
    assert_eq!(again.outcome, Outcome::Rejected(Rejection::Pinned));
    served.end().await;
}
