//! Runs what users hand in to be called at the end: with a time limit, and so that a panic or a block harms nobody else.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::BoxFuture;
use crate::report::ResourceOutcome;

/// What a closer may return: nothing, or a result whose error can be shown.
pub trait IntoClosed {
    /// The error's text, if there is one.
    fn into_closed(self) -> Result<(), String>;
}

impl IntoClosed for () {
    fn into_closed(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> IntoClosed for Result<(), E> {
    fn into_closed(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

type AsyncCloser = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), String>> + Send>;
type BlockingCloser = Box<dyn FnOnce() -> Result<(), String> + Send>;

pub(crate) enum Closer {
    Async(AsyncCloser),
    Blocking(BlockingCloser),
}

impl Closer {
    pub(crate) fn future<F, Fut>(close: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: IntoClosed> + Send + 'static,
    {
        Self::Async(Box::new(move || Box::pin(async move { close().await.into_closed() })))
    }

    pub(crate) fn blocking<F, T>(close: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: IntoClosed,
    {
        Self::Blocking(Box::new(move || close().into_closed()))
    }

    /// Runs to the end or to the limit, futures on the current runtime. A future is dropped at the limit; a blocking closer
    /// cannot be stopped and is left behind on its thread.
    pub(crate) async fn run(self, limit: Duration) -> Closed {
        match self {
            // A task of its own: a panic stays there, and one that blocks holds another worker, not the sequence.
            Self::Async(close) => {
                let task = tokio::spawn(close());
                let _abort = AbortOnDrop(task.abort_handle());
                match tokio::time::timeout(limit, task).await {
                    Ok(Ok(result)) => Closed::of(result),
                    Ok(Err(error)) => match error.try_into_panic() {
                        Ok(payload) => Closed::panicked(&*payload),
                        Err(_) => Closed { outcome: ResourceOutcome::Failed, detail: "cancelled".to_owned() },
                    },
                    Err(_) => Closed::late(limit),
                }
            }
            // A thread of its own, not the runtime's pool: that pool may be full of what never ends.
            Self::Blocking(close) => match Apart::start("wellkept-closer", close) {
                Ok(apart) => apart.ended(limit).await,
                Err(failed) => failed,
            },
        }
    }

    /// Starts it on a thread of its own, futures too: they get a small runtime there, because the one they came from may
    /// be what hangs.
    pub(crate) fn start_apart(self, thread: &str) -> Result<Apart, Closed> {
        match self {
            Self::Blocking(close) => Apart::start(thread, close),
            Self::Async(close) => Apart::start(thread, || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map_err(|error| format!("no runtime: {error}"))?.block_on(close())
            }),
        }
    }
}

/// A call on a thread of its own.
pub(crate) struct Apart(mpsc::Receiver<Closed>);

impl Apart {
    fn start(thread: &str, call: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<Self, Closed> {
        let (tell, told) = mpsc::sync_channel(1);
        spawn(thread, move || {
            let closed = match catch_unwind(AssertUnwindSafe(call)) {
                Ok(result) => Closed::of(result),
                Err(payload) => Closed::panicked(&*payload),
            };
            // Nobody listens any more when the limit has passed.
            let _ = tell.send(closed);
        })?;
        Ok(Self(told))
    }

    /// Waits for its end, or for the limit. The time is the machine's, as the thread's is: a runtime whose clock is paused
    /// for a test would let the limit pass in no time.
    pub(crate) async fn ended(self, limit: Duration) -> Closed {
        let (tell, told) = oneshot::channel();
        let waiting = spawn("wellkept-waiter", move || {
            let _ = tell.send(match self.0.recv_timeout(limit) {
                Ok(closed) => closed,
                Err(mpsc::RecvTimeoutError::Timeout) => Closed::late(limit),
                Err(mpsc::RecvTimeoutError::Disconnected) => Closed::lost(),
            });
        });
        match waiting {
            Ok(()) => told.await.unwrap_or_else(|_| Closed::lost()),
            Err(failed) => failed,
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Closed> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started
        .map(drop)
        .map_err(|error| Closed { outcome: ResourceOutcome::Failed, detail: format!("no thread: {error}") })
}

/// How a closer ended, with its own words.
pub(crate) struct Closed {
    pub(crate) outcome: ResourceOutcome,
    pub(crate) detail: String,
}

impl Closed {
    fn of(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self { outcome: ResourceOutcome::Closed, detail: String::new() },
            Err(detail) => Self { outcome: ResourceOutcome::Failed, detail },
        }
    }

    fn late(limit: Duration) -> Self {
        Self { outcome: ResourceOutcome::TimedOut, detail: format!("did not end within {limit:?}") }
    }

    fn lost() -> Self {
        Self { outcome: ResourceOutcome::Failed, detail: "lost".to_owned() }
    }

    fn panicked(payload: &(dyn Any + Send)) -> Self {
        Self { outcome: ResourceOutcome::Panicked, detail: panic_text(payload) }
    }
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// A cancelled wait must not leave its task running.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
