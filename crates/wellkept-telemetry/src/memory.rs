//! An output in memory, for tests that read what was logged.

use std::io::{Result, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::logging::{Logging, Options, subscriber};

#[derive(Clone, Default)]
pub(crate) struct Memory(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Memory {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines, which are JSON.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// Runs `work` with a log of these options, whose sink is this one; returns the lines.
    pub(crate) fn logged(&self, options: Options, work: impl FnOnce(&Logging)) -> Vec<serde_json::Value> {
        let (subscriber, logging) = subscriber(options).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            work(&logging);
            assert!(logging.flush(Duration::from_secs(10)));
        });
        self.lines()
    }
}
