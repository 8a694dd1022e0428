//! The signals that end a process. Installed only when asked for, and then first thing in `main`: a signal that comes
//! earlier kills without a word.

use std::io;
use std::time::Duration;

use crate::cause::{Cause, Signal};
use crate::handle::Shutdown;

/// How soon after the first signal another one is taken for its echo.
const ECHO: Duration = Duration::from_millis(100);

/// Starts to catch SIGTERM and SIGINT (elsewhere than on Unix: Ctrl-C). Needs a tokio runtime with its I/O driver. What
/// arrives before [`Signals::drive`] is kept. When the returned value is dropped (all of them, where there are several), the
/// signals do again what they did before anyone asked: they end the process.
pub fn install() -> io::Result<Signals> {
    Signals::install()
}

/// Caught signals.
#[derive(Debug)]
pub struct Signals {
    #[cfg(unix)]
    _held: default::Held,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { _held: default::Held::hold()?, terminate, interrupt })
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

/// The default action of the signals, which the runtime's handlers replace for good: called by us where nobody listens.
#[cfg(unix)]
mod default {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::register_conditional_default;

    /// How many listen.
    static LISTENERS: Mutex<usize> = Mutex::new(0);

    /// While one exists, somebody listens.
    #[derive(Debug)]
    pub(super) struct Held(());

    impl Held {
        pub(super) fn hold() -> io::Result<Self> {
            let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
            deserted()?.store(false, Ordering::SeqCst);
            *listeners += 1;
            Ok(Self(()))
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
            *listeners = listeners.saturating_sub(1);
            if *listeners == 0
                && let Ok(deserted) = deserted()
            {
                deserted.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Set while nobody listens. The handler that looks at it is installed once and stays.
    fn deserted() -> io::Result<&'static AtomicBool> {
        static DESERTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
        if let Some(deserted) = DESERTED.get() {
            return Ok(deserted);
        }
        let deserted = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            register_conditional_default(signal, Arc::clone(&deserted))?;
        }
        Ok(DESERTED.get_or_init(|| deserted))
    }
}
