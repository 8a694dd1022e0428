//! What the files of a configuration say, as written: what a version keeps, and the hash that tells two contents apart.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The texts of all files of one load, as written, before interpolation. They may hold secrets, so that its `Debug` form
/// shows their names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// In the order in which they are merged.
    pub parts: Vec<Part>,
}

/// One file of a content.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// What messages call it: its path.
    pub name: String,
    /// Its text, as written.
    pub text: String,
}

/// SHA-256 over the names and texts of a content's parts. Shown in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

impl Content {
    /// The hash: equal for equal texts in files of the same names.
    pub fn hash(&self) -> ContentHash {
        let mut hasher = Sha256::new();
        for part in &self.parts {
            for text in [&part.name, &part.text] {
                hasher.update((text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        ContentHash(hasher.finalize().into())
    }

    /// All texts together, in bytes.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.text.len()).sum()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.parts.iter().map(|part| &part.name)).finish()
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Part").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
