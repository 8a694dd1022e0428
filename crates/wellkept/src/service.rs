//! A service kept well in a few lines: checks, doors and shutdown wired together around an axum application.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::request::Parts;
use wellkept_health::{
    AlreadyInstalled, AnyCheck, Checker, Component, Engine, ExportError, ExportSettings, Exporter, Heartbeat, History,
    IntoOutcome, RegisterError, Settings, StartupHold, WatchOptions,
};
use wellkept_http::{
    Access, Address, AgentOptions, BindError, Doors, Listener, Names, RequestOptions, Server, ServerOptions, Sockets,
};
use wellkept_shutdown::{Phase, Report, Resource, Sequence, Shutdown, Tracker, signals, watchdog};
use wellkept_telemetry::events::Events;
use wellkept_telemetry::logging::Logging;
use wellkept_telemetry::metrics::{Audience, MetricError, Metrics};
use wellkept_telemetry::system::{System, SystemCollector, SystemOptions};

use crate::pools::Pools;

mod configured;
mod doors;
mod error;
mod life;
mod options;
mod succession;
#[cfg(test)]
mod tests;

#[cfg(feature = "program")]
pub(crate) use self::{
    configured::{audit, close_at_the_end, reload_on, write_versions_at_the_end},
    doors::door_options,
};
#[cfg(feature = "grpc")]
pub(crate) use doors::grpc_options;
pub use error::ServeError;
pub(crate) use life::{export_to_the_end, follow, tell_end, tell_systemd, watch_runtime, write_at_the_end};
pub use options::{ApplicationDoors, Overdue, ServiceOptions};
pub use succession::{Role, SuccessionError};
pub(crate) use succession::{Settled, Succession, begin, offer, settle};

#[cfg(feature = "otlp")]
use doors::with_spans;
use doors::{Bound, door_options_of, nobody, with_requests};

/// An axum application that is kept well: health checks, probes on its own port, graceful shutdown.
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use wellkept::Service;
///
/// # #[tokio::main]
/// # async fn main() -> Result<wellkept::shutdown::Report, Box<dyn std::error::Error>> {
/// let app = Router::new().route("/", get(async || "hello"));
/// let service = Service::new("orders", env!("CARGO_PKG_VERSION"));
/// service.check("queue", async || Ok::<(), std::io::Error>(()))?;
/// Ok(service.serve(app, ([127, 0, 0, 1], 8080)).await?)
/// # }
/// ```
#[derive(Debug)]
pub struct Service {
    checker: Checker,
    engine: Engine,
    shutdown: Shutdown,
    sequence: Sequence,
    server: ServerOptions,
    #[cfg(feature = "tls")]
    admin_tls: Option<wellkept_http::Tls>,
    names: Names,
    application: ApplicationDoors,
    overdue: Overdue,
    liveness: WatchOptions,
    doors: Vec<(Address, DoorKind)>,
    agent: Option<(SocketAddr, AgentOptions)>,
    succession: Option<Succession>,
    metrics: Metrics,
    events: Events,
    logging: Option<Logging>,
    #[cfg(feature = "otlp")]
    otlp: Option<wellkept_telemetry::otlp::Otlp>,
    requests: RequestOptions,
    pools: Pools,
    configured: configured::Configured,
}

#[derive(Debug)]
enum DoorKind {
    Probes,
    Admin(Access),
    #[cfg(feature = "grpc")]
    Grpc,
}

/// How long after the deadline that is.
pub(crate) const OVERDUE: Duration = Duration::from_millis(500);

impl Service {
    /// A service of this name and version, with all defaults. Nothing runs before [`Service::serve`].
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self::with_options(name, version, ServiceOptions::default())
    }

    /// A service with other limits.
    pub fn with_options(name: impl Into<String>, version: impl Into<String>, options: ServiceOptions) -> Self {
        Self::with_settings(Settings { version: version.into(), ..Settings::new(name) }, options)
    }

    /// A service with all that health may be told: the identity that replicas share, the instance that tells them apart,
    /// limits, the clock. A test that pauses tokio's time gives it [`TokioClock`](wellkept_health::TokioClock), and calls
    /// `tokio::time::resume` before the shutdown, which paused time would not wait for.
    ///
    /// ```
    /// use wellkept::health::{Identity, Settings};
    /// use wellkept::{Service, ServiceOptions};
    ///
    /// let settings = Settings {
    ///     version: env!("CARGO_PKG_VERSION").to_owned(),
    ///     identity: Identity::named("orders.example.com"),
    ///     ..Settings::new("orders")
    /// };
    /// let service = Service::with_settings(settings, ServiceOptions::default());
    /// # drop(service);
    /// ```
    pub fn with_settings(settings: Settings, options: ServiceOptions) -> Self {
        let (checker, engine) = Checker::new(settings);
        let tracker = options.max_in_flight_requests.map_or_else(Tracker::default, Tracker::new);
        let (shutdown, sequence) = Shutdown::with_tracker(options.shutdown, tracker);
        let metrics = Metrics::new();
        Self {
            checker,
            engine,
            shutdown,
            sequence,
            server: options.server,
            #[cfg(feature = "tls")]
            admin_tls: options.admin_tls,
            names: options.names,
            application: options.doors,
            overdue: options.overdue,
            liveness: options.liveness,
            doors: Vec::new(),
            agent: None,
            succession: None,
            events: Events::of(&metrics),
            metrics,
            logging: None,
            #[cfg(feature = "otlp")]
            otlp: None,
            requests: options.requests,
            pools: Pools::default(),
            configured: configured::Configured::default(),
        }
    }

    /// Registers a check: a name, and an async function that returns `()`, a `Result` or an
    /// [`Outcome`](wellkept_health::Outcome). It is required and seen by readiness; [`Service::component`] takes
    /// everything else. What it returns may borrow nothing of the function: a pool or a client that it asks is for
    /// [`Service::check_with`].
    pub fn check<F, R>(&self, name: &str, function: F) -> Result<(), RegisterError>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output: IntoOutcome> + Send + 'static,
    {
        self.component(Component::new(name, AnyCheck::from_fn(function)))
    }

    /// As [`Service::check`], for a function that asks something of the application's own: each run gets a clone of it, as
    /// a handler gets its state.
    ///
    /// ```
    /// # #[derive(Clone)]
    /// # struct Pool;
    /// # struct Connection<'p>(&'p Pool);
    /// # impl Pool {
    /// #     fn connect() -> Self { Self }
    /// #     async fn acquire(&self) -> Result<Connection<'_>, std::io::Error> { Ok(Connection(self)) }
    /// # }
    /// let pool = Pool::connect();
    /// let service = wellkept::Service::new("orders", "1.4.2");
    /// service.check_with("database", pool.clone(), async |pool| pool.acquire().await.map(drop))?;
    /// # Ok::<(), wellkept::health::RegisterError>(())
    /// ```
    pub fn check_with<S, F, R>(&self, name: &str, state: S, function: F) -> Result<(), RegisterError>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S) -> R + Send + Sync + 'static,
        R: Future<Output: IntoOutcome> + Send + 'static,
    {
        self.check(name, move || function(state.clone()))
    }

    /// Registers a component with its schedule, thresholds and groups.
    pub fn component(&self, component: Component) -> Result<(), RegisterError> {
        self.checker.register(component)
    }

    /// Watches a loop of the application's own: it must beat at least every `limit`, or the liveness probe fails.
    pub fn heartbeat(&self, name: &str, limit: Duration) -> Result<Heartbeat, RegisterError> {
        self.checker.heartbeat(name, limit)
    }

    /// Hands status changes and snapshots to an exporter, on a thread of its own. What waits for it is handed over in
    /// the shutdown's flush.
    pub fn export(&self, name: &str, exporter: impl Exporter, settings: ExportSettings) -> Result<(), ExportError> {
        self.checker.export(name, exporter, settings)
    }

    /// Has a resource closed when the last request is done.
    pub fn resource(&self, resource: Resource) -> Result<(), wellkept_shutdown::RegisterError> {
        self.shutdown.register(resource).map(drop)
    }

    /// Keeps readiness off until the guard is dropped: for migrations, caches to fill.
    pub fn hold_startup(&self) -> StartupHold {
        self.checker.hold_startup()
    }

    /// Remembers status changes and results.
    pub fn history(&self, history: History) {
        self.checker.set_history(history);
    }

    /// Serves the probes on an address of their own too. That door stays open while the application drains.
    #[must_use]
    pub fn probes(mut self, address: impl Into<Address>) -> Self {
        self.doors.push((address.into(), DoorKind::Probes));
        self
    }

    /// Serves details and the status page on an address of their own. An address that others than this machine reach
    /// needs a token.
    #[must_use]
    pub fn admin(mut self, address: impl Into<Address>, access: Access) -> Self {
        self.doors.push((address.into(), DoorKind::Admin(access)));
        self
    }

    /// Answers `grpc.health.v1` on an address of its own, without TLS, as Kubernetes' gRPC probes ask for it. That door
    /// stays open while the application drains. What it says of whom: [`Doors::grpc`].
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn grpc(mut self, address: impl Into<Address>) -> Self {
        self.doors.push((address.into(), DoorKind::Grpc));
        self
    }

    /// Answers HAProxy's agent check on an address of its own, which stays open while the application drains. What it
    /// says of which status: [`Agent`](wellkept_http::Agent). Given twice, the later address counts.
    #[must_use]
    pub fn haproxy(mut self, address: SocketAddr, options: AgentOptions) -> Self {
        self.agent = Some((address, options));
        self
    }

    /// Metrics of the application's own, shown on the same page. Cheap to clone, for whoever counts.
    ///
    /// ```
    /// let service = wellkept::Service::new("orders", "1.4.2");
    /// let orders = service.metrics().counters("orders", "Orders taken, by channel.", ["channel"])?;
    /// orders.with(["web"]).inc();
    /// # Ok::<(), wellkept::telemetry::metrics::MetricError>(())
    /// ```
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Typed events of the application's own: a line of the log and a metric on the same page, from one call. Cheap to
    /// clone, for whoever tells of something.
    ///
    /// ```
    /// use wellkept::telemetry::{business, events::SecurityEvent};
    ///
    /// let service = wellkept::Service::new("orders", "1.4.2");
    /// let events = service.events().clone();
    /// events.security(SecurityEvent::AuthnLoginFail { user: "ann" }).log();
    /// let placed = events.business("order_placed")?;
    /// business!(placed, order = 4711);
    /// # Ok::<(), wellkept::telemetry::events::EventError>(())
    /// ```
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Has operators see this log's levels and books, and change its levels, at `/api/v1/logging` on [`Service::admin`] (and
    /// by `wellkept log`), shows its books as metrics, and has what waits in it written in the shutdown's flush.
    ///
    /// ```
    /// use wellkept::telemetry::logging::{Options, subscriber};
    ///
    /// // In a program: `let logging = wellkept::telemetry::logging::init(Options::default())?;`
    /// let (_subscriber, logging) = subscriber(Options::default())?;
    /// let service = wellkept::Service::new("orders", "1.4.2").logging(&logging);
    /// # drop(service);
    /// # Ok::<(), wellkept::telemetry::logging::LoggingError>(())
    /// ```
    #[must_use]
    pub fn logging(mut self, logging: &Logging) -> Self {
        self.logging = Some(logging.clone());
        self
    }

    /// Exports by OTLP: a span for each of the application's requests, and what else is traced; the metrics; the rest of
    /// both in the shutdown's flush. The spans come out where the log was started with
    /// [`Otlp::layer`](wellkept_telemetry::otlp::Otlp::layer): the example stands at [`otlp`](crate::otlp).
    #[cfg(feature = "otlp")]
    #[must_use]
    pub fn otlp(mut self, otlp: &wellkept_telemetry::otlp::Otlp) -> Self {
        self.otlp = Some(otlp.clone());
        self
    }

    /// Shows the machine's figures and those of the control group on the same page, as `wellkept_system_…`, to whoever
    /// may see names.
    ///
    /// ```
    /// let service = wellkept::Service::new("orders", "1.4.2");
    /// service.system_metrics(&wellkept::telemetry::system::SystemOptions::default())?;
    /// # Ok::<(), wellkept::telemetry::metrics::MetricError>(())
    /// ```
    pub fn system_metrics(&self, options: &SystemOptions) -> Result<(), MetricError> {
        let system = SystemCollector::new(&System::new(options));
        self.metrics.collector("system", system, Audience::Operators)
    }

    /// Shows one of the application's own pools of connections on the same page, to whoever may see names; a clone that
    /// shares its connections will do. What it looks at is what the check [`checks::pool`](wellkept_checks::pool) does.
    pub fn pool_metrics(&self, name: &str, pool: impl wellkept_checks::pool::ConnectionPool) {
        self.pools.add(name, pool);
    }

    /// Makes this service's health the process-wide one, which
    /// [`default_checker`](wellkept_health::default_checker) returns anywhere.
    pub fn install_default(&self) -> Result<(), AlreadyInstalled> {
        wellkept_health::install_default(self.checker.clone())
    }

    /// The handle on health, for the application's own use. Give it to handlers as application state:
    ///
    /// ```
    /// use axum::extract::State;
    /// use axum::{Router, routing::get};
    /// use wellkept::{Service, health::Checker};
    ///
    /// async fn place_order(State(health): State<Checker>) -> &'static str {
    ///     if health.readiness().ready { "placed" } else { "queued for later" }
    /// }
    ///
    /// let service = Service::new("orders", "1.4.2");
    /// let app: Router = Router::new().route("/orders", get(place_order)).with_state(service.checker().clone());
    /// # drop(app);
    /// ```
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The handle on the shutdown, for the application's own use.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Serves `app` on `address` until SIGTERM, SIGINT or [`Shutdown::trigger`], then takes it down without losing a
    /// request. Installs handlers for the two signals, and tells systemd how it goes where `NOTIFY_SOCKET` is set.
    ///
    /// The probes (`/health`, `/livez`, `/readyz`, `/metrics` …) come before the application's own routes, as
    /// [`ServiceOptions::doors`] says. Details are for [`Service::admin`]. The application's own requests are correlated,
    /// measured and counted, as [`ServiceOptions::requests`] says.
    ///
    /// The address is one of TCP, or a Unix socket (`Address::unix("/run/orders.sock")`), whose file has the permissions
    /// of [`ServerOptions::socket_mode`] and is removed at the end.
    pub async fn serve(self, app: Router, address: impl Into<Address>) -> Result<Report, ServeError> {
        let (name, address) = (self.checker.service().to_owned(), address.into());
        self.serve_by(app, move |sockets, options| match sockets.take_for(&name, &address) {
            Some(socket) => Server::on(socket, options),
            None => Server::bind(address, options),
        })
        .await
    }

    /// As [`Service::serve`], on a socket that listens already, TCP or Unix: one that a test bound to port 0, or that was
    /// handed to the process ([`Listener::from_fd`]). Of tokio's listeners it is `listener.into_std()?`; it may block or
    /// not.
    pub async fn serve_on(
        self,
        app: Router,
        listener: impl TryInto<Listener, Error: Into<BindError>>,
    ) -> Result<Report, ServeError> {
        self.serve_by(app, |_, options| Server::on(listener, options)).await
    }

    async fn serve_by(
        self,
        app: Router,
        listen: impl FnOnce(&mut Sockets, ServerOptions) -> Result<Server, BindError>,
    ) -> Result<Report, ServeError> {
        let signals = signals::install().map_err(ServeError::Signals)?;
        let hangup = self.configured.hangup().map_err(ServeError::Signals)?;
        follow(&self.shutdown, &self.checker);
        #[cfg(feature = "otlp")]
        let app = match &self.otlp {
            Some(otlp) => {
                crate::otlp::follow(otlp, &self.shutdown);
                crate::otlp::push(otlp, &self.metrics);
                with_spans(app, self.requests)
            }
            None => app,
        };
        export_to_the_end(&self.shutdown, &self.metrics);
        for warning in self.shutdown.settings().warnings() {
            tracing::warn!(target: "wellkept", code = warning.code(), "{warning}");
        }
        let _watch = watch_runtime(&self.checker, self.liveness).map_err(ServeError::Thread)?;
        let watchdog = match self.overdue {
            Overdue::Exit => Some(watchdog::arm(&self.shutdown, OVERDUE).map_err(ServeError::Thread)?),
            Overdue::Wait => None,
        };
        let (app, requests) = with_requests(app, &self.metrics, self.requests);
        let pools = self.metrics.collector("pools", self.pools, Audience::Operators);
        let log = self.logging.iter().map(|log| self.metrics.collector("log", log.clone(), Audience::Everyone));
        for error in log.chain([pools]).filter_map(Result::err) {
            tracing::error!(target: "wellkept::metrics", code = error.code(), "{error}");
        }
        let doors = Doors::new(self.checker.clone(), self.shutdown.clone(), nobody(), self.names, self.metrics);
        if let Some(logging) = &self.logging {
            doors.show_logging(logging);
            write_at_the_end(logging, &self.shutdown);
        }
        self.configured.show(&doors, &self.shutdown);
        self.configured.judge(&self.checker, requests);

        let (application, own) = (self.application, self.server.exempt.clone());
        let exempt = Arc::new(move |request: &Parts| {
            application.answer(request.uri.path()) || own.as_ref().is_some_and(|own| own(request))
        });
        #[cfg(feature = "tls")]
        for tls in [&self.server.tls, &self.admin_tls].into_iter().flatten() {
            if let Some(warning) = tls.identity().warning() {
                tracing::warn!(target: "wellkept", "{warning}");
            }
        }
        let (taking, sockets) = begin(self.succession.as_ref()).await?.unzip();
        let mut sockets = sockets.unwrap_or_default();
        let listener = listen(&mut sockets, ServerOptions { exempt: Some(exempt), ..self.server })?;
        let mut own = Vec::new();
        for (address, kind) in self.doors {
            let options = door_options_of(&kind);
            #[cfg(feature = "tls")]
            let options = match &kind {
                DoorKind::Admin(_) => ServerOptions { tls: self.admin_tls.clone(), ..options },
                _ => options,
            };
            own.push((address, kind, options));
        }
        let mut bound = Bound::bind(listener, own, self.agent, &mut sockets)?;

        let ending = self.shutdown.clone();
        let engine = tokio::spawn(self.engine.run(async move { ending.reached(Phase::ClosingResources).await }));
        let signals = tokio::spawn(signals.drive(self.shutdown.clone()));
        let role = if taking.is_some() { Role::Successor } else { Role::First };
        let settled = match taking {
            Some(taking) => Some(settle(taking, &self.checker, &self.shutdown).await.inspect_err(|_| {
                engine.abort();
                signals.abort();
            })),
            None => None,
        };
        let settled = settled.transpose().map_err(SuccessionError::from)?;
        let systemd = if matches!(settled, Some(Settled::Ends)) {
            None
        } else {
            let before = settled.and_then(Settled::before);
            if before.is_some() {
                bound.adopt_files();
            }
            let listening = bound.open(app, application, &doors, &self.shutdown);
            if let Some(succession) = &self.succession {
                offer(succession, before, &self.shutdown, &self.checker, listening);
            }
            tell_systemd(&self.shutdown, &self.checker, role)
        };
        let _watching = self.configured.follow(hangup, self.checker, self.logging, systemd);
        let report = self.sequence.run().await;
        tell_end(&report, doors.events());
        if let Some(watchdog) = watchdog {
            // A thread that blocks keeps the runtime from being dropped, and with it the process.
            watchdog.keep();
        }
        Ok(report)
    }
}
