//! The agent check of HAProxy: whoever connects gets one line that says whether traffic may come, and how much
//! (HAProxy, Configuration Manual, section 5.2, "agent-check").

use std::borrow::Cow;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use wellkept_health::wire::{Sight, Subject, View};
use wellkept_health::{Checker, Lifecycle, Status};
use wellkept_shutdown::{BoxFuture, Entrance};

use crate::server::{Address, BindError, Listener, listen};
use crate::sockets::{Listening, SharedSocket};

/// Connections that are answered at the same time; more wait in the system's queue. Each proxy asks once per interval.
const MAX_CONNECTIONS: usize = 64;
/// How long one connection may take, from its accept to its end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most that is read of what the other end says (`agent-send`).
const MOST_READ: u64 = 1024;
/// How long accepting rests after an error of this machine.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait in the system's queue at the end and are answered all the same.
const MAX_LAST: usize = 1024;

/// What the agent says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentOptions {
    /// The weight while the service is degraded, in percent of the one in HAProxy's configuration. At most 100.
    /// Default 50.
    pub degraded_weight: u8,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self { degraded_weight: 50 }
    }
}

/// An agent that listens but does not answer yet.
///
/// | the service is | HAProxy is told |
/// |---|---|
/// | healthy | `ready up 100%` |
/// | degraded | `ready up 50%` |
/// | draining | `drain` |
/// | in maintenance | `maint` |
/// | anything else | `ready down #` and the status |
///
/// `ready` ends a drain or maintenance that the agent asked for before, also the one of the process before; it ends one
/// that was set by hand in HAProxy, too. What is told is readiness, and nothing else than its status is.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    address: SocketAddr,
    options: AgentOptions,
}

impl Agent {
    /// Listens on `address` now. Port 0 takes any free port. Needs no runtime.
    pub fn bind(address: SocketAddr, options: AgentOptions) -> Result<Self, BindError> {
        let (listener, address) = listen(address)?;
        Ok(Self { listener, address, options })
    }

    /// On a TCP socket that listens already ([`Sockets`](crate::Sockets)). Needs no runtime.
    pub fn on(listener: Listener, options: AgentOptions) -> Result<Self, BindError> {
        let only_tcp = || io::Error::new(io::ErrorKind::InvalidInput, "HAProxy's agent check needs a TCP socket");
        let listener = listener.into_tcp().ok_or_else(|| BindError::Unusable { source: only_tcp() })?;
        let address = listener.local_addr().map_err(|source| BindError::Unusable { source })?;
        Ok(Self { listener, address, options })
    }

    /// Where it listens, with the port that was taken.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Answers on the current tokio runtime until the handle is told to stop; dropping the handle stops nothing. At most
    /// 64 connections at a time, each for at most a second.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn serve(self, checker: Checker) -> Arc<AgentHandle> {
        let state = watch::Sender::new(State { stage: Stage::Open, connections: 0, listens: true });
        // Where it fails for want of descriptors, sharing it fails later, and says so.
        let shared = Mutex::new(self.listener.try_clone().ok());
        let handle = Arc::new(AgentHandle { address: self.address, shared, state, books: Arc::default() });
        tokio::spawn(run(Arc::clone(&handle), self.listener, checker, self.options));
        handle
    }
}

/// An answering agent, to be given to the shutdown as an entrance.
#[derive(Debug)]
pub struct AgentHandle {
    address: SocketAddr,
    /// The listening socket once more, for as long as it is open.
    shared: Mutex<Option<TcpListener>>,
    state: watch::Sender<State>,
    books: Arc<Books>,
}

/// The figures of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentStats {
    /// Connections that are open.
    pub open: usize,
    /// Most connections that are open at the same time; more wait in the system's queue.
    pub max_connections: usize,
    /// Connections accepted.
    pub accepted_total: u64,
    /// Connections that could not be accepted, for want of descriptors or memory.
    pub accept_errors_total: u64,
    /// Answers that were handed over whole.
    pub answered_total: u64,
    /// Answers that were not: the other end had gone, or did not take them within a second.
    pub unanswered_total: u64,
}

/// What is counted while it answers.
#[derive(Debug, Default)]
struct Books {
    accepted: AtomicU64,
    accept_errors: AtomicU64,
    answered: AtomicU64,
    unanswered: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct State {
    stage: Stage,
    connections: usize,
    listens: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    Closing,
    Aborted,
}

impl AgentHandle {
    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Its figures now.
    pub fn stats(&self) -> AgentStats {
        let Books { accepted, accept_errors, answered, unanswered } = &*self.books;
        AgentStats {
            open: self.open(),
            max_connections: MAX_CONNECTIONS,
            accepted_total: accepted.load(Ordering::Relaxed),
            accept_errors_total: accept_errors.load(Ordering::Relaxed),
            answered_total: answered.load(Ordering::Relaxed),
            unanswered_total: unanswered.load(Ordering::Relaxed),
        }
    }

    fn advance(&self, stage: Stage) {
        self.state.send_modify(|state| state.stage = state.stage.max(stage));
    }

    async fn until(&self, reached: impl FnMut(&State) -> bool) {
        // It can't end early: the sender is here.
        drop(self.state.subscribe().wait_for(reached).await);
    }
}

impl Entrance for AgentHandle {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    /// Nothing: the answers say `drain` from the moment on from which readiness fails.
    fn announce(&self) {}

    fn open(&self) -> usize {
        self.state.borrow().connections
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.until(|state| state.connections == 0))
    }

    fn stop_accepting(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.advance(Stage::Closing);
            self.until(|state| !state.listens).await;
        })
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        self.closed()
    }

    fn abort(&self) {
        self.advance(Stage::Aborted);
    }
}

impl Listening for AgentHandle {
    fn share(&self) -> io::Result<SharedSocket> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = shared.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "it is closed"))?;
        let socket = socket.try_clone()?.into();
        Ok(SharedSocket { address: Address::Tcp(self.address), managed: false, socket })
    }

    fn leave_file(&self) {}

    fn leave(&self) -> BoxFuture<'_, ()> {
        self.stop_accepting()
    }
}

/// Accepts until asked to stop, then takes what waits, closes the listener, and sees the last answers off.
async fn run(handle: Arc<AgentHandle>, listener: TcpListener, checker: Checker, options: AgentOptions) {
    let mut answering = Answering { handle: &handle, checker, options, answers: JoinSet::new() };
    let mut state = handle.state.subscribe();
    tokio::select! {
        // First, so that a flood of connections cannot outshout it.
        biased;
        _ = state.wait_for(|state| state.stage >= Stage::Closing) => {}
        () = answering.take(&listener) => {}
    }
    answering.take_waiting(&listener);
    drop(handle.shared.lock().unwrap_or_else(PoisonError::into_inner).take());
    drop(listener);
    handle.state.send_modify(|state| state.listens = false);
    tokio::select! {
        biased;
        _ = state.wait_for(|state| state.stage == Stage::Aborted) => {}
        () = answering.finish() => {}
    }
    answering.answers.shutdown().await;
    answering.count();
}

struct Answering<'h> {
    handle: &'h AgentHandle,
    checker: Checker,
    options: AgentOptions,
    answers: JoinSet<()>,
}

impl Answering<'_> {
    /// Never ends by itself. Cancel-safe: a connection that is accepted is spawned in the same step.
    async fn take(&mut self, listener: &TcpListener) {
        let listener = loop {
            // Registering can fail for want of descriptors or memory; that may pass.
            match listener.try_clone().and_then(tokio::net::TcpListener::from_std) {
                Ok(listener) => break listener,
                Err(error) => self.rest(&error).await,
            }
        };
        loop {
            tokio::select! {
                Some(_) = self.answers.join_next() => self.count(),
                accepted = listener.accept(), if self.answers.len() < MAX_CONNECTIONS => match accepted {
                    Ok((connection, _)) => self.spawn(connection),
                    Err(error) => self.rest(&error).await,
                },
            }
        }
    }

    async fn rest(&self, error: &std::io::Error) {
        self.handle.books.accept_errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(target: "wellkept::http", server = "haproxy", %error, "connections cannot be accepted");
        tokio::time::sleep(PAUSE).await;
    }

    /// Asks the system itself: the runtime may not have heard of them yet.
    fn take_waiting(&mut self, listener: &TcpListener) {
        for _ in 0..MAX_LAST {
            let taken = listener.accept().and_then(|(connection, _)| {
                connection.set_nonblocking(true)?;
                TcpStream::from_std(connection)
            });
            match taken {
                Ok(connection) => self.spawn(connection),
                Err(_) => return,
            }
        }
    }

    async fn finish(&mut self) {
        while self.answers.join_next().await.is_some() {
            self.count();
        }
    }

    fn spawn(&mut self, connection: TcpStream) {
        let books = Arc::clone(&self.handle.books);
        books.accepted.fetch_add(1, Ordering::Relaxed);
        self.answers.spawn(serve(connection, line(&self.checker, self.options), books));
        self.count();
    }

    fn count(&self) {
        self.handle.state.send_modify(|state| state.connections = self.answers.len());
    }
}

/// One connection. Errors are those of the other end, which will ask again.
async fn serve(mut connection: TcpStream, line: Cow<'static, str>, books: Arc<Books>) {
    let end = Instant::now() + PATIENCE;
    let answer = async {
        connection.write_all(line.as_bytes()).await?;
        connection.shutdown().await
    };
    if !matches!(timeout_at(end, answer).await, Ok(Ok(()))) {
        books.unanswered.fetch_add(1, Ordering::Relaxed);
        return;
    }
    books.answered.fetch_add(1, Ordering::Relaxed);
    // A connection that is closed with something unread is reset, and the answer may be lost with it.
    let (mut rest, mut nowhere) = ((&mut connection).take(MOST_READ), tokio::io::sink());
    drop(timeout_at(end, tokio::io::copy(&mut rest, &mut nowhere)).await);
}

fn line(checker: &Checker, options: AgentOptions) -> Cow<'static, str> {
    let view = View::of(checker, Subject::Ready, Sight::Status);
    // A blank before the `#`: without one HAProxy 2.6 takes word and reason for one unknown word.
    match (view.hindrance(), view.status()) {
        (Some(Lifecycle::Draining), _) => "drain\n".into(),
        (_, Status::Maintenance) => "maint\n".into(),
        (None, Status::Healthy) => "ready up 100%\n".into(),
        (None, Status::Degraded) => format!("ready up {}%\n", options.degraded_weight.min(100)).into(),
        _ => format!("ready down #{}\n", view.word()).into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use wellkept_health::{AnyCheck, Component, End, NewMaintenance, Outcome, Reason, Settings, Verdict};

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:0";

    /// An agent of a service with one check of this outcome, once that has its first result.
    async fn agent(verdict: Verdict) -> (Checker, Arc<AgentHandle>) {
        let (checker, engine) = Checker::new(Settings::new("orders"));
        let check = move || async move {
            match verdict {
                Verdict::Pass => Outcome::pass(),
                Verdict::Warn => Outcome::warn(Reason::Slow, "slow"),
                Verdict::Fail => Outcome::fail(Reason::Refused, "refused"),
            }
        };
        checker.register(Component::new("db", AnyCheck::from_fn(check))).unwrap();
        tokio::spawn(engine.run(std::future::pending()));
        checker.subscribe().wait_for(|_| checker.is_started()).await.unwrap();
        let agent = Agent::bind(LOOPBACK.parse().unwrap(), AgentOptions { degraded_weight: 30 }).unwrap();
        let handle = agent.serve(checker.clone());
        (checker, handle)
    }

    async fn ask(handle: &AgentHandle) -> String {
        let mut connection = TcpStream::connect(handle.local_address()).await.unwrap();
        connection.write_all(b"a greeting\n").await.unwrap();
        let mut line = String::new();
        connection.read_to_string(&mut line).await.unwrap();
        line
    }

    #[tokio::test]
    async fn each_status_is_one_line() {
        for (verdict, wanted) in [
            (Verdict::Pass, "ready up 100%\n"),
            (Verdict::Warn, "ready up 30%\n"),
            (Verdict::Fail, "ready down #unhealthy\n"),
        ] {
            let (checker, handle) = agent(verdict).await;
            assert_eq!(ask(&handle).await, wanted);
            let wanted = NewMaintenance::of_the_service(End::Open, "new disks");
            let begun = checker.begin_maintenance(wanted).unwrap();
            let mut published = checker.subscribe();
            published.wait_for(|_| checker.readiness().status == Status::Maintenance).await.unwrap();
            assert_eq!(ask(&handle).await, "maint\n");
            checker.end_maintenance(&begun[0].id, "").unwrap();
            checker.begin_draining();
            assert_eq!(ask(&handle).await, "drain\n");
        }
        let (checker, _engine) = Checker::new(Settings::new("orders"));
        assert_eq!(line(&checker, AgentOptions::default()), "ready down #unknown\n");
    }

    #[tokio::test]
    async fn those_who_only_connect_keep_nobody_out_for_longer_than_a_second() {
        let (_checker, handle) = agent(Verdict::Pass).await;
        let mut silent = Vec::new();
        for _ in 0..2 * MAX_CONNECTIONS {
            silent.push(TcpStream::connect(handle.local_address()).await.unwrap());
        }
        handle.until(|state| state.connections == MAX_CONNECTIONS).await;
        assert_eq!(ask(&handle).await, "ready up 100%\n");
        assert!(handle.open() <= MAX_CONNECTIONS);
        let stats = handle.stats();
        assert_eq!((stats.max_connections, stats.unanswered_total), (MAX_CONNECTIONS, 0));
        let all = 2 * MAX_CONNECTIONS as u64 + 1;
        assert_eq!((stats.accepted_total, stats.answered_total), (all, all), "silent ones are answered, too");
    }

    #[tokio::test]
    async fn an_answer_that_its_asker_did_not_wait_for_is_counted_apart() {
        let (_checker, handle) = agent(Verdict::Pass).await;
        // Nothing here yields: it is closed with a reset before the agent comes to look.
        let gone = std::net::TcpStream::connect(handle.local_address()).unwrap();
        gone.set_nonblocking(true).unwrap();
        TcpStream::from_std(gone).unwrap().set_zero_linger().unwrap();
        handle.stop_accepting().await;
        handle.drain().await;
        let stats = handle.stats();
        assert_eq!((stats.accepted_total, stats.answered_total, stats.unanswered_total), (1, 0, 1));
    }

    #[tokio::test]
    async fn the_last_who_came_are_answered_before_it_closes() {
        let (_checker, handle) = agent(Verdict::Pass).await;
        let mut waiting = TcpStream::connect(handle.local_address()).await.unwrap();
        handle.stop_accepting().await;
        assert!(TcpStream::connect(handle.local_address()).await.is_err(), "it is closed");
        let mut line = String::new();
        waiting.read_to_string(&mut line).await.unwrap();
        assert_eq!(line, "ready up 100%\n");
        handle.drain().await;
        assert_eq!(handle.open(), 0);
    }

    #[tokio::test]
    async fn what_is_cut_ends_at_once() {
        let (_checker, handle) = agent(Verdict::Pass).await;
        let _silent = TcpStream::connect(handle.local_address()).await.unwrap();
        handle.until(|state| state.connections == 1).await;
        handle.abort();
        let began = std::time::Instant::now();
        handle.drain().await;
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    }
}
