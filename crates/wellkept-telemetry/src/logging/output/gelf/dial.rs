//! Finding the receiver and connecting to it, on a thread besides: looking up a name may take as long as it likes.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::GelfOptions;

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Most addresses of a name that are tried in one attempt.
const MAX_ADDRESSES: usize = 8;

/// What connects to one address; may block for a bounded time.
type Connect<T> = dyn Fn(SocketAddr) -> io::Result<T> + Send + Sync;

/// Connects to a receiver again and again. There is never more than one thread at it, however long that one takes.
pub(super) struct Dialer<T> {
    host: String,
    port: u16,
    connect: Arc<Connect<T>>,
    running: Option<Receiver<io::Result<T>>>,
    /// Nothing is tried before then.
    rest_until: Option<Instant>,
    pause: Duration,
    /// How many attempts there were: of several addresses the next one is tried first.
    attempts: usize,
}

/// How an attempt stands.
pub(super) enum Dialled<T> {
    Connected(T),
    Failed(io::Error),
    /// Not connected yet; it may be looked again after this.
    Waiting(Duration),
}

impl<T: Send + 'static> Dialer<T> {
    pub(super) fn new(
        options: &GelfOptions,
        connect: impl Fn(SocketAddr) -> io::Result<T> + Send + Sync + 'static,
    ) -> Self {
        let (host, port) = (options.host.clone(), options.port);
        Self { host, port, connect: Arc::new(connect), running: None, rest_until: None, pause: PAUSES.0, attempts: 0 }
    }

    /// Looks how it stands; begins an attempt where none is on its way and the pause is over. Does not block.
    pub(super) fn poll(&mut self) -> Dialled<T> {
        if let Some(running) = &self.running {
            let result = match running.try_recv() {
                Err(TryRecvError::Empty) => return Dialled::Waiting(super::GLANCE),
                Err(TryRecvError::Disconnected) => Err(io::Error::other("the attempt to connect ended early")),
                Ok(result) => result,
            };
            self.running = None;
            return match result {
                Ok(connected) => Dialled::Connected(connected),
                Err(error) => self.failed(error),
            };
        }
        let now = Instant::now();
        if let Some(until) = self.rest_until
            && now < until
        {
            return Dialled::Waiting(until - now);
        }
        match self.begin() {
            Ok(()) => Dialled::Waiting(super::GLANCE),
            Err(error) => self.failed(error),
        }
    }

    /// The receiver takes what it gets: the next failure is a first one.
    pub(super) fn works(&mut self) {
        self.pause = PAUSES.0;
        self.rest_until = None;
    }

    /// It does not, and is left alone for a while. Returns how long that is.
    pub(super) fn rest(&mut self) -> Duration {
        // Many that lost the same receiver must not come back in one moment.
        let pause = self.pause.mul_f64(0.5 + fastrand::f64());
        self.pause = (self.pause * 2).min(PAUSES.1);
        self.rest_until = Some(Instant::now() + pause);
        pause
    }

    fn failed(&mut self, error: io::Error) -> Dialled<T> {
        self.rest();
        Dialled::Failed(error)
    }

    fn begin(&mut self) -> io::Result<()> {
        let (tell, result) = sync_channel(1);
        let (host, port, connect, attempt) = (self.host.clone(), self.port, Arc::clone(&self.connect), self.attempts);
        self.attempts = self.attempts.wrapping_add(1);
        // Nobody listens any more where the log was closed meanwhile.
        let dial = move || drop(tell.send(dial(&host, port, &*connect, attempt)));
        thread::Builder::new().name("wellkept-log-gelf".into()).spawn(dial)?;
        self.running = Some(result);
        Ok(())
    }
}

fn dial<T>(host: &str, port: u16, connect: &Connect<T>, attempt: usize) -> io::Result<T> {
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.take(MAX_ADDRESSES).collect();
    let mut failure = io::Error::new(ErrorKind::NotFound, format!("{host} has no address"));
    if !addresses.is_empty() {
        let first = attempt % addresses.len();
        addresses.rotate_left(first);
    }
    for address in addresses {
        match connect(address) {
            Ok(connected) => return Ok(connected),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl<T> std::fmt::Debug for Dialer<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_running = self.running.is_some();
        formatter
            .debug_struct("Dialer")
            .field("host", &self.host)
            .field("is_running", &is_running)
            .finish_non_exhaustive()
    }
}
