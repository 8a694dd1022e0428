//! `cargo xtask test`: runs every test beside real servers and closes with one line that counts them all.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use wellkept_testkit::{NOT_RUN, Postgres, Redis};

use crate::{cargo, code_of, servers};

/// The packages whose tests ask a broker of Kafka's protocol, which takes minutes to build.
const WITH_BROKER: [&str; 3] = ["wellkept-checks", "wellkept-cli", "wellkept-testkit"];

/// Everything that CI runs. `extra` goes to `cargo test`.
pub(crate) fn all(extra: &[String]) -> ExitCode {
    // A package named by the caller would be widened again by `--workspace`.
    let packages = extra.iter().take_while(|argument| *argument != "--");
    let chosen = packages.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    let mut command = cargo();
    command.args(["test", "--all-features", "--no-fail-fast"]);
    if !chosen {
        command.arg("--workspace");
    }
    let needs_broker = !chosen || extra.iter().any(|argument| WITH_BROKER.iter().any(|name| argument.contains(name)));
    run(command.args(extra), needs_broker)
}

/// What is too slow for every change: the model checker first, then the tests marked as ignored.
pub(crate) fn deep(rest: &[String]) -> ExitCode {
    if let [only] = rest
        && only == "model"
    {
        return crate::exit_code(&mut model());
    }
    println!("what the model checker goes through:");
    if !model().status().is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    println!("the ignored tests of all crates:");
    let mut command = cargo();
    command.args(["test", "--workspace", "--all-features", "--no-fail-fast"]).args(rest).args(["--", "--ignored"]);
    run(&mut command, true)
}

/// With its own target folder: the flag would have everything built anew each time.
fn model() -> Command {
    let mut model = cargo();
    model
        .args(["test", "--release", "--target-dir", "target/model"])
        .args(["-p", "wellkept-shutdown", "--lib", "tracker::model"])
        .env("RUSTFLAGS", "--cfg wellkept_model");
    model
}

fn run(tests: &mut Command, needs_broker: bool) -> ExitCode {
    let installed =
        servers::ensure_installed().and_then(|()| if needs_broker { servers::ensure_tansu() } else { Ok(()) });
    if let Err(message) = installed {
        eprintln!("error: {message}");
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    // Both end when this function does, however it ends.
    let (postgres, redis) = (Postgres::start(), Redis::start());
    tests.env("WELLKEPT_TEST_POSTGRES_URL", postgres.url()).env("WELLKEPT_TEST_REDIS_URL", redis.url());
    let (status, mut counts) = match stream(tests) {
        Ok(result) => result,
        Err(error) => {
            eprintln!("error: can't run cargo test: {error}");
            return ExitCode::FAILURE;
        }
    };
    drop((postgres, redis));
    if let Some(message) = counts.settle(status.success()) {
        println!("\nerror: {message}");
    }
    for told in &counts.not_run {
        println!("\n{NOT_RUN}{told}");
    }
    println!("\ntests took {} s", started.elapsed().as_secs());
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    match (status.success(), counts.failed) {
        (true, 1..) => ExitCode::FAILURE,
        _ => code_of(status),
    }
}

/// Passes the output on line by line while counting.
fn stream(tests: &mut Command) -> std::io::Result<(ExitStatus, Counts)> {
    let mut child = tests.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut counts = Counts::default();
    let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let mut bytes = Vec::new();
    while output.read_until(b'\n', &mut bytes)? > 0 {
        let line = String::from_utf8_lossy(&bytes);
        print!("{line}");
        counts.read(&line);
        bytes.clear();
    }
    Ok((child.wait()?, counts))
}

#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Runs of a test binary that have begun and not told their result.
    running: u64,
    /// What tests said that returned because they could not be run here. The harness takes them for passed.
    not_run: BTreeSet<String>,
}

impl Counts {
    fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(told) = line.strip_prefix(NOT_RUN) {
            self.not_run.insert(told.to_owned());
        }
        if is_start(line) {
            self.running += 1;
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        self.running = self.running.saturating_sub(1);
        let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u64>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                Some((Ok(number), "ignored")) => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Counts as failed what failed without a result of its own, and says what that was.
    fn settle(&mut self, success: bool) -> Option<String> {
        let tests: BTreeSet<_> = self.not_run.iter().map(|told| told.split(": ").next()).collect();
        let not_run = tests.len() as u64;
        self.passed = self.passed.saturating_sub(not_run);
        self.skipped += not_run;
        let unfinished = std::mem::take(&mut self.running);
        if unfinished > 0 {
            self.failed += unfinished;
            return Some(format!("{unfinished} test program(s) ended without a result; each is counted as a failure"));
        }
        if !success && self.failed == 0 {
            self.failed = 1;
            return Some("the tests did not build or did not start; this is counted as a failure".into());
        }
        None
    }
}

/// `running 12 tests`, as the test harness opens.
fn is_start(line: &str) -> bool {
    let number = line.strip_prefix("running ").and_then(|rest| rest.split_once(" test")).map(|(number, _)| number);
    number.is_some_and(|number| number.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(output: &str, success: bool) -> (Counts, Option<String>) {
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.read(line));
        let message = counts.settle(success);
        (counts, message)
    }

    #[test]
    fn the_results_of_all_test_programs_and_of_doc_tests_are_summed() {
        let output = "\nrunning 2 tests\ntest a ... ok\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
            running 1 test\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        let (counts, message) = count(output, false);
        assert_eq!(counts, Counts { passed: 2, failed: 1, skipped: 1, ..Counts::default() });
        assert_eq!(message, None);
    }

    #[test]
    fn a_test_that_says_that_it_was_not_run_is_skipped_and_not_passed() {
        let output = "running 3 tests\ntest a ... ok\n\nNOT RUN: local::b: no mounts here\nNOT RUN: local::b: nor there\n\
            test local::b ... ok\n\
            test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        let (counts, _) = count(output, true);
        assert_eq!((counts.passed, counts.failed, counts.skipped), (2, 0, 1));
        assert_eq!(counts.not_run.len(), 2, "each reason is told");
    }

    #[test]
    fn tests_that_do_not_build_are_a_failure() {
        let (counts, message) = count("", false);
        assert_eq!(counts.failed, 1);
        assert!(message.unwrap().contains("did not build"));
    }

    #[test]
    fn a_test_program_that_dies_is_a_failure_beside_those_that_ended() {
        let output = "running 3 tests\n\
            running 1 test\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        let (counts, message) = count(output, false);
        assert_eq!((counts.passed, counts.failed), (1, 1));
        assert!(message.unwrap().contains("without a result"));
    }
}
