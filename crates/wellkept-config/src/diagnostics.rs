//! What is wrong with a file, in words for the person who edits it: place, reason, nearest valid word.

use std::fmt::{self, Write as _};

use crate::excerpt::Excerpt;
use crate::origin::{Origin, Places};
use crate::tree::Position;

/// How many errors are kept for one file. What is beyond it is counted, and the last line says so.
pub const MAX_DIAGNOSTICS: usize = 200;

/// How much of an offending text a message shows, in characters.
const MAX_QUOTED: usize = 60;

/// The stable codes of everything this crate reports. They are never renamed.
pub mod codes {
    /// An alias (`*name`) inside the value that it stands for.
    pub const ALIAS: &str = "config.alias";
    /// Two values that exclude each other.
    pub const CONFLICT: &str = "config.conflict";
    /// A key occurs twice in one mapping.
    pub const DUPLICATE_KEY: &str = "config.duplicate_key";
    /// The file holds nothing, or only comments.
    pub const EMPTY: &str = "config.empty";
    /// The text is not UTF-8.
    pub const ENCODING: &str = "config.encoding";
    /// A `${…}` that can't be understood.
    pub const INTERPOLATION: &str = "config.interpolation";
    /// A value that the program's own rules refuse.
    pub const INVALID: &str = "config.invalid";
    /// A key that is a list, a mapping or nothing.
    pub const KEY_TYPE: &str = "config.key_type";
    /// A merge key (`<<`).
    pub const MERGE_KEY: &str = "config.merge_key";
    /// A key that is needed is not there.
    pub const MISSING_KEY: &str = "config.missing_key";
    /// A variable that is needed is not set.
    pub const MISSING_VARIABLE: &str = "config.missing_variable";
    /// A value of the right kind, out of its range.
    pub const RANGE: &str = "config.range";
    /// The whole file was rejected, for the reasons listed.
    pub const REJECTED: &str = "config.rejected";
    /// More than one document in one file.
    pub const SEVERAL_DOCUMENTS: &str = "config.several_documents";
    /// The text is not valid YAML.
    pub const SYNTAX: &str = "config.syntax";
    /// A tag (`!name`).
    pub const TAG: &str = "config.tag";
    /// Too deep, too many nodes, or too many bytes.
    pub const TOO_LARGE: &str = "config.too_large";
    /// A key that nobody asked for.
    pub const UNKNOWN_KEY: &str = "config.unknown_key";
    /// A word that is none of those that are known.
    pub const UNKNOWN_VALUE: &str = "config.unknown_value";
    /// The file could not be found where it was said to be.
    pub const NOT_FOUND: &str = "config.not_found";
    /// The file could not be read.
    pub const UNREADABLE: &str = "config.unreadable";
    /// A value of another kind than the one asked for.
    pub const WRONG_TYPE: &str = "config.wrong_type";
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub position: Position,
    /// Why, as a stable word; this crate's own are in [`codes`].
    pub code: &'static str,
    /// Why, in words. Holds no value that came out of a variable.
    pub message: String,
    /// The nearest word that would have been right.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a suggestion.
    pub fn new(position: Position, code: &'static str, message: impl Into<String>) -> Self {
        Self { position, code, message: message.into(), suggestion: None }
    }

    pub(crate) fn suggesting(mut self, suggestion: Option<&str>) -> Self {
        self.suggestion = suggestion.map(str::to_owned);
        self
    }
}

/// Shown as `LINE:COLUMN: message, did you mean …`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.position)?;
        self.words(formatter)
    }
}

impl Diagnostic {
    fn words(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(formatter, ", did you mean {}?", quoted(suggestion))?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one configuration: never empty, sorted by position, at most [`MAX_DIAGNOSTICS`].
///
/// Displays one line for each, without a newline at the end: `FILE:LINE:COLUMN: message`, `environment NAME: message`,
/// `--set KEY: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    file: String,
    list: Vec<Diagnostic>,
    /// Of each of the list.
    origins: Vec<Origin>,
    /// Of each of the list, where there is a line to show.
    excerpts: Vec<Option<Excerpt>>,
    omitted: usize,
}

impl Diagnostics {
    /// One error in `file`, for errors that a program finds outside of [`Document::read`](crate::Document::read).
    pub fn single(file: impl Into<String>, diagnostic: Diagnostic) -> Self {
        let (file, position) = (file.into(), diagnostic.position);
        let origin = Origin::File { name: file.as_str().into(), line: position.line, column: position.column };
        Self { file, list: vec![diagnostic], origins: vec![origin], excerpts: vec![None], omitted: 0 }
    }

    /// `None` when nothing was reported. The same error at the same place, seen through two aliases, is one error.
    pub(crate) fn collect(places: &Places, reported: Reported) -> Option<Self> {
        let Reported { mut list, omitted } = reported;
        list.sort_by_key(|diagnostic| diagnostic.position);
        list.dedup();
        let origins = list.iter().map(|diagnostic| places.origin(diagnostic.position)).collect();
        let excerpts = excerpts(places, &list);
        (!list.is_empty()).then(|| Self { file: places.name().to_owned(), list, origins, excerpts, omitted })
    }

    /// The stable code of a rejected file: [`codes::REJECTED`].
    pub fn code(&self) -> &'static str {
        codes::REJECTED
    }

    /// The name of the first, or only, file, as given to [`Document::parse`](crate::Document::parse); empty when there
    /// is none.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The errors, by position.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// The errors, by position, each with the source that it is in.
    pub fn located(&self) -> impl Iterator<Item = (&Origin, &Diagnostic)> {
        self.origins.iter().zip(&self.list)
    }

    /// The errors as they are displayed, each with the line that it is about and a mark below it, where there is one.
    ///
    /// An excerpt shows keys, and of values no more than the message does: what else is on the line may be a secret.
    ///
    /// ```
    /// let wrong = wellkept_config::Document::parse("app.yaml", "http:\n  listen: a\n  listen: b\n").unwrap_err();
    /// assert_eq!(
    ///     wrong.with_excerpts().to_string(),
    ///     "app.yaml:3:3: `listen` is given twice, first on line 2\n  3 |   listen: …\n    |   ^^^^^^",
    /// );
    /// ```
    pub fn with_excerpts(&self) -> impl fmt::Display + '_ {
        WithExcerpts(self)
    }

    /// How many errors were found, including those beyond [`MAX_DIAGNOSTICS`].
    pub fn total(&self) -> usize {
        self.list.len() + self.omitted
    }
}

impl Diagnostics {
    fn write(&self, formatter: &mut fmt::Formatter<'_>, excerpts: &[Option<Excerpt>]) -> fmt::Result {
        for (index, (origin, diagnostic)) in self.located().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(formatter, "{newline}{}", Line { origin, diagnostic })?;
            if let Some(Some(excerpt)) = excerpts.get(index) {
                write!(formatter, "\n{excerpt}")?;
            }
        }
        if self.omitted > 0 {
            write!(formatter, "\n{}: and {} more errors", escaped(&self.file, usize::MAX), self.omitted)?;
        }
        Ok(())
    }
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(formatter, &[])
    }
}

impl std::error::Error for Diagnostics {}

/// What to show of each error's line. The list is sorted, so that each file is gone through once.
fn excerpts(places: &Places, list: &[Diagnostic]) -> Vec<Option<Excerpt>> {
    let mut source = None;
    let mut lines = "".lines().peekable();
    let mut next = 1;
    let mut excerpt = |diagnostic: &Diagnostic| {
        let Position { line, .. } = diagnostic.position;
        if source != Some(diagnostic.position.source()) {
            source = Some(diagnostic.position.source());
            lines = places.text(diagnostic.position.source()).unwrap_or_default().lines().peekable();
            next = 1;
        }
        while next < line {
            lines.next();
            next += 1;
        }
        Excerpt::of(lines.peek()?, diagnostic)
    };
    list.iter().map(&mut excerpt).collect()
}

struct WithExcerpts<'d>(&'d Diagnostics);

impl fmt::Display for WithExcerpts<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(formatter, &self.0.excerpts)
    }
}

/// One error with its source.
struct Line<'d> {
    origin: &'d Origin,
    diagnostic: &'d Diagnostic,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is missing where nothing was given stands nowhere.
        if *self.origin != Origin::Default {
            write!(formatter, "{}: ", self.origin)?;
        }
        self.diagnostic.words(formatter)
    }
}

/// Where errors gather during one pass. Bounded by [`MAX_DIAGNOSTICS`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Reported {
    list: Vec<Diagnostic>,
    omitted: usize,
}

impl Reported {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.omitted += 1;
        } else {
            self.list.push(diagnostic);
        }
    }

    /// For the error that ended the pass: it is kept even beyond the limit.
    pub(crate) fn push_always(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_DIAGNOSTICS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A text from a file, fit for one line of a message: in backticks, control and invisible characters escaped, cut
/// after 60 characters.
pub fn quoted(text: &str) -> String {
    format!("`{}`", escaped(text, MAX_QUOTED))
}

/// The known word that `written` was probably meant to be, if one is near enough.
///
/// Case and the choice between `-` and `_` don't count; beyond that a third of the letters may differ, and at least
/// one. Among equally near words the first is taken.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    let written_length = written.chars().take(LONGEST + 1).count();
    if written_length > LONGEST {
        return None;
    }
    let written = normalized(written);
    known
        .into_iter()
        .filter_map(|word| {
            let length = written_length.max(word.chars().count());
            let limit = if length < 2 { 0 } else { (length / 3).max(1) };
            let distance = strsim::osa_distance(&written, &normalized(word));
            (distance <= limit && distance < length).then_some((distance, word))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

fn normalized(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// Fit for one line: control and invisible characters escaped, cut after so many characters.
pub(crate) fn escaped(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    let mut characters = text.chars();
    for character in characters.by_ref().take(limit) {
        match character {
            // `escape_debug` would put a backslash before these, which hides what is in the file.
            '"' | '\'' | '\\' => out.push(character),
            _ => write!(out, "{}", character.escape_debug()).expect("writing to a string can't fail"),
        }
    }
    if characters.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near_or_none() {
        let known = ["url", "timeout", "max_age", "unhealthy_below", "fall", "db"];
        for (written, expected) in [
            ("URL", Some("url")),
            ("uri", Some("url")),
            ("timeot", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("max-age", Some("max_age")),
            ("maxAge", Some("max_age")),
            ("unhealty_belw", Some("unhealthy_below")),
            ("fal", Some("fall")),
            ("bd", Some("db")),
            ("x", None),
            ("", None),
            ("host", None),
            ("interval", None),
        ] {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }

    #[test]
    fn a_message_stays_on_its_line_whatever_the_file_is_called() {
        let diagnostic = Diagnostic::new(Position::START, codes::EMPTY, "empty");
        assert_eq!(Diagnostics::single("a\nb\u{1b}", diagnostic).to_string(), "a\\nb\\u{1b}:1:1: empty");
    }
}
