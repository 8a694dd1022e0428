//! A store whose file may not be there yet, or not be writable yet.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{
    HistoryError, HistoryStore, JobRecord, JobStore, Maintenance, MaintenanceStore, Record, RunResult, StatusChange,
    Sweep, Swept,
};

use crate::hold::{Identity, identity};
use crate::{Limits, Owner, SqliteStore};

/// A SQLite file that is opened at the first write, and again when that failed or the file was removed or replaced: a
/// folder that becomes writable later is used from then on, and nothing is written to a file that nobody can find.
#[derive(Debug)]
pub struct ReopeningStore {
    path: PathBuf,
    owner: Owner,
    store: Option<(SqliteStore, Identity)>,
}

impl ReopeningStore {
    /// Opens nothing yet.
    pub fn new(path: PathBuf, owner: Owner) -> Self {
        Self { path, owner, store: None }
    }

    fn store(&mut self) -> Result<&mut SqliteStore, HistoryError> {
        let found = identity(&self.path);
        if self.store.as_ref().is_some_and(|(_, opened)| found != Some(*opened)) {
            let path = self.path.display();
            tracing::warn!(target: "wellkept::store", %path, "the store's file was removed or replaced: opened anew");
            self.store = None;
        }
        match &mut self.store {
            Some((store, _)) => Ok(store),
            closed => {
                let store = SqliteStore::open_as(&self.path, &self.owner, Limits::default())?;
                let gone = || HistoryError::new("store.missing", format!("{} is gone", self.path.display()));
                let identity = identity(&self.path).ok_or_else(gone)?;
                Ok(&mut closed.insert((store, identity)).0)
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

    fn keep_time(&mut self, over: &[MinutePart], open: &[MinutePart]) -> Result<(), HistoryError> {
        self.store()?.keep_time(over, open)
    }

    fn buckets(
        &mut self,
        component: &str,
        tier: Tier,
        slots: RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Bucket)>, HistoryError> {
        self.store()?.buckets(component, tier, slots)
    }

    fn slots(&self, tier: Tier) -> i64 {
        tier.slots()
    }

    fn forget(&mut self, sweep: &Sweep) -> Result<Swept, HistoryError> {
        self.store()?.forget(sweep)
    }
}

impl MaintenanceStore for ReopeningStore {
    fn load(&mut self) -> Result<Vec<Maintenance>, HistoryError> {
        self.store()?.load()
    }

    fn save(&mut self, maintenances: &[Maintenance]) -> Result<(), HistoryError> {
        self.store()?.save(maintenances)
    }
}

impl JobStore for ReopeningStore {
    fn exchange(&mut self, ours: &[JobRecord]) -> Result<Vec<JobRecord>, HistoryError> {
        self.store()?.exchange(ours)
    }
}

#[cfg(test)]
mod tests {
    use wellkept_health::Verdict;

    use super::*;

    fn result(name: &str) -> Record {
        Record::Result(RunResult {
            component: name.into(),
            verdict: Verdict::Pass,
            reason: None,
            response_time_ms: 1.0,
            at: jiff::Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn a_file_that_was_removed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.db");
        let mut store = ReopeningStore::new(path.clone(), Owner::default());
        store.append(&[result("before")]).unwrap();
        for file in ["history.db", "history.db-wal", "history.db-shm"] {
            std::fs::remove_file(folder.path().join(file)).ok();
        }
        store.append(&[result("after")]).unwrap();
        drop(store);
        let mut again = SqliteStore::open_read_only(&path).unwrap();
        assert_eq!(again.results("after", 10).unwrap().len(), 1);
    }

    #[test]
    fn a_folder_that_appears_later_is_used_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        // A file where the folder should be.
        let blocked = folder.path().join("state");
        std::fs::write(&blocked, "").unwrap();
        let mut store = ReopeningStore::new(blocked.join("history.db"), Owner::default());
        assert!(store.append(&[result("lost")]).is_err());
        std::fs::remove_file(&blocked).unwrap();
        store.append(&[result("kept")]).unwrap();
        assert_eq!(store.results("kept", 10).unwrap().len(), 1);
    }
}
