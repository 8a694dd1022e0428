//! What a whole service does: its doors, its checks, its clock.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use wellkept_health::{Identity, Status, TokioClock};
use wellkept_shutdown::Cause;
use wellkept_testkit::{free_address, until_some};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_on_a_unix_socket_has_doors_for_its_own_user_and_takes_its_file_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.sock");
    let options = ServiceOptions { doors: ApplicationDoors::Operators, ..ServiceOptions::default() };
    let service = Service::with_options("orders", "1.4.2", options);
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve(Router::new(), Address::unix(&path)));
    let ask = |path: &std::path::Path| {
        let mut socket = std::os::unix::net::UnixStream::connect(path).ok()?;
        write!(socket, "GET /health/detailed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let answer = until_some(Duration::from_secs(20), "the socket to be served", || ask(&path));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    assert!(!path.exists());
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread")]
async fn a_service_and_its_admin_door_speak_tls_where_they_are_told_to() {
    use wellkept_http::{Tls, TlsFiles, TlsIdentity};

    let authority = wellkept_testkit::Authority::new();
    let issued = authority.issue("localhost", 30);
    let files = TlsFiles { certificate: issued.certificate, key: issued.key, client_ca: None };
    let tls = Tls::new(TlsIdentity::load(&files).unwrap());
    let (application, admin) = (free_address(), free_address());
    let limits = ServerOptions { tls: Some(tls.clone()), ..ServerOptions::default() };
    let options = ServiceOptions { server: limits, admin_tls: Some(tls), ..ServiceOptions::default() };
    let service = Service::with_options("orders", "1.4.2", options).admin(admin, Access::loopback_only());
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve(Router::new(), application));
    until_some(Duration::from_secs(20), "the doors to open", || TcpStream::connect(admin).ok());
    for address in [application, admin] {
        assert!(ask(address, "/livez").unwrap().starts_with("HTTP/1.1 400 "), "in plain");
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let client = wellkept_net::tls::Client::with_ca_file(&authority.ca_file()).unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        client.connect(socket, "localhost", deadline).await.unwrap();
    }
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_the_place_of_another_and_gives_way_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let (address, agent) = (free_address(), free_address());
    let service = |version: &str| Service::new("orders", version).haproxy(agent, AgentOptions::default());
    let served = tokio::spawn(service("1").handover(&path).serve(Router::new(), address));
    let answers = |wanted: &str| ask(address, "/health").ok().filter(|answer| answer.contains(wanted));
    until_some(PATIENCE, "the first to serve", || answers("\"version\":\"1\"").filter(|_| path.exists()));

    let next = service("2").take_over(&path);
    let held = next.hold_startup();
    let shutdown = next.shutdown().clone();
    let next = tokio::spawn(next.serve(Router::new(), address));
    assert!(answers("\"version\":\"1\"").is_some(), "the next one is not ready");
    drop(held);
    let report = served.await.unwrap().unwrap();
    assert_eq!((report.cause, report.status), (Cause::HandedOver, wellkept_shutdown::Status::Successful));
    assert!(answers("\"version\":\"2\"").is_some());
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(next.await.unwrap().unwrap().exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_ready_in_time_fails_and_the_one_before_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    let address = free_address();
    let service = Service::new("orders", "1").handover(&path).handover_within(Duration::from_millis(100));
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve(Router::new(), address));
    until_some(PATIENCE, "the first to serve", || ask(address, "/health").ok().filter(|_| path.exists()));
    let next = Service::new("orders", "2").take_over(&path);
    let _held = next.hold_startup();
    let error = next.serve(Router::new(), address).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("serve.succession", 69));
    assert!(ask(address, "/health").unwrap().contains("\"version\":\"1\""));
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
}

#[cfg(feature = "grpc")]
#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_door_of_a_service_opens_and_closes_with_it() {
    let (application, grpc) = (free_address(), free_address());
    let service = Service::new("orders", "1.4.2").grpc(grpc);
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve(Router::new(), application));
    // It speaks HTTP/2 only, and says so.
    let refusal = until_some(Duration::from_secs(20), "the door to open", || ask(grpc, "/").ok());
    assert!(refusal.starts_with("HTTP/1.1 505 "), "{refusal}");
    let metrics = ask(application, "/metrics").unwrap();
    assert!(metrics.contains("wellkept_server_connections_limit{door=\"grpc\"} 2000.0"), "{metrics}");
    assert!(metrics.contains("wellkept_grpc_watches_limit 1000.0"), "{metrics}");
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    ask(grpc, "/").unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_for_haproxy_of_a_service_opens_and_closes_with_it() {
    let (application, agent) = (free_address(), free_address());
    let service = Service::new("orders", "1.4.2").haproxy(agent, AgentOptions::default());
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve(Router::new(), application));
    let says = || {
        let mut line = String::new();
        TcpStream::connect(agent).ok()?.read_to_string(&mut line).ok()?;
        (line == "ready up 100%\n").then_some(())
    };
    until_some(Duration::from_secs(20), "the agent to say that the service is ready", says);
    let metrics = ask(application, "/metrics").unwrap();
    assert!(metrics.contains("wellkept_haproxy_connections_limit 64.0"), "{metrics}");
    // Answered is what the other end has taken, which is known a moment later.
    until_some(Duration::from_secs(20), "an answer to be counted", || {
        let metrics = ask(application, "/metrics").unwrap();
        (!metrics.contains("wellkept_haproxy_checks_total{fate=\"answered\"} 0.0")).then_some(())
    });
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    TcpStream::connect(agent).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_test_drives_the_time_of_a_whole_service() {
    let settings = Settings { clock: TokioClock::start(), ..Settings::new("orders") };
    let service = Service::with_settings(settings, ServiceOptions::default());
    let works = Arc::new(AtomicBool::new(true));
    service
        .check_with("queue", Arc::clone(&works), async |works| {
            works.load(Ordering::SeqCst).then_some(()).ok_or("stuck")
        })
        .unwrap();
    let (checker, shutdown) = (service.checker().clone(), service.shutdown().clone());
    let served = tokio::spawn(service.serve(Router::new(), free_address()));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(checker.readiness().ready);
    works.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!checker.readiness().ready);
    assert_eq!(checker.status(), Status::Unhealthy);
    assert!(checker.snapshot().taken().to_string().starts_with("2026-01-01T0"), "the clock is the one that was given");
    // The shutdown hands over on threads of their own, which paused time would not wait for.
    tokio::time::resume();
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
}

#[test]
fn replicas_share_the_identity_that_they_are_given() {
    let replica = |instance: &str| {
        let settings =
            Settings { identity: Identity::named("orders"), instance: instance.to_owned(), ..Settings::new("orders") };
        Service::with_settings(settings, ServiceOptions::default()).checker().identity()
    };
    assert_eq!(replica("a"), replica("b"));
    assert_ne!(replica("a"), Service::new("orders", "1").checker().identity());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_serves_on_a_socket_that_listens_already() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It waits in the queue of the socket that is handed over.
    let early = std::thread::spawn(move || ask(address, "/livez"));
    let service = Service::new("orders", "1.4.2");
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve_on(Router::new(), listener.into_std().unwrap()));
    let answer = tokio::task::spawn_blocking(|| early.join().unwrap().unwrap()).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let blocking = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    ask(address, "/livez").unwrap_err();

    let address = blocking.local_addr().unwrap();
    let service = Service::new("orders", "1.4.2");
    let shutdown = service.shutdown().clone();
    let served = tokio::spawn(service.serve_on(Router::new(), blocking));
    until_some(Duration::from_secs(20), "it to answer", || ask(address, "/livez").ok());
    shutdown.trigger(Cause::requested("test"));
    assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_service_is_correlated_and_measured_by_itself_unless_that_is_turned_off() {
    use axum::routing::get;
    use wellkept_http::{RequestOptions, RequestPart};

    let options = RequestOptions::default().without(RequestPart::Metrics).without(RequestPart::Correlation);
    for (requests, is_on) in [(RequestOptions::default(), true), (options, false)] {
        let address = free_address();
        let service =
            Service::with_options("orders", "1.4.2", ServiceOptions { requests, ..ServiceOptions::default() });
        service.system_metrics(&SystemOptions::default()).unwrap();
        let shutdown = service.shutdown().clone();
        let app = Router::new().route("/orders/{id}", get(async || "an order"));
        let served = tokio::spawn(service.serve(app, address));
        let answer = until_some(PATIENCE, "it to serve", || ask(address, "/orders/7").ok());
        assert_eq!(answer.to_lowercase().contains("x-request-id: "), is_on, "{answer}");
        ask(address, "/nowhere").unwrap();
        let metrics = ask(address, "/metrics").unwrap();
        let counted = |route: &str, status: &str| {
            let labels = format!("{{route=\"{route}\",method=\"GET\",status=\"{status}\"}} 1\n");
            metrics.contains(&format!("wellkept_http_request_duration_seconds_count{labels}"))
        };
        assert_eq!((counted("/orders/{id}", "2xx"), counted("unmatched", "4xx")), (is_on, is_on), "{metrics}");
        assert!(metrics.contains("\nwellkept_http_requests_in_flight 0"), "{metrics}");
        assert!(metrics.contains("\nwellkept_system_memory_limit_bytes{scope=\"host\"} "), "{metrics}");
        assert!(!metrics.contains("route=\"/metrics\""), "probes are no requests of the application: {metrics}");
        shutdown.trigger(Cause::requested("test"));
        assert_eq!(served.await.unwrap().unwrap().exit_code(), 0);
    }
}
