//! Looks after the files that were put aside, on a thread of its own, at most one at a time.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::rotated::{self, Tidied};
use super::{FileOptions, Keep, Rotated};
use crate::logging::output::trouble::Trouble;

/// How long it waits before it looks again at a file that another process still writes to.
const PAUSE: Duration = Duration::from_secs(2);
/// How long it waits after something went wrong.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Keeper {
    path: std::path::PathBuf,
    keep: Keep,
    how: Rotated,
    now: fn() -> Timestamp,
    running: Option<JoinHandle<std::io::Result<Tidied>>>,
    /// When there is something to do.
    due: Option<Instant>,
    trouble: Trouble,
}

impl Keeper {
    /// Begins with what the process before has left.
    pub(super) fn start(options: &FileOptions, now: fn() -> Timestamp) -> Self {
        let trouble = Trouble::of(format_args!("{} (the files put aside)", options.path.display()));
        let (path, keep, how) = (options.path.clone(), options.keep, options.rotated);
        let mut keeper = Self { path, keep, how, now, running: None, due: None, trouble };
        keeper.wake();
        keeper
    }

    /// A file was put aside.
    pub(super) fn wake(&mut self) {
        self.due = Some(Instant::now());
        self.tend();
    }

    /// Learns what came of the last round, and begins one when it is time.
    pub(super) fn tend(&mut self) {
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            match running.join() {
                Ok(Ok(Tidied::All)) => self.trouble.is_over(),
                Ok(Ok(Tidied::Later)) => self.wait(PAUSE),
                Ok(Err(error)) => self.failed(&error),
                Err(_) => self.failed(&"the thread that compresses ended early"),
            }
        }
        if self.running.is_some() || self.due.is_none_or(|due| Instant::now() < due) {
            return;
        }
        self.due = None;
        let (path, keep, how, now) = (self.path.clone(), self.keep, self.how, self.now);
        let tidy = move || rotated::tidy(&path, keep, how, now());
        match thread::Builder::new().name("wellkept-log-gz".into()).spawn(tidy) {
            Ok(running) => self.running = Some(running),
            Err(error) => self.failed(&error),
        }
    }

    /// Whether nothing is to be done.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.due.is_none()
    }

    fn failed(&mut self, error: &dyn std::fmt::Display) {
        self.trouble.met(error, "they stay as they are, and are looked at again later");
        self.wait(PAUSE_AFTER_ERROR);
    }

    fn wait(&mut self, pause: Duration) {
        self.due.get_or_insert(Instant::now() + pause);
    }
}
