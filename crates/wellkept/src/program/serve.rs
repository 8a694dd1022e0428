//! `wellkept serve`: everything wired together, from the configuration to the exit code.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use wellkept_config::{Control as _, Live};
use wellkept_health::{Checker, Component, History, Identity, RegisterError, Settings, Thresholds};
use wellkept_http::handover::Before;
use wellkept_http::{Address, Agent, BindError, Doors, Listener, Listening, Server, ServerOptions, Sockets, Tls};
use wellkept_shutdown::{EntranceKind, Phase, Report, Shutdown, Tracker, signals, watchdog};
#[cfg(feature = "postgres")]
use wellkept_store::{PostgresJobs, PostgresMaintenances, PostgresStore};
use wellkept_store::{ReopeningStore, SqliteStore, StoreError};
use wellkept_telemetry::logging::Logging;

use super::addition;
use super::checks::{EVENT_LOOP, HISTORY};
use super::configuration::Configuration;
use super::history;
use super::listeners::{Admin, Door, Haproxy, Listeners};
use super::machine::SLOW_LOOP;
use super::metrics;
use super::reload::Parts;
use super::store::StoreLocation;
use super::succession::{Gate, HandoverPlace, Start, refuse_unclaimed, take_in_maintenances};
use super::tls::RunningTls;
use crate::service::{
    OVERDUE, Role, Settled, SuccessionError, begin, close_at_the_end, door_options, follow, grpc_options, offer,
    reload_on, settle, tell_end, tell_systemd, watch_runtime, write_at_the_end, write_versions_at_the_end,
};

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
/// own, so that a busy check can't delay a probe. `start` has the sockets that are used instead of opening some, and
/// whether the process that serves already is replaced. `live` is the configuration, which is closed to changes once the
/// shutdown begins. `logging` is the log, to change its level and to flush it at the end.
pub async fn serve(
    live: Live<Configuration>,
    start: Start,
    handlers: Handlers,
    logging: Option<Logging>,
) -> Result<Report, StartError> {
    let configuration = live.current();
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
    for warning in configuration.listeners.warnings().chain(configuration.logging.warnings()) {
        tracing::warn!(target: "wellkept::config", "{warning}");
    }

    refuse_others_file(&configuration.store).await?;
    let succession = HandoverPlace::with(configuration.handover.as_ref(), start.role)?;
    let (taking, handed) = begin(succession.as_ref()).await?.unzip();
    let gate = Gate::new(taking.is_some());
    let history = start_history(&configuration, &gate)?;
    checker.set_history(history.clone());
    let store = configuration.store.clone();
    if gate.is_open() {
        keep_maintenances(&checker, &store)?;
    } else {
        take_in_maintenances(&checker, store.clone()).await;
    }
    let own = own_components(&checker, &history);
    let tls = RunningTls::of(&configuration.listeners);
    let mut sockets = start.activated;
    sockets.extend(handed);
    let mut servers = Servers::bind(&configuration.listeners, &tls, descriptors(), &mut sockets)?;
    refuse_unclaimed(&sockets)?;
    drop(sockets);

    let metrics = metrics::registry(configuration.metrics, logging.clone());
    let names = configuration.listeners.names;
    let access = configuration.listeners.access();
    #[cfg(feature = "otlp")]
    if let Some(options) = configuration.otlp.clone() {
        let otlp = crate::otlp::start(options).map_err(StartError::Otlp)?;
        crate::otlp::push(&otlp, &metrics);
        crate::service::export_to_the_end(&shutdown, &metrics);
        // Keeps it running until then, too.
        crate::otlp::follow(&otlp, &shutdown);
    }
    let doors = Doors::new(checker.clone(), shutdown.clone(), access, names, metrics);
    if let Some(logging) = &logging {
        doors.show_logging(logging);
    }
    let parts = Parts { checker: checker.clone(), own, doors: doors.clone(), tls, logging: logging.clone() };
    parts.follow(&live).map_err(StartError::Checks)?;
    // Once they are registered and before they run: a job that is missing is told as such from the first moment on.
    if gate.is_open() {
        keep_jobs(&checker, &store)?;
    }
    doors.show_configuration(Arc::new(live.clone()));
    let beside = checker.clone();
    doors.read_components(move |item| addition::read(item, &beside));
    let closing = live.clone();
    close_at_the_end(move || closing.close(), &shutdown);
    write_versions_at_the_end(&live, &shutdown);

    let doors_runtime = DoorsRuntime::start().map_err(StartError::Thread)?;
    if let Some(logging) = &logging {
        write_at_the_end(logging, &shutdown);
    }

    let ending = shutdown.clone();
    tokio::spawn(engine.run(async move { ending.reached(Phase::ClosingResources).await }));
    tokio::spawn(handlers.ending.drive(shutdown.clone()));
    let role = if taking.is_some() { Role::Successor } else { Role::First };
    let settled = match taking {
        Some(taking) => Some(settle(taking, &checker, &shutdown).await.map_err(SuccessionError::from)?),
        None => None,
    };
    if matches!(settled, Some(Settled::Ends)) {
        gate.forgo();
    } else {
        let before = settled.and_then(Settled::before);
        if let Some(before) = before.clone() {
            servers.adopt_files();
            tokio::spawn(keep_after(before, gate, checker.clone(), store, live.clone()));
        }
        let _entered = doors_runtime.handle.enter();
        let listening = open_doors(&shutdown, &doors, servers);
        if let Some(succession) = &succession {
            offer(succession, before, &shutdown, &checker, listening);
        }
    }
    let _watching = configuration.reload.watch().map(|options| live.watch(options));
    let systemd = tell_systemd(&shutdown, &checker, role);
    tokio::spawn(reload_on(handlers.hangup, Arc::new(live), checker.clone(), logging, systemd));
    let report = sequence.run().await;
    tell_end(&report, doors.events());
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

/// Keeps what the process before has kept, when that one has ended: a file is written by one process at a time.
async fn keep_after(mut before: Before, gate: Gate, checker: Checker, store: StoreLocation, live: Live<Configuration>) {
    before.ended().await;
    tracing::info!(target: "wellkept::handover", "the process before has ended");
    gate.open();
    let keeping = move || keep_maintenances(&checker, &store).and_then(|()| keep_jobs(&checker, &store));
    if let Ok(Err(error)) = tokio::task::spawn_blocking(keeping).await {
        tracing::error!(target: "wellkept::handover", %error, "maintenances and jobs are in memory only");
    }
    // What waits is written before anything is read.
    if let Err(error) = live.versions().await {
        tracing::error!(target: "wellkept::handover", %error, "versions of the configuration are in memory only");
    }
}

fn start_history(configuration: &Configuration, gate: &Gate) -> Result<History, StartError> {
    let retention = configuration.history;
    let history = match &configuration.store {
        StoreLocation::Sqlite { path, owner } => {
            history::say(retention, configuration.components());
            let store = ReopeningStore::new(path.clone(), owner.clone());
            History::start_with(gate.before(store, Some(path.clone())), retention)
        }
        #[cfg(feature = "postgres")]
        StoreLocation::Postgres(location) => {
            let store = PostgresStore::new(location.0.clone()).map_err(StartError::Postgres)?;
            History::start_with(gate.before(store, None), retention)
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
    fn bind(
        listeners: &Listeners,
        tls: &RunningTls,
        descriptors: u64,
        sockets: &mut Sockets,
    ) -> Result<Self, StartError> {
        let share = usize::try_from(descriptors / 4).unwrap_or(usize::MAX).max(8);
        let within =
            |options: ServerOptions| ServerOptions { max_connections: options.max_connections.min(share), ..options };
        let (probes, grpc) = (within(door_options()), within(grpc_options()));
        let max_watches = grpc.max_connections / 2;
        let at = |socket: Option<Listener>, address: &Address, options: ServerOptions| match socket {
            Some(socket) => Server::on(socket, options),
            None => Server::bind(address, options),
        };
        let with = |door: &Door, tls: &Option<Tls>| ServerOptions {
            socket_mode: door.mode,
            tls: tls.clone(),
            ..probes.clone()
        };
        let admin = listeners.admin.as_ref().map(|Admin { door, .. }| {
            at(sockets.take_for("admin", &door.listen), &door.listen, with(door, &tls.admin))
        });
        let admin = admin.transpose()?;
        // The configuration was looked at when it was read; a socket may listen elsewhere.
        if let (Some(server), Some(Admin { token: None, .. })) = (&admin, &listeners.admin)
            && !server.local_address().is_local()
        {
            return Err(StartError::OpenAdmin { address: server.local_address().clone() });
        }
        let grpc = listeners.grpc.map(|address| {
            let address = Address::from(address);
            at(sockets.take_for("grpc", &address), &address, grpc)
        });
        let grpc = grpc.transpose()?;
        let haproxy =
            listeners.haproxy.map(|Haproxy { listen, options }| match sockets.take_for("haproxy", &listen.into()) {
                Some(socket) => Agent::on(socket, options),
                None => Agent::bind(listen, options),
            });
        let haproxy = haproxy.transpose()?;
        let door = &listeners.http;
        let socket = sockets.take_for("http", &door.listen).or_else(|| sockets.take_only());
        let http = at(socket, &door.listen, with(door, &tls.http))?;
        Ok(Self { http, admin, grpc, haproxy, max_watches })
    }

    /// Has the files of Unix sockets that were handed over removed at the end.
    fn adopt_files(&mut self) {
        for server in [Some(&mut self.http), self.admin.as_mut(), self.grpc.as_mut()].into_iter().flatten() {
            server.adopt_file();
        }
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

/// Serves on the current runtime. Returns what another process may listen on instead.
fn open_doors(shutdown: &Shutdown, doors: &Doors, servers: Servers) -> Vec<Arc<dyn Listening>> {
    let Servers { http, admin, grpc, haproxy, max_watches } = servers;
    let mut listening: Vec<Arc<dyn Listening>> = Vec::new();
    let mut serve = |server: Server, name, router| {
        let entrance = server.serve(name, router, Tracker::default());
        doors.show(&entrance);
        listening.push(entrance.clone());
        shutdown.add_entrance(EntranceKind::Probe, entrance);
    };
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
        listening.push(entrance.clone());
        shutdown.add_entrance(EntranceKind::Probe, entrance);
        tracing::info!(target: "wellkept", %address, "HAProxy's agent check on {address}");
    }
    listening
}

fn say_where(what: &str, scheme: &str, address: &Address, paths: &str) {
    match address {
        Address::Tcp(socket) => tracing::info!(target: "wellkept", %address, paths, "{what} on {scheme}://{socket}"),
        Address::Unix(_) => tracing::info!(target: "wellkept", %address, paths, scheme, "{what} on {address}"),
    }
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
    /// Its checks can't be kept together.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Checks(Vec<RegisterError>),
    /// An address could not be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket of the service manager is for no door.
    #[error(
        "the socket `{name}` of the service manager, on {address}, is for no door: name it http, admin, grpc or haproxy \
         (systemd: `FileDescriptorName=`), and configure that door"
    )]
    UnclaimedSocket {
        /// Its name.
        name: String,
        /// Where it listens.
        address: Address,
    },
    /// A socket that was handed over would have opened the admin door to everyone.
    #[error("the admin door on {address} would be open to everyone: name a `token_file`, or listen on 127.0.0.1")]
    OpenAdmin {
        /// Where the socket listens.
        address: Address,
    },
    /// A process shall be replaced, and nothing says where it is.
    #[error(
        "to take over, the configuration must say where: `shutdown: {{ handover: {{ path: /run/wellkept/handover.sock }} }}`"
    )]
    NoHandover,
    /// The place of the process before could not be taken; it goes on.
    #[error(transparent)]
    Succession(#[from] SuccessionError),
    /// The store's file is another service's.
    #[error(transparent)]
    Store(StoreError),
    /// The store in PostgreSQL can't be used as it is configured.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(wellkept_store::PostgresError),
    /// Metrics can't be pushed as it is configured.
    #[cfg(feature = "otlp")]
    #[error("otlp: {0}")]
    Otlp(crate::otlp::StartError),
    /// The signal handlers could not be installed.
    #[error("the signal handlers can't be installed: {0}")]
    Signals(std::io::Error),
    /// A thread could not be started.
    #[error("a thread can't be started: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    /// The program's exit code: 78 for the configuration, 69 when it can't listen or take over, 70 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Checks(_)
            | Self::Store(_)
            | Self::UnclaimedSocket { .. }
            | Self::OpenAdmin { .. }
            | Self::NoHandover => 78,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => 78,
            #[cfg(feature = "otlp")]
            Self::Otlp(_) => 78,
            Self::Bind(_) | Self::Succession(_) => 69,
            Self::Signals(_) | Self::Thread(_) => 70,
        }
    }
}
