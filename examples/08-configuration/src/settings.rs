//! The configuration: its types are its reference, its schema and its checks.

use std::net::SocketAddr;
use std::time::Duration;

use wellkept::config::{ByteSize, FlagValue, Settings, Words, flags};

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Ingestion {
    /// Where documents come in.
    #[setting(restart, default = SocketAddr::from(([127, 0, 0, 1], 3000)))]
    pub(crate) listen: SocketAddr,
    /// Where operators look.
    #[setting(restart, default = SocketAddr::from(([127, 0, 0, 1], 3001)))]
    pub(crate) admin: SocketAddr,
    /// How each kind of document is read. One that is left out is off.
    pub(crate) adapters: Adapters,
    /// What keeps one tenant from harming the others.
    pub(crate) limits: Limits,
    /// What is being rolled out.
    pub(crate) flags: Switches,
}

/// The adapters.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Adapters {
    /// Documents of PDF.
    pub(crate) pdf: Option<Pdf>,
    /// Documents of Word.
    pub(crate) word: Option<Word>,
    /// JSON, one document or one on each line.
    pub(crate) json: Option<JsonFormat>,
    /// Tables as text.
    pub(crate) csv: Option<Csv>,
    /// Workbooks.
    pub(crate) excel: Option<Excel>,
    /// Documents that are fetched from another service.
    pub(crate) rest: Option<Rest>,
    /// Pages of the web.
    pub(crate) html: Option<Html>,
}

/// PDF.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Pdf {
    /// The most pages of one document.
    #[setting(default = 500, range = 1..=10_000)]
    pub(crate) max_pages: usize,
    /// The languages of scanned pages.
    #[setting(validate = languages)]
    pub(crate) languages: Vec<String>,
}

/// Word.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Word {
    /// What becomes of changes that nobody has decided upon.
    #[setting(default)]
    pub(crate) changes: TrackedChanges,
}

/// What becomes of tracked changes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Words)]
pub(crate) enum TrackedChanges {
    /// They are taken.
    #[default]
    Accept,
    /// They are left out.
    Reject,
}

/// JSON.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct JsonFormat {
    /// The most levels of one document.
    #[setting(default = 32, range = 1..=100)]
    pub(crate) max_depth: usize,
    /// Whether each line is a document.
    #[setting(default = false)]
    pub(crate) lines: bool,
}

/// CSV (RFC 4180).
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Csv {
    /// What stands between two fields.
    #[setting(default)]
    pub(crate) delimiter: Delimiter,
    /// Whether the first line has the names of the columns.
    #[setting(default = true)]
    pub(crate) header: bool,
}

/// What stands between two fields.
#[derive(Debug, Clone, Copy, PartialEq, Default, Words)]
pub(crate) enum Delimiter {
    /// `,`
    #[default]
    Comma,
    /// `;`
    Semicolon,
    /// A tab.
    Tab,
}

/// Excel.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Excel {
    /// The sheets that are read. Default: all.
    pub(crate) sheets: Vec<String>,
    /// What is taken of a cell with a formula.
    #[setting(default)]
    pub(crate) values: Cells,
}

/// What is taken of a cell with a formula.
#[derive(Debug, Clone, Copy, PartialEq, Default, Words)]
pub(crate) enum Cells {
    /// What it came to.
    #[default]
    Results,
    /// The formula.
    Formulas,
}

/// Another service that has documents.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Rest {
    /// Where it listens. A new one is tried before it is taken.
    pub(crate) address: SocketAddr,
    /// The path of its documents.
    #[setting(default = "/documents".to_owned())]
    pub(crate) path: String,
    /// How often it is asked.
    #[setting(default = Duration::from_secs(30), range = Duration::from_secs(1)..=Duration::from_secs(3600))]
    pub(crate) every: Duration,
}

/// HTML.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Html {
    /// Elements that are left out with all that is in them.
    #[setting(default = vec!["script".to_owned(), "style".to_owned()])]
    pub(crate) remove: Vec<String>,
}

/// The limits.
#[derive(Debug, Clone, PartialEq, Settings)]
pub(crate) struct Limits {
    /// The largest document.
    #[setting(default = ByteSize(10 << 20), range = ByteSize(1)..=ByteSize(1 << 30))]
    pub(crate) document: ByteSize,
    /// The most documents that wait.
    #[setting(default = 100, range = 1..=10_000)]
    pub(crate) waiting: u32,
}

flags! {
    /// What is being rolled out, by tenant.
    pub(crate) struct Switches {
        /// Whether a summary is made of each document.
        summaries("summaries"): bool = false,
        /// What becomes of tables in documents.
        tables("tables"): Tables = Tables::Text,
    }
}

/// What becomes of tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tables {
    /// They are running text.
    Text,
    /// Each cell is kept.
    Cells,
}

impl FlagValue for Tables {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("cells", Self::Cells)];
}

impl Tables {
    /// Its name in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Cells => "cells",
        }
    }
}

fn languages(languages: &[String]) -> Result<(), String> {
    match languages.iter().find(|language| language.len() != 2) {
        Some(language) => Err(format!("`{language}` is no language of two letters, such as `en`")),
        None => Ok(()),
    }
}
