//! A configuration that was read and checked, and does not run yet.

use std::sync::Arc;

use crate::content::{Content, ContentHash};
use crate::control::Shown;
use crate::document::LoadError;
use crate::named::Named;
use crate::settings::Settings;
use crate::sources::Sources;

/// Everything that is known of it before anyone prepares for it.
pub(super) struct Candidate<T> {
    pub(super) value: Arc<T>,
    pub(super) content: Arc<Content>,
    pub(super) hash: ContentHash,
    /// Of the tree with everything filled in: equal where nothing that is read differs.
    pub(super) fingerprint: u64,
    /// The files whose content belongs to it.
    pub(super) named: Vec<Named>,
    /// Its values, fit to be shown.
    pub(super) shown: Arc<[Shown]>,
    /// The keys that wait for a restart.
    pub(super) restart_required: Vec<String>,
}

impl<T: Settings> Candidate<T> {
    /// Blocks: files with secrets are read. `started` is what the process was started with, if it was. The files that
    /// were named are told even where something is wrong with them.
    pub(super) fn read(
        sources: &Sources,
        content: Arc<Content>,
        started: Option<&T>,
        named: &mut Vec<Named>,
    ) -> Result<Self, LoadError> {
        let document = sources.document(&content)?;
        let mut fingerprint = 0;
        let (value, shown) = document.read_with_values(|section| {
            let value = T::read(section);
            // Asked for behind the reading, which names files that belong to it.
            fingerprint = section.fingerprint();
            *named = section.named().borrow().all();
            value
        })?;
        let hash = content.hash();
        let restart_required = started.map(|started| T::restart_required(started, &value)).unwrap_or_default();
        let named = named.clone();
        Ok(Self { value: Arc::new(value), content, hash, fingerprint, named, shown: shown.into(), restart_required })
    }
}
