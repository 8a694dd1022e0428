//! The tree that a file is read into: values that know their line and column, typed only when asked.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A place in a file, as an editor shows it: both numbers start at 1, columns count characters.
///
/// It also knows which of the sources of its document it is in; [`Document::origin`](crate::Document::origin) names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    // First, so that errors are sorted by file before line.
    source: SourceId,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// Which of its document's sources a position is in: the index of a place in [`Places`](crate::origin::Places).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceId(pub(crate) u16);

impl Position {
    /// The first character of the first file.
    pub const START: Self = Self::new(1, 1);

    /// No place in any source: what a document without files begins with.
    pub(crate) const NOWHERE: Self = Self::new(1, 1).within(SourceId(u16::MAX));

    /// A place in a document's first, or only, file.
    pub const fn new(line: u32, column: u32) -> Self {
        Self { source: SourceId(0), line, column }
    }

    /// The same place in another source.
    pub(crate) const fn within(self, source: SourceId) -> Self {
        Self { source, ..self }
    }

    pub(crate) fn source(self) -> SourceId {
        self.source
    }

    /// The position of the byte at `offset`, or of the end of the text when `offset` is beyond it.
    pub(crate) fn of_byte(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Self::new(saturating(line), saturating(column))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

/// A value and where it stands.
///
/// A value brought in by an alias stands where the alias is written; what is inside it stands where it is written.
/// An empty value stands where its key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, a number, a boolean or nothing: which of them is decided by whoever asks.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order of the file. No key occurs twice.
    Mapping(Vec<(Key, Node)>),
}

/// The key of a mapping's entry. Keys are text and are never interpolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub(crate) text: String,
    pub(crate) position: Position,
    pub(crate) spelling: Spelling,
}

/// How closely a key says which one is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Exactly this one, as all keys of files.
    Exact,
    /// One of this name in letters that a variable's name can hold: `show_names` may mean `show-names`.
    Loose,
    /// The same, and it may be no key at all: a variable with the prefix of the program's that is none of its keys.
    Tentative,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bare, as in `key: value`.
    Plain,
    /// In quotes, or as a block after `|` or `>`.
    Quoted,
    /// Not in a file: an environment variable or an argument gave it. It is one value, whatever it looks like; asked for
    /// as a list it may be `[one, two]`.
    Given,
}

/// A single value: the text as written in the file, and the text after interpolation.
///
/// Its `Debug` form shows the text as written only, because what a variable brought in may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Scalar {
    pub(crate) written: String,
    pub(crate) interpolation: Interpolation,
    pub(crate) style: Style,
}

/// What interpolation has done to a scalar.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// Nothing: the text is as written.
    AsWritten,
    /// Filled in.
    Filled(String),
    /// It failed, which has been reported: whoever reads the scalar need not report it again.
    Failed,
}

impl Node {
    /// Where the value begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What it holds.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The scalar, unless this is a list or a mapping.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// Whether there is no value: nothing after the colon, `~` or `null`, unquoted.
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(Scalar::is_null)
    }

    /// A hash of the content after interpolation: equal for equal content wherever it stands, whether it is quoted,
    /// and in whatever order the keys of its mappings come.
    ///
    /// It tells within one process whether a section changed. It is not stable across builds, and since it is taken
    /// over secrets too, it does not belong into a log.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => 0_u8.hash(&mut hasher),
            Value::Scalar(scalar) => (1_u8, scalar.text()).hash(&mut hasher),
            Value::Sequence(items) => {
                2_u8.hash(&mut hasher);
                items.iter().map(Self::fingerprint).collect::<Vec<_>>().hash(&mut hasher);
            }
            Value::Mapping(entries) => {
                let mut sorted: Vec<_> =
                    entries.iter().map(|(key, node)| (key.text.as_str(), node.fingerprint())).collect();
                sorted.sort_unstable();
                (3_u8, sorted).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// What to call it in a sentence: "found a list".
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl Key {
    /// The key itself.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the key begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether it is the key that is asked for as `name`.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.text == name || (self.spelling != Spelling::Exact && loosely(&self.text).eq(loosely(name)))
    }
}

/// The letters of a name as a variable's name can hold them: in lower case, and `_` for what is neither letter nor digit.
pub(crate) fn loosely(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' })
}

impl Scalar {
    /// The text after interpolation, which may hold a secret. Empty while a variable of it is missing.
    pub fn text(&self) -> &str {
        match &self.interpolation {
            Interpolation::AsWritten => &self.written,
            Interpolation::Filled(text) => text,
            Interpolation::Failed => "",
        }
    }

    /// The text as the file has it, without quotes, before interpolation. This is what messages may show.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// How it was written.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Whether a variable changed the text, so that it must not be shown.
    pub fn is_interpolated(&self) -> bool {
        !matches!(self.interpolation, Interpolation::AsWritten)
    }

    /// Whether an environment variable or an argument gave what may be meant as a list.
    pub(crate) fn looks_like_given_list(&self) -> bool {
        self.style == Style::Given && self.written.trim_start().starts_with('[')
    }

    /// Whether this is no value: empty, `~` or `null`, unquoted (YAML 1.2, 10.3.2).
    pub fn is_null(&self) -> bool {
        self.style == Style::Plain && matches!(self.written.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scalar")
            .field("written", &self.written)
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

/// Line and column numbers fit: a file holds at most a mebibyte.
pub(crate) fn saturating(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
