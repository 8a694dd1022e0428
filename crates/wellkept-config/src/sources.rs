//! What a configuration is read from, and in which order: files, folders, other texts, then the environment, then the
//! command line. Reads the texts, merges them, and knows no key.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::content::{Content, Part};
use crate::diagnostics::{Diagnostics, Reported};
use crate::document::{Document, LoadError, as_text, read_regular};
use crate::interpolate;
use crate::origin::{Place, Places};
use crate::parse::{self, MAX_FILE_BYTES, Size, too_large};
use crate::section::no_mapping;
use crate::tree::{Node, Position, Value};

pub use assignment::{Assignment, AssignmentError};
use environment::Environment;
use merge::Joining;

mod assignment;
mod environment;
mod merge;
mod overlay;

pub(crate) use overlay::given_list;

/// The most files of one configuration, those of folders among them.
pub const MAX_FILES: usize = 1_000;

/// The most text in all files of one configuration together: 8 MiB.
pub const MAX_CONTENT_BYTES: usize = 8 << 20;

/// What a configuration is read from, and in which order: later ones win. Cheap to clone.
///
/// Arguments win over the environment, the environment over files, a later file over an earlier one, and what none of
/// them gives is a default of whoever reads. Mappings merge key by key, however deep; a single value or a list replaces
/// the one before, except in lists that are [`joining`](Self::joining). A key without a value leaves a mapping as it is.
///
/// Of the environment and the command line each variable or argument is one value, never structure, and nothing in it is
/// filled in. Both are laid over the files, whatever these say.
///
/// ```
/// use wellkept_config::Sources;
///
/// let sources = Sources::new()
///     .text("app.yaml", "http: { listen: '127.0.0.1:80', names: true }")
///     .text("local.yaml", "http: { listen: '127.0.0.1:81' }")
///     .environment_of("APP_", [("APP_HTTP__NAMES", "false")]);
/// let document = sources.document(&sources.content().unwrap()).unwrap();
/// let read = document.read(|root| {
///     root.section("http", |http| Some((http.required::<String>("listen")?, http.required::<bool>("names")?)))
/// });
/// assert_eq!(read.unwrap(), ("127.0.0.1:81".to_owned(), false));
/// ```
#[derive(Clone)]
pub struct Sources(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    texts: Vec<From>,
    environment: Vec<Environment>,
    arguments: Vec<Assignment>,
    variables: Variables,
    joining: Vec<Joining>,
}

/// Looks a variable up, for `${NAME}`.
pub(crate) type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where texts come from.
#[derive(Debug, Clone)]
enum From {
    File(PathBuf),
    OptionalFile(PathBuf),
    Folder(PathBuf),
    Text(Part),
    Source(Arc<dyn Source>),
}

/// Another place where a configuration's text comes from, such as a key-value store.
pub trait Source: fmt::Debug + Send + Sync {
    /// What messages call it, and what tells it from the other files of a version.
    fn name(&self) -> &str;

    /// The text now, YAML; `None` when there is none, which is as if the source were not there.
    ///
    /// It may block, and is called where that is allowed. What is larger than [`MAX_FILE_BYTES`] is refused, so that
    /// reading it should end there too.
    fn read(&self) -> io::Result<Option<String>>;
}

impl Sources {
    /// Nothing yet: a configuration of defaults.
    pub fn new() -> Self {
        Self(Arc::new(Parts {
            texts: Vec::new(),
            environment: Vec::new(),
            arguments: Vec::new(),
            variables: Arc::new(|name| std::env::var(name).ok()),
            joining: Vec::new(),
        }))
    }

    /// A file, which must be there.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        self.from(From::File(path.into()))
    }

    /// A file that may be missing.
    #[must_use]
    pub fn optional_file(self, path: impl Into<PathBuf>) -> Self {
        self.from(From::OptionalFile(path.into()))
    }

    /// All files of a folder whose names end in `.yaml` or `.yml`, by name, but for hidden ones. A folder that is missing
    /// is an empty one.
    #[must_use]
    pub fn folder(self, path: impl Into<PathBuf>) -> Self {
        self.from(From::Folder(path.into()))
    }

    /// A text, as if it were a file of this name.
    #[must_use]
    pub fn text(self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.from(From::Text(Part { name: name.into(), text: text.into() }))
    }

    /// Another source of text.
    #[must_use]
    pub fn source(self, source: impl Source + 'static) -> Self {
        self.from(From::Source(Arc::new(source)))
    }

    /// The variables of this process that begin with `prefix`, such as `APP_`, in letters of either case.
    ///
    /// `__` stands between levels: `APP_HTTP__LISTEN` is `http.listen`. Letters of either case are the same, and `_`
    /// stands for every character of a key that is neither a letter nor a digit. An item of a list that is
    /// [`joining`](Self::joining) goes by its name: `APP_CHECKS__ORDERS_DB__INTERVAL`.
    ///
    /// A variable with `__` in its name must be a key, or is reported as unknown. One without (`APP_NAME`) is a key where
    /// the program asks for one at the top; otherwise it is none of the configuration's business. An empty variable is
    /// one that is not set.
    ///
    /// Panics when `prefix` is empty, as every variable would be a key then.
    #[must_use]
    pub fn environment(self, prefix: &str) -> Self {
        self.with(|parts| parts.environment.push(Environment::of_process(prefix)))
    }

    /// Like [`environment`](Self::environment), with these variables instead of the process's own.
    #[must_use]
    pub fn environment_of<N: Into<OsString>, V: Into<OsString>>(
        self,
        prefix: &str,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.with(|parts| parts.environment.push(Environment::of(prefix, variables)))
    }

    /// Variables that have the prefix and are no keys, by their whole names.
    #[must_use]
    pub fn environment_ignores(self, names: &[&str]) -> Self {
        self.with(|parts| parts.environment.iter_mut().for_each(|environment| environment.ignore(names)))
    }

    /// What the command line sets. Of several for one key the last wins.
    #[must_use]
    pub fn arguments(self, arguments: impl IntoIterator<Item = Assignment>) -> Self {
        self.with(|parts| parts.arguments.extend(arguments))
    }

    /// Looks up the variables of `${NAME}`, and `CREDENTIALS_DIRECTORY`. Default: the process's own.
    #[must_use]
    pub fn variables(self, lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.with(|parts| parts.variables = Arc::new(lookup))
    }

    /// Lists that add up over the files instead of replacing one another: the path of each (`checks`, `log.outputs`),
    /// and the key that an item's name is under. Two files that name an item alike are in error.
    #[must_use]
    pub fn joining(self, lists: &[(&str, &str)]) -> Self {
        self.with(|parts| parts.joining.extend(lists.iter().map(|(path, item)| Joining::new(path, item))))
    }

    /// The texts as they are now. Blocks on the file system, and on sources of the application's own.
    pub fn content(&self) -> Result<Content, LoadError> {
        let mut reading = Reading::default();
        for from in &self.0.texts {
            match from {
                From::File(path) => reading.file(path)?,
                From::OptionalFile(path) => match reading.file(path) {
                    Err(LoadError::Io { source, .. }) if is_missing(&source) => {}
                    outcome => outcome?,
                },
                From::Folder(path) => {
                    for path in files_in(path).map_err(|source| LoadError::Io { path: path.clone(), source })? {
                        reading.file(&path)?;
                    }
                }
                From::Text(part) => reading.text(part.name.clone(), part.text.clone())?,
                From::Source(from) => {
                    let unread = |source| LoadError::Io { path: PathBuf::from(from.name()), source };
                    if let Some(text) = from.read().map_err(unread)? {
                        reading.text(from.name().to_owned(), text)?;
                    }
                }
            }
        }
        Ok(reading.content)
    }

    /// Parses and merges a content, lays the environment and the arguments over it as they are now, and fills in
    /// variables. Everything that leaves the tree readable is kept for [`Document::read`].
    ///
    /// Blocks where the content names files (`${file:…}`).
    pub fn document(&self, content: &Content) -> Result<Document, Diagnostics> {
        let mut places = Places::default();
        let mut reported = Reported::default();
        let mut size = Size::default();
        let mut root = None::<Node>;
        let mut fatal = Vec::new();
        for part in &content.parts {
            let place = Place::File { name: part.name.as_str().into(), text: part.text.as_str().into() };
            let Some(source) = places.add(place) else {
                fatal.push(too_large(Position::START, "too many files"));
                break;
            };
            match parse::parse(&part.text, source, &mut size, &mut reported) {
                Ok(node) if !matches!(node.value, Value::Mapping(_)) => fatal.push(no_mapping(&node)),
                Ok(node) => match &mut root {
                    None => root = Some(node),
                    Some(root) => merge::merge(root, node, &self.0.joining, &places, &mut reported),
                },
                Err(diagnostic) => fatal.push(diagnostic),
            }
        }
        if !fatal.is_empty() {
            for diagnostic in fatal {
                reported.push_always(diagnostic);
            }
            return Err(Diagnostics::collect(&places, reported).expect("an error was just put in"));
        }
        let mut root = root.unwrap_or(Node { position: Position::NOWHERE, value: Value::Mapping(Vec::new()) });
        let (environment, arguments) = (&self.0.environment, &self.0.arguments);
        overlay::lay(&mut root, environment, arguments, &self.0.joining, &mut places, &mut reported);
        let (credentials, named) = interpolate::fill_in(&mut root, &*self.0.variables, &mut reported);
        Ok(Document { places: Arc::new(places), root, deferred: reported, credentials, named })
    }

    /// The files and folders, as given.
    pub fn watched(&self) -> Vec<PathBuf> {
        let path = |from: &From| match from {
            From::File(path) | From::OptionalFile(path) | From::Folder(path) => Some(path.clone()),
            From::Text(_) | From::Source(_) => None,
        };
        self.0.texts.iter().filter_map(path).collect()
    }

    /// Whether there is no file, folder or other source to read again.
    pub fn is_empty_of_files(&self) -> bool {
        self.0.texts.iter().all(|from| matches!(from, From::Text(_)))
    }

    fn from(self, from: From) -> Self {
        self.with(|parts| parts.texts.push(from))
    }

    fn with(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::new()
    }
}

/// Without values, which may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sources")
            .field("texts", &self.0.texts)
            .field("environment", &self.0.environment)
            .field("arguments", &self.0.arguments)
            .finish_non_exhaustive()
    }
}

/// Texts gather here, within bounds.
#[derive(Default)]
struct Reading {
    content: Content,
    bytes: usize,
}

impl Reading {
    fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        let name = path.display().to_string();
        // One byte more than allowed tells a file that is too large.
        let bytes =
            read_regular(path, MAX_FILE_BYTES + 1).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
        let text = as_text(bytes).map_err(|wrong| Diagnostics::single(&name, wrong))?;
        self.text(name, text)
    }

    fn text(&mut self, name: String, text: String) -> Result<(), LoadError> {
        self.bytes += text.len();
        let what = if text.len() > MAX_FILE_BYTES {
            format!("the file is larger than {MAX_FILE_BYTES} bytes")
        } else if self.bytes > MAX_CONTENT_BYTES {
            format!("all files together are larger than {MAX_CONTENT_BYTES} bytes")
        } else if self.content.parts.len() >= MAX_FILES {
            format!("more than {MAX_FILES} files")
        } else {
            self.content.parts.push(Part { name, text });
            return Ok(());
        };
        Err(Diagnostics::single(name, too_large(Position::START, &what)).into())
    }
}

/// The files of a folder that belong to a configuration, by name. Editors' backups are hidden, or end in something else.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let belongs = {
            let name = name.as_encoded_bytes();
            !name.starts_with(b".") && (name.ends_with(b".yaml") || name.ends_with(b".yml"))
        };
        if belongs {
            names.push(name);
        }
        // The one too many is refused where files are counted.
        if names.len() > MAX_FILES {
            break;
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests;
