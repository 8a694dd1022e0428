//! Rules for single files: how they open, how long they may grow, what they must not hold.

use super::{Finding, Tree, numbered};

/// Longest Rust file, in lines: past this a reader no longer holds it.
const MOST_LINES: usize = 600;

/// Paths of the machine that somebody worked on. Written apart so that this file does not hold them.
const FORBIDDEN: &[&str] = &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tmp/", "bash")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.with_extension("rs") {
        findings.extend(length(file, text));
        findings.extend(header(file, text));
        findings.extend(sleeps(file, text));
    }
    for (file, text) in &tree.files {
        findings.extend(forbidden(file, text));
    }
    findings
}

fn length(file: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > MOST_LINES)
        .then(|| Finding::new(file, MOST_LINES + 1, format!("{lines} lines, more than {MOST_LINES}: split it by idea")))
}

fn header(file: &str, text: &str) -> Option<Finding> {
    (!text.starts_with("//!")).then(|| Finding::new(file, 1, "opens without `//!`: what does it own?"))
}

/// Tests wait for events, not for the wall clock. A sleep under tokio's paused clock takes no time.
fn sleeps(file: &str, text: &str) -> Vec<Finding> {
    let mut is_test = file.split('/').any(|part| part == "tests" || part == "tests.rs");
    let mut clock_is_paused = false;
    let mut previous = "";
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        let code = line.trim_start();
        if code.starts_with("#[cfg(test)]") && !is_import(text, number) {
            is_test = true;
        }
        if code.starts_with("#[test") || code.starts_with("#[tokio::test") {
            clock_is_paused = code.contains("start_paused = true");
        }
        let waits = code.contains(concat!("thread::", "sleep(")) || code.contains(concat!("time::", "sleep("));
        let is_free = clock_is_paused && code.contains(concat!("time::", "sleep("));
        let is_explained = [line, previous].iter().any(|line| line.contains("// pace:"));
        if is_test && waits && !is_free && !is_explained && !code.starts_with("//") {
            findings.push(Finding::new(
                file,
                number,
                "a test that sleeps: await the event, or explain with `// pace:`",
            ));
        }
        previous = line;
    }
    findings
}

/// Whether the attribute on line `number` is of a single item rather than of the tests at the file's end.
fn is_import(text: &str, number: usize) -> bool {
    !text
        .lines()
        .nth(number)
        .is_some_and(|line| line.trim_start().starts_with("mod ") && line.trim_end().ends_with('{'))
}

fn forbidden(file: &str, text: &str) -> Vec<Finding> {
    numbered(text)
        .filter_map(|(number, line)| {
            let word = FORBIDDEN.iter().find(|&&word| line.contains(word))?;
            Some(Finding::new(file, number, format!("`{word}` is a path of somebody's machine")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(file: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(file, text)])).iter().map(ToString::to_string).collect()
    }

    fn sleeping(prelude: &str, call: &str) -> Vec<String> {
        findings("crates/a/src/lib.rs", &format!("//! A.\n{prelude}\n    {call}sleep(pause);\n"))
    }

    #[test]
    fn a_file_that_outgrew_its_reader_is_found() {
        let text = "//! A.\n".repeat(MOST_LINES + 1);
        assert_eq!(findings("a.rs", &text), ["a.rs:601: 601 lines, more than 600: split it by idea"]);
        assert_eq!(findings("a.rs", &"//! A.\n".repeat(MOST_LINES)), [""; 0]);
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert!(findings("a.rs", "use std::fmt;\n")[0].contains("//!"));
        assert_eq!(findings("a.toml", "[package]\n"), [""; 0]);
    }

    #[test]
    fn a_sleeping_test_is_found() {
        assert_eq!(sleeping("#[cfg(test)]\nmod tests {", "std::thread::").len(), 1);
        assert_eq!(sleeping("#[cfg(test)]\nmod tests {", "tokio::time::").len(), 1);
        let in_folder = format!("//! A.\n{}sleep(pause);\n", "thread::");
        assert_eq!(findings("crates/a/tests/stop.rs", &in_folder).len(), 1);
    }

    #[test]
    fn a_sleep_outside_tests_or_under_a_paused_clock_or_explained_is_free() {
        assert_eq!(sleeping("fn pause() {", "std::thread::"), [""; 0]);
        assert_eq!(sleeping("#[cfg(test)]\nuse std::fmt;\nfn pause() {", "std::thread::"), [""; 0]);
        let paused = "#[cfg(test)]\nmod tests {\n    #[tokio::test(start_paused = true)]";
        assert_eq!(sleeping(paused, "tokio::time::"), [""; 0]);
        assert_eq!(sleeping(paused, "std::thread::").len(), 1);
        let explained = "#[cfg(test)]\nmod tests {\n    // pace: the load generator's think time.";
        assert_eq!(sleeping(explained, "std::thread::"), [""; 0]);
    }

    #[test]
    fn a_path_of_somebodys_machine_is_found_in_any_file() {
        let text = format!("run = \"{}bin/it\"\n", FORBIDDEN[0]);
        assert_eq!(findings("deploy/unit.toml", &text).len(), 1);
    }
}
