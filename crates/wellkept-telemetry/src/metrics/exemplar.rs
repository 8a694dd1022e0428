//! Exemplars: for a counter or a bucket, one recent piece of work that was counted there. One is kept for each, so that
//! they never grow, and one that would break the page's rules is dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::names;
use super::reading::Labels;
use crate::correlation::{Correlation, TraceId};

/// Longest labels of an exemplar, names and values together, in characters (OpenMetrics 1.0, "Exemplars").
pub const MAX_EXEMPLAR: usize = 128;

/// A piece of work that was counted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Exemplar {
    /// Which: `trace_id`, most often.
    pub labels: Labels,
    /// What was counted of it.
    pub value: f64,
    /// When.
    pub at: SystemTime,
}

/// What an exemplar is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trace<'a> {
    /// The trace of a [`Correlation`].
    Id(TraceId),
    /// Labels of one's own: at most [`MAX_EXEMPLAR`] characters of names and values, and no quotes, backslashes or line
    /// breaks, which readers of the page stumble over in an exemplar.
    Labels(&'a [(&'a str, &'a str)]),
}

impl Trace<'_> {
    /// The trace of the work that runs here, if it belongs to any.
    pub fn current() -> Option<Self> {
        Correlation::with_current(|correlation| Self::Id(correlation.trace_id()))
    }
}

/// The latest exemplar of one counter or one bucket.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Kept>>);

#[derive(Debug, Clone)]
struct Kept {
    what: What,
    value: f64,
    at: SystemTime,
}

#[derive(Debug, Clone)]
enum What {
    Id(TraceId),
    Labels(Labels),
}

/// Exemplars that were dropped, having broken a rule.
#[derive(Debug, Default)]
pub(super) struct Dropped(pub(super) AtomicU64);

impl Slot {
    /// Keeps it in place of the one before. Never waits: of two that come at the same time one is as good as the other.
    pub(super) fn keep(&self, trace: Trace<'_>, value: f64, dropped: &Dropped) {
        let what = match trace {
            Trace::Id(id) => What::Id(id),
            Trace::Labels(labels) if may_be_shown(labels) => What::Labels(Labels::new(labels.iter().copied())),
            Trace::Labels(_) => {
                dropped.0.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let Ok(mut kept) = self.0.try_lock() else { return };
        *kept = Some(Kept { what, value, at: SystemTime::now() });
    }

    pub(super) fn latest(&self) -> Option<Exemplar> {
        let Kept { what, value, at } = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let labels = match what {
            What::Id(id) => Labels::new([("trace_id", &*id.to_string())]),
            What::Labels(labels) => labels,
        };
        Some(Exemplar { labels, value, at })
    }
}

/// Whether an exemplar's labels keep the rules. The parser of Prometheus' Python client takes an escaped quote in one for
/// its end.
pub(super) fn may_be_shown(labels: &[(&str, &str)]) -> bool {
    let length: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    let is_new = |index: usize, name: &str| labels.iter().take(index).all(|(before, _)| *before != name);
    length <= MAX_EXEMPLAR
        && labels.iter().enumerate().all(|(index, (name, value))| {
            names::is_label_name(name) && is_new(index, name) && !value.contains(['"', '\\', '\n'])
        })
}
