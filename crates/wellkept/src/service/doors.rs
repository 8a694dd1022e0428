//! The doors of a service: which stand before the application's routes, and what those on addresses of their own may cost.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::request::Parts;
use wellkept_http::{Access, Address, Doors, Loopback, Server, ServerOptions};

use super::{ApplicationDoors, DoorKind, ServeError};

/// Who sees details on doors that the Internet may reach through a proxy on the same machine: nobody.
pub(super) fn nobody() -> Access {
    Access::loopback_only().loopback(Loopback::Untrusted)
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

pub(super) fn bind_door(address: Address, kind: &DoorKind, options: ServerOptions) -> Result<Server, ServeError> {
    if let DoorKind::Admin(access) = kind
        && !access.has_token()
        && !address.is_local()
    {
        return Err(ServeError::OpenAdmin { address });
    }
    Ok(Server::bind(address, options)?)
}

/// What a door may cost.
pub(super) fn door_options_of(kind: &DoorKind) -> ServerOptions {
    match kind {
        DoorKind::Probes | DoorKind::Admin(_) => door_options(),
        #[cfg(feature = "grpc")]
        DoorKind::Grpc => grpc_options(),
    }
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
