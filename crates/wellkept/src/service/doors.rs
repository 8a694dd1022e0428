//! The doors of a service: which stand before the application's routes, and what those on addresses of their own may cost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::request::Parts;
use wellkept_http::{
    Access, Address, Agent, AgentOptions, Doors, Listening, Loopback, RequestLayer, RequestOptions, Server,
    ServerOptions, Sockets,
};
use wellkept_shutdown::{EntranceKind, Shutdown, Tracker};
use wellkept_telemetry::metrics::Metrics;

use super::{ApplicationDoors, DoorKind, ServeError};

/// The name of HAProxy's agent check.
const AGENT: &str = "haproxy";

/// Who sees details on doors that the Internet may reach through a proxy on the same machine: nobody.
pub(super) fn nobody() -> Access {
    Access::loopback_only().loopback(Loopback::Untrusted)
}

/// The application's routes with a span for the export around each request, which bears the request's ids.
#[cfg(feature = "otlp")]
pub(super) fn with_spans(app: Router, options: RequestOptions) -> Router {
    let app = app.layer(wellkept_http::RequestSpanLayer);
    if options.has(wellkept_http::RequestPart::Correlation) {
        // The layer of all requests, which stands before this one, gives them.
        return app;
    }
    app.layer(wellkept_http::CorrelationLayer::new(options.trusted()))
}

/// The application's routes with what each of their requests gets, and where they are counted.
pub(super) fn with_requests(app: Router, metrics: &Metrics, options: RequestOptions) -> (Router, Option<RequestLayer>) {
    if options.is_nothing() {
        return (app, None);
    }
    let layer = RequestLayer::new(metrics, options).unwrap_or_else(|error| {
        // The application has a metric of that name.
        tracing::error!(target: "wellkept::metrics", code = error.code(), "requests are not measured: {error}");
        RequestLayer::uncounted(options)
    });
    (app.layer(layer.clone()), Some(layer))
}

impl ApplicationDoors {
    /// The application's routes with these doors before them, as they are served on `address`.
    pub(super) fn before(self, app: Router, doors: &Doors, address: &Address) -> Router {
        for path in self.shadowed(&app) {
            tracing::warn!(
                target: "wellkept",
                path,
                "the application's own {path} is never reached, for a probe is answered there: see `ApplicationDoors`"
            );
        }
        let before = match self {
            Self::Operators if address.is_local() => doors.with_access(Access::loopback_only()).operators(),
            Self::Public | Self::Operators => doors.public(),
            Self::WithoutMetrics => doors.public_without_metrics(),
            Self::None => return app,
        };
        before.fallback_service(app)
    }

    /// Whether a probe is answered at this path.
    pub(super) fn answer(self, path: &str) -> bool {
        match self {
            Self::Public | Self::Operators => Doors::is_probe(path),
            Self::WithoutMetrics => path != "/metrics" && Doors::is_probe(path),
            Self::None => false,
        }
    }

    /// The application's own routes that nobody reaches. A router tells its paths in no other way than this; routes of a
    /// service that it falls back on, and those with a parameter, are not found.
    fn shadowed(self, app: &Router) -> Vec<String> {
        let text = format!("{app:?}");
        let quoted = text.split('"').skip(1).step_by(2);
        quoted.filter(|path| self.answer(path)).map(str::to_owned).collect()
    }

    /// One line for who looks for details in vain: how to have them. For a service without an admin door.
    pub(super) fn tell(self, address: &Address) {
        match self {
            Self::Operators if address.is_local() => {}
            Self::Operators => tracing::warn!(
                target: "wellkept",
                "details are off, {address} being open to others: `Service::admin` serves them on another address"
            ),
            Self::Public | Self::WithoutMetrics | Self::None => tracing::info!(
                target: "wellkept",
                "details and the status page are off: `Service::admin` serves them on an address of their own"
            ),
        }
    }
}

/// What a door may cost.
pub(super) fn door_options_of(kind: &DoorKind) -> ServerOptions {
    match kind {
        DoorKind::Probes | DoorKind::Admin(_) => door_options(),
        #[cfg(feature = "grpc")]
        DoorKind::Grpc => grpc_options(),
    }
}

/// All servers of a service, before they serve.
pub(super) struct Bound {
    application: Server,
    doors: Vec<(Server, DoorKind)>,
    agent: Option<Agent>,
}

impl Bound {
    /// Listens everywhere, on the sockets that were handed over where they are for that.
    pub(super) fn bind(
        application: Server,
        doors: Vec<(Address, DoorKind, ServerOptions)>,
        agent: Option<(SocketAddr, AgentOptions)>,
        sockets: &mut Sockets,
    ) -> Result<Self, ServeError> {
        let doors =
            doors.into_iter().map(|(address, kind, options)| Ok((bind_door(address, &kind, options, sockets)?, kind)));
        let doors = doors.collect::<Result<_, ServeError>>()?;
        let agent = agent.map(|(address, options)| match sockets.take_for(AGENT, &address.into()) {
            Some(socket) => Agent::on(socket, options),
            None => Agent::bind(address, options),
        });
        Ok(Self { application, doors, agent: agent.transpose()? })
    }

    /// Has the files of Unix sockets that were handed over removed at the end.
    pub(super) fn adopt_files(&mut self) {
        self.application.adopt_file();
        for (door, _) in &mut self.doors {
            door.adopt_file();
        }
    }

    /// Serves on all of them. Returns what another process may listen on instead.
    pub(super) fn open(
        self,
        app: Router,
        application: ApplicationDoors,
        doors: &Doors,
        shutdown: &Shutdown,
    ) -> Vec<Arc<dyn Listening>> {
        let checker = doors.checker();
        let mut listening: Vec<Arc<dyn Listening>> = Vec::new();
        let name = checker.service().to_owned();
        let local = self.application.local_address().clone();
        let app = application.before(app, doors, &local);
        let server = self.application;
        let server = if application == ApplicationDoors::None { server } else { server.at_once(doors.at_once()) };
        let entrance = server.serve(&name, app, shutdown.tracker().clone());
        doors.show(&entrance);
        listening.push(entrance.clone());
        shutdown.add_entrance(EntranceKind::Application, entrance);
        tracing::info!(target: "wellkept", service = name, address = %local, "listening");
        let has_admin = self.doors.iter().any(|(_, kind)| matches!(kind, DoorKind::Admin(_)));
        if !has_admin {
            application.tell(&local);
        }
        for (door, kind) in self.doors {
            let name = kind.name();
            let (door, router) = match kind {
                DoorKind::Probes => (door.at_once(doors.at_once()), doors.public()),
                DoorKind::Admin(access) => (door.at_once(doors.at_once()), doors.with_access(access).admin()),
                #[cfg(feature = "grpc")]
                DoorKind::Grpc => (door, doors.grpc(Doors::MAX_WATCHES)),
            };
            tracing::info!(target: "wellkept", door = name, address = %door.local_address(), "listening");
            let entrance = door.serve(name, router, Tracker::default());
            doors.show(&entrance);
            listening.push(entrance.clone());
            shutdown.add_entrance(EntranceKind::Probe, entrance);
        }
        if let Some(agent) = self.agent {
            tracing::info!(target: "wellkept", door = AGENT, address = %agent.local_address(), "listening");
            let entrance = agent.serve(checker.clone());
            doors.show_agent(&entrance);
            listening.push(entrance.clone());
            shutdown.add_entrance(EntranceKind::Probe, entrance);
        }
        listening
    }
}

impl DoorKind {
    const fn name(&self) -> &'static str {
        match self {
            Self::Probes => "probes",
            Self::Admin(_) => "admin",
            #[cfg(feature = "grpc")]
            Self::Grpc => "grpc",
        }
    }
}

fn bind_door(
    address: Address,
    kind: &DoorKind,
    options: ServerOptions,
    sockets: &mut Sockets,
) -> Result<Server, ServeError> {
    let refuse_open = |address: &Address| match kind {
        DoorKind::Admin(access) if !access.has_token() && !address.is_local() => {
            Err(ServeError::OpenAdmin { address: address.clone() })
        }
        _ => Ok(()),
    };
    if let Some(socket) = sockets.take_for(kind.name(), &address) {
        refuse_open(socket.address())?;
        return Ok(Server::on(socket, options)?);
    }
    refuse_open(&address)?;
    Ok(Server::bind(address, options)?)
}

/// The limits of the probe and admin doors: tighter than an application's.
pub(crate) fn door_options() -> ServerOptions {
    ServerOptions {
        max_connections: 1024,
        // Nothing here takes long: a request that lasts is a client that does not take its answer.
        evict_busy_after: Some(Duration::from_secs(1)),
        first_byte_timeout: Duration::from_secs(5),
        header_timeout: Duration::from_secs(5),
        write_timeout: Duration::from_secs(10),
        max_streams: 32,
        exempt: Some(Arc::new(|_: &Parts| true)),
        ..ServerOptions::default()
    }
}

/// The limits of the gRPC door. Its Watch calls last, and are none to cut: they are fewer than the connections, so that
/// one is always left for a probe. Any other call is short, or its client does not take a few bytes.
#[cfg(feature = "grpc")]
pub(crate) fn grpc_options() -> ServerOptions {
    ServerOptions {
        max_connections: 2 * Doors::MAX_WATCHES,
        evict_busy_after: None,
        write_timeout: Duration::from_secs(2),
        ..door_options()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{any, get, post};

    use super::*;

    #[test]
    fn an_applications_own_route_that_nobody_reaches_is_known() {
        let inner = Router::new().route("/live", post(async || ""));
        let app = Router::new()
            .route("/", get(async || "a \"quoted\" word"))
            .route("/metrics", any(async || ""))
            .route("/orders/{id}", get(async || "/readyz"))
            .nest("/health", inner)
            .fallback(async || "/livez");
        let shadowed = |doors: ApplicationDoors| {
            let mut paths = doors.shadowed(&app);
            paths.sort();
            paths
        };
        assert_eq!(shadowed(ApplicationDoors::Public), ["/health/live", "/metrics"]);
        assert_eq!(shadowed(ApplicationDoors::WithoutMetrics), ["/health/live"]);
        assert!(shadowed(ApplicationDoors::None).is_empty());
        let state: Router = Router::new().route("/readyz", get(async || "")).with_state("/livez");
        assert_eq!(ApplicationDoors::Public.shadowed(&state), ["/readyz"]);
    }
}
