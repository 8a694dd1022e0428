//! Which server of a group of databases is expected: the one that takes the writes, or one that copies them.

use wellkept_config::{FromNode, Schema, one_of};

/// Which server is expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Whichever it is.
    #[default]
    Any,
    /// The one that accepts writes.
    Primary,
    /// One that copies another and accepts none.
    Replica,
}

const WORDS: [(&str, Role); 3] = [("any", Role::Any), ("primary", Role::Primary), ("replica", Role::Replica)];

impl FromNode for Role {
    const EXPECTED: &'static str = "any, primary or replica";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}
