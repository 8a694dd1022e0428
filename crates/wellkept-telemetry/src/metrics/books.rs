//! What the metrics say of themselves: what was dropped, refused, left out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use super::declaration::{Declaration, Meta};
use super::exemplar::Dropped;

/// Figures of one registry.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(super) exemplars_dropped: Dropped,
    values_refused: AtomicU64,
}

impl Books {
    /// Counts a value that no metric may take.
    #[cold]
    pub(super) fn refuse(&self) {
        self.values_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn values_refused(&self) -> u64 {
        self.values_refused.load(Ordering::Relaxed)
    }
}

const OVERFLOW: Declaration<'_> = Declaration::counter(
    "wellkept_metrics_overflow",
    "How often a series was asked for beyond a metric's cap, and the one for all such was given.",
)
.by(&["metric"]);

const FAILURES: Declaration<'_> = Declaration::counter(
    "wellkept_metrics_collector_failures",
    "How often a collector was left out, by why: it panicked, took too long, still ran, broke the rules, was skipped for want of time.",
)
.by(&["collector", "reason"]);

const EXPORTS: Declaration<'_> = Declaration::counter(
    "wellkept_metrics_exports",
    "What was handed to an exporter of metrics, by what became of it; what came due while it was busy is skipped.",
)
.by(&["exporter", "fate"]);

const EXEMPLARS: Declaration<'_> = Declaration::counter(
    "wellkept_metrics_exemplars_dropped",
    "Exemplars dropped: longer than 128 characters, or with names or values that none may have.",
);

const VALUES: Declaration<'_> = Declaration::counter(
    "wellkept_metrics_values_refused",
    "Values that no counter and no histogram may take: negative, infinite, no number.",
);

/// The families of the books, in the order in which they are filled.
pub(super) static OWN: LazyLock<Vec<Arc<Meta>>> = LazyLock::new(|| {
    let all = [OVERFLOW, FAILURES, EXPORTS, EXEMPLARS, VALUES].map(|declaration| declaration.checked());
    all.into_iter().flatten().map(Arc::new).collect()
});
