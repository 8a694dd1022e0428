//! `wellkept serve`: everything wired together, from the configuration to the exit code.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use wellkept_health::{Checker, Component, History, Identity, RegisterError, Settings, Thresholds};
use wellkept_http::{
    Address, Agent, BindError, Doors, Figure, FigureKind, FigureValues, Figures, Server, ServerOptions, Tls,
};
use wellkept_shutdown::{EntranceKind, Hook, Phase, Report, Shutdown, Tracker, signals, watchdog};
#[cfg(feature = "postgres")]
use wellkept_store::{PostgresJobs, PostgresMaintenances, PostgresStore};
use wellkept_store::{ReopeningStore, SqliteStore, StoreError};
use wellkept_telemetry::logging::{Logging, LoggingStats};

use super::checks::{EVENT_LOOP, HISTORY};
use super::configuration::{Configuration, LoadError};
use super::history;
use super::listeners::{Door, Listeners};
use super::machine::SLOW_LOOP;
use super::reload::{ReloadStats, Reloader, reload_on, reload_once};
use super::store::StoreLocation;
use super::tls::RunningTls;
use crate::service::{OVERDUE, door_options, follow, grpc_options, tell_end, tell_systemd, watch_runtime};

/// How long the start waits to learn whose the store's file is.
const ASKING_WHOSE: Duration = Duration::from_secs(2);

/// The handlers of the signals that the program knows.
#[derive(Debug)]
pub struct Handlers {
    ending: signals::Signals,
    hangup: Signal,
}

impl Handlers {
    /// Installs them: the first thing that a program does, for a signal may come at any moment. Needs a runtime.
    pub fn install() -> Result<Self, StartError> {
        let ending = signals::install().map_err(StartError::Signals)?;
        let hangup = signal(SignalKind::hangup()).map_err(StartError::Signals)?;
        Ok(Self { ending, hangup })
    }

    /// Ends when a signal asks the process to end, which during the start is all there is to do. Cancel-safe.
    pub async fn asked_to_end(&mut self) {
        self.ending.next().await;
    }
}

/// Serves until a signal ends it, on the current runtime, which the checks run on; the doors have a small one of their
/// own, so that a busy check can't delay a probe. `logging` is the log, to change its level and to flush it at the end.
pub async fn serve(
    configuration: Configuration,
    handlers: Handlers,
    logging: Option<Logging>,
) -> Result<Report, StartError> {
    let settings = Settings {
        version: configuration.version.clone(),
        longest_maintenance: configuration.maintenance.longest,
        ..Settings::new(&configuration.service)
    };
    let settings = match &configuration.id {
        Some(id) => Settings { identity: Identity::named(id), ..settings },
        None => settings,
    };
    let (checker, engine) = Checker::new(settings);
    let (shutdown, sequence) = Shutdown::new(configuration.shutdown);
    follow(&shutdown, &checker);
    let _watchdog = watchdog::arm(&shutdown, OVERDUE).map_err(StartError::Thread)?;
    let _liveness = watch_runtime(&checker, configuration.liveness).map_err(StartError::Thread)?;
    // Of the components the engine tells.
    for warning in configuration.shutdown.warnings() {
        tracing::warn!(target: "wellkept::config", code = warning.code(), "{warning}");
    }
    for warning in configuration.listeners.warnings() {
        tracing::warn!(target: "wellkept::config", "{warning}");
    }

    refuse_others_file(&configuration.store).await?;
    let history = start_history(&configuration)?;
    checker.set_history(history.clone());
    keep_maintenances(&checker, &configuration.store)?;
    let store = configuration.store.clone();
    let own = own_components(&checker, &history);

    let tls = RunningTls::of(&configuration.listeners);
    let servers = Servers::bind(&configuration.listeners, &tls, descriptors())?;

    let books = Arc::new(std::sync::OnceLock::<Arc<Reloader>>::new());
    let registry = registry(logging.clone(), Arc::clone(&books));
    let names = configuration.listeners.names;
    let access = configuration.listeners.access();
    let doors = Doors::new(checker.clone(), shutdown.clone(), access, names, registry);
    let reloader = Reloader::start(configuration, checker.clone(), (doors.clone(), tls), logging.clone(), own)
        .map_err(StartError::Checks)?;
    let reloader = Arc::new(reloader);
    // Once they are registered and before they run: a job that is missing is told as such from the first moment on.
    keep_jobs(&checker, &store)?;
    drop(books.set(Arc::clone(&reloader)));
    let (reloads, ending) = (Arc::clone(&reloader), shutdown.clone());
    doors.on_reload(move || reload_once(Arc::clone(&reloads), ending.clone()));

    let doors_runtime = DoorsRuntime::start().map_err(StartError::Thread)?;
    open_doors(&doors_runtime, &shutdown, &doors, servers);
    if let Some(logging) = logging {
        let patience = shutdown.settings().flush;
        // A reader of the log that is stuck is no fault of the service: what is lost is counted.
        shutdown.on_flush(Hook::blocking("log", move || {
            logging.flush(patience);
        }));
    }

    let ending = shutdown.clone();
    tokio::spawn(engine.run(async move { ending.reached(Phase::ClosingResources).await }));
    tokio::spawn(handlers.ending.drive(shutdown.clone()));
    let systemd = tell_systemd(&shutdown, &checker);
    tokio::spawn(reload_on(handlers.hangup, Arc::clone(&reloader), shutdown.clone(), systemd));
    let report = sequence.run().await;
    tell_end(&report);
    Ok(report)
}

/// Refuses the file of another service, whose maintenances would be taken for this one's. A disk that does not say
/// holds the start for a bounded time only; the file is then refused when it is opened.
async fn refuse_others_file(store: &StoreLocation) -> Result<(), StartError> {
    let StoreLocation::Sqlite { path, owner } = store else { return Ok(()) };
    let (path, owner) = (path.clone(), owner.clone());
    let asking = tokio::task::spawn_blocking(move || SqliteStore::refuse_other(&path, &owner));
    match tokio::time::timeout(ASKING_WHOSE, asking).await {
        Ok(Ok(answer)) => answer.map_err(StartError::Store),
        _ => Ok(()),
    }
}

fn start_history(configuration: &Configuration) -> Result<History, StartError> {
    let retention = configuration.history;
    let history = match &configuration.store {
        StoreLocation::Sqlite { path, owner } => {
            history::say(retention, configuration.components());
            History::start_with(ReopeningStore::new(path.clone(), owner.clone()), retention)
        }
        #[cfg(feature = "postgres")]
        StoreLocation::Postgres(location) => {
            let store = PostgresStore::new(location.0.clone()).map_err(StartError::Postgres)?;
            History::start_with(store, retention)
        }
        StoreLocation::Memory => History::start(wellkept_health::Memory::default()),
    };
    history.map_err(StartError::Thread)
}

fn keep_maintenances(checker: &Checker, store: &StoreLocation) -> Result<(), StartError> {
    let started = match store {
        StoreLocation::Sqlite { path, owner } => {
            checker.keep_maintenances(ReopeningStore::new(path.clone(), owner.clone()))
        }
        #[cfg(feature = "postgres")]
        StoreLocation::Postgres(location) => {
            let store = PostgresMaintenances::new(location.0.clone()).map_err(StartError::Postgres)?;
            checker.share_maintenances(store)
        }
        StoreLocation::Memory => Ok(()),
    };
    started.map_err(StartError::Thread)
}

fn keep_jobs(checker: &Checker, store: &StoreLocation) -> Result<(), StartError> {
    let started = match store {
        StoreLocation::Sqlite { path, owner } => checker.keep_jobs(ReopeningStore::new(path.clone(), owner.clone())),
        #[cfg(feature = "postgres")]
        StoreLocation::Postgres(location) => {
            checker.share_jobs(PostgresJobs::new(location.0.clone()).map_err(StartError::Postgres)?)
        }
        StoreLocation::Memory => Ok(()),
    };
    started.map_err(StartError::Thread)
}

/// Raises the limit of open files to what is allowed, and tells it.
fn descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.or(limit.current);
    // Kept as it is where it can't be raised.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The servers of the doors, before they serve.
struct Servers {
    http: Server,
    admin: Option<Server>,
    grpc: Option<Server>,
    haproxy: Option<Agent>,
    /// How many of the gRPC door's connections may be taken by watchers.
    max_watches: usize,
}

impl Servers {
    /// Listens everywhere. Each door may take a quarter of the files that may be open, and the checks have the rest.
    fn bind(listeners: &Listeners, tls: &RunningTls, descriptors: u64) -> Result<Self, BindError> {
        let share = usize::try_from(descriptors / 4).unwrap_or(usize::MAX).max(8);
        let within =
            |options: ServerOptions| ServerOptions { max_connections: options.max_connections.min(share), ..options };
        let (probes, grpc) = (within(door_options()), within(grpc_options()));
        let max_watches = grpc.max_connections / 2;
        let at = |door: &Door, tls: &Option<Tls>| {
            let options = ServerOptions { socket_mode: door.mode, tls: tls.clone(), ..probes.clone() };
            Server::bind(&door.listen, options)
        };
        let http = at(&listeners.http, &tls.http)?;
        let admin = listeners.admin.as_ref().map(|admin| at(&admin.door, &tls.admin)).transpose()?;
        let grpc = listeners.grpc.map(|address| Server::bind(address, grpc)).transpose()?;
        let haproxy = listeners.haproxy.map(|haproxy| Agent::bind(haproxy.listen, haproxy.options)).transpose()?;
        Ok(Self { http, admin, grpc, haproxy, max_watches })
    }
}

/// What the program keeps of itself: its event loop, on liveness, and its store.
fn own_components(checker: &Checker, history: &History) -> Vec<Component> {
    let event_loop = checker.liveness().component(EVENT_LOOP, SLOW_LOOP).fingerprint(0);
    // Asking the recorder costs nothing, and what it says is not noise: one answer decides.
    let store = history.component(HISTORY).interval(Duration::from_secs(1));
    let store = store.thresholds(Thresholds::new(1, 1)).fingerprint(0);
    vec![event_loop, store]
}

fn open_doors(runtime: &DoorsRuntime, shutdown: &Shutdown, doors: &Doors, servers: Servers) {
    let Servers { http, admin, grpc, haproxy, max_watches } = servers;
    let serve = |server: Server, name, router| {
        let entrance = server.serve(name, router, Tracker::default());
        doors.show(&entrance);
        shutdown.add_entrance(EntranceKind::Probe, entrance);
    };
    let _entered = runtime.handle.enter();
    let (address, scheme) = (http.local_address().clone(), http.scheme());
    let both = admin.is_none() && address.is_local();
    serve(http.at_once(doors.at_once()), "http", if both { doors.admin() } else { doors.public() });
    say_where("probes and metrics", scheme, &address, "/health /livez /readyz /metrics");
    if both {
        say_where("status page and details", scheme, &address, "/ /health/detailed");
    } else if admin.is_none() {
        tracing::warn!(
            target: "wellkept",
            "details and the status page are off, {address} being open to others: add `admin: {{ listen: 127.0.0.1:8081 }}`"
        );
    }
    if let Some(admin) = admin {
        let (address, scheme) = (admin.local_address().clone(), admin.scheme());
        serve(admin.at_once(doors.at_once()), "admin", doors.admin());
        say_where("status page and details", scheme, &address, "/ /health/detailed");
    }
    if let Some(grpc) = grpc {
        let address = grpc.local_address().clone();
        serve(grpc, "grpc", doors.grpc(max_watches));
        tracing::info!(target: "wellkept", %address, service = "grpc.health.v1.Health", "gRPC health on {address}");
    }
    if let Some(agent) = haproxy {
        let address = agent.local_address();
        let entrance = agent.serve(doors.checker().clone());
        doors.show_agent(&entrance);
        shutdown.add_entrance(EntranceKind::Probe, entrance);
        tracing::info!(target: "wellkept", %address, "HAProxy's agent check on {address}");
    }
}

fn say_where(what: &str, scheme: &str, address: &Address, paths: &str) {
    match address {
        Address::Tcp(socket) => tracing::info!(target: "wellkept", %address, paths, "{what} on {scheme}://{socket}"),
        Address::Unix(_) => tracing::info!(target: "wellkept", %address, paths, scheme, "{what} on {address}"),
    }
}

/// Metrics of the parts that the doors don't know.
fn registry(logging: Option<Logging>, reloader: Arc<std::sync::OnceLock<Arc<Reloader>>>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(move || {
        let mut figures = reloader.get().map(|reloader| reload_figures(reloader.stats())).unwrap_or_default();
        figures.extend(logging.iter().flat_map(|logging| log_figures(logging.stats())));
        figures
    })));
    registry
}

fn reload_figures(stats: ReloadStats) -> Vec<Figure> {
    let outcomes =
        [("applied", stats.applied_total), ("unchanged", stats.unchanged_total), ("rejected", stats.rejected_total)];
    vec![
        Figure {
            name: "wellkept_config_reloads",
            help: "Reloads of the configuration by outcome.",
            kind: FigureKind::Counter,
            values: FigureValues::By("outcome", outcomes.map(|(word, count)| (word, count as f64)).into()),
        },
        Figure {
            name: "wellkept_config_applied_timestamp_seconds",
            help: "When the running configuration was applied.",
            kind: FigureKind::Gauge,
            values: FigureValues::One(stats.applied_at as f64 / 1000.0),
        },
    ]
}

fn log_figures(stats: LoggingStats) -> Vec<Figure> {
    let fates = [("written", stats.written), ("dropped", stats.dropped), ("failed", stats.failed)];
    vec![
        Figure {
            name: "wellkept_log_lines",
            help: "Lines of the log by what became of them.",
            kind: FigureKind::Counter,
            values: FigureValues::By("fate", fates.map(|(word, count)| (word, count as f64)).into()),
        },
        Figure {
            name: "wellkept_log_queued",
            help: "Lines of the log that wait to be written.",
            kind: FigureKind::Gauge,
            values: FigureValues::One(stats.queued as f64),
        },
    ]
}

/// A thread with a runtime of its own for the doors.
struct DoorsRuntime {
    handle: Handle,
    // Ends the thread when dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl DoorsRuntime {
    fn start() -> std::io::Result<Self> {
        let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::Builder::new().name("wk-doors".to_owned()).spawn(move || {
            // Ends with an error when the sender is dropped, which is just what is waited for.
            drop(runtime.block_on(stopped));
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }
}

/// Why the program could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no usable configuration.
    #[error(transparent)]
    Configuration(#[from] LoadError),
    /// Its checks can't be kept together.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Checks(Vec<RegisterError>),
    /// An address could not be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store's file is another service's.
    #[error(transparent)]
    Store(StoreError),
    /// The store in PostgreSQL can't be used as it is configured.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(wellkept_store::PostgresError),
    /// The signal handlers could not be installed.
    #[error("the signal handlers can't be installed: {0}")]
    Signals(std::io::Error),
    /// A thread could not be started.
    #[error("a thread can't be started: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    /// The program's exit code: 78 for the configuration, 69 when it can't listen, 70 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Checks(_) | Self::Store(_) => 78,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => 78,
            Self::Bind(_) => 69,
            Self::Signals(_) | Self::Thread(_) => 70,
        }
    }
}
