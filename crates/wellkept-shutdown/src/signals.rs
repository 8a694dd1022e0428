//! The signals that end a process. Installed only when asked for, and then first thing in `main`: a signal that comes
//! earlier kills without a word.

use std::io;
use std::time::Duration;

use crate::cause::{Cause, Signal};
use crate::handle::Shutdown;

/// How soon after the first signal another one is taken for its echo.
const ECHO: Duration = Duration::from_millis(100);

/// Starts to catch SIGTERM and SIGINT (elsewhere than on Unix: Ctrl-C). Needs a tokio runtime with its I/O driver. What
/// arrives before [`Signals::drive`] is kept. The handlers stay for the life of the process.
pub fn install() -> io::Result<Signals> {
    Signals::install()
}

/// Caught signals.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(not(unix))]
    fn install() -> io::Result<Self> {
        Ok(Self {})
    }

    /// The next signal. Cancel-safe. Signals of one kind that come faster than they are taken count as one.
    #[cfg(unix)]
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }

    /// The next Ctrl-C. Cancel-safe.
    #[cfg(not(unix))]
    pub async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    }

    /// Hands signals to the shutdown for as long as the process lives; to be spawned. The first one triggers (and is
    /// harmless after a trigger from code), the second forces (unless it comes within a tenth of a second), the third
    /// ends the process at once with 128 plus its number.
    pub async fn drive(mut self, shutdown: Shutdown) {
        let first = self.next().await;
        shutdown.trigger(Cause::Signal(first));
        // A wrapper that signals its child and the whole process group means one request, not two.
        let _ = tokio::time::timeout(ECHO, async {
            loop {
                self.next().await;
            }
        })
        .await;
        let second = self.next().await;
        tracing::warn!(target: "wellkept::shutdown", signal = second.as_str(), "a further signal forces the shutdown");
        shutdown.force(Cause::Signal(second));
        let third = self.next().await;
        std::process::exit(i32::from(third.exit_code()));
    }
}
