//! How severe an event is, in the words and the numbers of everyone who reads logs.

use std::fmt;
use std::str::FromStr;

use super::UnknownWord;

/// How severe an event is. Written as `trace`, `debug`, `info`, `warning`, `error`, `critical`.
///
/// `tracing` ends at error; what is more severe is logged by [`critical!`](crate::critical).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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
    /// What an operator must look at now: the service can't do what it is for.
    Critical,
}

impl Level {
    /// All of them, the least severe first.
    pub const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// The severity of syslog (RFC 5424, section 6.2.1), from 7 for debug to 2 for critical. Trace is debug too.
    pub fn syslog(self) -> u8 {
        match self {
            Self::Trace | Self::Debug => 7,
            Self::Info => 6,
            Self::Warning => 4,
            Self::Error => 3,
            Self::Critical => 2,
        }
    }

    /// The severity number of OpenTelemetry's log data model, from 1 for trace to 21 for critical.
    pub fn otel(self) -> u8 {
        match self {
            Self::Trace => 1,
            Self::Debug => 5,
            Self::Info => 9,
            Self::Warning => 13,
            Self::Error => 17,
            Self::Critical => 21,
        }
    }
}

impl FromStr for Level {
    type Err = UnknownWord;

    /// Takes the written words, and `warn`.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "warn" => Ok(Self::Warning),
            _ => Self::ALL
                .into_iter()
                .find(|level| level.as_str() == word)
                .ok_or_else(|| UnknownWord::expecting("trace, debug, info, warning, error or critical")),
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

/// Logs an event at [`Level::Critical`](crate::logging::Level::Critical); takes what `tracing::error!` takes.
///
/// For every other subscriber it is an error with the field `severity = "critical"`, which our lines don't show.
///
/// ```
/// let shard = 7;
/// wellkept_telemetry::critical!(shard, "no replica is left");
/// wellkept_telemetry::critical!(target: "orders::store", "no replica of {shard} is left");
/// ```
#[macro_export]
macro_rules! critical {
    (target: $target:expr, $($event:tt)+) => {
        $crate::logging::tracing::error!(target: $target, severity = "critical", $($event)+)
    };
    ($($event:tt)+) => {
        $crate::logging::tracing::error!(severity = "critical", $($event)+)
    };
}
