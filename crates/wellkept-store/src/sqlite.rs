//! The embedded store: one SQLite file, bounded, readable while it is written.

mod jobs;
mod maintenances;
mod schema;
mod tiers;
mod versions;

pub use self::versions::SqliteVersions;

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{HistoryError, HistoryStore, Record, RunResult, Status, StatusChange, Sweep, Swept, Verdict};

use crate::error::StoreError;
use crate::hold::Hold;
use crate::rows::{self, Limits, PRUNE_BATCH, row_limit};

/// How long another process may hold the file before [`StoreError::Busy`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Whose a store's file is.
///
/// A file without a name is adopted by the first service with one that opens it, and refused to others from then on
/// with [`StoreError::OtherService`]: otherwise a second service would take the first one's maintenances for its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// The service's name. Empty, the default, is a service without one: it opens files that are nobody's.
    pub service: String,
    /// What the service was named before: then a file of that name becomes its own.
    pub formerly: Option<String>,
}

impl Owner {
    /// The service of this name.
    pub fn named(service: impl Into<String>) -> Self {
        Self { service: service.into(), formerly: None }
    }

    fn may_open(&self, found: &str) -> bool {
        found == self.service || self.formerly.as_deref() == Some(found)
    }
}

/// History in one SQLite file.
///
/// Every method blocks, for two seconds at most while another process holds the file. One process writes, and may open
/// the file several times; another one is refused with [`StoreError::InUse`] until that one has closed it or ended, and may
/// read meanwhile, with [`SqliteStore::open_read_only`]. Who writes is told by a lock on a file beside it, `….lock`. A process that is killed leaves a file that is whole: what
/// [`append`](HistoryStore::append) has confirmed is in it, and of anything else nothing. (A machine that loses its
/// power may lose the last confirmed records too, but not the file.) Times are kept to the microsecond.
///
/// ```
/// use wellkept_health::{HistoryStore, Record, RunResult, Verdict};
/// use wellkept_store::SqliteStore;
///
/// let folder = tempfile::tempdir()?;
/// let mut store = SqliteStore::open(&folder.path().join("wellkept.db"))?;
/// let result = RunResult {
///     component: "orders-db".into(),
///     verdict: Verdict::Pass,
///     reason: None,
///     response_time_ms: 1.8,
///     at: "2026-01-15T10:30:00Z".parse()?,
/// };
/// store.append(&[Record::Result(result.clone())])?;
/// assert_eq!(store.results("orders-db", 10)?, [result]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    limits: Limits,
    kept: Kept,
    /// Given up after the connection is closed. None for who only reads.
    _hold: Option<Arc<Hold>>,
}

/// What is known of the file's contents, so that an append need not count.
#[derive(Debug, Default)]
struct Kept {
    components: HashMap<Arc<str>, i64>,
    results: HashMap<i64, u64>,
    changes: HashMap<Option<i64>, u64>,
    /// SQLite's counter of other processes' commits, at the time of this knowledge.
    data_version: i64,
}

impl SqliteStore {
    /// Opens the store for writing, with the default [`Limits`]. A file that is not there is made, readable by its
    /// owner only; folders above it likewise. An older schema is brought up to date.
    ///
    /// # Errors
    /// When the file or its folder can't be made or opened, is damaged, belongs to another program or to a newer
    /// release, or another process writes to it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Limits::default())
    }

    /// As [`SqliteStore::open`], with limits. Lower ones than before take effect step by step.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_with(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        Self::open_as(path, &Owner::default(), limits)
    }

    /// As [`SqliteStore::open_with`], for a service with a name.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], and when the file is another service's.
    pub fn open_as(path: &Path, owner: &Owner, limits: Limits) -> Result<Self, StoreError> {
        let (connection, hold) = open_for_writing(path, owner)?;
        let path = path.to_owned();
        let mut store = Self { connection, path, limits, kept: Kept::default(), _hold: Some(Arc::clone(&hold)) };
        hold.take_over(|| store.close_minutes()).map_err(|error| StoreError::sqlite(&store.path, error))?;
        Ok(store)
    }

    /// Refuses a file that is another service's; one that is not there, or can't be read, is not. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::OtherService`].
    pub fn refuse_other(path: &Path, owner: &Owner) -> Result<(), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let Ok(connection) = connect(path, flags) else { return Ok(()) };
        if schema::check(&connection, path).is_err() {
            return Ok(());
        }
        match schema::check_owner(&connection, path, owner) {
            Err(error @ StoreError::OtherService { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Opens an existing store for reading, also while another process writes.
    ///
    /// # Errors
    /// When there is none, or as [`SqliteStore::open`]. Every later `append` is [`StoreError::ReadOnly`].
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let connection = open_for_reading(path)?;
        let (path, limits, kept) = (path.to_owned(), Limits::default(), Kept::default());
        Ok(Self { connection, path, limits, kept, _hold: None })
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps all of the records or none of them, and removes what the limits no longer allow.
    fn write(&mut self, records: &[Record]) -> rusqlite::Result<()> {
        let transaction = self.kept.begin(&mut self.connection)?;
        for record in records {
            match record {
                Record::Result(result) => self.kept.add_result(&transaction, result)?,
                Record::Change(change) => self.kept.add_change(&transaction, change)?,
            }
        }
        let batch = PRUNE_BATCH.max(records.len() as u64);
        self.kept.prune(&transaction, self.limits, batch)?;
        transaction.commit()
    }

    fn read_changes(&self, component: Option<&str>, limit: i64) -> rusqlite::Result<Vec<StatusChange>> {
        let columns = "SELECT components.name, from_status, to_status, reason, message, caused_by, detail, at FROM changes \
            LEFT JOIN components ON components.id = changes.component";
        let read = |row: &Row<'_>| {
            Ok(StatusChange {
                component: row.get::<_, Option<String>>(0)?.map(Arc::from),
                from: row.get::<_, Option<String>>(1)?.map(|word| status(1, &word)).transpose()?,
                to: status(2, &row.get::<_, String>(2)?)?,
                reason: row.get(3)?,
                message: row.get(4)?,
                caused_by: row.get::<_, Option<String>>(5)?.map(Arc::from),
                detail: row.get(6)?,
                at: time(7, row.get(7)?)?,
            })
        };
        match component {
            Some(name) => self
                .connection
                .prepare_cached(&format!("{columns} WHERE components.name = ?1 ORDER BY changes.id DESC LIMIT ?2"))?
                .query_map(params![name, limit], read)?
                .collect(),
            None => self
                .connection
                .prepare_cached(&format!("{columns} ORDER BY changes.id DESC LIMIT ?1"))?
                .query_map(params![limit], read)?
                .collect(),
        }
    }

    fn read_results(&self, component: &str, limit: i64) -> rusqlite::Result<Vec<RunResult>> {
        let name: Arc<str> = component.into();
        self.connection
            .prepare_cached(
                "SELECT verdict, reason, response_time_ms, at FROM results \
                 WHERE component = (SELECT id FROM components WHERE name = ?1) ORDER BY id DESC LIMIT ?2",
            )?
            .query_map(params![component, limit], |row| {
                Ok(RunResult {
                    component: Arc::clone(&name),
                    verdict: verdict(0, &row.get::<_, String>(0)?)?,
                    reason: row.get(1)?,
                    response_time_ms: row.get(2)?,
                    at: time(3, row.get(3)?)?,
                })
            })?
            .collect()
    }

    fn error(&self, error: rusqlite::Error) -> HistoryError {
        StoreError::sqlite(&self.path, error).into()
    }

    /// The error of a transaction that was rolled back: what was counted in it did not come to be.
    fn rolled_back(&mut self, error: rusqlite::Error) -> HistoryError {
        self.kept = Kept::default();
        self.error(error)
    }
}

impl HistoryStore for SqliteStore {
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        self.write(records).map_err(|error| self.rolled_back(error))
    }

    fn changes(&mut self, component: Option<&str>, limit: usize) -> Result<Vec<StatusChange>, HistoryError> {
        self.read_changes(component, row_limit(limit)).map_err(|error| self.error(error))
    }

    fn results(&mut self, component: &str, limit: usize) -> Result<Vec<RunResult>, HistoryError> {
        self.read_results(component, row_limit(limit)).map_err(|error| self.error(error))
    }

    fn keep_time(&mut self, over: &[MinutePart], open: &[MinutePart]) -> Result<(), HistoryError> {
        self.write_time(over, open).map_err(|error| self.rolled_back(error))
    }

    fn buckets(
        &mut self,
        component: &str,
        tier: Tier,
        slots: RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Bucket)>, HistoryError> {
        self.read_buckets(component, tier, slots).map_err(|error| self.error(error))
    }

    fn slots(&self, tier: Tier) -> i64 {
        tier.slots()
    }

    fn forget(&mut self, sweep: &Sweep) -> Result<Swept, HistoryError> {
        self.drop_old(sweep).map_err(|error| self.rolled_back(error))
    }
}

impl Kept {
    /// Begins to write. What another process has written since is not known here.
    fn begin<'c>(&mut self, connection: &'c mut Connection) -> rusqlite::Result<Transaction<'c>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let data_version = transaction.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if self.data_version != data_version {
            *self = Self { data_version, ..Self::default() };
        }
        Ok(transaction)
    }

    fn add_result(&mut self, transaction: &Transaction<'_>, result: &RunResult) -> rusqlite::Result<()> {
        let component = self.component(transaction, &result.component)?;
        // SQLite keeps no NaN.
        let response_time_ms = if result.response_time_ms.is_finite() { result.response_time_ms } else { 0.0 };
        let count = count(&mut self.results, component, || {
            let mut query = transaction.prepare_cached("SELECT count(*) FROM results WHERE component = ?1")?;
            query.query_row([component], |row| row.get(0))
        })?;
        transaction
            .prepare_cached(
                "INSERT INTO results (component, verdict, reason, response_time_ms, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                component,
                result.verdict.as_str(),
                result.reason,
                response_time_ms,
                result.at.as_microsecond()
            ])?;
        *count += 1;
        Ok(())
    }

    fn add_change(&mut self, transaction: &Transaction<'_>, change: &StatusChange) -> rusqlite::Result<()> {
        let component = match &change.component {
            Some(name) => Some(self.component(transaction, name)?),
            None => None,
        };
        let count = count(&mut self.changes, component, || {
            let mut query = transaction.prepare_cached("SELECT count(*) FROM changes WHERE component IS ?1")?;
            query.query_row([component], |row| row.get(0))
        })?;
        transaction
            .prepare_cached(
                "INSERT INTO changes (component, from_status, to_status, reason, message, caused_by, detail, at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                component,
                change.from.map(Status::as_str),
                change.to.as_str(),
                change.reason,
                change.message,
                change.caused_by.as_deref(),
                change.detail,
                change.at.as_microsecond()
            ])?;
        *count += 1;
        Ok(())
    }

    /// The number that stands for a component's name, given at its first record.
    fn component(&mut self, transaction: &Transaction<'_>, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(&id) = self.components.get(name) {
            return Ok(id);
        }
        let known = transaction
            .prepare_cached("SELECT id FROM components WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => transaction.prepare_cached("INSERT INTO components (name) VALUES (?1)")?.insert([name])?,
        };
        self.components.insert(Arc::clone(name), id);
        Ok(id)
    }

    fn prune(&mut self, transaction: &Transaction<'_>, limits: Limits, batch: u64) -> rusqlite::Result<()> {
        for (component, count) in self.results.iter_mut().filter(|(_, count)| **count > limits.results) {
            let mut oldest = transaction.prepare_cached(
                "DELETE FROM results WHERE id IN (SELECT id FROM results WHERE component = ?1 ORDER BY id LIMIT ?2)",
            )?;
            let removed = oldest.execute(params![component, (*count - limits.results).min(batch)])?;
            *count = count.saturating_sub(removed as u64);
        }
        for (component, count) in self.changes.iter_mut().filter(|(_, count)| **count > limits.changes) {
            let mut oldest = transaction.prepare_cached(
                "DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE component IS ?1 ORDER BY id LIMIT ?2)",
            )?;
            let removed = oldest.execute(params![component, (*count - limits.changes).min(batch)])?;
            *count = count.saturating_sub(removed as u64);
        }
        Ok(())
    }
}

/// The number of rows under a key, counted in the file when it is asked for first.
fn count<K: Eq + std::hash::Hash>(
    counts: &mut HashMap<K, u64>,
    key: K,
    read: impl FnOnce() -> rusqlite::Result<u64>,
) -> rusqlite::Result<&mut u64> {
    use std::collections::hash_map::Entry;
    match counts.entry(key) {
        Entry::Occupied(count) => Ok(count.into_mut()),
        Entry::Vacant(place) => Ok(place.insert(read()?)),
    }
}

/// A connection to a file that this process alone may write to for as long as it has the other thing.
fn open_for_writing(path: &Path, owner: &Owner) -> Result<(Connection, Arc<Hold>), StoreError> {
    make_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = connect(path, flags)?;
    schema::check(&connection, path)?;
    schema::check_owner(&connection, path, owner)?;
    let hold = Hold::take(path)?;
    schema::prepare(&mut connection, path)?;
    // Again, as nobody else writes now.
    schema::check_owner(&connection, path, owner)?;
    schema::adopt(&mut connection, owner).map_err(|error| StoreError::sqlite(path, error))?;
    Ok((connection, hold))
}

fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    std::fs::metadata(path).map_err(|error| StoreError::io(path, &error))?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    schema::check(&connection, path)?;
    Ok(connection)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let failed = |error| StoreError::sqlite(path, error);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    Ok(connection)
}

/// Makes the file with its folders, closed to others, when it is not there. SQLite gives the files that it puts
/// beside it the same permissions. One that is there is left alone: to close it here would give up the locks that
/// another connection of this process has on it.
fn make_file(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| StoreError::Io { path: folder.to_owned(), problem: error.to_string() })?;
    }
    let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::io(path, &error)),
    }
}

fn status(column: usize, word: &str) -> rusqlite::Result<Status> {
    rows::status(word).ok_or_else(|| unreadable(column))
}

fn verdict(column: usize, word: &str) -> rusqlite::Result<Verdict> {
    rows::verdict(word).ok_or_else(|| unreadable(column))
}

fn time(column: usize, microsecond: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(microsecond).map_err(|_| unreadable(column))
}

/// A value that no release of this has written.
fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, "an unknown value".into())
}

#[cfg(test)]
mod tests;
