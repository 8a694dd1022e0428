//! Structured logging on `tracing`: one line per event, secrets masked, written by a thread of its own.
//!
//! Logging never blocks and never fails the caller: lines go into a bounded queue, what does not fit is dropped and
//! counted, a broken output is counted too. Nothing is installed unless [`init`] is called.

mod block;
mod books;
mod buffer;
mod clock;
mod collector;
mod encode;
mod escape;
mod layer;
mod level;
mod levels;
mod limit;
mod options;
mod output;
mod queue;
pub(crate) mod redact;
mod sink;
mod spill;
mod upkeep;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;

pub use books::{Books, Dropped, Loss, SinkBooks};
pub use level::Level;
pub use levels::{
    LONGEST_LEVEL_CHANGE, LevelChange, LevelError, LevelRule, LevelSet, MAX_LEVEL_CHANGES, MAX_MODULE_BYTES,
    MAX_MODULES, SHORTEST_LEVEL_CHANGE, check_module,
};
pub use limit::RepeatLimit;
pub use options::{Colour, Format, Important, Options, Output, Precision, SinkOptions};
pub use output::{
    Compression, FileError, FileOptions, Folder, GELF_PORT, GelfOptions, GelfTransport, GelfUrlError, Keep, Rotated,
};
pub use redact::{MAX_NAMES, MAX_PATTERNS, Redaction, RedactionError, Secrets};
pub use spill::SpillOptions;
/// For the macros of this crate, whose users need not depend on it.
#[doc(hidden)]
pub use tracing;

use encode::{Encoder, Encoders, Origin};
use layer::LogLayer;
use levels::{Levels, OWN_TARGET};
use limit::{Due, Repeats};
use redact::Redactor;
use sink::Sink;
use upkeep::{Upkeep, boot};

/// Longest line written, in bytes. A longer one is cut, keeps its form and says `truncated`.
pub const MAX_LINE_BYTES: usize = encode::MAX_LINE_BYTES;
/// Longest value of one field, in bytes as it is written. A longer one ends with `…[cut]`, and its line says `truncated`.
pub const MAX_FIELD_BYTES: usize = encode::MAX_FIELD_BYTES;
/// Most fields that are written of one event, and of one span.
pub const MAX_FIELDS: usize = encode::MAX_FIELDS;
/// Most lines that wait for one sink. Info may fill three quarters of it, what is below info one half.
pub const MAX_QUEUED_LINES: usize = queue::MAX_QUEUED_LINES;

/// Installs logging for the whole process. Call once, early; and [`Logging::close`] before the process ends, since what
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
    let levels = Levels::new(options.level, &options.modules)?;
    let upkeep = Arc::new(Upkeep::new(levels, options.repeats.map(Repeats::new)));
    let origin = Origin::new(options.host, options.service);
    let redactor = Redactor::new(&options.redaction)?;
    // An event is encoded once for all sinks of one format.
    let mut formats: Vec<(Encoder, Vec<Arc<Sink>>)> = Vec::new();
    let mut handles = Vec::with_capacity(options.sinks.len());
    for sink in options.sinks {
        let format = if matches!(sink.output, Output::Gelf(_)) { Format::Gelf } else { sink.format };
        let (destination, is_terminal) = sink.output.open()?;
        let encoder = Encoder::new(format, sink.colour.is_on(is_terminal), &origin);
        let name = name_of_its_own(sink.name, &handles);
        let sink = Sink::start(&name, destination, encoder.clone(), sink.important, Arc::clone(&upkeep));
        let sink = Arc::new(sink.map_err(LoggingError::Thread)?);
        handles.push(Arc::clone(&sink));
        match formats.iter_mut().find(|(known, _)| *known == encoder) {
            Some((_, sinks)) => sinks.push(sink),
            None => formats.push((encoder, vec![sink])),
        }
    }
    let (encoders, sinks) = formats.into_iter().unzip();
    let encoders = Encoders::new(encoders, redactor, options.precision);
    #[cfg(feature = "otlp")]
    let beside = options.traces.as_ref().map_or(LevelFilter::OFF, crate::otlp::TraceLayer::filter);
    #[cfg(not(feature = "otlp"))]
    let beside = LevelFilter::OFF;
    let layer = LogLayer::new(Arc::clone(&upkeep), (encoders, sinks), beside);
    let subscriber = tracing_subscriber::registry().with(layer);
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(options.traces.map(|traces| traces.masking(&options.redaction)).transpose()?);
    Ok((subscriber, Logging { sinks: handles.into(), upkeep }))
}

/// The name, with a number where another sink has it: their books, and what they put aside, must not be mixed up.
fn name_of_its_own(name: String, others: &[Arc<Sink>]) -> String {
    let is_free = |name: &String| others.iter().all(|other| other.name() != name);
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
}

/// A handle on the running log. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Logging {
    sinks: Arc<[Arc<Sink>]>,
    upkeep: Arc<Upkeep>,
}

impl Logging {
    /// Waits until everything logged before is written, at most for `deadline`; blocks the thread. Returns whether
    /// all of it has left the queue in time.
    pub fn flush(&self, deadline: Duration) -> bool {
        // What repeated may be the last that there is to say.
        self.upkeep.tell_repeats(Due::All);
        let end = Instant::now().checked_add(deadline);
        let left = || end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        // All of them are tried: one that hangs must not keep the others from being asked.
        self.sinks.iter().map(|sink| sink.flush(left())).filter(|is_flushed| !is_flushed).count() == 0
    }

    /// The least severe level that is logged now, where no module's own counts.
    pub fn level(&self) -> Level {
        self.upkeep.levels.level()
    }

    /// Changes the least severe level that is logged where no module has its own, for all threads at once.
    pub fn set_level(&self, level: Level) {
        self.upkeep.levels.set_level(level, boot());
    }

    /// Takes over a level and those of modules, all at once, as after a change of the configuration. What
    /// [`change_level`](Self::change_level) has set without an end goes where the level below it changes; what has an end
    /// stays until then.
    ///
    /// # Errors
    /// When a module's name can't be one, or there are more than [`MAX_MODULES`]. Nothing is changed then.
    pub fn set_levels(&self, level: Level, modules: &[(String, Level)]) -> Result<(), LevelError> {
        self.upkeep.levels.configure(level, modules, boot())
    }

    /// Sets the level of the whole log or of a module, above what is configured, and for a while if asked to. The log says
    /// who did it, why and for how long, and when it ends, whatever the levels are.
    ///
    /// Looks at each place of the program that logs, some microseconds in all; waits for nobody who logs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wellkept_telemetry::logging::{Level, LevelChange, Options, subscriber};
    ///
    /// let (_subscriber, logging) = subscriber(Options::default())?;
    /// logging.change_level(LevelChange {
    ///     module: Some("sqlx".to_owned()),
    ///     level: Level::Debug,
    ///     lasts: Some(Duration::from_secs(600)),
    ///     by: "ann".to_owned(),
    ///     reason: "slow queries".to_owned(),
    /// })?;
    /// assert_eq!(logging.levels()[1].level, Level::Debug);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When something in it is beyond the limits that [`LevelChange`] states, or [`MAX_LEVEL_CHANGES`] are set already.
    pub fn change_level(&self, change: LevelChange) -> Result<(), LevelError> {
        let told = change.clone();
        let was = self.upkeep.levels.change(change, boot())?.before;
        let LevelChange { module, level, lasts, by, reason } = told;
        let (module, reason) = (module.as_deref(), Some(reason).filter(|it| !it.is_empty()));
        let seconds = lasts.map(|lasts| lasts.as_secs());
        self.upkeep.say(|| {
            tracing::info!(
                target: OWN_TARGET, module, log_level = %level, %was, seconds, by, reason, "a level was set"
            );
        });
        Ok(())
    }

    /// Takes back what was set at run time for a module, or for the whole log with `None`; the log says who did it.
    /// Returns whether there was something.
    ///
    /// # Errors
    /// [`LevelError::Text`] when `by` is no single line of at most 200 bytes; nothing is taken back then.
    pub fn reset_level(&self, module: Option<&str>, by: &str) -> Result<bool, LevelError> {
        levels::check_text(by)?;
        let was_set = self.upkeep.levels.reset(module, boot());
        if was_set {
            self.upkeep.say(|| {
                tracing::info!(target: OWN_TARGET, module, by, "a level is the configured one again");
            });
        }
        Ok(was_set)
    }

    /// Takes back all that was set at run time. Returns for how many modules, the whole log being one.
    ///
    /// # Errors
    /// As [`reset_level`](Self::reset_level).
    pub fn reset_levels(&self, by: &str) -> Result<usize, LevelError> {
        levels::check_text(by)?;
        let count = self.upkeep.levels.reset_all(boot());
        if count > 0 {
            self.upkeep.say(|| {
                tracing::info!(target: OWN_TARGET, count, by, "all levels are the configured ones again");
            });
        }
        Ok(count)
    }

    /// All levels, configured and set: the whole log's first, then the modules' by name.
    pub fn levels(&self) -> Vec<LevelRule> {
        self.upkeep.levels.rules(boot())
    }

    /// How many events were left out because they repeated, since the start. They are in no other count.
    pub fn suppressed(&self) -> u64 {
        self.upkeep.repeats.as_ref().map_or(0, Repeats::suppressed)
    }

    /// Takes no further line, has every sink write what waits and, last, the line `log closed` with its books; at
    /// most for `deadline`, blocking the thread. Returns whether all of it was done in time.
    pub fn close(&self, deadline: Duration) -> bool {
        self.upkeep.tell_repeats(Due::All);
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
    /// A log file can't be opened; the message says why and what to do about it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A module's name can't be one, or there are too many of them.
    #[error(transparent)]
    Levels(#[from] LevelError),
    /// What is to be masked can't be.
    #[error("the log's redaction can't be set up: {0}")]
    Redaction(#[from] RedactionError),
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
            Self::File(error) => error.code(),
            Self::Levels(error) => error.code(),
            Self::Redaction(_) => "logging.redaction",
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
