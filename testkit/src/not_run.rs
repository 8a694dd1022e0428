//! What a test says that can't be run where it is.

use std::fmt::Display;
use std::io::Write as _;
use std::thread;

/// How the line begins, by which `cargo xtask test` knows and counts it.
pub const NOT_RUN: &str = "NOT RUN: ";

/// Says that the current test can't be run on this machine, and why; the test then returns. Written past the test harness,
/// which shows nothing of what a test prints that does not fail: `cargo xtask test` counts it as skipped and names it again
/// at the end.
pub fn not_run(why: impl Display) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // In one piece and on a line of its own: other threads write too. An output that is gone has no reader to miss it.
    let line = format!("\n{NOT_RUN}{test}: {why}\n");
    let _ = std::io::stdout().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What the test below starts this program for; it says nothing otherwise.
    #[test]
    fn one_that_is_not_run() {
        if std::env::var_os("WELLKEPT_TEST_SAYS_NOT_RUN").is_some() {
            not_run("no such machine");
        }
    }

    #[test]
    fn the_harness_hides_nothing_of_it() {
        let mut itself = Command::new(std::env::current_exe().unwrap());
        itself.args(["--exact", "not_run::tests::one_that_is_not_run"]).env("WELLKEPT_TEST_SAYS_NOT_RUN", "1");
        let output = String::from_utf8(itself.output().unwrap().stdout).unwrap();
        assert!(output.contains("\nNOT RUN: not_run::tests::one_that_is_not_run: no such machine\n"), "{output}");
    }
}
