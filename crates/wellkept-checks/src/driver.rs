//! The task that drives a connection, bound to its owner.

use std::future::Future;

use tokio::task::JoinHandle;

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
