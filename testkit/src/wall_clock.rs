//! A wall clock that jumps, for one program: by libfaketime, which stands between it and the C library.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::binaries;

/// The wall clock of one program. Its monotonic clock goes on as it is.
#[derive(Debug)]
pub struct WallClock {
    folder: TempDir,
}

impl WallClock {
    /// Has the program that `command` starts look at a clock of its own, which is right at first.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    pub fn of(command: &mut Command) -> Self {
        let clock = Self { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        clock.jump_days(0);
        command
            .env("LD_PRELOAD", binaries::faketime())
            .env("FAKETIME_TIMESTAMP_FILE", clock.file())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        clock
    }

    /// From now on it is wrong by so many days.
    pub fn jump_days(&self, days: i32) {
        // Renamed into place: the program reads the file each time that it looks at the clock.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{days:+}d")).and_then(|()| fs::rename(&new, self.file())).expect("it can be written");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_the_jump() {
        let mut date = Command::new("date");
        let clock = WallClock::of(date.args(["-u", "+%Y"]));
        let mut year = || String::from_utf8(date.output().unwrap().stdout).unwrap().trim().parse::<i32>().unwrap();
        let right = year();
        clock.jump_days(3650);
        assert!((year() - right - 10).abs() <= 1);
    }
}
