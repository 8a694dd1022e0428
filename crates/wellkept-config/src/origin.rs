//! Where values come from: the files, variables and arguments that a document is made of, and how each is called.

use std::fmt;
use std::sync::Arc;

use crate::diagnostics::escaped;
use crate::tree::{Position, SourceId};

/// Where a value comes from.
///
/// Shown as messages and views show it: `wellkept.yaml:3:5`, `environment WELLKEPT_HTTP__LISTEN`, `--set http.listen`,
/// `default`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A file, or another text.
    File {
        /// What messages call it: its path.
        name: Arc<str>,
        /// The line, from 1.
        line: u32,
        /// The column in characters, from 1.
        column: u32,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        name: Arc<str>,
    },
    /// An argument of the command line.
    Argument {
        /// The option, and the key where the option can set several: `--set http.listen`.
        name: Arc<str>,
    },
    /// Nothing gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(formatter, "{}:{line}:{column}", escaped(name, usize::MAX)),
            Self::Environment { name } => write!(formatter, "environment {}", escaped(name, usize::MAX)),
            Self::Argument { name } => formatter.write_str(&escaped(name, usize::MAX)),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// The sources of one document, in the order in which they were merged; [`SourceId`]s point into it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<Place>);

/// One source.
#[derive(Clone)]
pub(crate) enum Place {
    File { name: Arc<str>, text: Arc<str> },
    Environment { name: Arc<str> },
    Argument { name: Arc<str> },
}

impl Places {
    /// `None` when there are more sources than a position can tell apart.
    pub(crate) fn add(&mut self, place: Place) -> Option<SourceId> {
        let id = u16::try_from(self.0.len()).ok()?;
        self.0.push(place);
        Some(SourceId(id))
    }

    /// What the document is called as a whole: like its first file.
    pub(crate) fn name(&self) -> &str {
        match self.0.first() {
            Some(Place::File { name, .. }) => name,
            _ => "",
        }
    }

    /// The text of a file.
    pub(crate) fn text(&self, source: SourceId) -> Option<&str> {
        match self.0.get(usize::from(source.0)) {
            Some(Place::File { text, .. }) => Some(text),
            _ => None,
        }
    }

    /// A document without any source consists of defaults.
    pub(crate) fn origin(&self, position: Position) -> Origin {
        match self.0.get(usize::from(position.source().0)) {
            Some(Place::File { name, .. }) => {
                Origin::File { name: name.clone(), line: position.line, column: position.column }
            }
            Some(Place::Environment { name }) => Origin::Environment { name: name.clone() },
            Some(Place::Argument { name }) => Origin::Argument { name: name.clone() },
            None => Origin::Default,
        }
    }
}

/// Without the text, which may hold secrets.
impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::File { name, .. } | Self::Environment { name } | Self::Argument { name }) = self;
        formatter.debug_tuple("Place").field(name).finish()
    }
}
