//! Tells systemd how the process is (`sd_notify(3)`): ready, reloading, stopping, alive, and that a stop needs more time
//! because it gets on.
//!
//! For a unit with `Type=notify` or `Type=notify-reload`; with `KillMode=mixed`, so that children are left to this process.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::cause::Cause;
use crate::handle::Shutdown;
use crate::phase::Phase;

/// How often it is looked whether the stop gets on.
const LOOK: Duration = Duration::from_secs(2);
/// What is asked for when it does; a few looks long, so that one that is late does no harm.
const MORE: Duration = Duration::from_secs(10);

/// The line to systemd. A cheap handle. Never waits: what systemd does not take at once is dropped, and the first failure
/// is logged.
#[derive(Debug, Clone)]
pub struct Systemd {
    line: Arc<Line>,
    /// Within which time systemd wants a sign of life (`WatchdogSec`).
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    failed: AtomicBool,
}

impl Systemd {
    /// The line, if the process was started with one: if `NOTIFY_SOCKET` names a path, or an abstract name with `@`. One
    /// that can't be used is logged, and none.
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let socket = open(name.as_bytes());
        let socket = socket
            .inspect_err(|error| tracing::warn!(target: "wellkept::shutdown", %error, "systemd can't be told anything"))
            .ok()?;
        let line = Arc::new(Line { socket, failed: AtomicBool::new(false) });
        Some(Self { line, watchdog: watchdog() })
    }

    /// `READY=1`: the service can be used; also after a reload, however that went.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// `MAINPID=…`: another process of the unit is the main one from now on, and the end of this one is not the service's.
    pub fn main_process(&self, id: i32) {
        self.tell(&format!("MAINPID={id}"));
    }

    /// `MAINPID=…` and `READY=1`: this process has taken the place of the one that systemd knows. Heard where the unit has
    /// `NotifyAccess=all`.
    pub fn ready_in_place_of_another(&self) {
        self.tell(&format!("MAINPID={}\nREADY=1", std::process::id()));
    }

    /// `RELOADING=1` with the time, as `Type=notify-reload` wants it. [`ready`](Self::ready) ends it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// `STATUS=…`: one line for `systemctl status`.
    pub fn status(&self, text: &str) {
        // A line break would begin another assignment.
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.tell(&format!("STATUS={line}"));
    }

    /// Follows a shutdown on the current runtime: `STOPPING=1` when it begins, its phases and what it waits for as status,
    /// and `EXTEND_TIMEOUT_USEC` every 2 s in which it has got on (a request, a connection or a resource less, another
    /// phase), up to its own deadline. A stop that is stuck is not given more time. Says nothing when the process
    /// [was replaced](crate::Cause::HandedOver): the service does not stop.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn follow(&self, shutdown: &Shutdown) {
        tokio::spawn(follow(self.clone(), shutdown.clone()));
    }

    /// Sends `WATCHDOG=1` twice as often as systemd wants it, for as long as `is_alive` says so and the current runtime
    /// polls: a process that is stuck is started again. Does nothing where the unit has no `WatchdogSec`. Goes on through
    /// the shutdown.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn keep_alive(&self, is_alive: impl Fn() -> bool + Send + 'static) {
        let Some(within) = self.watchdog else { return };
        let line = self.clone();
        tokio::spawn(async move {
            loop {
                if is_alive() {
                    line.tell("WATCHDOG=1");
                }
                tokio::time::sleep(within / 2).await;
            }
        });
    }

    fn tell(&self, assignments: &str) {
        let sent = self.line.socket.send(assignments.as_bytes());
        if let Err(error) = sent
            && !self.line.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(target: "wellkept::shutdown", %error, "systemd can't be told; further failures are not logged");
        }
    }
}

fn open(name: &[u8]) -> io::Result<UnixDatagram> {
    let address = match name.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `WATCHDOG_USEC`, if it is meant for this process (`sd_watchdog_enabled(3)`).
fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_meant =
        std::env::var_os("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(std::process::id().into());
    number("WATCHDOG_USEC").filter(|micros| is_meant && *micros > 0).map(Duration::from_micros)
}

async fn follow(line: Systemd, shutdown: Shutdown) {
    let mut phases = shutdown.subscribe();
    shutdown.begun().await;
    if shutdown.cause() == Some(&Cause::HandedOver) {
        return;
    }
    line.tell("STOPPING=1");
    let mut seen = Seen::of(&shutdown);
    line.status(&seen.described());
    while !seen.phase.is_final() {
        // Woken by a phase, or by the time.
        let _ = tokio::time::timeout(LOOK, phases.changed()).await;
        let now = Seen::of(&shutdown);
        if now == seen {
            continue;
        }
        if now.is_less_than(&seen)
            && let Some(budget) = shutdown.budget()
        {
            let more = MORE.min(budget.remaining(Instant::now()).saturating_add(LOOK));
            line.tell(&format!("EXTEND_TIMEOUT_USEC={}", more.as_micros()));
        }
        line.status(&now.described());
        seen = now;
    }
}

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    phase: Phase,
    requests: usize,
    connections: usize,
    resources: usize,
}

impl Seen {
    fn of(shutdown: &Shutdown) -> Self {
        let stats = shutdown.stats();
        Self {
            phase: stats.phase,
            requests: stats.connection_stats.total_in_flight_requests,
            connections: stats.connection_stats.total_connections,
            resources: stats.resources_count,
        }
    }

    /// Whether less is to be done than before.
    fn is_less_than(&self, before: &Self) -> bool {
        self.phase > before.phase
            || self.requests < before.requests
            || self.connections < before.connections
            || self.resources < before.resources
    }

    fn described(&self) -> String {
        let Self { phase, requests, connections, resources } = self;
        format!("{phase}: {requests} requests in flight, {connections} connections, {resources} resources open")
    }
}
