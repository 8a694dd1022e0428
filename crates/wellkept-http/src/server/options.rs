//! What a server may cost: limits and times, with safe defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, Method, Response, Uri};

/// Says which requests are served even when they come after the stop.
pub type Exempt = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Answers a request from memory, or leaves it to the router. Runs on the server's threads, so it must not block.
pub type AtOnce = Arc<dyn Fn(&Method, &Uri, &HeaderMap) -> Option<Response<Body>> + Send + Sync>;

/// The limits of one server. Times are kept to within a quarter of the shortest of them, at most 500 ms too long.
#[derive(Clone)]
pub struct ServerOptions {
    /// Open connections. At the limit the oldest one without a complete request head is closed for a new one (an idle
    /// keep-alive connection counts as such); if there is none, accepting pauses. Default 4,096.
    pub max_connections: usize,
    /// At the limit, when no connection is idle: a request in flight for longer than this may be cut for a new
    /// connection, the oldest first. For doors that answer at once, where a long request is a client that does not take
    /// its answer. Default none: an application's requests may be long.
    pub evict_busy_after: Option<Duration>,
    /// From accept until the protocol is known: one byte of an HTTP/1 request, all 24 of the HTTP/2 preface. Over TLS the
    /// handshake has this time, and what comes then has it again. Default 10 s.
    pub first_byte_timeout: Duration,
    /// From the first byte of an HTTP/1 request's head to its last. Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request. Default 75 s, longer than most load balancers' own limit, so
    /// that they close first.
    pub idle_timeout: Duration,
    /// How long the other end may take nothing of what is sent. Default 30 s.
    pub write_timeout: Duration,
    /// The size of a request's head; beyond it the answer is 431. Default 16 KiB.
    pub max_header_bytes: usize,
    /// The header fields of a request; beyond it the answer is 431. More than 100 slow HTTP/1 down a little. Default 64.
    pub max_headers: usize,
    /// Concurrent streams of one HTTP/2 connection. Default 128.
    pub max_streams: u32,
    /// Streams that the other end reset and that still wait to be noticed; beyond it the connection is closed
    /// (CVE-2023-44487). Default 20.
    pub max_reset_streams: usize,
    /// How often an HTTP/2 connection is asked for a sign of life. Default 20 s.
    pub keep_alive_interval: Duration,
    /// How long that sign may take. Default 10 s.
    pub keep_alive_timeout: Duration,
    /// Over how long those are spread who are told to go by their own protocol once the announcement begins: WebSockets
    /// (closed with 1001) and event streams (which end between two events). Should not be longer than the announcement.
    /// Default 250 ms.
    pub farewell_spread: Duration,
    /// From the announcement on, refuses requests with 503 and `Retry-After`: none at first and all after this time, so that
    /// load moves over little by little. Those that are exempt are served. Default none: until the stop all are served.
    pub refuse_gradually: Option<Duration>,
    /// What `Retry-After` says when a request is refused, in whole seconds. Default 1 s.
    pub retry_after: Duration,
    /// The permissions of a Unix socket's file. Default 0o600: whoever runs as the same user, and root.
    pub socket_mode: u32,
    /// Shakes hands with everyone first: HTTP/1.1 and HTTP/2 as the client chooses (ALPN). Who speaks plain HTTP gets 400.
    /// Default none.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::Tls>,
    /// Requests that are served even after the stop, until the drain has ended. Default none.
    pub exempt: Option<Exempt>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            evict_busy_after: None,
            first_byte_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            max_header_bytes: 16 * 1024,
            max_headers: 64,
            max_streams: 128,
            max_reset_streams: 20,
            keep_alive_interval: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(10),
            farewell_spread: Duration::from_millis(250),
            refuse_gradually: None,
            retry_after: Duration::from_secs(1),
            socket_mode: 0o600,
            #[cfg(feature = "tls")]
            tls: None,
            exempt: None,
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerOptions")
            .field("max_connections", &self.max_connections)
            .field("first_byte_timeout", &self.first_byte_timeout)
            .field("header_timeout", &self.header_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("max_header_bytes", &self.max_header_bytes)
            .field("max_headers", &self.max_headers)
            .field("max_streams", &self.max_streams)
            .field("socket_mode", &format_args!("{:#o}", self.socket_mode))
            .field("exempt", &self.exempt.is_some())
            .finish_non_exhaustive()
    }
}
