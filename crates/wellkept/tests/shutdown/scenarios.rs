//! What is particular to a child: its times, its runtime's work, and what is registered with it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustix::process::{Rlimit, getrlimit, setrlimit};
use tokio::sync::{Notify, Semaphore};
use wellkept::health::{ExportSettings, Exporter, ExporterError, StatusChange};
use wellkept::http::ServerOptions;
use wellkept::shutdown::{
    Hook, Phase, Resource, ResourceType, RestartLimits, Settings, Shutdown, Task, Tasks, Work, signals,
};
use wellkept::{Overdue, Service, ServiceOptions};

use crate::child::blocks;

/// Where a test lets the child go on, by making a file.
pub(crate) const GATES: &str = "GATES";
/// Where the probes are served.
pub(crate) const PROBES: &str = "PROBES";
/// How many tasks each of two parts has.
pub(crate) const PARTS: usize = 1_000;

/// The durations of a child: nothing that ends as it should comes near those of the drain and the deadline.
pub(crate) fn settings() -> Settings {
    let [deadline, announce, drain, resource, flush] = [15_000, 100, 5_000, 500, 300].map(Duration::from_millis);
    Settings { deadline, announce, drain, resource, flush, ..Settings::default() }
}

pub(crate) fn options(scenario: &str) -> ServiceOptions {
    let usual = settings();
    let long = Duration::from_secs(60);
    // Long enough for those who behave beside one who is cut.
    let impatient = Duration::from_millis(700);
    let shutdown = match scenario {
        "no time at all" => Settings { deadline: Duration::ZERO, ..usual },
        "impatient, time without end" => Settings { deadline: Duration::MAX, drain: impatient, ..usual },
        "all without end" => Settings {
            deadline: Duration::MAX,
            announce: Duration::MAX,
            drain: Duration::MAX,
            resource: Duration::MAX,
            flush: Duration::MAX,
            ..usual
        },
        _ if scenario.contains("impatient") => Settings { drain: impatient, ..usual },
        _ if scenario.contains("patient") => Settings { deadline: long, drain: long, flush: long / 4, ..usual },
        "gates" => Settings { deadline: long, announce: long / 60, drain: long / 6, resource: long / 6, ..usual },
        // Each of those who ask without a pause has its turn meanwhile, also on a busy machine.
        "hot" => Settings { announce: Duration::from_secs(1), ..usual },
        _ if scenario.contains("short") => Settings { deadline: Duration::from_secs(1), ..usual },
        _ => usual,
    };
    let overdue = if scenario.contains("short") { Overdue::Exit } else { Overdue::Wait };
    let server = ServerOptions {
        farewell_spread: Duration::from_millis(50),
        max_connections: 12_000,
        ..ServerOptions::default()
    };
    ServiceOptions { shutdown, overdue, server, ..ServiceOptions::default() }
}

/// Registers what the scenario needs. Gives its routes.
pub(crate) async fn prepare(scenario: &str, service: &mut Service) -> Router<Shutdown> {
    let shutdown = service.shutdown().clone();
    match scenario {
        "closers" => closers(&shutdown),
        "a closer that blocks" => add(&shutdown, "blocks", async || blocks()),
        "a closer that waits for the end" => {
            let ending = shutdown.clone();
            add(&shutdown, "waits", async move || drop(ending.shut_down("a closer", None).await));
        }
        "a leaked checkout" => leaked_checkout(&shutdown),
        "patient, a flush that hangs" => shutdown.on_flush(Hook::blocking("fsync", blocks)),
        "short, a flush that hangs" => {
            shutdown.on_flush(Hook::blocking("fsync", blocks));
            shutdown.on_flush(Hook::blocking("other", || println!("flushed")));
        }
        "short, stopped" | "one thread, short, stopped" => shutdown.on_flush(Hook::blocking("other", flush)),
        "a collector that is down" => export(service, Collector::Down),
        "a collector that hangs" => export(service, Collector::Hangs),
        "a crash loop" => crash_loop(&shutdown),
        "parts" => return parts(&shutdown),
        "work again and again" => return work_again_and_again(&shutdown),
        "children" => return Router::new().route("/child", get(child)),
        "gates" => gates(service),
        "few descriptors" => few_descriptors(),
        "starts" => start(&shutdown).await,
        _ => {}
    }
    Router::new()
}

fn add<F, Fut>(shutdown: &Shutdown, name: &str, close: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    shutdown.register(Resource::new(name, ResourceType::Custom, close)).expect("it is early");
}

/// One of each kind; the last one closes first.
fn closers(shutdown: &Shutdown) {
    add(shutdown, "last", async || println!("the last one closed"));
    let panics = Resource::new("panics", ResourceType::Custom, async || -> () { panic!("on purpose") });
    // A panic takes its time on a busy machine.
    shutdown.register(panics.timeout(Duration::from_secs(5))).expect("it is early");
    let fails = Resource::new("fails", ResourceType::Custom, async || Err::<(), _>("no such luck"));
    shutdown.register(fails).expect("it is early");
    shutdown.register(Resource::blocking("blocks", ResourceType::Custom, blocks)).expect("it is early");
    add(shutdown, "hangs", std::future::pending);
    let again = shutdown.clone();
    add(shutdown, "registers another", async move || {
        let another = again.register(Resource::new("another", ResourceType::Custom, async || {}));
        println!("another closer: {}", another.expect_err("it is too late").code());
    });
}

/// A pool that closes when all of its connections are back, of which one never comes.
fn leaked_checkout(shutdown: &Shutdown) {
    let pool = Arc::new(Semaphore::new(2));
    pool.try_acquire().expect("it is new").forget();
    let pool = Resource::new("pool", ResourceType::Database, async move || drop(pool.acquire_many(2).await));
    shutdown.register(pool).expect("it is early");
    add(shutdown, "other", async || println!("the other one closed"));
}

#[derive(Clone, Copy)]
enum Collector {
    Down,
    Hangs,
}

impl Exporter for Collector {
    fn change(&mut self, _: &StatusChange) -> Result<(), ExporterError> {
        match self {
            // Nobody listens on the port of `discard` there.
            Self::Down => std::net::TcpStream::connect("127.0.0.1:9").map(drop)?,
            Self::Hangs => blocks(),
        }
        Ok(())
    }
}

fn export(service: &Service, collector: Collector) {
    service.check("queue", async || ()).expect("the name is free");
    service.export("collector", collector, ExportSettings::default()).expect("it is the only one");
}

fn crash_loop(shutdown: &Shutdown) {
    let limits = RestartLimits {
        first_pause: Duration::from_secs(60),
        longest_pause: Duration::from_secs(60),
        ..RestartLimits::default()
    };
    let fails = Task::new("consumer", async |_| {
        println!("the consumer crashed");
        Err::<(), _>("no broker")
    });
    Tasks::new(shutdown).spawn(fails.limits(limits)).expect("it is early");
}

/// Takes a part of the time that is kept for it.
fn flush() {
    // pace: what a flush takes, as a disk or a network would.
    std::thread::sleep(Duration::from_millis(100));
    println!("flushed");
}

/// Two parts of many tasks, of which one can be stopped.
fn parts(shutdown: &Shutdown) -> Router<Shutdown> {
    let (one, other) = (Tasks::new(shutdown), Tasks::new(shutdown));
    for number in 0..PARTS {
        for part in [&one, &other] {
            let task = Task::new(format!("subsystem {number}"), async |context| context.stopping().await);
            part.spawn(task).expect("there is room");
        }
        let closes = Resource::new(format!("closer {number}"), ResourceType::Custom, async || {});
        shutdown.register(closes.parallel()).expect("there is room");
    }
    let running = {
        let (one, other) = (one.clone(), other.clone());
        move || async move { format!("{} and {}", one.stats().len(), other.stats().len()) }
    };
    let stop = move || async move { format!("{} are left", one.stop_all(Duration::from_secs(5)).await.len()) };
    // The other part lives as long as the routes.
    Router::new().route("/stop", get(stop)).route("/running", get(running))
}

/// A task that nobody supervises and that begins work for as long as it may.
fn work_again_and_again(shutdown: &Shutdown) -> Router<Shutdown> {
    let refused = Arc::new(Notify::new());
    let told = Arc::clone(&refused);
    // The end comes within milliseconds of the drain: it waits for what it is about.
    add(shutdown, "the last unit", move || async move { told.notified().await });
    let shutdown = shutdown.clone();
    let begin = move || async move {
        tokio::spawn(async move {
            let mut done = 0_u64;
            while let Ok(unit) = shutdown.tracker().start_work(Work::new("unit", done.to_string())) {
                tokio::task::yield_now().await;
                drop(unit);
                done += 1;
            }
            println!("no more work after {done} units");
            refused.notify_one();
            // And one that asks nobody.
            loop {
                tokio::task::yield_now().await;
            }
        });
    };
    Router::new().route("/begin", get(begin))
}

/// Starts a program that does not listen to SIGTERM, and tells who it is.
async fn child() -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' TERM; while :; do sleep 1; done"]);
    let child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.expect("there is a shell").id().to_string()
}

/// Leaves some tens of descriptors for connections.
fn few_descriptors() {
    let maximum = getrlimit(rustix::process::Resource::Nofile).maximum;
    let few = Rlimit { current: Some(64), maximum };
    setrlimit(rustix::process::Resource::Nofile, few).expect("less is always allowed");
}

/// Has the delay and the closing of resources last until the test has seen enough.
fn gates(service: &mut Service) {
    let probes: SocketAddr = std::env::var(PROBES).ok().and_then(|address| address.parse().ok()).expect("an address");
    let this = std::mem::replace(service, Service::new("none", "0"));
    *service = this.probes(probes);
    service.shutdown().before(Hook::blocking("gate", || pass("delaying")));
    let gate = Resource::blocking("gate", ResourceType::Custom, || pass("closing_resources"));
    service.resource(gate).expect("it is early");
}

/// Waits for the test to open a gate, on the thread that asks.
pub(crate) fn pass(gate: &str) {
    let gate = PathBuf::from(std::env::var_os(GATES).expect("the test has gates")).join(gate);
    wellkept_testkit::until(Duration::from_secs(10), "a gate to open", || gate.exists());
}

/// A start in steps, in the middle of which the signal comes.
async fn start(shutdown: &Shutdown) {
    let signals = signals::install().expect("it can");
    tokio::spawn(signals.drive(shutdown.clone()));
    add(shutdown, "database", async || println!("the database closed"));
    println!("half started");
    shutdown.reached(Phase::Initiated).await;
    // The cache would come now.
}
