//! Versions in memory: for a process that keeps nothing over its end, and for as long as a store can't be written.

use std::collections::VecDeque;

use super::{Kept, StoreFault, Version, VersionId, VersionStore, forgotten};
use crate::content::Content;

/// Versions that are gone with the process. Bounded as every store is; never fails and never blocks.
///
/// ```
/// use wellkept_config::{MemoryVersions, VersionStore};
///
/// assert!(MemoryVersions::default().versions()?.is_empty());
/// # Ok::<(), wellkept_config::StoreFault>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryVersions {
    /// Newest first.
    kept: VecDeque<(Version, Option<Content>)>,
}

impl VersionStore for MemoryVersions {
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault> {
        let newest = self.kept.front().map(|(newest, _)| newest);
        if let Some(newest) = newest.filter(|newest| newest.is_same_attempt(version)) {
            return Ok(newest.id);
        }
        let id = VersionId(newest.map_or(0, |newest| newest.id.0) + 1);
        self.kept.push_front((Version { id, ..version.clone() }, content.cloned()));
        let known = |(version, content): &(Version, Option<Content>)| Kept {
            id: version.id,
            outcome: version.outcome,
            bytes: version.bytes(content.as_ref()),
        };
        let gone = forgotten(&self.kept.iter().map(known).collect::<Vec<_>>(), keep);
        self.kept.retain(|(version, _)| !gone.contains(&version.id));
        Ok(id)
    }

    fn versions(&mut self) -> Result<Vec<Version>, StoreFault> {
        Ok(self.kept.iter().map(|(version, _)| version.clone()).collect())
    }

    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault> {
        Ok(self.kept.iter().find(|(version, _)| version.id == id).and_then(|(_, content)| content.clone()))
    }
}
