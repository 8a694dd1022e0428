//! The shutdown for programs without a runtime of their own: workers, scripts, batch jobs.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::cause::Cause;
use crate::handle::Shutdown;
use crate::report::Report;
use crate::settings::Settings;
use crate::signals;
use crate::tracker::{Refused, RequestGuard, Work};
use crate::watchdog::{self, Watchdog};

/// How long after the deadline a process that is still there is ended.
const OVERDUE: Duration = Duration::from_millis(500);

/// Calls `work` with everything set up for a polite end, and returns what came of it, to be returned by `main`: the report
/// ends the process with its exit code. The shutdown begins with a signal or with the end of `work`, whichever comes
/// first; an error of `work` is its cause, and the exit code then 70. The drain waits for `work`, which should look at
/// [`Standalone::is_shutting_down`] or sleep by [`Standalone::sleep`].
///
/// ```no_run
/// use std::time::Duration;
/// use wellkept_shutdown::{Report, Settings, Standalone, Work};
///
/// fn main() -> std::io::Result<Report> {
///     wellkept_shutdown::run(Settings::default(), |standalone| {
///         while let Ok(_unit) = standalone.work(Work::new("import", "next file")) {
///             // import_one_file()?;
///             standalone.sleep(Duration::from_secs(5));
///         }
///         Ok::<(), std::io::Error>(())
///     })
/// }
/// ```
///
/// # Errors
/// As [`Standalone::start`] has them.
pub fn run<E: fmt::Display>(settings: Settings, work: impl FnOnce(&Standalone) -> Result<(), E>) -> io::Result<Report> {
    let standalone = Standalone::start(settings)?;
    let ended = work(&standalone);
    let cause = match ended {
        Ok(()) => Cause::requested("the work is done"),
        Err(error) => Cause::failure(error.to_string()),
    };
    Ok(standalone.finish(cause))
}

/// A shutdown on a thread of its own, with the handlers of SIGTERM and SIGINT installed and the
/// [watchdog](crate::watchdog) armed. What its holder does counts as work until [`finish`](Self::finish); dropped
/// without, it finishes then.
#[derive(Debug)]
pub struct Standalone {
    shutdown: Shutdown,
    begun: Arc<Begun>,
    /// The holder's own work, which the drain waits for.
    holder: Option<RequestGuard>,
    sequence: Option<JoinHandle<Report>>,
    _watchdog: Watchdog,
}

/// Wakes who sleeps.
#[derive(Debug, Default)]
struct Begun {
    is: Mutex<bool>,
    changed: Condvar,
}

impl Standalone {
    /// To be called first thing in `main`: a signal that comes earlier kills without a word.
    ///
    /// # Errors
    /// When the system has no thread or no handler to give.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let (shutdown, sequence) = Shutdown::new(settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            signals::install()?
        };
        let watchdog = watchdog::arm(&shutdown, OVERDUE)?;
        let begun = Arc::<Begun>::default();
        let wakes = Arc::clone(&begun);
        shutdown.on_phase(move |_| {
            *wakes.is.lock().unwrap_or_else(PoisonError::into_inner) = true;
            wakes.changed.notify_all();
        });
        // Never refused: nothing has begun yet.
        let holder = shutdown.tracker().start_work(Work::new("program", "main")).ok();
        let ending = shutdown.clone();
        let sequence = std::thread::Builder::new().name("wellkept-shutdown".to_owned()).spawn(move || {
            let report = runtime.block_on(async move {
                tokio::spawn(signals.drive(ending));
                sequence.run().await
            });
            // A blocking call of a closer's that never ends is waited for by nobody.
            runtime.shutdown_background();
            report
        })?;
        Ok(Self { shutdown, begun, holder, sequence: Some(sequence), _watchdog: watchdog })
    }

    /// Whether it is time to go. One atomic load.
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_shutting_down()
    }

    /// Begins a unit of work that is not cut in the middle as long as there is time, or says that none is to be begun any
    /// more. It ends when the guard is dropped, which may be on another thread.
    ///
    /// # Errors
    /// [`Refused::Draining`] once the shutdown has begun; [`Refused::TooManyInFlight`] above the tracker's limit.
    pub fn work(&self, work: Work) -> Result<RequestGuard, Refused> {
        if self.is_shutting_down() {
            return Err(Refused::Draining);
        }
        self.shutdown.tracker().start_work(work)
    }

    /// Sleeps, but not past the begin of the shutdown. Tells whether it may go on as before. Blocks.
    pub fn sleep(&self, duration: Duration) -> GoOn {
        let begun = self.begun.is.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.begun.changed.wait_timeout_while(begun, duration, |begun| !*begun);
        let (begun, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *begun { GoOn::ShuttingDown } else { GoOn::AsBefore }
    }

    /// The handle, to register resources and hooks, and to follow the phases.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Ends the holder's own work, starts the shutdown with this cause if nothing else has, and waits for its end. Blocks,
    /// until the deadline at most.
    pub fn finish(mut self, cause: Cause) -> Report {
        self.end(cause)
    }

    fn end(&mut self, cause: Cause) -> Report {
        self.shutdown.trigger(cause);
        self.holder = None;
        let ended = self.sequence.take().and_then(|sequence| sequence.join().ok());
        // The thread ends with a report, and a panic there is caught where foreign code is called.
        ended.unwrap_or_else(|| Report::unfinished("the sequence did not end"))
    }
}

/// What a sleep tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoOn {
    /// Nothing has been asked for.
    AsBefore,
    /// The shutdown has begun.
    ShuttingDown,
}

impl Drop for Standalone {
    fn drop(&mut self) {
        if self.sequence.is_some() {
            let cause = if std::thread::panicking() {
                Cause::failure("main panicked")
            } else {
                Cause::requested("the work is done")
            };
            self.end(cause);
        }
    }
}
