//! Maintenance: what is taken out on purpose, by whom, why, and until when; by hand or by a window of time.
//!
//! Two clocks are at work. A **window** follows the time of day of its zone, and so does an end that is given as a time
//! ([`End::At`]): when the clock is set, they move with it. What was begun for a **duration** ([`End::After`],
//! [`End::Open`]) is measured on the clock that ages are taken from, so that setting the time of day neither lengthens
//! nor shortens it. All of it is planned as spans of that steady clock, at each change, at each end of a span, and when
//! the two clocks are found to have moved apart by half a second; readers compare the spans with the clock, so that a
//! snapshot that nobody renews enters and leaves maintenance by itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::history::HistoryError;

mod book;
mod control;
mod keeper;
mod span;
mod window;

pub(crate) use book::Book;
pub(crate) use keeper::Keeper;
pub use keeper::Kept;
pub(crate) use span::{Span, Spans, active, next_boundary};
pub use window::{MaintenanceWindow, MonthDay, Recurrence};

/// One thing that is in maintenance, or will be: the whole service, or one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// Names it: made by [`Checker::begin_maintenance`](crate::Checker::begin_maintenance), or `window:` and the
    /// window's name.
    pub id: Arc<str>,
    /// The component's name; `None` for the whole service.
    pub component: Option<Arc<str>>,
    /// Why, for operators.
    pub reason: Arc<str>,
    /// Who began it, for operators.
    pub author: Arc<str>,
    /// When it began.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// What it comes from, and so what its end is measured by.
    pub origin: MaintenanceOrigin,
}

impl Maintenance {
    /// Longest reason, in bytes.
    pub const MAX_REASON: usize = 500;
    /// Longest author, in bytes.
    pub const MAX_AUTHOR: usize = 100;
    /// Most that are begun by hand and not over, one for each component that is named.
    pub const MAX_BEGUN: usize = 1000;
    /// Most windows.
    pub const MAX_WINDOWS: usize = 200;
    /// How many components all windows together may name.
    pub const MAX_NAMED: usize = 20_000;

    /// Who and why, in one line for operators.
    pub(crate) fn cause(&self) -> String {
        match (self.author.is_empty(), self.reason.is_empty()) {
            (false, false) => format!("by {}: {}", self.author, self.reason),
            (false, true) => format!("by {}", self.author),
            (true, _) => self.reason.to_string(),
        }
    }
}

/// What a maintenance comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaintenanceOrigin {
    /// Begun by hand for a duration: it ends when that has passed, however the time of day is set.
    Duration,
    /// Begun by hand until a time of day.
    Time,
    /// One occurrence of a window.
    Window,
}

impl MaintenanceOrigin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Duration, Self::Time, Self::Window];

    /// The stable word: `duration`, `time`, `window`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Time => "time",
            Self::Window => "window",
        }
    }
}

/// What is taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The whole service: it is in maintenance, its readiness and the user's groups too; liveness and startup are not
    /// touched, and the components go on showing what is true of them.
    Service,
    /// These components: they are left out of what counts, and shown.
    Components(Vec<Arc<str>>),
}

impl Target {
    /// Some components.
    pub fn components<N: Into<Arc<str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::Components(names.into_iter().map(Into::into).collect())
    }
}

/// When a maintenance that is begun by hand ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After so long, however the time of day is set meanwhile. From one second to [`Settings::longest_maintenance`].
    ///
    /// [`Settings::longest_maintenance`]: crate::Settings::longest_maintenance
    After(Duration),
    /// At this time of day, in the future, and after the longest maintenance at the latest.
    At(Timestamp),
    /// When somebody ends it, and after the longest maintenance at the latest: nothing is forgotten for ever.
    Open,
}

/// A maintenance that somebody wants to begin now.
///
/// ```
/// use std::time::Duration;
/// use wellkept_health::{Checker, End, NewMaintenance, Settings};
///
/// let (checker, _engine) = Checker::new(Settings::new("orders"));
/// let wanted = NewMaintenance::of_the_service(End::After(Duration::from_secs(1800)), "new disks").by("ann");
/// let begun = checker.begin_maintenance(wanted)?;
/// assert_eq!(&*begun[0].reason, "new disks");
/// # Ok::<(), wellkept_health::MaintenanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMaintenance {
    /// What is taken out.
    pub target: Target,
    /// Until when.
    pub end: End,
    /// Why: one line, at most [`Maintenance::MAX_REASON`] bytes, for operators only. Must not be empty.
    pub reason: String,
    /// Who: at most [`Maintenance::MAX_AUTHOR`] bytes, for operators only. May be empty.
    pub author: String,
}

impl NewMaintenance {
    /// One of the whole service.
    pub fn of_the_service(end: End, reason: impl Into<String>) -> Self {
        Self { target: Target::Service, end, reason: reason.into(), author: String::new() }
    }

    /// One of some components.
    pub fn of_components<N: Into<Arc<str>>>(
        names: impl IntoIterator<Item = N>,
        end: End,
        reason: impl Into<String>,
    ) -> Self {
        Self { target: Target::components(names), end, reason: reason.into(), author: String::new() }
    }

    /// Says who begins it.
    #[must_use]
    pub fn by(mut self, author: impl Into<String>) -> Self {
        self.author = author.into();
        self
    }
}

/// Where maintenances that were begun by hand are kept, so that they survive a restart. Implementations block; they are
/// called on a thread of their own.
pub trait MaintenanceStore: Send + 'static {
    /// All that were kept.
    fn load(&mut self) -> Result<Vec<Maintenance>, HistoryError>;

    /// Makes these the whole of what is kept, or changes nothing.
    fn save(&mut self, maintenances: &[Maintenance]) -> Result<(), HistoryError>;
}

/// Where all instances of one service keep together what is begun and ended by hand, so that it holds on all of them and
/// survives their restarts. Implementations block, for a bounded time; they are called on a thread of their own.
pub trait SharedMaintenanceStore: Send + 'static {
    /// Puts in what `ours` has and the store has not, all of it or nothing, and returns what all instances have begun
    /// and ended. An end stands above a beginning, in whichever order they come; what is only missing was not ended.
    fn exchange(&mut self, ours: &MaintenanceBooks) -> Result<MaintenanceBooks, HistoryError>;
}

/// What was begun by hand and is not over, and what was ended by hand before its time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaintenanceBooks {
    /// What is on.
    pub begun: Vec<Maintenance>,
    /// What was ended lately.
    pub ended: Vec<EndedMaintenance>,
}

/// A maintenance that was ended by hand before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedMaintenance {
    /// The maintenance's id.
    pub id: Arc<str>,
    /// Who ended it; may be empty.
    pub author: Arc<str>,
}

/// Why a maintenance or a window was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// There is no reason, or one that can't be kept.
    #[error("a maintenance needs a reason: one line of at most {} bytes", Maintenance::MAX_REASON)]
    Reason,
    /// The author can't be kept.
    #[error("the author must be one line of at most {} bytes", Maintenance::MAX_AUTHOR)]
    Author,
    /// The end has passed.
    #[error("the end must be in the future")]
    Past,
    /// It would last too long, or next to no time.
    #[error("a maintenance lasts from 1 s to {} s", longest.as_secs())]
    Length {
        /// The longest that is allowed.
        longest: Duration,
    },
    /// There is no such component.
    #[error("there is no component named `{name}`")]
    UnknownComponent {
        /// The name, cut and escaped.
        name: String,
    },
    /// No component is named.
    #[error("name at least one component, or take the whole service")]
    NoComponent,
    /// There are as many as are kept.
    #[error("there are too many: at most {limit}")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// There is no maintenance of that id, or it is over.
    #[error("there is no such maintenance, or it is over")]
    Unknown,
    /// It is one of a window.
    #[error("it is a window of the configuration: change it there")]
    OfWindow,
    /// A window can't be as it is.
    #[error("window `{name}`: {problem}")]
    Window {
        /// The window's name, cut and escaped.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl MaintenanceError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reason => "maintenance.reason",
            Self::Author => "maintenance.author",
            Self::Past => "maintenance.past",
            Self::Length { .. } => "maintenance.length",
            Self::UnknownComponent { .. } => "maintenance.unknown_component",
            Self::NoComponent => "maintenance.no_component",
            Self::TooMany { .. } => "maintenance.too_many",
            Self::Unknown => "maintenance.unknown",
            Self::OfWindow => "maintenance.of_window",
            Self::Window { .. } => "maintenance.window",
        }
    }
}

/// Whether a text is one line without control characters, and not too long.
fn is_line(text: &str, limit: usize) -> bool {
    text.len() <= limit && !text.chars().any(char::is_control)
}

/// A name as it may stand in a message, whatever it holds.
fn shown(name: &str) -> String {
    name.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
