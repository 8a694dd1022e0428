//! `cargo xtask tidy`: the house rules that no compiler knows, checked in seconds, all findings at once.

mod documents;
mod floors;
mod licences;
mod sources;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::{cargo, docs};

/// Checks the tree under `root` and prints what it finds.
pub(crate) fn run(root: &Path) -> ExitCode {
    let (tree, metadata) = match Tree::read(root).and_then(|tree| Ok((tree, metadata()?))) {
        Ok(read) => read,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let findings = check(&tree, &metadata);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing found", tree.files.len());
            ExitCode::SUCCESS
        }
        count => {
            println!("tidy: {count} found");
            ExitCode::FAILURE
        }
    }
}

fn check(tree: &Tree, metadata: &Value) -> BTreeSet<Finding> {
    let mut findings = BTreeSet::new();
    findings.extend(floors::check(tree, metadata));
    findings.extend(licences::check(tree, metadata));
    findings.extend(sources::check(tree));
    findings.extend(documents::check(tree));
    findings.extend(docs::check(tree));
    findings
}

fn metadata() -> Result<Value, String> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--all-features"])
        .output()
        .map_err(|error| format!("can't run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// One violation of one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    message: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// The text files of the repository, by their path from its root. What `.gitignore` names is left out.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    root: PathBuf,
    files: Vec<(String, String)>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
        let mut ignored: Vec<&str> = ignored.lines().map(|line| line.trim().trim_matches('/')).collect();
        ignored.push(".git");
        let mut tree = Self { root: root.to_owned(), files: Vec::new() };
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            for entry in entries {
                let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
                let path = entry.path();
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                if ignored.iter().any(|&ignored| ignored == name || path.file_name().is_some_and(|it| it == ignored)) {
                    continue;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_file() => {
                        // What is no text (a picture, an archive) has no lines to look at.
                        if let Ok(text) = fs::read_to_string(&path) {
                            tree.files.push((name, text));
                        }
                    }
                    _ => {}
                }
            }
        }
        tree.files.sort();
        Ok(tree)
    }

    pub(crate) fn text(&self, file: &str) -> Option<&str> {
        self.files.iter().find(|(name, _)| name == file).map(|(_, text)| text.as_str())
    }

    pub(crate) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(move |(name, _)| Path::new(name).extension().is_some_and(|it| it == extension))
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        Self { root: PathBuf::from("/nowhere"), files }
    }
}

/// The lines of a text, numbered from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// What stands between backticks in a line.
fn in_backticks(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_leaves_out_what_git_ignores() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["target", ".git", "crates/a"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
            fs::write(folder.path().join(path).join("file.rs"), "").unwrap();
        }
        fs::write(folder.path().join(".gitignore"), "/target\n").unwrap();
        fs::write(folder.path().join("picture"), [0xff, 0xfe]).unwrap();
        let tree = Tree::read(folder.path()).unwrap();
        let names: Vec<&str> = tree.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [".gitignore", "crates/a/file.rs"]);
    }

    #[test]
    fn a_finding_reads_as_file_line_and_message() {
        assert_eq!(Finding::new("a.rs", 3, "too long").to_string(), "a.rs:3: too long");
    }
}
