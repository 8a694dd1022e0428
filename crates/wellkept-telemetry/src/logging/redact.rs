//! What must not be read in a log: values of fields with telling names, and secrets inside any text.

mod card;
mod names;
mod text;

use regex::{Regex, RegexBuilder};

use names::Names;

pub(super) use card::is_card;

/// What is masked before a line is written, and before it is cut.
///
/// Built in are values of fields with telling names (`password`, `api_key`, `authorization`, …), the same names inside
/// texts, in JSON, in JSON within JSON and in what Rust's `Debug` prints, passwords in URLs, what follows `Bearer` and
/// `Basic`, JSON Web Tokens, and card numbers (ISO/IEC 7812: 13 to 19 digits with blanks or dashes between them, a
/// known issuer, a right check digit).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redaction {
    /// Whether anything is masked at all. Default: yes.
    pub secrets: Secrets,
    /// Names of one's own, besides the built-in ones, whose values are secrets; at most [`MAX_NAMES`]. Case and `_`,
    /// `-`, `.` don't count, and a name that ends with one counts too: `tax_number` covers `customerTaxNumber`.
    pub names: Vec<String>,
    /// Regular expressions of one's own, in the syntax of the crate `regex`; what they match is masked. At most
    /// [`MAX_PATTERNS`], which take time in proportion to a text and never more.
    pub patterns: Vec<String>,
}

/// Whether secrets are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Secrets {
    /// They are.
    #[default]
    Masked,
    /// They are not: for a log that nobody else reads.
    Shown,
}

/// Most names of one's own.
pub const MAX_NAMES: usize = 64;
/// Most patterns of one's own.
pub const MAX_PATTERNS: usize = 32;
/// Longest name or pattern, in bytes.
const MAX_LENGTH: usize = 512;
/// What one pattern may take when it is compiled, in bytes; and again while it searches.
const MAX_COMPILED: usize = 512 << 10;

/// What stands in place of a secret.
pub(crate) const MASK: &str = "***";

impl Redaction {
    /// Whether [`names`](Self::names) can hold this one.
    ///
    /// # Errors
    /// When it has no letter or digit, or more than 512 bytes.
    pub fn check_name(name: &str) -> Result<(), RedactionError> {
        if name.len() > MAX_LENGTH || !name.chars().any(char::is_alphanumeric) {
            return Err(RedactionError::Name(name.chars().take(40).collect()));
        }
        Ok(())
    }

    /// Whether [`patterns`](Self::patterns) can hold this one.
    ///
    /// # Errors
    /// When it is no regular expression, is too large, or matches where nothing is.
    pub fn check_pattern(pattern: &str) -> Result<(), RedactionError> {
        compile(pattern).map(drop)
    }
}

/// Why a name or a pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedactionError {
    /// There is nothing in it to compare, or too much.
    #[error("`{0}` is no name to mask: it needs a letter or a digit, and at most {MAX_LENGTH} bytes")]
    Name(String),
    /// It is not a regular expression, or one that would take too much memory.
    #[error("`{pattern}` can't be used as a pattern: {why}")]
    Pattern {
        /// Its beginning.
        pattern: String,
        /// What is wrong, and where in the pattern.
        why: String,
    },
    /// It would mask between any two letters.
    #[error("`{0}` matches where nothing is, so it would mask everywhere")]
    Empty(String),
    /// There are more than there may be.
    #[error("at most {most} {what} can be masked, not {found}")]
    TooMany {
        /// `names` or `patterns`.
        what: &'static str,
        /// How many there may be.
        most: usize,
        /// How many there are.
        found: usize,
    },
}

impl RedactionError {
    /// A stable code, for example `redaction.pattern`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "redaction.name",
            Self::Pattern { .. } => "redaction.pattern",
            Self::Empty(_) => "redaction.empty",
            Self::TooMany { .. } => "redaction.too_many",
        }
    }
}

/// What does it, compiled once.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    secrets: Secrets,
    names: Names,
    patterns: Vec<Regex>,
}

impl Redactor {
    pub(crate) fn new(redaction: &Redaction) -> Result<Self, RedactionError> {
        let counted =
            [("names", redaction.names.len(), MAX_NAMES), ("patterns", redaction.patterns.len(), MAX_PATTERNS)];
        for (what, found, most) in counted {
            if found > most {
                return Err(RedactionError::TooMany { what, most, found });
            }
        }
        redaction.names.iter().try_for_each(|name| Redaction::check_name(name))?;
        let patterns = redaction.patterns.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>()?;
        Ok(Self { secrets: redaction.secrets, names: Names::new(&redaction.names), patterns })
    }

    /// Whether anything is masked.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.secrets == Secrets::Masked
    }

    /// Whether any text, even a number, may hold something that only a pattern of one's own finds.
    #[inline]
    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether values under this name are secrets.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.is_on() && self.names.hold(name)
    }

    /// Copies `text` to `out` with its secrets masked. Returns false when there are none; what `out` holds says nothing
    /// then.
    pub(crate) fn redact(&self, text: &str, out: &mut String) -> bool {
        if !self.is_on() {
            return false;
        }
        let mut is_masked = text::redact(text, &self.names, out);
        for pattern in &self.patterns {
            let current = if is_masked { out.as_str() } else { text };
            if let Some(masked) = replaced(pattern, current) {
                *out = masked;
                is_masked = true;
            }
        }
        is_masked
    }
}

/// The text with what the pattern finds masked; nothing when it finds nothing.
fn replaced(pattern: &Regex, text: &str) -> Option<String> {
    let mut masked = String::new();
    let mut copied = 0;
    for found in pattern.find_iter(text).filter(|found| !found.is_empty()) {
        masked.push_str(&text[copied..found.start()]);
        masked.push_str(MASK);
        copied = found.end();
    }
    (copied > 0).then(|| masked + &text[copied..])
}

fn compile(pattern: &str) -> Result<Regex, RedactionError> {
    let shown = || pattern.chars().take(40).collect();
    let refused = |why: String| RedactionError::Pattern { pattern: shown(), why };
    if pattern.len() > MAX_LENGTH {
        return Err(refused(format!("it has {} bytes, and may have {MAX_LENGTH}", pattern.len())));
    }
    let compiled = RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .nest_limit(32)
        .build()
        .map_err(|error| refused(one_line(&error)))?;
    if compiled.is_match("") { Err(RedactionError::Empty(shown())) } else { Ok(compiled) }
}

/// The parser draws its error over several lines: where stands under the pattern, and why in the last of them.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let place = text.lines().find_map(|line| line.find('^')).map(|column| column.saturating_sub(4));
    let why = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
    match place {
        Some(column) => format!("{why}, at character {}", column + 1),
        None => why,
    }
}

#[cfg(test)]
mod tests;
