//! Folders of packages from a language's own registry, each made once under `target/` and then kept.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::wait_within;

/// How long an installer may take: a dozen packages over a slow line.
const PATIENCE: Duration = Duration::from_secs(300);
/// Written when a folder is whole; one without it was cut short and is made anew.
pub(crate) const COMPLETE: &str = "complete";

/// The folder for `packages` of this kind. The first who asks has it made by `make`; others wait for that.
pub(crate) fn folder(kind: &str, packages: &[&str], make: impl FnOnce(&Path) -> Result<(), String>) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    packages.hash(&mut hasher);
    let folder = target().join(kind).join(format!("{:016x}", hasher.finish()));
    if let Err(problem) = make_once(&folder, packages, make) {
        panic!("no {kind} environment with {}: {problem}", packages.join(", "));
    }
    folder
}

fn make_once(folder: &Path, packages: &[&str], make: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
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
    make(folder)?;
    fs::write(folder.join(COMPLETE), packages.join("\n")).map_err(told)
}

/// Runs one step of the making.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let output = wait_within(PATIENCE, command).map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// The build directory, which is this crate's neighbour unless the environment says otherwise.
pub(crate) fn target() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(usual, PathBuf::from)
}
