//! The systems that are compared: each with ten checks of one dependency, and an HTTP endpoint that tells of them.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use axum_health::prelude::{Health, HealthBuilder, HealthDetail, HealthIndicator, health_check};
use health::{PeriodicChecker, Reporter as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use wellkept::health::{AnyCheck, Checker, Component, Settings};
use wellkept::http::{Access, Doors, Names, Server, ServerOptions};
use wellkept::shutdown::{Shutdown, Tracker};
use wellkept_testkit::{Program, node, python};

use super::dependency::ask;

/// Checks of each system.
pub(super) const CHECKS: usize = 10;
/// How often those run that have a schedule of their own.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// How long a program may take to begin.
const START: Duration = Duration::from_secs(60);

/// Something that serves. It ends when dropped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    _process: Process,
}

enum Process {
    Thread(Option<Runtime>),
    Program { _program: Program },
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Thread(runtime) = self
            && let Some(runtime) = runtime.take()
        {
            runtime.shutdown_background();
        }
    }
}

/// A system's name, and what starts it; an error is why it can't be had on this machine.
pub(super) type System = (&'static str, fn(SocketAddr) -> Result<Running, String>);

pub(super) const SYSTEMS: [System; 7] = [
    ("wellkept", |dependency| Ok(in_process("/health", async move { wellkept(dependency) }))),
    ("bare axum handler, no checks", |_| Ok(in_process("/health", bare()))),
    ("`health` 0.2.0 (Rust), in the background", |dependency| Ok(in_process("/health", periodic(dependency)))),
    ("`axum-health` 0.2.1 (Rust)", |dependency| Ok(in_process("/health", indicators(dependency)))),
    ("`@godaddy/terminus` 4.12.1 (Node)", terminus),
    ("`fastapi-health` 0.4.0 (Python)", fastapi),
    ("`django-health-check` 4.8.0 (Python)", django),
];

fn wellkept(dependency: SocketAddr) -> SocketAddr {
    let (checker, engine) = Checker::new(Settings::new("orders"));
    for number in 0..CHECKS {
        let check = AnyCheck::from_fn(move || ask(dependency));
        checker.register(Component::new(format!("check-{number}"), check).interval(INTERVAL)).expect("the name is new");
    }
    tokio::spawn(engine.run(std::future::pending()));
    let (shutdown, _sequence) = Shutdown::new(wellkept::shutdown::Settings::default());
    let registry = wellkept::telemetry::metrics::Metrics::new();
    let doors = Doors::new(checker, shutdown, Access::loopback_only(), Names::Shown, registry);
    let server = Server::bind(([127, 0, 0, 1], 0), ServerOptions::default()).expect("a port is free");
    let address = server.local_address().tcp().expect("it is bound to TCP");
    server.serve("bench", doors.public(), Tracker::default());
    address
}

async fn bare() -> SocketAddr {
    serve(Router::new().route("/health", get(async || "{\"status\":\"healthy\"}"))).await
}

async fn periodic(dependency: SocketAddr) -> SocketAddr {
    let reporters: Vec<_> = (0..CHECKS)
        .map(|number| {
            let check = health::check_future(format!("check-{number}"), move || ask(dependency));
            let config = health::Config { check_interval: INTERVAL, ..health::Config::default() };
            let reporter = PeriodicChecker::new(check, config);
            tokio::spawn(reporter.clone().run());
            reporter
        })
        .collect();
    let told = get(async move || {
        let healthy = reporters.iter().all(|one| one.status() == Some(health::Status::Healthy));
        if healthy { (StatusCode::OK, "healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy") }
    });
    serve(Router::new().route("/health", told)).await
}

struct Indicator {
    name: String,
    dependency: SocketAddr,
}

#[async_trait]
impl HealthIndicator for Indicator {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn details(&self) -> HealthDetail {
        match ask(self.dependency).await {
            Ok(()) => HealthDetail::up(),
            Err(_) => HealthDetail::down(),
        }
    }
}

async fn indicators(dependency: SocketAddr) -> SocketAddr {
    let all = (0..CHECKS).map(|number| Indicator { name: format!("check-{number}"), dependency });
    let health = all.fold(Health::builder(), HealthBuilder::with_indicator).build();
    serve(Router::new().route("/health", get(health_check)).layer(health)).await
}

fn terminus(dependency: SocketAddr) -> Result<Running, String> {
    let modules = or_its_panic(|| node::modules(&["@godaddy/terminus@4.12.1"]))?;
    let mut command = Command::new("node");
    command.arg(script("terminus.js")).env("NODE_PATH", modules);
    program("/health", &mut command, dependency)
}

fn fastapi(dependency: SocketAddr) -> Result<Running, String> {
    let python = python_with(&["fastapi==0.165.0", "fastapi-health==0.4.0", "uvicorn==0.54.0"])?;
    program("/health", Command::new(python).arg(script("fastapi_health_app.py")), dependency)
}

fn django(dependency: SocketAddr) -> Result<Running, String> {
    let python = python_with(&["django==5.2.19", "django-health-check==4.8.0", "uvicorn==0.54.0"])?;
    program("/health?format=json", Command::new(python).arg(script("django_health_check_app.py")), dependency)
}

/// One thread for the server, as the programs have.
fn in_process(path: &'static str, start: impl Future<Output = SocketAddr>) -> Running {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let address = runtime.block_on(start);
    Running { address, path, _process: Process::Thread(Some(runtime)) }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A program that prints `listening on PORT`.
fn program(path: &'static str, command: &mut Command, dependency: SocketAddr) -> Result<Running, String> {
    command.env("DEPENDENCY_PORT", dependency.port().to_string()).env("CHECKS", CHECKS.to_string());
    let (program, address) = or_its_panic(|| Program::listening(command, START))?;
    Ok(Running { address, path, _process: Process::Program { _program: program } })
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

fn python_with(packages: &[&str]) -> Result<PathBuf, String> {
    or_its_panic(|| python::environment(packages).join("python"))
}

/// The test helpers panic when something is not there; here that is a line of the table.
fn or_its_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => "it panicked".to_owned(),
    })
}
