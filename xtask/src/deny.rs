//! `cargo xtask deny`: cargo-deny over `deny.toml`. The advisory database is left to whoever has a network.

use std::process::{ExitCode, Stdio};

use crate::{cargo, exit_code};

/// The version whose verdicts `deny.toml` was written for.
const VERSION: &str = "0.20.2";

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let install = arguments.iter().any(|argument| argument == "--install");
    if !is_installed() {
        if !install {
            eprintln!("error: cargo-deny is not installed; `cargo xtask deny --install` builds it (two minutes)");
            eprintln!("       the licences alone are checked by `cargo xtask tidy` too");
            return ExitCode::FAILURE;
        }
        let code = exit_code(cargo().args(["install", "cargo-deny", "--locked", "--version", VERSION]));
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    exit_code(cargo().args([
        "deny",
        "--all-features",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

fn is_installed() -> bool {
    cargo()
        .args(["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
