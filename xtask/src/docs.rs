//! `cargo xtask docs`: the reference pages of the kinds of check, made from their modules' own documentation, the tables of
//! the page on logging, and the list of metrics, made from their declarations.
//!
//! Nothing is written twice: keys, defaults and types come from `Options`, the example from `KIND`, the rest from the
//! module's `//!`. `cargo xtask tidy` holds the pages to the modules.

mod configuration;
mod kind;
mod logging;
mod metrics;
mod page;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use self::kind::Source;
use crate::tidy::{Finding, Tree};

const PAGES: &str = "docs/checks/";
const INDEX: &str = "docs/checks.md";

/// Writes the pages, and removes those of kinds that are gone.
pub(crate) fn run(root: &Path) -> ExitCode {
    let written = Tree::read(root).and_then(|tree| {
        let (pages, findings) = made(&tree);
        for finding in &findings {
            println!("{finding}");
        }
        if !findings.is_empty() {
            return Err(format!("{} found, nothing written", findings.len()));
        }
        Ok(write(root, &tree, &pages)? + configuration::write(root, &tree)?)
    });
    match written {
        Ok(changed) => {
            println!("docs: {changed} changed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every kind documents what it must, and every page is what would be made now.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let (pages, mut findings) = made(tree);
    if !findings.is_empty() {
        return findings;
    }
    for (file, text) in &pages {
        if tree.text(file) != Some(text) {
            findings.push(Finding::new(file, 1, "out of date: run `cargo xtask docs`"));
        }
    }
    findings.extend(stale(tree, &pages).map(|file| Finding::new(file, 1, "of no kind: run `cargo xtask docs`")));
    findings
}

/// The pages by their path, and what keeps them from being made.
fn made(tree: &Tree) -> (Vec<(String, String)>, Vec<Finding>) {
    let source = match Source::read(tree) {
        Ok(source) => source,
        Err(finding) => return (Vec::new(), vec![finding]),
    };
    let (kinds, mut findings) = source.kinds();
    let mut pages: Vec<_> =
        kinds.iter().map(|kind| (format!("{PAGES}{}.md", kind.name), page::of_kind(kind))).collect();
    if !pages.is_empty() {
        pages.push((INDEX.to_owned(), page::index(&kinds)));
    }
    for page in [logging::page(tree), metrics::page(tree)] {
        match page {
            Ok(page) => pages.extend(page),
            Err(finding) => findings.push(finding),
        }
    }
    (pages, findings)
}

fn stale<'t>(tree: &'t Tree, pages: &[(String, String)]) -> impl Iterator<Item = &'t str> {
    tree.with_extension("md")
        .map(|(file, _)| file)
        .filter(|file| file.starts_with(PAGES) && pages.iter().all(|(page, _)| page != file))
}

fn write(root: &Path, tree: &Tree, pages: &[(String, String)]) -> Result<usize, String> {
    let told = |file: &str, error: std::io::Error| format!("{file}: {error}");
    fs::create_dir_all(root.join(PAGES)).map_err(|error| told(PAGES, error))?;
    let mut changed = 0;
    for (file, text) in pages.iter().filter(|(file, text)| tree.text(file) != Some(text)) {
        fs::write(root.join(file), text).map_err(|error| told(file, error))?;
        changed += 1;
    }
    for file in stale(tree, pages) {
        fs::remove_file(root.join(file)).map_err(|error| told(file, error))?;
        changed += 1;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests;
