//! What `wellkept-bench serve SYSTEM …` runs: one server in a process of its own, for the measurements of its end.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum_server::Handle;
use axum_server::accept::Accept;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use wellkept::http::{Server, ServerOptions};
use wellkept::shutdown::{EntranceKind, Settings, Shutdown, Tracker, signals};
use wellkept::telemetry::system::SystemOptions;
use wellkept::{ApplicationDoors, Service, ServiceOptions};

/// How long `/slow` takes.
pub(crate) const SLOW: Duration = Duration::from_millis(200);
/// How long the peers that have a limit may drain: as long as Wellkept does by default.
const DRAIN: Duration = Duration::from_secs(10);
/// More connections and requests than any measurement has.
const MANY: usize = 30_000;

/// What serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// `wellkept::Service`, with its probes.
    Service,
    /// The same, with the machine's figures on its page of metrics.
    Figures,
    /// Its server and its shutdown alone, which tell how many connections they took.
    Server,
    /// `axum::serve(..).with_graceful_shutdown(..)`.
    Axum,
    /// `axum-server` with its handle.
    AxumServer,
    /// The second, as a subsystem of `tokio-graceful-shutdown`.
    TokioGracefulShutdown,
}

impl System {
    const ALL: [Self; 6] =
        [Self::Service, Self::Figures, Self::Server, Self::Axum, Self::AxumServer, Self::TokioGracefulShutdown];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service | Self::Figures | Self::Server => "wellkept",
            Self::Axum => "axum",
            Self::AxumServer => "axum-server",
            Self::TokioGracefulShutdown => "tokio-graceful-shutdown",
        }
    }

    /// What the process is told to be.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Figures => "figures",
            other => other.name(),
        }
    }
}

/// Serves until SIGTERM. The arguments: the system, the address, the milliseconds of delay and of announcement.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let [system, address, delay, announce] = arguments else { return ExitCode::from(64) };
    let system = System::ALL.into_iter().find(|one| one.word() == system);
    let address: Option<SocketAddr> = address.parse().ok();
    let milliseconds = |text: &str| text.parse().ok().map(Duration::from_millis);
    let (Some(system), Some(address), Some(delay), Some(announce)) =
        (system, address, milliseconds(delay), milliseconds(announce))
    else {
        return ExitCode::from(64);
    };
    let times = Settings { delay, announce, ..Settings::default() };
    // What `#[tokio::main]` makes.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let accepted = runtime.block_on(async {
        match system {
            System::Service | System::Figures => service(system, address, times).await,
            System::Server => server(address, times).await,
            System::Axum => axum(address).await,
            System::AxumServer => axum_server(address).await,
            System::TokioGracefulShutdown => tokio_graceful_shutdown(address).await,
        }
    });
    println!("accepted {accepted}");
    ExitCode::SUCCESS
}

/// For the peers, which have no probes of their own.
fn with_readiness() -> Router {
    application().route("/readyz", get(async || "ready"))
}

fn application() -> Router {
    let slow = get(async || {
        tokio::time::sleep(SLOW).await;
        "hello"
    });
    Router::new().route("/", get(async || "hello")).route("/slow", slow)
}

fn options() -> ServerOptions {
    ServerOptions { max_connections: MANY, ..ServerOptions::default() }
}

fn tell(address: SocketAddr) {
    println!("listening on {}", address.port());
}

async fn service(system: System, address: SocketAddr, times: Settings) -> u64 {
    let options = ServiceOptions {
        shutdown: times,
        server: options(),
        max_in_flight_requests: Some(MANY),
        doors: if system == System::Figures { ApplicationDoors::Operators } else { ApplicationDoors::Public },
        ..ServiceOptions::default()
    };
    let listener = TcpListener::bind(address).await.expect("the address is free");
    tell(listener.local_addr().expect("it is bound"));
    let listener = listener.into_std().expect("it has just been made");
    let service = Service::with_options("bench", "1", options);
    if system == System::Figures {
        service.system_metrics(&SystemOptions::default()).expect("nothing else is called so");
    }
    service.serve_on(application(), listener).await.expect("it can serve");
    0
}

/// As the service does it.
async fn server(address: SocketAddr, times: Settings) -> u64 {
    let signals = signals::install().expect("handlers can be installed");
    let (shutdown, sequence) = Shutdown::with_tracker(times, Tracker::new(MANY));
    let server = Server::bind(address, options()).expect("the address is free");
    tell(server.local_address().tcp().expect("it is bound to a port"));
    let entrance = server.serve("bench", application(), shutdown.tracker().clone());
    shutdown.add_entrance(EntranceKind::Application, entrance.clone());
    tokio::spawn(signals.drive(shutdown));
    sequence.run().await;
    entrance.stats().accepted_total
}

async fn axum(address: SocketAddr) -> u64 {
    let mut terminate = signal(SignalKind::terminate()).expect("handlers can be installed");
    let (listener, accepted) = listen(address).await;
    let told = async move {
        terminate.recv().await;
    };
    axum::serve(listener, with_readiness()).with_graceful_shutdown(told).await.expect("it can serve");
    accepted.load(Ordering::SeqCst)
}

async fn axum_server(address: SocketAddr) -> u64 {
    let mut terminate = signal(SignalKind::terminate()).expect("handlers can be installed");
    let counting = Counting::default();
    let accepted = Arc::clone(&counting.accepted);
    let handle = Handle::new();
    let told = handle.clone();
    tokio::spawn(async move {
        tell(told.listening().await.expect("the address is free"));
        terminate.recv().await;
        told.graceful_shutdown(Some(DRAIN));
    });
    let server = axum_server::bind(address).acceptor(counting).handle(handle);
    server.serve(with_readiness().into_make_service()).await.expect("it can serve");
    accepted.load(Ordering::SeqCst)
}

async fn tokio_graceful_shutdown(address: SocketAddr) -> u64 {
    let (listener, accepted) = listen(address).await;
    let web = async move |subsystem: &mut SubsystemHandle| {
        let told = subsystem.create_cancellation_token().cancelled_owned();
        axum::serve(listener, with_readiness()).with_graceful_shutdown(told).await
    };
    let top = Toplevel::new(async move |top: &mut SubsystemHandle| {
        top.start(SubsystemBuilder::new("web", web));
    });
    top.catch_signals().handle_shutdown_requests(DRAIN).await.expect("it leaves in time");
    accepted.load(Ordering::SeqCst)
}

/// A listener that counts, and answers without delay.
async fn listen(
    address: SocketAddr,
) -> (impl axum::serve::Listener<Io = TcpStream, Addr = SocketAddr>, Arc<AtomicU64>) {
    let listener = TcpListener::bind(address).await.expect("the address is free");
    tell(listener.local_addr().expect("it is bound"));
    let accepted = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&accepted);
    let listener = listener.tap_io(move |connection| {
        counted.fetch_add(1, Ordering::SeqCst);
        // It fails only when the other end has gone.
        let _ = connection.set_nodelay(true);
    });
    (listener, accepted)
}

#[derive(Debug, Clone, Default)]
struct Counting {
    accepted: Arc<AtomicU64>,
}

impl<S> Accept<TcpStream, S> for Counting {
    type Stream = TcpStream;
    type Service = S;
    type Future = std::future::Ready<std::io::Result<(TcpStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        // It fails only when the other end has gone.
        let _ = stream.set_nodelay(true);
        std::future::ready(Ok((stream, service)))
    }
}
