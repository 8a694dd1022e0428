//! What can be chosen when logging is started.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use super::output::{self, Destination, FileOptions, GelfOptions, LogFile, Stream};
use super::{Level, LoggingError, Redaction, RepeatLimit, SpillOptions, UnknownWord};

/// How to log. The default is JSON from `info` up on standard output, with secrets masked.
#[derive(Debug)]
pub struct Options {
    /// The least severe level that is logged; can be changed later by
    /// [`Logging::set_level`](super::Logging::set_level). Default: info.
    pub level: Level,
    /// Other levels for modules, by how their targets begin (`sqlx`, `orders::import`): the longest that fits counts. At
    /// most [`MAX_MODULES`](super::MAX_MODULES). Default: none.
    pub modules: Vec<(String, Level)>,
    /// How often the same line is written. Default: as often as it comes.
    pub repeats: Option<RepeatLimit>,
    /// Where lines go, and how they look there. Each has a queue and a thread of its own, so that none waits for
    /// another. Default: one, to standard output.
    pub sinks: Vec<SinkOptions>,
    /// What is masked. Default: everything that is known to be a secret.
    pub redaction: Redaction,
    /// How exactly the time is read. Default: exactly.
    pub precision: Precision,
    /// Which machine says it. Written as `host`, in text not at all. Default: GELF, which must name one, takes the
    /// machine's own name; JSON has none.
    pub host: Option<String>,
    /// Which service says it. Written as `service`, in text not at all. Default: none.
    pub service: Option<String>,
    /// Where ended spans go besides ([`Otlp::layer`](crate::otlp::Otlp::layer)). What is exported there is not decided by
    /// the levels here; what is masked is. Default: nowhere.
    #[cfg(feature = "otlp")]
    pub traces: Option<crate::otlp::TraceLayer>,
}

impl Default for Options {
    fn default() -> Self {
        Self::to(SinkOptions::default())
    }
}

impl Options {
    /// The defaults, with one sink.
    pub fn to(sink: SinkOptions) -> Self {
        Self {
            level: Level::default(),
            modules: Vec::new(),
            repeats: None,
            sinks: vec![sink],
            redaction: Redaction::default(),
            precision: Precision::default(),
            host: None,
            service: None,
            #[cfg(feature = "otlp")]
            traces: None,
        }
    }
}

/// One place that lines go to. The default is JSON on standard output.
#[derive(Debug)]
pub struct SinkOptions {
    /// What the sink is called in its figures; one that is called as another before it gets a number: `file_2`. Default:
    /// `stdout`.
    pub name: String,
    /// How a line looks. A receiver of GELF gets GELF whatever this says. Default: JSON.
    pub format: Format,
    /// Where lines go. Default: standard output.
    pub output: Output,
    /// Whether levels are coloured. Only text is. Default: on a terminal.
    pub colour: Colour,
    /// What becomes of important lines while the output takes none.
    pub important: Important,
}

/// What becomes of important lines while their sink's output takes none: warnings and above, and events of security.
/// Others that find no room are dropped at once, and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Important {
    /// How long such a line waits for room, blocking the thread that logs it. Once one has waited in vain, none waits
    /// until the output has taken some lines. Zero never waits. Default: 10 ms.
    pub wait: Duration,
    /// Where it is put aside then. Default: nowhere, so that it is dropped.
    pub spill: Option<SpillOptions>,
}

impl Default for Important {
    fn default() -> Self {
        Self { wait: Duration::from_millis(10), spill: None }
    }
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self::stdout(Format::default())
    }
}

impl SinkOptions {
    /// To standard output.
    pub fn stdout(format: Format) -> Self {
        Self::new("stdout", format, Output::Stdout)
    }

    /// To standard error.
    pub fn stderr(format: Format) -> Self {
        Self::new("stderr", format, Output::Stderr)
    }

    /// To anything that takes bytes; called `writer`.
    pub fn writer(format: Format, writer: impl Write + Send + 'static) -> Self {
        Self::new("writer", format, Output::Writer(Box::new(writer)))
    }

    /// To a file; called `file`.
    pub fn file(format: Format, file: FileOptions) -> Self {
        Self::new("file", format, Output::File(file))
    }

    /// To a receiver of GELF; called `gelf`.
    pub fn gelf(receiver: GelfOptions) -> Self {
        Self::new("gelf", Format::Gelf, Output::Gelf(receiver))
    }

    /// To an output, under a name of one's own.
    pub fn new(name: impl Into<String>, format: Format, output: Output) -> Self {
        Self { name: name.into(), format, output, colour: Colour::default(), important: Important::default() }
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// One flat JSON object per line: `timestamp`, `level`, `target`, `message`, the event's fields, then those of its
    /// spans from the innermost out, then what the work is known by (`trace_id`, `span_id`, `correlation_id`). No key
    /// stands in it twice.
    #[default]
    Json,
    /// Graylog's format, version 1.1 (<https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>), one object
    /// per line.
    Gelf,
    /// `2026-01-15T10:30:00.123Z INFO    target: message key=value`, for people.
    Text,
}

impl FromStr for Format {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "json" => Ok(Self::Json),
            "gelf" => Ok(Self::Gelf),
            "text" => Ok(Self::Text),
            _ => Err(UnknownWord::expecting("json, gelf or text")),
        }
    }
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
    /// A file, with rotation.
    File(FileOptions),
    /// A receiver of GELF in the network.
    Gelf(GelfOptions),
}

/// How exactly the time of a line is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// To the millisecond that is written.
    #[default]
    Exact,
    /// To the kernel's last tick (`CLOCK_REALTIME_COARSE`), which is one to ten milliseconds old: costs a fraction.
    Coarse,
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

impl Output {
    /// The destination, and whether it is a terminal.
    pub(super) fn open(self) -> Result<(Box<dyn Destination>, bool), LoggingError> {
        let (stream, is_terminal) = match self {
            Self::Stdout => Stream::descriptor(&io::stdout()).map_err(LoggingError::Output)?,
            Self::Stderr => Stream::descriptor(&io::stderr()).map_err(LoggingError::Output)?,
            Self::Writer(writer) => (Stream::writer(writer), false),
            Self::File(file) => return Ok((Box::new(LogFile::open(file)?), false)),
            Self::Gelf(receiver) => return Ok((output::gelf(&receiver), false)),
        };
        Ok((Box::new(stream), is_terminal))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stdout => "Stdout",
            Self::Stderr => "Stderr",
            Self::Writer(_) => "Writer",
            Self::File(_) => "File",
            Self::Gelf(_) => "Gelf",
        })
    }
}

impl Colour {
    pub(super) fn is_on(self, is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Auto => is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|it| it != "dumb"),
            Self::Always => true,
            Self::Never => false,
        }
    }
}
