//! Structured logging on `tracing`: one line per event, secrets masked, written by a thread of its own.
//!
//! Logging never blocks and never fails the caller: lines go into a bounded queue, what does not fit is dropped and
//! counted, a broken output is counted too. Nothing is installed unless [`init`] is called.

mod books;
mod clock;
mod encode;
mod escape;
mod layer;
mod level;
mod options;
mod output;
mod queue;
mod redact;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing_subscriber::layer::SubscriberExt as _;

pub use books::{Books, Dropped, Loss, SinkBooks};
pub use level::Level;
pub use options::{Colour, Format, Options, Output, SinkOptions};
pub use redact::{Redaction, Secrets};
/// For the macros of this crate, whose users need not depend on it.
#[doc(hidden)]
pub use tracing;

use encode::{Encoder, Origin};
use layer::{LevelCell, LogLayer};
use queue::Sink;

/// Longest line written, in bytes. A longer one is cut, keeps its form and says `truncated`.
pub const MAX_LINE_BYTES: usize = encode::MAX_LINE_BYTES;
/// Most lines that wait for one sink. Info may fill three quarters of it, what is below info one half.
pub const MAX_QUEUED_LINES: usize = queue::MAX_QUEUED_LINES;

/// Installs logging for the whole process. Call once, early; and [`Logging::flush`] before the process ends, since what
/// still waits then is lost.
///
/// # Errors
/// When a global subscriber is set already, or the output or the writer's thread can't be had.
pub fn init(options: Options) -> Result<Logging, LoggingError> {
    let (subscriber, logging) = subscriber(options)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadySet)?;
    Ok(logging)
}

/// The subscriber that [`init`] installs, for whoever installs it another way.
///
/// ```
/// use std::time::{Duration, Instant};
/// use wellkept_telemetry::logging::{Options, subscriber};
///
/// let (subscriber, logging) = subscriber(Options::default())?;
/// tracing::subscriber::with_default(subscriber, || tracing::info!(orders = 3, "took orders"));
/// logging.flush(Duration::from_secs(1));
/// # Ok::<(), wellkept_telemetry::logging::LoggingError>(())
/// ```
///
/// # Errors
/// When the output or the writer's thread can't be had.
pub fn subscriber(
    options: Options,
) -> Result<(impl tracing::Subscriber + Send + Sync + 'static, Logging), LoggingError> {
    let level = Arc::new(LevelCell::new(options.level));
    let origin = Origin::new(options.host, options.service);
    let mut sinks = Vec::with_capacity(options.sinks.len());
    for sink in options.sinks {
        let (destination, is_terminal) = sink.output.open().map_err(LoggingError::Output)?;
        let encoder = Encoder::new(sink.format, sink.colour.is_on(is_terminal), &origin);
        let sink = Sink::start(&sink.name, destination, encoder.clone(), queue::DEFAULT_WAIT);
        let sink = sink.map_err(LoggingError::Thread)?;
        sinks.push((encoder, Arc::new(sink)));
    }
    let handles = sinks.iter().map(|(_, sink)| Arc::clone(sink)).collect();
    let layer = LogLayer::new(Arc::clone(&level), sinks);
    Ok((tracing_subscriber::registry().with(layer), Logging { sinks: handles, level }))
}

/// A handle on the running log. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Logging {
    sinks: Arc<[Arc<Sink>]>,
    level: Arc<LevelCell>,
}

impl Logging {
    /// Waits until everything logged before is written, at most for `deadline`; blocks the thread. Returns whether
    /// all of it has left the queue in time.
    pub fn flush(&self, deadline: Duration) -> bool {
        let end = Instant::now().checked_add(deadline);
        let left = || end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        // All of them are tried: one that hangs must not keep the others from being asked.
        self.sinks.iter().map(|sink| sink.flush(left())).filter(|is_flushed| !is_flushed).count() == 0
    }

    /// The least severe level that is logged now.
    pub fn level(&self) -> Level {
        self.level.load()
    }

    /// Changes the least severe level that is logged, for all threads at once.
    pub fn set_level(&self, level: Level) {
        self.level.store(level);
    }

    /// Takes no further line, has every sink write what waits and, last, the line `log closed` with its books; at
    /// most for `deadline`, blocking the thread. Returns whether all of it was done in time.
    pub fn close(&self, deadline: Duration) -> bool {
        let end = Instant::now().checked_add(deadline);
        for sink in &*self.sinks {
            sink.begin_to_close(end);
        }
        self.sinks.iter().map(|sink| sink.close(end)).filter(|is_closed| !is_closed).count() == 0
    }

    /// Opens files anew, after whoever rotates them has moved them away. Does not wait for it.
    pub fn reopen(&self) {
        for sink in &*self.sinks {
            sink.reopen();
        }
    }

    /// What became of the lines so far, for each sink in the order of the options.
    pub fn books(&self) -> Vec<SinkBooks> {
        self.sinks.iter().map(|sink| SinkBooks { sink: sink.name().to_owned(), books: sink.books() }).collect()
    }

    /// What became of the lines so far, the figures of all sinks added.
    pub fn stats(&self) -> Books {
        self.sinks.iter().map(|sink| sink.books()).sum()
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// Somebody has set a global subscriber before.
    #[error("logging is set up already: another part of the process has installed a tracing subscriber")]
    AlreadySet,
    /// The output can't be opened.
    #[error("the log's output can't be opened: {0}")]
    Output(#[source] io::Error),
    /// The writer's thread can't be started.
    #[error("the log's writer can't be started: {0}")]
    Thread(#[source] io::Error),
}

impl LoggingError {
    /// A stable code, for example `logging.already_set`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadySet => "logging.already_set",
            Self::Output(_) => "logging.output",
            Self::Thread(_) => "logging.thread",
        }
    }
}

/// A word that names no format or no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct UnknownWord {
    expected: &'static str,
}

impl UnknownWord {
    fn expecting(expected: &'static str) -> Self {
        Self { expected }
    }
}

#[cfg(test)]
mod tests;
