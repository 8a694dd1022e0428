//! How a correlation follows its work: through a future, a closure, another task, a blocking thread.

use tokio::task::JoinHandle;
use tokio::task::futures::TaskLocalFuture;
use tracing::{Instrument as _, Span};

use super::Correlation;

tokio::task_local! {
    static CURRENT: Correlation;
}

/// A future during which a correlation is current.
pub type Scoped<F> = TaskLocalFuture<Correlation, F>;

impl Correlation {
    /// The one of the work that runs here; `None` outside of any.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Reads the one of the work that runs here, if there is one, where it stands.
    pub(crate) fn with_current<R>(read: impl FnOnce(&Self) -> R) -> Option<R> {
        CURRENT.try_with(read).ok()
    }

    /// Is current whenever `work` runs, on whichever thread. Cancel-safe if `work` is.
    pub fn scope<F: Future>(self, work: F) -> Scoped<F> {
        CURRENT.scope(self, work)
    }

    /// Is current while `work` runs on this thread.
    pub fn in_scope<R>(self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self, work)
    }
}

/// As [`tokio::spawn`], for a task that belongs to the work which spawns it: with its correlation and its span.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (correlation, work) = (Correlation::current(), work.instrument(Span::current()));
    match correlation {
        Some(correlation) => tokio::spawn(correlation.scope(work)),
        None => tokio::spawn(work),
    }
}

/// As [`tokio::task::spawn_blocking`], for work that belongs to the work which spawns it: with its correlation and its
/// span.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn_blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    let (correlation, span) = (Correlation::current(), Span::current());
    tokio::task::spawn_blocking(move || match correlation {
        Some(correlation) => correlation.in_scope(|| span.in_scope(work)),
        None => span.in_scope(work),
    })
}
