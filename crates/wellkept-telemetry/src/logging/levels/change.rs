//! What may be asked of the levels at run time, what is shown of them, and what is refused.

use std::time::Duration;

use jiff::Timestamp;

use super::super::Level;
use super::MAX_MODULE_BYTES;

/// Longest text that says who changes a level or why, in bytes.
const MAX_TEXT_BYTES: usize = 200;

/// A level for the whole log or a module, set at run time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LevelChange {
    /// The module, as targets begin: `sqlx`, `orders::import`. It counts for everything in it, unless a longer one fits
    /// better. `None` is the whole log: what no module has a level for. At most
    /// [`MAX_MODULE_BYTES`] bytes.
    pub module: Option<String>,
    /// The least severe level that is logged.
    pub level: Level,
    /// After how long the level from before returns by itself, also when the machine slept meanwhile; from
    /// [`SHORTEST_LEVEL_CHANGE`](super::SHORTEST_LEVEL_CHANGE) to [`LONGEST_LEVEL_CHANGE`](super::LONGEST_LEVEL_CHANGE).
    /// `None`: until it is set again, taken back, or the configuration says something else for this module.
    pub lasts: Option<Duration>,
    /// Who sets it, in one line of at most 200 bytes, for the log and for whoever asks.
    pub by: String,
    /// Why, in one line of at most 200 bytes.
    pub reason: String,
}

/// What holds for the whole log or one module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelRule {
    /// The module; `None` is the whole log.
    pub module: Option<String>,
    /// The level in force.
    pub level: Level,
    /// What the options or the configuration say, where they say something.
    pub configured: Option<Level>,
    /// What was set at run time, where something was.
    pub set: Option<LevelSet>,
}

/// A level set at run time, by whom, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelSet {
    /// The level.
    pub level: Level,
    /// Who set it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it was set.
    pub since: Timestamp,
    /// How long it still lasts, where it ends by itself.
    pub left: Option<Duration>,
    /// When that is, by the clock as it stands now.
    pub ends: Option<Timestamp>,
}

/// Why a level was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// The name can't be that of a module.
    #[error(
        "a module is named as targets begin, for example sqlx or orders::import: 1 to {MAX_MODULE_BYTES} printable ASCII \
         letters without spaces, in parts joined by `::`"
    )]
    Module,
    /// There are too many modules with a level of their own.
    #[error("at most {} modules may have a level of their own", super::MAX_MODULES)]
    TooManyModules,
    /// Too many levels are set at run time.
    #[error("at most {} levels may be set at run time: take some back first", super::MAX_LEVEL_CHANGES)]
    TooManyChanges,
    /// The time is too short or too long.
    #[error("a level may be set for 1s to 7 days, or without an end")]
    Duration,
    /// Who or why is too long, or no single line.
    #[error("who and why are one line of at most {MAX_TEXT_BYTES} bytes each")]
    Text,
}

impl LevelError {
    /// A stable code, for example `logging.module`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Module => "logging.module",
            Self::TooManyModules => "logging.too_many_modules",
            Self::TooManyChanges => "logging.too_many_changes",
            Self::Duration => "logging.duration",
            Self::Text => "logging.text",
        }
    }
}

/// Whether this can be the name of a module.
///
/// # Errors
/// [`LevelError::Module`] when it can't.
pub fn check_module(module: &str) -> Result<(), LevelError> {
    let is_printable = module.bytes().all(|byte| byte.is_ascii_graphic());
    let is_whole = module.split("::").all(|part| !part.is_empty() && !part.starts_with(':') && !part.ends_with(':'));
    if is_printable && is_whole && module.len() <= MAX_MODULE_BYTES { Ok(()) } else { Err(LevelError::Module) }
}

pub(in crate::logging) fn check_text(text: &str) -> Result<(), LevelError> {
    let is_line = !text.chars().any(|letter| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}'));
    if is_line && text.len() <= MAX_TEXT_BYTES { Ok(()) } else { Err(LevelError::Text) }
}
