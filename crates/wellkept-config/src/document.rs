//! A file's life: loaded, parsed, interpolated, read. Decides what is reported when.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::Shown;
use crate::diagnostics::{Diagnostic, Diagnostics, Reported, codes};
use crate::interpolate;
use crate::named::NamedFiles;
use crate::origin::{Origin, Place, Places};
use crate::parse::{self, MAX_FILE_BYTES, Size};
use crate::record::{Record, Values};
use crate::section::{Section, Walk};
use crate::settings::Settings;
use crate::tree::{Node, Position, SourceId};

/// A parsed file, or several that were merged, with what was laid over them: the tree, and where each value comes from.
///
/// Its `Debug` form shows the name only: the text may hold secrets.
#[derive(Clone)]
pub struct Document {
    pub(crate) places: Arc<Places>,
    pub(crate) root: Node,
    /// What is wrong and did not keep the tree from being read. Empty unless a `…_deferring` function made it.
    pub(crate) deferred: Reported,
    /// The folder of the service's credentials, known once variables are filled in.
    pub(crate) credentials: Option<PathBuf>,
    /// The files that were read to fill in values.
    pub(crate) named: NamedFiles,
}

impl Document {
    /// Parses `text`, at most [`MAX_FILE_BYTES`] of it. `name` is what messages call the file.
    pub fn parse(name: impl Into<String>, text: &str) -> Result<Self, Diagnostics> {
        Self::parse_deferring(name, text)?.settled()
    }

    /// Like [`parse`](Self::parse), but keeps what leaves the tree readable (a key given twice, a tag, a merge key) for
    /// [`read`](Self::read), which reports it together with everything else that is wrong.
    pub fn parse_deferring(name: impl Into<String>, text: &str) -> Result<Self, Diagnostics> {
        let mut places = Places::default();
        places.add(Place::File { name: name.into().into(), text: text.into() });
        let mut deferred = Reported::default();
        match parse::parse(text, SourceId(0), &mut Size::default(), &mut deferred) {
            Ok(root) => {
                Ok(Self { places: Arc::new(places), root, deferred, credentials: None, named: NamedFiles::default() })
            }
            Err(fatal) => {
                deferred.push_always(fatal);
                Err(Diagnostics::collect(&places, deferred).expect("an error was just put in"))
            }
        }
    }

    /// Reads and parses the file at `path`, which is also what messages call it.
    ///
    /// Blocks on the file system. What is no regular file is refused.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        Ok(Self::load_deferring(path)?.settled()?)
    }

    /// Like [`load`](Self::load), deferring as [`parse_deferring`](Self::parse_deferring) does.
    pub fn load_deferring(path: &Path) -> Result<Self, LoadError> {
        let name = path.display().to_string();
        // One byte more than allowed tells a file that is too large; the parser says so.
        let bytes =
            read_regular(path, MAX_FILE_BYTES + 1).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
        let text = as_text(bytes).map_err(|wrong| Diagnostics::single(&name, wrong))?;
        Ok(Self::parse_deferring(name, &text)?)
    }

    /// Fills in variables in the values, never in keys: `${NAME}`, `${NAME:-default}` (the default is taken when the
    /// variable is not set or empty), and `$$` for a dollar sign. A `$` before anything else stays as it is.
    ///
    /// `${file:/run/secrets/x}` is what a regular file holds, without its last newline, at most [64 KiB](crate::MAX_SECRET_BYTES)
    /// of UTF-8, and `${credential:NAME}` what systemd hands to the service under this name
    /// (systemd.exec(5), the folder that the variable `CREDENTIALS_DIRECTORY` names). A default stands in where there is
    /// no such file, or an empty one. Blocks on the file system where a value names a file.
    ///
    /// The structure is parsed before, so no variable can change it: whatever it holds stays one value. Messages show
    /// such a value as written.
    ///
    /// ```
    /// use wellkept_config::Document;
    ///
    /// let lookup = |name: &str| (name == "HOST").then(|| "db: {port: 1}".to_owned());
    /// let document = Document::parse("app.yaml", "host: ${HOST}\nprice: $$5\nuser: ${USER_NAME:-nobody}").unwrap();
    /// let values = document.interpolate(&lookup).unwrap().read(|section| {
    ///     let (host, price, user) = (section.required("host"), section.required("price"), section.required("user"));
    ///     Some::<[String; 3]>([host?, price?, user?])
    /// });
    /// assert_eq!(values.unwrap(), ["db: {port: 1}", "$5", "nobody"]);
    /// ```
    pub fn interpolate(self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Diagnostics> {
        self.interpolate_deferring(lookup).settled()
    }

    /// Like [`interpolate`](Self::interpolate), but leaves missing variables to [`read`](Self::read), which reports
    /// them together with everything else that is wrong. Until then such values read as absent.
    #[must_use]
    pub fn interpolate_deferring(mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        (self.credentials, self.named) = interpolate::fill_in(&mut self.root, lookup, &mut self.deferred);
        self
    }

    /// Walks the document: `read` asks the [`Section`] for what it knows, and everything that is wrong is collected.
    ///
    /// Fails when anything was reported, even if `read` returned a value. See [`Section`] for how to ask.
    pub fn read<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, Diagnostics> {
        self.read_recording(Record::Off, read).map(|(value, _)| value)
    }

    /// Like [`read`](Self::read), with every value that was asked for, fit to be shown: as written, before
    /// interpolation, of a secret only that it is one, and each default that holds because nothing else is said. Items of
    /// lists go by their `name`.
    ///
    /// ```
    /// use wellkept_config::Document;
    ///
    /// let document = Document::parse("app.yaml", "port: 80").unwrap();
    /// let (_, values) = document
    ///     .read_with_values(|section| Some((section.or("port", 8080_u16), section.or("host", "localhost".to_owned()))))
    ///     .unwrap();
    /// let values: Vec<_> = values.iter().map(|value| (&*value.path, &*value.origin)).collect();
    /// assert_eq!(values, [("port", "app.yaml:1:7"), ("host", "default")]);
    /// ```
    pub fn read_with_values<T>(
        &self,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Result<(T, Vec<Shown>), Diagnostics> {
        let (value, record) = self.read_recording(Record::Values(Values::new(&self.places)), read)?;
        let values = match record {
            Record::Values(values) => values.finish(),
            Record::Off | Record::Asked(_) | Record::Keys(_) => Vec::new(),
        };
        Ok((value, values))
    }

    /// What [`read_with_values`](Self::read_with_values) tells of the values of a type.
    pub fn values<T: Settings>(&self) -> Result<Vec<Shown>, Diagnostics> {
        self.read_with_values(T::read).map(|(_, values)| values)
    }

    fn read_recording<T>(
        &self,
        record: Record,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Result<(T, Record), Diagnostics> {
        let walk = self.walk(self.deferred.clone(), record);
        let result = Section::read_root(&self.root, &walk, read);
        let Walk { reported, record, .. } = walk;
        let mut reported = reported.into_inner();
        if let Some(value) = result
            && reported.is_empty()
        {
            return Ok((value, record));
        }
        if reported.is_empty() {
            let message = "the configuration could not be used";
            reported.push(Diagnostic::new(self.root.position, codes::REJECTED, message));
        }
        Err(Diagnostics::collect(&self.places, reported).expect("an error was reported"))
    }

    /// Every key that `read` asks for, by its path (`http.listen`), whether or not the document has it. Sections are
    /// asked for their keys where the document has them, be it empty; a key of a list's items has the list's path. For
    /// tests that hold a program's documentation to its code.
    ///
    /// ```
    /// use wellkept_config::Document;
    ///
    /// let document = Document::parse("app.yaml", "http:").unwrap();
    /// let asked = document.asked(|section| {
    ///     let name = section.optional::<String>("name");
    ///     section.section("http", |http| http.optional::<u16>("port"));
    ///     name
    /// });
    /// assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["http", "http.port", "name"]);
    /// ```
    pub fn asked<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> BTreeSet<String> {
        let walk = self.walk(Reported::default(), Record::Asked(RefCell::default()));
        drop(Section::read_root(&self.root, &walk, read));
        match walk.record {
            Record::Asked(asked) => asked.into_inner(),
            Record::Off | Record::Keys(_) | Record::Values(_) => BTreeSet::new(),
        }
    }

    /// What messages call the file, the first one of several; empty when there is none.
    pub fn name(&self) -> &str {
        self.places.name()
    }

    /// The text of the first, or only, file as written, before interpolation. It may hold secrets.
    pub fn text(&self) -> &str {
        self.places.text(SourceId(0)).unwrap_or_default()
    }

    /// Which source a position of this document is in, and where in it.
    pub fn origin(&self, position: Position) -> Origin {
        self.places.origin(position)
    }

    /// The whole tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    fn walk(&self, reported: Reported, record: Record) -> Walk {
        let (places, credentials) = (Arc::clone(&self.places), self.credentials.clone());
        let named = RefCell::new(self.named.clone());
        Walk { reported: RefCell::new(reported), record, places, credentials, named }
    }

    fn settled(mut self) -> Result<Self, Diagnostics> {
        match Diagnostics::collect(&self.places, std::mem::take(&mut self.deferred)) {
            Some(diagnostics) => Err(diagnostics),
            None => Ok(self),
        }
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Document").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("can't read the configuration {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file was read, and is not valid.
    #[error(transparent)]
    Rejected(#[from] Diagnostics),
}

impl LoadError {
    /// The stable code: [`codes::UNREADABLE`] or [`codes::REJECTED`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => codes::UNREADABLE,
            Self::Rejected(diagnostics) => diagnostics.code(),
        }
    }
}

/// The text that a file holds, if it is one and not too large.
pub(crate) fn as_text(bytes: Vec<u8>) -> Result<String, Diagnostic> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(parse::too_large(Position::START, &format!("the file is larger than {MAX_FILE_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(error.as_bytes(), error.utf8_error().valid_up_to()))
}

fn not_utf8(bytes: &[u8], valid: usize) -> Diagnostic {
    let before = bytes.get(..valid).and_then(|before| std::str::from_utf8(before).ok()).unwrap_or_default();
    let position = Position::of_byte(before, before.len());
    let message = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "the file is UTF-32: save it as UTF-8".to_owned(),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16: save it as UTF-8".to_owned(),
        _ => {
            let byte = bytes.get(valid).copied().unwrap_or_default();
            format!("the file is not UTF-8: the byte 0x{byte:02X} does not belong here")
        }
    };
    Diagnostic::new(position, codes::ENCODING, message)
}

/// Reads a regular file, at most `limit` bytes of it. Anything else is refused, unopened: a pipe would hold the reader
/// until someone writes. Blocks on the file system.
pub fn read_regular(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
