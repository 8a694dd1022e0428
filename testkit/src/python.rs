//! Tools written in Python that the tests drive: each set of packages in an environment of its own, made once.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::wait_within;

/// How long pip may take: a dozen wheels over a slow line.
const PATIENCE: Duration = Duration::from_secs(300);
/// Written when an environment is whole; one without it was cut short and is made anew.
const COMPLETE: &str = "complete";

/// The folder of the programs (`python`, and those of the packages) of an environment that holds `packages`, each
/// with its version: `"schemathesis==4.1.2"`. The first who asks makes it under `target/`, with pip; others wait for
/// that.
pub fn environment(packages: &[&str]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let folder = target().join("python").join(format!("{:016x}", hasher.finish()));
    make_once(&folder, packages)
        .unwrap_or_else(|problem| panic!("no Python environment with {}: {problem}", packages.join(", ")));
    folder.join("bin")
}

/// Whether Python is here and can make environments.
pub(crate) fn is_installed() -> bool {
    let imports = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    imports.is_ok_and(|output| output.status.success())
}

fn make_once(folder: &Path, packages: &[&str]) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let parent = folder.parent().ok_or("it has no parent folder")?;
    fs::create_dir_all(parent).map_err(told)?;
    // Test programs run side by side, and each of them several tests.
    let lock = File::create(folder.with_extension("lock")).map_err(told)?;
    lock.lock().map_err(told)?;
    if folder.join(COMPLETE).exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(told(error)),
    })?;
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
    if !packages.is_empty() {
        run(Command::new(folder.join("bin/python")).args(pip).args(packages))?;
    }
    fs::write(folder.join(COMPLETE), packages.join("\n")).map_err(told)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = wait_within(PATIENCE, command).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{} failed:\n{}", command.get_program().display(), String::from_utf8_lossy(&output.stderr)))
}

/// The build directory, which is this crate's neighbour unless the environment says otherwise.
fn target() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(usual, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_made_once_and_runs() {
        let bin = environment(&[]);
        let made = fs::metadata(bin.with_file_name(COMPLETE)).unwrap().modified().unwrap();
        assert_eq!(environment(&[]), bin);
        assert_eq!(fs::metadata(bin.with_file_name(COMPLETE)).unwrap().modified().unwrap(), made);
        let output = Command::new(bin.join("python")).args(["-c", "import sys; print(sys.prefix)"]).output().unwrap();
        assert_eq!(Path::new(String::from_utf8(output.stdout).unwrap().trim()), bin.parent().unwrap());
    }

    #[test]
    fn a_package_that_does_not_exist_is_named() {
        let panic = std::panic::catch_unwind(|| environment(&["not a package"])).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("not a package"));
    }
}
