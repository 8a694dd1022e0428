//! The tables of all keys at the end of `docs/configuration.md`. The program tells them, since they come from the code that
//! reads a configuration; a test of `wellkept` holds the page to it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::tidy::Tree;

const PAGE: &str = "docs/configuration.md";
/// What is above it is written by hand.
const MARK: &str = "<!-- Below this line: `cargo xtask docs` -->\n";

/// Writes the page anew if it has changed; builds the program for it. How many pages were written.
pub(super) fn write(root: &Path, tree: &Tree) -> Result<usize, String> {
    let Some(text) = tree.text(PAGE) else { return Ok(0) };
    let (by_hand, made) = text.split_once(MARK).ok_or(format!("{PAGE}: the line `{}` is missing", MARK.trim()))?;
    let tables = tables(root)?;
    if made == tables {
        return Ok(0);
    }
    let page = format!("{by_hand}{MARK}{tables}");
    fs::write(root.join(PAGE), page).map_err(|error| format!("{PAGE}: {error}"))?;
    Ok(1)
}

fn tables(root: &Path) -> Result<String, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--package", "wellkept-cli", "--all-features", "--"]);
    let told = cargo.args(["config", "schema", "--markdown"]).current_dir(root).output();
    let told = told.map_err(|error| format!("cargo: {error}"))?;
    if !told.status.success() {
        return Err(format!("the program can't be asked for its keys:\n{}", String::from_utf8_lossy(&told.stderr)));
    }
    String::from_utf8(told.stdout).map_err(|error| format!("the program's keys: {error}"))
}
