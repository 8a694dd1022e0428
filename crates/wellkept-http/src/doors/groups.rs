//! What the user's groups add up to, looked at once for all who ask within a moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use wellkept_health::{Checker, Status};

/// So many components are added up in some microseconds.
const FEW: usize = if cfg!(test) { 8 } else { 256 };
/// How long what more of them add up to is used again.
const MOMENT: Duration = Duration::from_millis(20);

/// The latest look at the groups.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    latest: ArcSwapOption<Look>,
}

/// All groups at one instant.
#[derive(Debug)]
pub(crate) struct Look {
    /// The boot clock then.
    at: Duration,
    pub(crate) groups: BTreeMap<Arc<str>, Status>,
}

impl Groups {
    /// As they are now.
    pub(crate) fn now(&self, checker: &Checker) -> Arc<Look> {
        let at = checker.clock().boot();
        let look = Arc::new(Look { at, groups: checker.snapshot().named_groups() });
        // Whoever looked later may be here first.
        self.latest.rcu(|latest| match latest {
            Some(later) if later.at > at => Some(Arc::clone(later)),
            _ => Some(Arc::clone(&look)),
        });
        look
    }

    /// As they are now, or with many components were a moment ago.
    pub(crate) fn recent(&self, checker: &Checker) -> Arc<Look> {
        let now = checker.clock().boot();
        let many = checker.snapshot().components().len() > FEW;
        let latest = self.latest.load_full().filter(|look| many && now.saturating_sub(look.at) < MOMENT);
        latest.unwrap_or_else(|| self.now(checker))
    }
}
