//! Files that a configuration names and whose content belongs to it: secrets, certificates. What they say counts as what
//! the configuration says.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use crate::document::read_regular;

/// The most that is looked at of one of them: 1 MiB.
const MAX_NAMED_BYTES: usize = 1 << 20;
/// The most of them that are looked at.
const MAX_NAMED: usize = 1_000;

/// One of them, and what it said when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    pub(crate) path: Arc<Path>,
    /// A hash that holds within one process; `None` when it could not be read.
    pub(crate) says: Option<u64>,
}

impl Named {
    /// What it says now. Blocks on the file system.
    pub(crate) fn look(path: Arc<Path>) -> Self {
        let says = read_regular(&path, MAX_NAMED_BYTES).ok().map(|bytes| {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            hasher.finish()
        });
        Self { path, says }
    }
}

/// Those of one reading.
#[derive(Debug, Clone, Default)]
pub(crate) struct NamedFiles {
    /// Each once, so that it says the same everywhere.
    known: HashMap<Arc<Path>, Named>,
    /// As often and in the order in which they were named.
    named: Vec<Named>,
}

impl NamedFiles {
    /// Notes what a file says. To be called before its content is put to use: what is changed in between is found to
    /// differ later. Blocks on the file system.
    pub(crate) fn note(&mut self, path: &Path) {
        let named = match self.known.get(path) {
            Some(known) => known.clone(),
            None if self.known.len() < MAX_NAMED => {
                let named = Named::look(path.into());
                self.known.insert(Arc::clone(&named.path), named.clone());
                named
            }
            None => return,
        };
        self.named.push(named);
    }

    /// How often one was named so far.
    pub(crate) fn len(&self) -> usize {
        self.named.len()
    }

    /// Those named since there were so many.
    pub(crate) fn since(&self, before: usize) -> &[Named] {
        self.named.get(before..).unwrap_or_default()
    }

    /// Each once.
    pub(crate) fn all(&self) -> Vec<Named> {
        let mut all: Vec<_> = self.known.values().cloned().collect();
        all.sort_by(|one, other| one.path.cmp(&other.path));
        all
    }
}
