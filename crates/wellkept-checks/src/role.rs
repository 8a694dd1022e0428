//! Which server of a group of databases is expected: the one that takes the writes, or one that copies them.

use wellkept_config::{FromNode, one_of};

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

impl FromNode for Role {
    const EXPECTED: &'static str = "any, primary or replica";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &[("any", Self::Any), ("primary", Self::Primary), ("replica", Self::Replica)])
    }
}
