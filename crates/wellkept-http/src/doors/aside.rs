//! Work that takes a while, off the thread that answers probes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::ApiError;

/// How long the runtime may take to find a thread.
const PATIENCE: Duration = Duration::from_millis(100);

/// Runs it on one of the runtime's threads for blocking work, or on one of its own where the application holds all of
/// those, which is just when somebody wants to know what is wrong. It goes on when its caller no longer waits; who
/// starts it bounds how much of it there is.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let (done, mut result) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some(move || done.send(work()).ok())));
    let taken = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let run = move || taken(&work).map(|work: _| work());
    tokio::task::spawn_blocking(run.clone());
    let result = if let Ok(result) = timeout(PATIENCE, &mut result).await {
        result
    } else {
        if let Err(error) = std::thread::Builder::new().name("wk-aside".to_owned()).spawn(run) {
            tracing::error!(target: "wellkept::http", %error, "no thread is left for an answer");
        }
        result.await
    };
    result.map_err(|_| {
        tracing::error!(target: "wellkept::http", "an answer could not be written: its writer panicked");
        ApiError::Internal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_also_when_the_application_holds_every_thread() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        let (go, held) = std::sync::mpsc::channel::<()>();
        runtime.spawn_blocking(move || held.recv().ok());
        assert_eq!(runtime.block_on(aside(|| 7)), Ok(7));
        drop(go);
    }
}
