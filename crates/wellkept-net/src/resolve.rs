//! Names to addresses. `getaddrinfo` blocks its thread for as long as it likes and nothing can end it, so it runs on
//! a few threads of our own, one flight per name, and whoever waits leaves at the deadline. Names that are known to be
//! answered have some of the threads for themselves, so that those that hang delay no others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Resolves a name by the process's shared [`Resolver`], which starts its first thread when first asked.
///
/// An IP address, with or without brackets, is answered at once and never waits for a thread. Ends at `deadline` at
/// the latest. Cancel-safe. Addresses come in the system's order of preference (RFC 6724), without zones.
pub async fn resolve(host: &str, deadline: Instant) -> Result<Arc<[IpAddr]>, ResolveError> {
    static SHARED: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(ResolverOptions::default()));
    SHARED.resolve(host, deadline).await
}

/// A lookup that took no longer makes its name a known one.
const QUICK: Duration = Duration::from_secs(1);
/// How many names are known at most; when there are more, all are learned anew.
const MOST_KNOWN: usize = 20_000;

/// The limits of a [`Resolver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolverOptions {
    /// Most threads, started as names wait for one. A name whose servers are silent holds its thread for as long as
    /// `resolv.conf` says. A quarter of them, from four on, is for names alone whose latest lookup was quick. Default 16.
    pub threads: usize,
    /// Most names that wait for a thread; one more is refused with [`ResolveError::Exhausted`]. Default 1,024.
    pub queue: usize,
    /// How long a thread without work stays. Default 10 s.
    pub idle: Duration,
}

impl Default for ResolverOptions {
    fn default() -> Self {
        Self { threads: 16, queue: 1_024, idle: Duration::from_secs(10) }
    }
}

/// What a [`Resolver`] is doing right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResolverStats {
    /// Threads that exist.
    pub threads: usize,
    /// Threads that have nothing to do.
    pub idle: usize,
    /// Names that wait for a thread.
    pub queued: usize,
    /// Names that were refused since the start because the queue was full.
    pub refused: u64,
}

/// A bounded pool of threads that resolve names. Dropping it lets its threads end once their names are answered.
///
/// All who ask for a name while it is being looked up share one flight. A name that nobody waits for any more is
/// not looked up. Names whose latest lookup was quick come first, and have threads that no other name takes: however many
/// names hang, these are answered. One that was never answered waits among those that hang, and known ones that begin to
/// hang take the place of others once, until the system gives them up.
pub struct Resolver {
    shared: Arc<Shared>,
}

impl Resolver {
    /// A pool that asks the system (`getaddrinfo`). Starts no thread yet.
    pub fn new(options: ResolverOptions) -> Self {
        Self::with_lookup(options, |name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    /// A pool that asks `lookup`, which may block: for tests, and for those who bring their own resolver.
    pub fn with_lookup(
        options: ResolverOptions,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            options: ResolverOptions { threads: options.threads.max(1), ..options },
            lookup: Box::new(lookup),
            state: Mutex::default(),
            work: Condvar::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// See [`resolve`], which does the same on the process's shared pool.
    pub async fn resolve(&self, host: &str, deadline: Instant) -> Result<Arc<[IpAddr]>, ResolveError> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Arc::from([address]));
        }
        if !is_plausible_name(host) {
            return Err(ResolveError::InvalidName);
        }
        let mut answer = self.join_flight(host)?;
        let answered = timeout_at(deadline, answer.wait_for(Option::is_some)).await;
        match answered {
            Err(_elapsed) => Err(ResolveError::Timeout),
            Ok(Ok(answer)) => answer.clone().unwrap_or(Err(ResolveError::Timeout)),
            Ok(Err(_sender_gone)) => Err(ResolveError::Failed("the resolver's thread ended".to_owned())),
        }
    }

    /// A snapshot of the pool.
    pub fn stats(&self) -> ResolverStats {
        let state = self.shared.lock();
        ResolverStats { threads: state.threads, idle: state.idle, queued: state.queued(), refused: state.refused }
    }

    fn join_flight(&self, name: &str) -> Result<watch::Receiver<Option<Answer>>, ResolveError> {
        let mut state = self.shared.lock();
        if let Some(flight) = state.flights.get(name) {
            return Ok(flight.subscribe());
        }
        let is_known = state.known.contains(name);
        let most = self.shared.options.queue;
        if state.lane(is_known).len() >= most {
            state.forget_abandoned();
        }
        if state.lane(is_known).len() >= most {
            state.refused += 1;
            return Err(ResolveError::Exhausted);
        }
        // Idle threads may have been woken for names queued before this one, so these count as taken. What may not be
        // looked up now needs no thread.
        let is_next = is_known || state.others < self.shared.most_others();
        let before = if is_known { state.known_queue.len() } else { state.queued() };
        if is_next && state.idle <= before && state.threads < self.shared.options.threads {
            match spawn(&self.shared) {
                Ok(()) => state.threads += 1,
                Err(_error) if state.threads > 0 => {}
                Err(_error) => return Err(ResolveError::Exhausted),
            }
        }
        let name: Arc<str> = Arc::from(name);
        let (flight, answer) = watch::channel(None);
        state.flights.insert(Arc::clone(&name), flight);
        state.lane(is_known).push_back(name);
        drop(state);
        self.shared.work.notify_one();
        Ok(answer)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resolver").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// Why a name has no address. The texts hold no name: whoever asked knows it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It can't be a host name: empty, over 253 bytes, or with spaces or control characters.
    #[error("not a host name")]
    InvalidName,
    /// The system's resolver said no, in its own words.
    #[error("{0}")]
    Failed(String),
    /// The name exists and has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The deadline passed.
    #[error("no answer from the name servers in time")]
    Timeout,
    /// Too many names wait for a resolver thread.
    #[error("too many names are being resolved")]
    Exhausted,
}

impl ResolveError {
    /// The stable code: `dns`, `timeout` or `exhausted`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidName | Self::Failed(_) | Self::NoAddress => "dns",
            Self::Timeout => "timeout",
            Self::Exhausted => "exhausted",
        }
    }
}

type Lookup = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

type Answer = Result<Arc<[IpAddr]>, ResolveError>;

struct Shared {
    options: ResolverOptions,
    lookup: Lookup,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    /// Names without a thread yet. Each has a flight.
    queue: VecDeque<Arc<str>>,
    /// The same of names that are known.
    known_queue: VecDeque<Arc<str>>,
    /// Names whose latest lookup was quick.
    known: HashSet<Arc<str>>,
    /// How many threads look up a name that is not known.
    others: usize,
    /// Every name that is queued or being looked up, so at most twice `queue` and `threads` of them.
    flights: HashMap<Arc<str>, watch::Sender<Option<Answer>>>,
    threads: usize,
    idle: usize,
    refused: u64,
    closed: bool,
}

impl State {
    fn queued(&self) -> usize {
        self.queue.len() + self.known_queue.len()
    }

    fn lane(&mut self, is_known: bool) -> &mut VecDeque<Arc<str>> {
        if is_known { &mut self.known_queue } else { &mut self.queue }
    }

    fn forget_abandoned(&mut self) {
        let Self { queue, known_queue, flights, .. } = self;
        for queue in [queue, known_queue] {
            queue.retain(|name| {
                let awaited = flights.get(name).is_some_and(|flight| flight.receiver_count() > 0);
                if !awaited {
                    flights.remove(name);
                }
                awaited
            });
        }
    }

    /// The next name that someone waits for and that may be looked up, those that are known first.
    fn take(&mut self, most_others: usize) -> Option<Taken> {
        loop {
            let (name, is_known) = match self.known_queue.pop_front() {
                Some(name) => (name, true),
                None if self.others < most_others => (self.queue.pop_front()?, false),
                None => return None,
            };
            if self.flights.get(&name).is_some_and(|flight| flight.receiver_count() > 0) {
                self.others += usize::from(!is_known);
                return Some(Taken { name, is_known });
            }
            self.flights.remove(&name);
        }
    }

    /// A lookup has ended, and took so long.
    fn ended(&mut self, taken: &Taken, took: Duration) {
        self.others -= usize::from(!taken.is_known);
        if took > QUICK {
            self.known.remove(&taken.name);
        } else if !taken.is_known {
            if self.known.len() >= MOST_KNOWN {
                self.known.clear();
            }
            self.known.insert(Arc::clone(&taken.name));
        }
    }
}

/// A name that a thread looks up.
struct Taken {
    name: Arc<str>,
    is_known: bool,
}

impl Shared {
    /// No code that can panic runs under this lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many threads may look up names that are not known.
    fn most_others(&self) -> usize {
        self.options.threads - self.options.threads / 4
    }

    /// A worker's life: answer names until there are none for a while.
    fn work(&self) {
        while let Some(taken) = self.next_name() {
            let (name, began) = (&taken.name, std::time::Instant::now());
            // A panic in a caller's `lookup` must cost one answer, not a thread that is still counted.
            let looked_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.lookup)(name)));
            let answer = match looked_up {
                Ok(Ok(addresses)) if addresses.is_empty() => Err(ResolveError::NoAddress),
                Ok(Ok(mut addresses)) => {
                    // A hosts file may say the same twice.
                    addresses.dedup();
                    Ok(Arc::from(addresses))
                }
                Ok(Err(error)) => Err(ResolveError::Failed(error.to_string())),
                Err(_panic) => Err(ResolveError::Failed("the lookup panicked".to_owned())),
            };
            let flight = {
                let mut state = self.lock();
                state.ended(&taken, began.elapsed());
                state.flights.remove(name)
            };
            if let Some(flight) = flight {
                flight.send_replace(Some(answer));
            }
        }
    }

    /// Waits for a name that someone waits for; `None` when this thread has become superfluous, and then it is no
    /// longer counted.
    fn next_name(&self) -> Option<Taken> {
        let mut state = self.lock();
        loop {
            if let Some(taken) = state.take(self.most_others()) {
                return Some(taken);
            }
            if state.closed {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.options.idle);
            let (woken, result) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if result.timed_out() {
                // A name may have come at just that moment.
                let taken = state.take(self.most_others());
                state.threads -= usize::from(taken.is_none());
                return taken;
            }
        }
    }
}

fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    // `getaddrinfo` keeps its buffers on the stack; this is several times what glibc and musl use.
    let builder = std::thread::Builder::new().name("wellkept-resolve".to_owned()).stack_size(256 * 1024);
    builder.spawn(move || shared.work()).map(|_detached| ())
}

/// What is surely no host name (RFC 1035, section 2.3.4 for the length) is not worth a thread. The rest is the
/// system's to judge: it also knows names with underscores.
fn is_plausible_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && !name.chars().any(|letter| letter.is_whitespace() || letter.is_control())
}

#[cfg(test)]
mod tests;
