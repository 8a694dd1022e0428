//! Debian's logrotate, on a configuration and with a state of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{binaries, wait_within};

/// Rotates one file whenever it is told to.
#[derive(Debug)]
pub struct Logrotate {
    configuration: PathBuf,
    folder: TempDir,
}

impl Logrotate {
    /// For `file`; `directives` are lines of its section, and `after` is a shell command that it runs after a rotation.
    ///
    /// # Panics
    /// When its configuration can't be written.
    pub fn of(file: &Path, directives: &str, after: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wellkept-logrotate-").tempdir().expect("a temporary folder");
        let configuration = folder.path().join("logrotate.conf");
        let file = file.display();
        let text = format!("\"{file}\" {{\n{directives}\npostrotate\n{after}\nendscript\n}}\n");
        fs::write(&configuration, text).expect("the folder can be written");
        Self { configuration, folder }
    }

    /// Rotates now.
    ///
    /// # Panics
    /// With what it says when it fails, or when it is not installed.
    pub fn rotate(&self) {
        let mut command = Command::new(binaries::logrotate());
        command.arg("--force").arg("--state").arg(self.folder.path().join("state")).arg(&self.configuration);
        let output = wait_within(Duration::from_secs(20), &mut command).expect("logrotate runs and ends");
        assert!(output.status.success(), "logrotate: {}", String::from_utf8_lossy(&output.stderr));
    }
}
