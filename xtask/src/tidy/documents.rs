//! What the documents promise exists: the paths in ARCHITECTURE.md, the tests in docs/requirements.md and
//! docs/shutdown-faults.md.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Tree, in_backticks, numbered};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const REQUIREMENTS: &str = "docs/requirements.md";
const FAULTS: &str = "docs/shutdown-faults.md";

/// The folders at the root, those that are still to come too.
const FOLDERS: &[&str] =
    &["crates", "testkit", "bench", "xtask", "examples", "deploy", "docs", "fuzz", "python", ".ci", ".cargo"];

/// How many requirements each chapter has: H1 to H18, and so on.
const CHAPTERS: &[(char, u8)] = &[
    ('H', 18),
    ('C', 10),
    ('E', 11),
    ('D', 3),
    ('S', 11),
    ('L', 5),
    ('M', 5),
    ('A', 5),
    ('R', 6),
    ('O', 4),
    ('P', 2),
    ('Q', 5),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = paths(tree);
    let functions = functions(tree);
    findings.extend(requirements(tree, &functions));
    findings.extend(faults(tree, &functions));
    findings
}

/// Every path that ARCHITECTURE.md names is there.
fn paths(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(ARCHITECTURE) else {
        return vec![Finding::new(ARCHITECTURE, 1, "missing: it is the map of the house")];
    };
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        for path in in_backticks(line).filter_map(repository_path) {
            let is_there = tree
                .files
                .iter()
                .any(|(file, _)| file == path || file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
            // A picture, or a folder without text files, is not among the files read.
            if !is_there && !tree.root.join(path).exists() {
                findings.push(Finding::new(ARCHITECTURE, number, format!("`{path}` is gone")));
            }
        }
    }
    findings
}

/// The part of a word in backticks that is a path from the root, if it is one.
fn repository_path(word: &str) -> Option<&str> {
    if word.contains(char::is_whitespace) || word.contains("::") {
        return None;
    }
    let word = word.split(['#', ':']).next().unwrap_or(word);
    match word.split_once('/') {
        Some((first, _)) if FOLDERS.contains(&first) => {
            // `crates/*/src` names everything below `crates`.
            let fixed = word.split(['*', '{', '<']).next().unwrap_or(word);
            let path = if fixed.len() < word.len() { fixed.rsplit_once('/')?.0 } else { fixed };
            Some(path.trim_end_matches('/'))
        }
        Some(_) => None,
        None => [".md", ".toml"].iter().any(|end| word.len() > end.len() && word.ends_with(end)).then_some(word),
    }
}

/// The table `| ID | requirement | tests |` is complete, and the tests that it names exist.
fn requirements(tree: &Tree, functions: &Functions<'_>) -> Vec<Finding> {
    let Some(text) = tree.text(REQUIREMENTS) else {
        return vec![Finding::new(REQUIREMENTS, 1, "missing: it names the tests of every requirement")];
    };
    let mut awaited: BTreeSet<String> = CHAPTERS
        .iter()
        .flat_map(|&(chapter, count)| (1..=count).map(move |number| format!("{chapter}{number}")))
        .collect();
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, id, _, .., tests, _] = cells.as_slice() else { continue };
        if !is_id(id) {
            continue;
        }
        if !awaited.remove(*id) {
            let what = if seen.contains(*id) { "is listed twice" } else { "is no requirement" };
            findings.push(Finding::new(REQUIREMENTS, number, format!("{id} {what}")));
        }
        seen.insert((*id).to_owned());
        findings.extend(tests_of(REQUIREMENTS, number, id, tests, functions));
    }
    findings.extend(awaited.iter().map(|id| Finding::new(REQUIREMENTS, 1, format!("{id} is not listed"))));
    findings
}

/// The tests that the tables `| fault | what happens | tests |` name exist.
fn faults(tree: &Tree, functions: &Functions<'_>) -> Vec<Finding> {
    let Some(text) = tree.text(FAULTS) else {
        return vec![Finding::new(FAULTS, 1, "missing: it names what was tried at the end of a process")];
    };
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, fault, _, tests, _] = cells.as_slice() else { continue };
        if *fault != "fault" && !fault.starts_with("--") {
            findings.extend(tests_of(FAULTS, number, fault, tests, functions));
        }
    }
    findings
}

/// A cell names tests that exist, or says that there are none yet.
fn tests_of(file: &str, number: usize, what: &str, tests: &str, functions: &Functions<'_>) -> Vec<Finding> {
    let mut names = in_backticks(tests).peekable();
    if names.peek().is_none() && !tests.contains("not yet") {
        return vec![Finding::new(file, number, format!("{what} names no test and does not say `not yet`"))];
    }
    let gone = names.filter(|name| !exists(name, functions));
    gone.map(|name| Finding::new(file, number, format!("{what}: there is no test `{name}`"))).collect()
}

fn is_id(cell: &str) -> bool {
    let mut letters = cell.chars();
    letters.next().is_some_and(|first| first.is_ascii_uppercase())
        && !letters.as_str().is_empty()
        && letters.all(|letter| letter.is_ascii_digit())
}

/// Every function of the repository, with the files that hold one of that name.
type Functions<'t> = BTreeMap<&'t str, Vec<&'t str>>;

fn functions(tree: &Tree) -> Functions<'_> {
    let mut functions = Functions::new();
    for (file, text) in tree.with_extension("rs") {
        for line in text.lines() {
            let Some((before, after)) = line.split_once("fn ") else { continue };
            let name =
                after.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default();
            if before.trim().split(' ').all(|word| matches!(word, "" | "async" | "pub" | "const" | "pub(crate)")) {
                functions.entry(name).or_default().push(file);
            }
        }
    }
    functions
}

/// `name` or `file::name`, where `file` is the file's name or that of a folder above it.
fn exists(test: &str, functions: &Functions<'_>) -> bool {
    let (place, name) = match test.rsplit_once("::") {
        Some((place, name)) => (Some(place.rsplit("::").next().unwrap_or(place)), name),
        None => (None, test),
    };
    functions.get(name).is_some_and(|files| {
        place.is_none_or(|place| {
            files.iter().any(|file| file.split('/').any(|part| part.strip_suffix(".rs").unwrap_or(part) == place))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_path_that_is_gone_is_found_and_what_is_no_path_is_left_alone() {
        let map = "See `crates/here/src/lib.rs` and `crates/gone.rs`, `crates/*/src`, `crates/here#a`.\n\
            `GONE.md`, `/health`, `text/plain`, `cargo xtask test`, `wellkept::health`, `docs/`.\n";
        let tree = Tree::of(&[(ARCHITECTURE, map), ("crates/here/src/lib.rs", ""), ("docs/a.md", "")]);
        assert_eq!(
            messages(&paths(&tree)),
            ["ARCHITECTURE.md:1: `crates/gone.rs` is gone", "ARCHITECTURE.md:2: `GONE.md` is gone"]
        );
    }

    fn table(rows: &str) -> Vec<String> {
        let mut text = String::from("| ID | requirement | tests |\n|---|---|---|\n");
        text += rows;
        let listed: Vec<&str> = rows.lines().filter_map(|row| row.split('|').nth(1)).map(str::trim).collect();
        for &(chapter, count) in CHAPTERS {
            for number in 1..=count {
                let id = format!("{chapter}{number}");
                if !listed.contains(&id.as_str()) && id != "Q5" {
                    text += &["| ", &id, " | … | not yet |\n"].concat();
                }
            }
        }
        let tree = Tree::of(&[
            (REQUIREMENTS, &text),
            ("crates/a/src/probe.rs", "//! A.\n    async fn a_probe_answers() {\n"),
            ("crates/b/tests/stop.rs", "//! B.\npub fn a_stop_ends()\n"),
        ]);
        messages(&requirements(&tree, &functions(&tree)))
    }

    #[test]
    fn named_tests_that_exist_pass() {
        let found =
            table("| Q5 | … | not yet |\n| H1 | … | `a_probe_answers`, `stop::a_stop_ends`, `b::a_stop_ends` |\n");
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_test_that_does_not_exist_or_stands_elsewhere_is_found() {
        let found = table("| Q5 | … | `a_test_of_dreams` |\n| H1 | … | `stop::a_probe_answers` |\n");
        assert_eq!(
            found,
            [
                "docs/requirements.md:3: Q5: there is no test `a_test_of_dreams`",
                "docs/requirements.md:4: H1: there is no test `stop::a_probe_answers`",
            ]
        );
    }

    #[test]
    fn a_requirement_that_is_missing_doubled_unknown_or_without_a_test_is_found() {
        let found = table("| H1 | … | |\n| H1 | … | not yet |\n| Z1 | … | not yet |\n");
        assert_eq!(
            found,
            [
                "docs/requirements.md:3: H1 names no test and does not say `not yet`",
                "docs/requirements.md:4: H1 is listed twice",
                "docs/requirements.md:5: Z1 is no requirement",
                "docs/requirements.md:1: Q5 is not listed",
            ]
        );
    }

    #[test]
    fn a_fault_whose_test_is_gone_or_was_never_named_is_found() {
        let text = "| fault | what happens | tests |\n|---|---|---|\n| a | `b` | `a_stop_ends` |\n| c | d | `a_dream` |\n\
            | e | f | |\n| g | h | not yet |\n";
        let tree = Tree::of(&[(FAULTS, text), ("crates/b/tests/stop.rs", "//! B.\npub fn a_stop_ends()\n")]);
        assert_eq!(
            messages(&faults(&tree, &functions(&tree))),
            [
                "docs/shutdown-faults.md:4: c: there is no test `a_dream`",
                "docs/shutdown-faults.md:5: e names no test and does not say `not yet`",
            ]
        );
    }
}
