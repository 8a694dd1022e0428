//! What is compared with an event: the longest module that fits decides.

use std::collections::BTreeMap;

use tracing::Metadata;
use tracing::level_filters::LevelFilter;

use super::super::Level;
use super::{OWN_TARGET, is_in};
use crate::events::SECURITY_TARGET;

/// Levels by module, ready to be compared.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) level: Level,
    /// The longest first.
    modules: Box<[(Box<str>, Level)]>,
}

impl Table {
    pub(super) fn new(level: Level, modules: BTreeMap<&str, Level>) -> Self {
        let mut modules: Vec<(Box<str>, Level)> =
            modules.into_iter().map(|(module, level)| (module.into(), level)).collect();
        modules.sort_by_key(|(module, _)| std::cmp::Reverse(module.len()));
        Self { level, modules: modules.into() }
    }

    /// The level for a target: that of the longest module that it is, or is in.
    pub(super) fn level_of(&self, target: &str) -> Level {
        let fits = |module: &str| is_in(target, module);
        self.modules.iter().find(|(module, _)| fits(module)).map_or(self.level, |(_, level)| *level)
    }

    pub(super) fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = Level::from(*metadata.level());
        // Only its fields' values tell whether it is critical.
        let level = if level == Level::Error && may_be_critical(metadata) { Level::Critical } else { level };
        self.wants_level(metadata.target(), level)
    }

    pub(super) fn wants_level(&self, target: &str, level: Level) -> bool {
        passes_always(target) || level >= self.level_of(target)
    }

    pub(super) fn filter(&self) -> LevelFilter {
        let least = self.modules.iter().map(|(_, level)| *level).fold(self.level, Level::min);
        // What passes always is at least this severe.
        match least.min(Level::Info) {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            _ => LevelFilter::INFO,
        }
    }
}

/// What no level silences: security events, and what the log says of itself.
fn passes_always(target: &str) -> bool {
    is_in(target, SECURITY_TARGET) || is_in(target, OWN_TARGET)
}

fn may_be_critical(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.fields().field("severity").is_some()
}
