//! Structured logging on `tracing`: one line per event, secrets masked, written by a thread of its own.
//!
//! Logging never blocks and never fails the caller: lines go into a bounded queue, what does not fit is dropped and
//! counted, a broken output is counted too. Nothing is installed unless [`init`] is called.

mod clock;
mod encode;
mod escape;
mod layer;
mod redact;
mod sink;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt as _;

use self::encode::Encoder;
use self::layer::{LevelCell, LogLayer};
use self::sink::Sink;

/// Longest line written, in bytes. A longer one is cut, keeps its form and says `truncated`.
pub const MAX_LINE_BYTES: usize = encode::MAX_LINE_BYTES;
/// Most lines that wait for the output; the next one is dropped and counted.
pub const MAX_QUEUED_LINES: u64 = sink::MAX_QUEUED_LINES;

/// How to log. The default is JSON from `info` up on standard output.
#[derive(Debug, Default)]
pub struct Options {
    /// How a line looks.
    pub format: Format,
    /// The least severe level that is logged; can be changed later by [`Logging::set_level`].
    pub level: Level,
    /// Where lines go.
    pub output: Output,
    /// Whether levels are coloured. Only text is.
    pub colour: Colour,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One flat JSON object per line: `timestamp`, `level`, `target`, `message`, the event's fields, then those of its
    /// spans from the innermost out. A field that is called like one of the first three gets a trailing `_`.
    #[default]
    Json,
    /// `2026-01-15T10:30:00.123Z INFO    target: message key=value`, for people.
    Text,
}

/// How severe an event is. Written as `trace`, `debug`, `info`, `warning`, `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What an operator wants to read.
    #[default]
    Info,
    /// What an operator should look at.
    Warning,
    /// What an operator must look at.
    Error,
}

/// Where lines go.
#[derive(Default)]
pub enum Output {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// Anything else. Written by one thread, in blocks of whole lines.
    Writer(Box<dyn Write + Send>),
}

/// Whether levels are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set to something (<https://no-color.org>) or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

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
/// use std::time::Duration;
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
pub fn subscriber(options: Options) -> Result<(impl Subscriber + Send + Sync + 'static, Logging), LoggingError> {
    let (writer, is_terminal) = options.output.open().map_err(LoggingError::Output)?;
    let encoder = match options.format {
        Format::Json => Encoder::Json,
        Format::Text if options.colour.is_on(is_terminal) => Encoder::ColouredText,
        Format::Text => Encoder::Text,
    };
    let sink = Arc::new(Sink::start(writer, encoder).map_err(LoggingError::Thread)?);
    let level = Arc::new(LevelCell::new(options.level));
    let layer = LogLayer::new(encoder, Arc::clone(&level), Arc::clone(&sink));
    Ok((tracing_subscriber::registry().with(layer), Logging { sink, level }))
}

/// A handle on the running log. Cheap to clone; dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Logging {
    sink: Arc<Sink>,
    level: Arc<LevelCell>,
}

impl Logging {
    /// Waits until everything logged before is written, at most for `deadline`; blocks the thread. Returns whether
    /// all of it has left the queue in time.
    pub fn flush(&self, deadline: Duration) -> bool {
        self.sink.flush(deadline)
    }

    /// The least severe level that is logged now.
    pub fn level(&self) -> Level {
        self.level.load()
    }

    /// Changes the least severe level that is logged, for all threads at once.
    pub fn set_level(&self, level: Level) {
        self.level.store(level);
    }

    /// Counts since the start.
    pub fn stats(&self) -> LoggingStats {
        self.sink.stats()
    }
}

/// What became of the lines so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LoggingStats {
    /// Lines that reached the output.
    pub written: u64,
    /// Lines dropped because the queue was full.
    pub dropped: u64,
    /// Lines that the output did not take: a broken pipe, a full disk.
    pub failed: u64,
    /// Lines cut at [`MAX_LINE_BYTES`].
    pub truncated: u64,
    /// Lines that wait now.
    pub queued: u64,
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

impl FromStr for Format {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownWord { expected: "json or text" }),
        }
    }
}

impl FromStr for Level {
    type Err = UnknownWord;

    /// Takes the written words, and `warn`.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warning" | "warn" => Ok(Self::Warning),
            "error" => Ok(Self::Error),
            _ => Err(UnknownWord { expected: "trace, debug, info, warning or error" }),
        }
    }
}

impl Level {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::ERROR => Self::Error,
        }
    }
}

impl Output {
    /// The writer, and whether it is a terminal. The descriptor is duplicated: the standard library's own buffers
    /// would write again after an error what they could not write before.
    fn open(self) -> io::Result<(Box<dyn Write + Send>, bool)> {
        let duplicate = |descriptor: &dyn AsFd| descriptor.as_fd().try_clone_to_owned().map(File::from);
        let file = match self {
            Self::Stdout => duplicate(&io::stdout())?,
            Self::Stderr => duplicate(&io::stderr())?,
            Self::Writer(writer) => return Ok((writer, false)),
        };
        let is_terminal = file.is_terminal();
        Ok((Box::new(file), is_terminal))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stdout => "Stdout",
            Self::Stderr => "Stderr",
            Self::Writer(_) => "Writer",
        })
    }
}

impl Colour {
    fn is_on(self, is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Auto => is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|it| it != "dumb"),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests;
