//! `cargo xtask deep fuzz`: what reads texts of others is given any bytes, by libFuzzer, for so many minutes.
//!
//! The flags are those of `cargo fuzz`, without its sanitizers: there is no unsafe code to look for, and so the usual
//! toolchain does. What was found before stays under `target/fuzz`, and the next run begins with it.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::{cargo, root};

const TARGETS: [&str; 3] = ["parse", "merge", "interpolate"];

/// Counts which branches were taken, and what values were compared with.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
                        -Ccodegen-units=1 --cfg fuzzing";

const FOLDER: &str = "target/fuzz";

/// With `rest`: for how many minutes altogether; ten unless it says.
pub(crate) fn run(rest: &[String]) -> ExitCode {
    let minutes = match rest {
        [] => 10,
        [minutes] => match minutes.parse::<u64>() {
            Ok(minutes) => minutes,
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match fuzz(minutes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("error: expected `cargo xtask deep fuzz [MINUTES]`");
    ExitCode::from(64)
}

fn fuzz(minutes: u64) -> Result<(), String> {
    let platform = platform()?;
    let mut build = cargo();
    build.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", FOLDER]);
    // With the platform named, what runs while building is built without the flags.
    build.args(["--target", &platform]).env("RUSTFLAGS", COVERAGE);
    done(&mut build)?;
    for target in TARGETS {
        let corpus = Path::new(FOLDER).join("corpus").join(target);
        let found = Path::new(FOLDER).join("found");
        for folder in [&corpus, &found] {
            fs::create_dir_all(root().join(folder)).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        println!("{target}:");
        let mut command = Command::new(root().join(FOLDER).join(&platform).join("release").join(target));
        command.current_dir(root()).arg(corpus).arg("crates/wellkept-config/tests/bad");
        command.arg(format!("-max_total_time={}", minutes * 60 / TARGETS.len() as u64));
        command.arg(format!("-artifact_prefix={}/{target}-", found.display()));
        // A text of this length takes milliseconds; the memory is that of libFuzzer's own tables, for the most part.
        command.args(["-timeout=10", "-rss_limit_mb=512", "-max_len=4096", "-print_final_stats=1", "-verbosity=0"]);
        done(&mut command)?;
    }
    Ok(())
}

/// Runs it to its end, which must be a good one.
fn done(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(error) => Err(format!("can't run {program}: {error}")),
    }
}

/// The machine's, as the compiler calls it.
fn platform() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("can't run rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc does not say which machine it is for".to_owned())
}
