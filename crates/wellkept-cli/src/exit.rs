//! How the program ends: the exit codes, and the one line that says why.

use std::fmt::Display;

use crate::output;

/// The exit codes, after `sysexits.h` where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done, healthy.
    Clean,
    /// 1: something is not healthy.
    NotHealthy,
    /// 1: two configurations differ, as `diff` has it.
    Differs,
    /// 64: the command line can't be understood.
    Usage,
    /// 69: can't reach the server, or can't listen.
    Unreachable,
    /// 70: a part of the program failed.
    Failed,
    /// 75: not done by the deadline.
    Late,
    /// 78: the configuration is wrong.
    Configuration,
    /// 0 to 3: by the monitoring plugins' convention.
    Nagios(u8),
    /// What the command came to that was run.
    OfCommand(u8),
    /// What the shutdown came to: 0, 75, or 128 + n.
    Shutdown(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::NotHealthy | Self::Differs => 1,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Failed => 70,
            Self::Late => 75,
            Self::Configuration => 78,
            Self::Nagios(code) | Self::OfCommand(code) | Self::Shutdown(code) => code,
        }
    }
}

/// A command that could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: format!("{message}") }
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self) -> Exit {
        output::error(&self.message);
        self.exit
    }
}
