//! The real servers that the tests need: found, installed with apt when that is possible, or built.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::process::geteuid;
use wellkept_testkit::{TANSU_VERSION, missing_servers, tansu_program};

use crate::cargo;

/// Debian asks this file whether a package's service may start.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes sure that the servers are installed, or says which are not.
pub(crate) fn ensure_installed() -> Result<(), String> {
    let missing = missing_servers();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" and ");
    if !geteuid().is_root() {
        return Err(format!("{names} must be installed for the tests: apt-get install {}", missing.join(" ")));
    }
    println!("installing {names}");
    let _policy = NoAutostart::enforce(Path::new(POLICY))?;
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())?;
    match missing_servers().as_slice() {
        [] => Ok(()),
        left => Err(format!("{} was installed but its programs are not found", left.join(" and "))),
    }
}

/// Makes sure that the broker for the tests of `kafka` is built. It is in no distribution, and takes about three minutes
/// of two processors once; it stays under `target/` then.
pub(crate) fn ensure_tansu() -> Result<(), String> {
    let program = tansu_program();
    if program.exists() {
        return Ok(());
    }
    let root = program.ancestors().nth(2).ok_or("it has no place")?;
    let told = |error: std::io::Error| format!("{}: {error}", root.display());
    fs::create_dir_all(root).map_err(told)?;
    // What is built on the way has gigabytes, and nobody needs it afterwards.
    let build = tempfile::Builder::new().prefix("build-").tempdir_in(root).map_err(told)?;
    println!("building Tansu {TANSU_VERSION}, the broker for the tests of kafka: three minutes, once");
    let begun = Instant::now();
    let mut install = cargo();
    install
        .args(["install", "tansu", "--locked", "--debug", "--features", "dynostore", "--version", TANSU_VERSION])
        .arg("--root")
        .arg(root)
        .arg("--target-dir")
        .arg(build.path())
        .envs([
            ("CARGO_INCREMENTAL", "0"),
            ("CARGO_PROFILE_DEV_DEBUG", "none"),
            ("CARGO_PROFILE_DEV_STRIP", "symbols"),
        ]);
    match install.status() {
        Ok(status) if status.success() => {
            println!("building Tansu took {} s", begun.elapsed().as_secs());
            Ok(())
        }
        Ok(status) => Err(format!("Tansu can't be built for the tests of kafka: cargo install ended with {status}")),
        Err(error) => Err(format!("can't run cargo install: {error}")),
    }
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("apt-get {} failed: {status}", arguments.join(" "))),
        Err(error) => Err(format!("can't run apt-get: {error}")),
    }
}

/// While it lives, packages do not start their services on the default ports. Leaves a policy of others' alone.
struct NoAutostart<'p> {
    written: Option<&'p Path>,
}

impl<'p> NoAutostart<'p> {
    fn enforce(path: &'p Path) -> Result<Self, String> {
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let policy = Self { written: Some(path) };
                file.write_all(b"#!/bin/sh\nexit 101\n").map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(policy)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { written: None }),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

impl Drop for NoAutostart<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.written {
            fs::remove_file(path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_file_is_removed_again_and_a_foreign_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        drop(NoAutostart::enforce(&path).unwrap());
        assert!(!path.exists());
        fs::write(&path, "foreign").unwrap();
        drop(NoAutostart::enforce(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "foreign");
    }
}
