//! Programs in Node that the tests drive: each set of packages in a folder of its own, made once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages;

/// The folder of modules, for `NODE_PATH`, that holds `packages`, each with its version: `"@godaddy/terminus@4.12.1"`.
/// The first who asks makes it under `target/`, with npm; others wait for that. No script of a package is run.
///
/// # Panics
/// When Node or npm is not installed, or a package can't be had.
pub fn modules(packages: &[&str]) -> PathBuf {
    packages::folder("node", packages, |folder| install(folder, packages)).join("node_modules")
}

/// Whether Node is here and can get packages.
pub(crate) fn is_installed() -> bool {
    ["node", "npm"].iter().all(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

fn install(folder: &Path, packages: &[&str]) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let options = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
    packages::run(Command::new("npm").args(options).arg(folder).args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_does_not_exist_is_named() {
        let panic = std::panic::catch_unwind(|| modules(&["not a module"])).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("not a module"));
    }
}
