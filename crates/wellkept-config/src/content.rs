//! What the files of a configuration say, as written: what a version keeps, and the hash that tells two contents apart.

use std::fmt;
use std::str::FromStr;

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

/// What was to be a hash is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 hexadecimal digits")]
pub struct ContentHashError;

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

impl FromStr for ContentHash {
    type Err = ContentHashError;

    /// Reads 64 hexadecimal digits, of either case.
    fn from_str(text: &str) -> Result<Self, ContentHashError> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(ContentHashError);
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let [high, low] = pair.map(digit);
            *byte = 16 * high.ok_or(ContentHashError)? + low.ok_or(ContentHashError)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_shown_and_nothing_else_is_one() {
        let hash = Content { parts: vec![Part { name: "a".to_owned(), text: "b: 1".to_owned() }] }.hash();
        let shown = hash.to_string();
        assert_eq!(shown.parse(), Ok(hash));
        assert_eq!(shown.to_uppercase().parse(), Ok(hash));
        let long = format!("{shown}0");
        let (short, sign) = (&shown[1..], shown.replacen(|_: char| true, "+", 1));
        for wrong in ["", "0", short, &long, &sign, &"g".repeat(64), &"\u{e9}".repeat(32)] {
            assert_eq!(wrong.parse::<ContentHash>(), Err(ContentHashError), "{wrong}");
        }
    }
}
