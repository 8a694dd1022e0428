//! The project's own commands, `cargo xtask …`: what CI and people call, so that both get the same.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a command prints is its product")]

mod deny;
mod docs;
mod fuzz;
mod servers;
mod test;
mod tidy;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Examples:
  cargo xtask test                    all tests, with the real servers they need
  cargo xtask test -p wellkept-http   more arguments go to `cargo test`
  cargo xtask tidy                    the house rules, in seconds
  cargo xtask docs                    the reference pages of the checks, made anew
  cargo xtask bench --quick           the figures beside the named peers
  cargo xtask bench soak --minutes 20   memory over time
  cargo xtask deny                    licences, duplicates, sources of all dependencies
  cargo xtask deep                    what is too slow for every change

Commands:
  test [ARGS]     finds PostgreSQL and Redis (as root: installs what is missing), builds the broker for the tests of
                  kafka once (three minutes), starts one throw-away instance of each, runs `cargo test --workspace --all-features --no-fail-fast ARGS`, and closes with the counts
  bench [ARGS]    runs `cargo run --release -p wellkept-bench -- ARGS`: probes, reads, checks, local, celery, targets, peers,
                  tracking, log, metrics, leave, soak, and when named stop, rolling; the peers in Node and Python are installed under target/ by name and version
  tidy            checks floors, file sizes, headers, requirements, reference pages, sleeps in tests, lints, licences
  docs            makes docs/checks.md and docs/checks/ from the documentation of each kind's settings, and the list in docs/metrics.md
  deny [--install]  runs cargo-deny; --install builds it first when it is missing (two minutes)
  deep [model]    goes through every order in which threads may meet in what the shutdown counts (loom), then runs the
                  ignored tests of all crates; with `model` the first alone
  deep fuzz [MINUTES]  gives any bytes to the parser, the merge and the interpolation of configurations (libFuzzer);
                  ten minutes unless it says
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments.as_slice()),
    };
    match command {
        "test" => test::all(rest),
        "deep" if rest.first().is_some_and(|what| what == "fuzz") => fuzz::run(&rest[1..]),
        "deep" => test::deep(rest),
        "bench" => exit_code(cargo().args(["run", "--release", "-p", "wellkept-bench", "--"]).args(rest)),
        "tidy" => tidy::run(&root()),
        "docs" => docs::run(&root()),
        "deny" => deny::run(rest),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        unknown => {
            eprintln!("error: there is no command `{unknown}`\n\n{HELP}");
            ExitCode::from(64)
        }
    }
}

/// The repository's root.
fn root() -> PathBuf {
    let own = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map(Path::to_owned).unwrap_or_default()
}

/// The cargo that runs this, at the repository's root.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Runs a command to its end and passes its exit code on.
fn exit_code(command: &mut Command) -> ExitCode {
    match command.status() {
        Ok(status) => code_of(status),
        Err(error) => {
            eprintln!("error: can't run {}: {error}", command.get_program().display());
            ExitCode::FAILURE
        }
    }
}

fn code_of(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}
