//! A configuration that was read and checked, and does not run yet.

use std::sync::Arc;

use crate::content::{Content, ContentHash};
use crate::control::Shown;
use crate::document::LoadError;
use crate::settings::Settings;
use crate::sources::Sources;

/// Everything that is known of it before anyone prepares for it.
pub(super) struct Candidate<T> {
    pub(super) value: Arc<T>,
    pub(super) content: Arc<Content>,
    pub(super) hash: ContentHash,
    /// Of the tree with everything filled in: equal where nothing that is read differs.
    pub(super) fingerprint: u64,
    /// Its values, fit to be shown.
    pub(super) shown: Arc<[Shown]>,
    /// The keys that wait for a restart.
    pub(super) restart_required: Vec<String>,
}

impl<T: Settings> Candidate<T> {
    /// Blocks: files with secrets are read. `started` is what the process was started with, if it was.
    pub(super) fn read(sources: &Sources, content: Arc<Content>, started: Option<&T>) -> Result<Self, LoadError> {
        let document = sources.document(&content)?;
        let mut fingerprint = 0;
        let (value, shown) = document.read_with_values(|section| {
            fingerprint = section.fingerprint();
            T::read(section)
        })?;
        let hash = content.hash();
        let restart_required = started.map(|started| T::restart_required(started, &value)).unwrap_or_default();
        Ok(Self { value: Arc::new(value), content, hash, fingerprint, shown: shown.into(), restart_required })
    }
}
