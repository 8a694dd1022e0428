//! What can be asked: an async function, a blocking function or a trait object.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::component::MAX_TIMEOUT;
use crate::job::Job;
use crate::origin::Identity;
use crate::outcome::{IntoOutcome, Outcome};

/// Something that can be asked how it is.
///
/// Implement `run` as an `async fn`. It is called at the component's interval, never on top of itself, and dropped
/// at the deadline: it must be cancel-safe, which it is when all that it holds is released by `Drop`.
///
/// ```
/// use wellkept_health::{Check, Context, Outcome, Reason};
///
/// struct Queue;
///
/// impl Check for Queue {
///     async fn run(&self, _context: &Context) -> Outcome {
///         let waiting = 12;
///         if waiting > 1_000 {
///             return Outcome::warn(Reason::Threshold, "queue is long");
///         }
///         Outcome::pass().with("waiting", waiting)
///     }
/// }
/// ```
pub trait Check: Send + Sync + 'static {
    /// Runs once. Must not block the thread: what blocks belongs into [`AnyCheck::blocking`]. One that does is a timeout
    /// like any other, and takes a thread of the runtime for as long as it blocks: the others stay punctual while one is
    /// left, and once none is, nothing of the runtime runs, neither checks nor doors. [`Liveness`](crate::Liveness)
    /// notices that.
    fn run(&self, context: &Context) -> impl Future<Output = Outcome> + Send;
}

/// What a run is told.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    deadline: Instant,
    timeout: Duration,
    identity: Option<Identity>,
}

impl Context {
    /// A context whose deadline is `timeout` from now, an hour at most.
    pub fn within(timeout: Duration) -> Self {
        let timeout = timeout.min(MAX_TIMEOUT);
        Self { deadline: Instant::now() + timeout, timeout, identity: None }
    }

    /// The same, in a service of this identity.
    #[must_use]
    pub fn within_service(self, identity: Option<Identity>) -> Self {
        Self { identity, ..self }
    }

    /// When the run must have ended. A check that gives up by itself a moment earlier can say what it waited for.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The component's timeout.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Who asks: the service that the check belongs to. `None` when it runs by itself, as for `wellkept check`.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The time left, zero when the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// How far a check looks. Liveness refuses what looks beyond this process: a restart mends neither another machine nor
/// a full disk (Kubernetes, "Liveness, Readiness, and Startup Probes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Only this process.
    Process,
    /// The machine or container it runs on.
    Machine,
    /// Anything reached over a network. Also what is assumed of a check that does not say.
    Remote,
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any check, ready to be registered. Cheap to clone: clones ask the same check.
#[derive(Clone)]
pub struct AnyCheck {
    pub(crate) run: Run,
    /// What reports to it, where it does not ask itself.
    pub(crate) job: Option<Job>,
}

#[derive(Clone)]
pub(crate) enum Run {
    Async(Arc<dyn ErasedCheck>),
    Blocking(Arc<dyn Fn(&Context) -> Outcome + Send + Sync>),
}

impl AnyCheck {
    /// From something that implements [`Check`].
    pub fn new(check: impl Check) -> Self {
        Self { run: Run::Async(Arc::new(check)), job: None }
    }

    pub(crate) fn is_blocking(&self) -> bool {
        matches!(self.run, Run::Blocking(_))
    }

    /// From an async function or closure.
    pub fn from_fn<F, R>(function: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output: IntoOutcome> + Send + 'static,
    {
        Self::new(FunctionCheck(function))
    }

    /// From a function that blocks its thread. Each run gets a thread of its own, off the async ones; a run that
    /// hangs occupies that one thread and is not started again on top of itself.
    pub fn blocking<F, T>(function: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: IntoOutcome,
    {
        Self::blocking_with(move |_| function().into_outcome())
    }

    /// As [`AnyCheck::blocking`], for a function that wants to know its deadline.
    pub fn blocking_with(function: impl Fn(&Context) -> Outcome + Send + Sync + 'static) -> Self {
        Self { run: Run::Blocking(Arc::new(function)), job: None }
    }
}

impl<C: Check> From<C> for AnyCheck {
    fn from(check: C) -> Self {
        Self::new(check)
    }
}

impl fmt::Debug for AnyCheck {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.run {
            Run::Async(_) => "async",
            Run::Blocking(_) => "blocking",
        };
        formatter.debug_tuple("AnyCheck").field(&kind).finish()
    }
}

/// [`Check`] made usable as a trait object.
pub(crate) trait ErasedCheck: Send + Sync {
    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome>;
}

impl<C: Check> ErasedCheck for C {
    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Outcome> {
        Box::pin(Check::run(self, context))
    }
}

struct FunctionCheck<F>(F);

impl<F, R> Check for FunctionCheck<F>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output: IntoOutcome> + Send + 'static,
{
    async fn run(&self, _context: &Context) -> Outcome {
        (self.0)().await.into_outcome()
    }
}
