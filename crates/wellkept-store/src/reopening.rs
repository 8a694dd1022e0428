//! A store whose file may not be there yet, or not be writable yet.

use std::path::PathBuf;

use wellkept_health::{HistoryError, HistoryStore, Record, RunResult, StatusChange};

use crate::SqliteStore;

/// A SQLite file that is opened at the first write, and again when that failed: a folder that becomes writable later
/// is used from then on.
#[derive(Debug)]
pub struct ReopeningStore {
    path: PathBuf,
    store: Option<SqliteStore>,
}

impl ReopeningStore {
    /// Opens nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, store: None }
    }

    fn store(&mut self) -> Result<&mut SqliteStore, HistoryError> {
        match &mut self.store {
            Some(store) => Ok(store),
            closed => {
                let store = SqliteStore::open(&self.path)?;
                Ok(closed.insert(store))
            }
        }
    }
}

impl HistoryStore for ReopeningStore {
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        self.store()?.append(records)
    }

    fn changes(&mut self, component: Option<&str>, limit: usize) -> Result<Vec<StatusChange>, HistoryError> {
        self.store()?.changes(component, limit)
    }

    fn results(&mut self, component: &str, limit: usize) -> Result<Vec<RunResult>, HistoryError> {
        self.store()?.results(component, limit)
    }
}
