//! Why the process ends.

use std::fmt;

use serde::Serialize;

/// What started (or forced) the shutdown. The first one is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The operating system asked.
    Signal(Signal),
    /// The process that started this one has ended.
    ParentExit,
    /// Another process has taken over what this one listens on, and serves: there is no delay, and systemd, which goes by
    /// the other process from now on, is told nothing.
    HandedOver,
    /// Code or an operator asked.
    Requested {
        /// Why, for the log and the report.
        reason: String,
    },
    /// A part of the service broke; the exit code is 70 even when everything then closes well.
    Failure {
        /// What broke, for the log and the report.
        reason: String,
    },
}

impl Cause {
    /// A shutdown asked for by code or an operator.
    pub fn requested(reason: impl Into<String>) -> Self {
        Self::Requested { reason: reason.into() }
    }

    /// A shutdown because a part of the service broke.
    pub fn failure(reason: impl Into<String>) -> Self {
        Self::Failure { reason: reason.into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(formatter),
            Self::ParentExit => formatter.write_str("the parent process has ended"),
            Self::HandedOver => formatter.write_str("handed over to another process"),
            Self::Requested { reason } => write!(formatter, "requested: {reason}"),
            Self::Failure { reason } => write!(formatter, "failure: {reason}"),
        }
    }
}

/// The signals that end a process politely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Signal {
    /// SIGTERM: what service managers and container runtimes send.
    #[serde(rename = "SIGTERM")]
    Terminate,
    /// SIGINT: Ctrl-C at a terminal.
    #[serde(rename = "SIGINT")]
    Interrupt,
}

impl Signal {
    /// The number of the signal, the same on every system that has signals.
    pub const fn number(self) -> u8 {
        match self {
            Self::Terminate => 15,
            Self::Interrupt => 2,
        }
    }

    /// The exit code of a process ended by this signal: 128 plus its number, as shells count.
    pub const fn exit_code(self) -> u8 {
        128 + self.number()
    }

    /// The signal's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
