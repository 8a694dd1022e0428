//! Finding the file: named on the command line, named by a variable, or at one of the usual places.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::diagnostics::codes;

/// Where a program's configuration may be. All names are the program's.
///
/// ```
/// use wellkept_config::Locations;
///
/// let locations = Locations { option: "--config", variable: "APP_CONFIG", usual: &["./app.yaml", "/etc/app/app.yaml"] };
/// let nothing_set = |_: &str| None;
/// let found = locations.find(None, &nothing_set).unwrap();
/// assert!(found.is_none(), "no file at the usual places: the program runs on its defaults");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Locations<'a> {
    /// The command line's option, for messages.
    pub option: &'a str,
    /// The environment variable that names the file.
    pub variable: &'a str,
    /// The places to look at when neither names a file; the first that exists is taken.
    pub usual: &'a [&'a str],
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The path, as it was named.
    pub path: PathBuf,
    /// What named it.
    pub named_by: NamedBy,
}

/// What named the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NamedBy {
    /// The command line.
    Option,
    /// The environment variable.
    Variable,
    /// Nothing: it was at a usual place.
    Usual,
}

impl Locations<'_> {
    /// Finds the file: `explicit` before the variable before the usual places. `None` when nothing names one and there
    /// is none at the usual places. A variable that is empty counts as not set.
    ///
    /// A named file must be there: falling back to another would run the program with settings nobody chose. For the
    /// same reason a usual place that can't be looked at is an error. Blocks on the file system.
    pub fn find(
        &self,
        explicit: Option<&Path>,
        lookup: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Located>, LocateError> {
        if let Some(path) = explicit {
            return named(path, self.option, NamedBy::Option).map(Some);
        }
        if let Some(path) = lookup(self.variable).filter(|path| !path.is_empty()) {
            return named(Path::new(&path), self.variable, NamedBy::Variable).map(Some);
        }
        for path in self.usual.iter().map(Path::new) {
            match fs::metadata(path) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                outcome => return usable(path, outcome, NamedBy::Usual).map(Some),
            }
        }
        Ok(None)
    }
}

fn named(path: &Path, named_by: &str, kind: NamedBy) -> Result<Located, LocateError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(LocateError::NotFound { path: path.to_owned(), named_by: named_by.to_owned() })
        }
        outcome => usable(path, outcome, kind),
    }
}

fn usable(path: &Path, outcome: io::Result<Metadata>, named_by: NamedBy) -> Result<Located, LocateError> {
    match outcome {
        Ok(metadata) if metadata.is_dir() => Err(LocateError::Directory { path: path.to_owned() }),
        Ok(_) => Ok(Located { path: path.to_owned(), named_by }),
        Err(source) => Err(LocateError::Io { path: path.to_owned(), source }),
    }
}

/// Why no file was found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// A file was named, and is not there.
    #[error("no configuration at {}, which {named_by} names", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
        /// The option or the variable.
        named_by: String,
    },
    /// The path is a directory.
    #[error("expected a configuration file, found a directory: {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The path could not be looked at.
    #[error("can't look at the configuration {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl LocateError {
    /// The stable code: [`codes::NOT_FOUND`] or [`codes::UNREADABLE`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => codes::NOT_FOUND,
            Self::Directory { .. } | Self::Io { .. } => codes::UNREADABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a directory that holds `one.yaml`, `two.yaml` and the directory `directory`.
    fn find(explicit: Option<&str>, variable: Option<&str>, usual: &[&str]) -> String {
        let root = tempfile::tempdir().expect("a temporary directory");
        for name in ["one.yaml", "two.yaml"] {
            fs::write(root.path().join(name), "a: 1").expect("written");
        }
        fs::create_dir(root.path().join("directory")).expect("created");
        let absolute = |name: &str| if name.is_empty() { PathBuf::new() } else { root.path().join(name) };
        let usual: Vec<_> = usual.iter().map(|name| absolute(name).display().to_string()).collect();
        let usual: Vec<_> = usual.iter().map(String::as_str).collect();
        let locations = Locations { option: "--config", variable: "APP_CONFIG", usual: &usual };
        let lookup = |name: &str| {
            assert_eq!(name, "APP_CONFIG");
            variable.map(|name| absolute(name).into_os_string())
        };
        let found = match locations.find(explicit.map(absolute).as_deref(), &lookup) {
            Ok(None) => "none".to_owned(),
            Ok(Some(Located { path, named_by })) => format!("{named_by:?} {}", path.display()),
            Err(error) => format!("{}: {error}", error.code()),
        };
        found.replace(&format!("{}/", root.path().display()), "")
    }

    #[test]
    fn the_command_line_comes_before_the_variable_before_the_usual_places() {
        let usual = ["none.yaml", "one.yaml/none.yaml", "two.yaml", "one.yaml"];
        assert_eq!(find(Some("one.yaml"), Some("two.yaml"), &usual), "Option one.yaml");
        assert_eq!(find(None, Some("one.yaml"), &usual), "Variable one.yaml");
        assert_eq!(find(None, Some(""), &usual), "Usual two.yaml");
        assert_eq!(find(None, None, &["none.yaml"]), "none");
    }

    #[test]
    fn a_file_that_is_named_must_be_there() {
        let usual = ["one.yaml"];
        insta::assert_snapshot!(find(Some("none.yaml"), None, &usual), @"config.not_found: no configuration at none.yaml, which --config names");
        insta::assert_snapshot!(find(None, Some("none.yaml"), &usual), @"config.not_found: no configuration at none.yaml, which APP_CONFIG names");
        insta::assert_snapshot!(find(None, Some("directory"), &usual), @"config.unreadable: expected a configuration file, found a directory: directory");
        insta::assert_snapshot!(find(None, None, &["directory", "one.yaml"]), @"config.unreadable: expected a configuration file, found a directory: directory");
    }
}
