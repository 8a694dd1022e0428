//! What a service may be told before it is made.

use wellkept_health::WatchOptions;
use wellkept_http::{Names, RequestOptions, ServerOptions};

/// What a [`Service`](crate::Service) may be told before it is made.
#[derive(Debug, Clone, Default)]
pub struct ServiceOptions {
    /// The shutdown's times. Default: 30 s in all, no delay, 300 ms of announcement, 10 s of draining.
    pub shutdown: wellkept_shutdown::Settings,
    /// The limits of the application's listener. Probes are exempt from the stop besides what is exempt here.
    pub server: ServerOptions,
    /// TLS on the admin door; the application's listener has its own in `server`. Default: none.
    #[cfg(feature = "tls")]
    pub admin_tls: Option<wellkept_http::Tls>,
    /// Whether the public may read the components' names. Default: yes.
    pub names: Names,
    /// Which doors stand before the application's own routes, on its listener. Default: the public ones.
    pub doors: ApplicationDoors,
    /// What each request of the application gets by itself: correlation, span, metrics, a place in the count of those in
    /// flight. Default: all of it, and the ids of callers are taken over.
    pub requests: RequestOptions,
    /// Requests that may be in flight before more are refused. Default 1,000.
    pub max_in_flight_requests: Option<usize>,
    /// What happens when the process is still there at the deadline. Default: nothing more.
    pub overdue: Overdue,
    /// How the runtime is watched, and what happens when it stays stalled. Default: asked every 500 ms, stalled when an
    /// answer is 5 s late, which is logged and counted and fails the liveness probe; the process is left alone.
    pub liveness: WatchOptions,
}

/// Which doors stand before the application's own routes, on its listener. Where one stands, a route of the application's
/// own with the same path is never reached: a warning at the start names it, where the router can tell. Doors on
/// addresses of their own are opened by [`Service::probes`](crate::Service::probes)
/// and [`Service::admin`](crate::Service::admin).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApplicationDoors {
    /// The probes and `/metrics`, which show nobody any details.
    #[default]
    Public,
    /// The probes alone: for an application with a page of metrics of its own.
    WithoutMetrics,
    /// None: for an application with probes of its own.
    None,
    /// What is public, details, and what acts, on a loopback address or a Unix socket for who comes straight to it; on any
    /// other address as [`ApplicationDoors::Public`]. Never behind a proxy on the same machine: one that speaks HTTP/1.1 to a loopback
    /// address and adds no header makes operators of all its callers.
    Operators,
}

/// What happens when a process is still there half a second after its shutdown's deadline: a task that blocks its
/// thread can keep the shutdown itself from running, and a thread of `spawn_blocking` can keep `main` from returning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overdue {
    /// Nothing more: whatever watches the process from outside will end it.
    #[default]
    Wait,
    /// A thread outside the runtime ends the process with exit code 75.
    Exit,
}
