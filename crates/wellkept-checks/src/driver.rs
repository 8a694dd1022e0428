//! The task that drives a connection, bound to its owner.

use std::future::Future;

use tokio::task::JoinHandle;
#[cfg(feature = "http")]
use {
    std::sync::{Arc, Mutex, PoisonError},
    tokio::task::JoinSet,
};

/// Moves a connection's bytes for as long as this handle is there. Dropping it closes the connection, also when the
/// other side has stopped answering and the connection would wait for it for good.
#[derive(Debug)]
pub(crate) struct Driver(JoinHandle<()>);

impl Driver {
    pub(crate) fn start(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(connection))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tasks that a connection in HTTP/2 starts. Dropping this ends them.
#[cfg(feature = "http")]
#[derive(Debug, Default)]
pub(crate) struct Tasks(Executor);

#[cfg(feature = "http")]
impl Tasks {
    pub(crate) fn executor(&self) -> Executor {
        self.0.clone()
    }
}

#[cfg(feature = "http")]
impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// Starts tasks that [`Tasks`] ends.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Default)]
pub(crate) struct Executor(Arc<Mutex<JoinSet<()>>>);

#[cfg(feature = "http")]
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }
}
