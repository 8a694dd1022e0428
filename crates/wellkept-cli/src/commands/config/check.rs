//! `wellkept config check [FILE…]`: every mistake with its place, found as the server would find it.

use std::fmt::Display;
use std::path::Path;

use rustix::fs::{Access, access};
use serde_json::{Value, json};
use wellkept::config::{Diagnostics, LoadError};
use wellkept::program::{Configuration, Places, StoreLocation};

use crate::arguments::ConfigCheck;
use crate::exit::Exit;
use crate::output::{error, print, print_json};

pub(crate) fn run(options: &ConfigCheck) -> Exit {
    let named: Vec<_> = options.files.iter().map(|file| Some(file.as_path())).collect();
    let files = if named.is_empty() { vec![None] } else { named };
    let checked: Vec<_> = files.iter().map(|file| check(*file, options)).collect();
    let is_wrong = checked.iter().any(|answer| answer["valid"] == false);
    if options.json {
        // One file has the answer, several a list of them.
        match checked.as_slice() {
            [only] => print_json(only),
            several => print_json(&several),
        }
    }
    if is_wrong { Exit::Configuration } else { Exit::Clean }
}

/// Checks one configuration, and prints what people read.
fn check(file: Option<&Path>, options: &ConfigCheck) -> Value {
    let unreadable = |name: &str, code: &str, problem: &dyn Display| {
        error(&problem.to_string());
        let error = json!({ "code": code, "message": problem.to_string() });
        json!({ "file": name, "valid": false, "errors": [error], "total": 1 })
    };
    let shown = |file: Option<&Path>| file.map_or_else(|| "this machine".to_owned(), |file| file.display().to_string());
    let places = match Places::find(file, options.set.iter().cloned()) {
        Ok(places) => places,
        Err(problem) => return unreadable(&shown(file), problem.code(), &problem),
    };
    let name = shown(places.file.as_deref());
    match places.read() {
        Ok(configuration) => valid(&name, &configuration, options),
        // The mistakes are what was asked for: they are data, and go to standard output.
        Err(LoadError::Rejected(errors)) => {
            if !options.json {
                print(&format!("{}\n", errors.with_excerpts()));
            }
            rejected(&name, &errors)
        }
        Err(problem) => unreadable(&name, problem.code(), &problem),
    }
}

fn valid(name: &str, configuration: &Configuration, options: &ConfigCheck) -> Value {
    let warnings = configuration.warnings().into_iter().chain(unwritable(configuration));
    let warnings: Vec<_> = warnings.map(|warning| format!("{name}: warning: {warning}")).collect();
    let checks = configuration.checks.len();
    if !options.json {
        let plural = if checks == 1 { "" } else { "s" };
        let valid = format!("{name}: valid, {checks} check{plural}");
        print(&(warnings.iter().chain([&valid]).cloned().collect::<Vec<_>>().join("\n") + "\n"));
    }
    let bytes = configuration.history.footprint(configuration.components()).bytes;
    json!({
        "file": name, "valid": true, "checks": checks, "history_bytes": bytes, "errors": [], "warnings": warnings,
    })
}

fn rejected(name: &str, errors: &Diagnostics) -> Value {
    let listed: Vec<_> = errors
        .located()
        .map(|(origin, error)| {
            json!({
                "line": error.position.line, "column": error.position.column, "origin": origin.to_string(),
                "code": error.code, "message": error.message, "suggestion": error.suggestion,
            })
        })
        .collect();
    json!({ "file": name, "valid": false, "errors": listed, "total": errors.total() })
}

/// What the program would write and whoever asks could not: in words, since the program may run as another user.
fn unwritable(configuration: &Configuration) -> Vec<String> {
    let log = configuration.logging.outputs.file.as_ref().map(|(_, file)| ("the log", file.path.as_path()));
    let store = match &configuration.store {
        StoreLocation::Sqlite { path, .. } => Some(("the store", path.as_path())),
        _ => None,
    };
    let of = |(what, path): (&str, &Path)| {
        let why = refusal(path)?;
        Some(format!("{what} {} can't be written by who runs this: {why}", path.display()))
    };
    [log, store].into_iter().flatten().filter_map(of).collect()
}

/// Why a file could not be written, nor others made beside it, as rotation and a journal need. Nothing is made to find
/// out.
fn refusal(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some("it is a folder".to_owned());
    }
    let file = path.exists().then(|| (path, access(path, Access::WRITE_OK)));
    // Folders that are missing are made.
    let above =
        path.ancestors().skip(1).map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let folder = above.into_iter().find(|folder| folder.exists());
    let folder = folder.map(|folder| (folder, access(folder, Access::WRITE_OK | Access::EXEC_OK)));
    file.into_iter().chain(folder).find_map(|(place, may)| {
        let why = may.err()?;
        Some(format!("{}: {why}", place.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_written_says_why_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let (file, missing) = (folder.path().join("file"), folder.path().join("a/b/c.log"));
        std::fs::write(&file, "").unwrap();
        assert_eq!((refusal(&file), refusal(&missing)), (None, None));
        assert!(!folder.path().join("a").exists());
        assert_eq!(refusal(folder.path()).unwrap(), "it is a folder");
        // Below a file there is no folder, for the superuser neither.
        let below = refusal(&file.join("c.log")).unwrap();
        assert!(below.starts_with(&format!("{}: ", file.display())), "{below}");
        assert_eq!(refusal(Path::new("relative.log")), None);
    }
}
