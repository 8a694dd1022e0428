//! Tools written in Python that the tests drive: each set of packages in an environment of its own, made once.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages;

/// The folder of the programs (`python`, and those of the packages) of an environment that holds `packages`, each
/// with its version: `"schemathesis==4.1.2"`. The first who asks makes it under `target/`, with pip; others wait for
/// that.
pub fn environment(packages: &[&str]) -> PathBuf {
    packages::folder("python", packages, |folder| install(folder, packages)).join("bin")
}

/// Whether Python is here and can make environments.
pub(crate) fn is_installed() -> bool {
    let imports = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    imports.is_ok_and(|output| output.status.success())
}

fn install(folder: &Path, packages: &[&str]) -> Result<(), String> {
    packages::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    if packages.is_empty() {
        return Ok(());
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
    packages::run(Command::new(folder.join("bin/python")).args(pip).args(packages))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::packages::COMPLETE;

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
