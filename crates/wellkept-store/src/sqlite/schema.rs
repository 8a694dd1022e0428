//! The file's schema, its version, and the way from each version to the next.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::Owner;
use crate::error::StoreError;

/// Marks the file as a store of Wellkept's in SQLite's header: "WKPT".
const APPLICATION_ID: u32 = 0x574b_5054;

/// The step from each version to the next; the first makes a new file. Steps are never changed, only added.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE components (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    -- A change without a component is one of the whole service. Times are microseconds since 1970, UTC.
    CREATE TABLE changes (
        id INTEGER PRIMARY KEY,
        component INTEGER REFERENCES components (id),
        from_status TEXT,
        to_status TEXT NOT NULL,
        reason TEXT,
        message TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX changes_by_component ON changes (component);
    CREATE TABLE results (
        id INTEGER PRIMARY KEY,
        component INTEGER NOT NULL REFERENCES components (id),
        verdict TEXT NOT NULL,
        reason TEXT,
        response_time_ms REAL NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX results_by_component ON results (component);
",
    "
    ALTER TABLE changes ADD COLUMN detail TEXT;
    -- What was begun by hand and is not over. Without a component it is the whole service. `origin` says what its end
    -- is measured by.
    CREATE TABLE maintenances (
        id TEXT PRIMARY KEY,
        component TEXT,
        reason TEXT NOT NULL,
        author TEXT NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        origin TEXT NOT NULL
    ) STRICT;
",
    "
    -- The latest minute that is kept of it, counted from 1970: who is gone longest is forgotten first.
    ALTER TABLE components ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
    UPDATE components SET seen =
        coalesce((SELECT max(at) FROM results WHERE results.component = components.id), 0) / 60000000;
    -- A ring for each tier and component, written in place. The place comes before the component: what is written
    -- together, a slot of all components, stands together. No foreign key: nothing could find the rows by it but a
    -- scan; who removes a component removes them place by place.
    CREATE TABLE buckets (
        tier INTEGER NOT NULL,
        place INTEGER NOT NULL,
        component INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        bucket BLOB NOT NULL,
        PRIMARY KEY (tier, place, component)
    ) STRICT, WITHOUT ROWID;
    -- Of each component the minute that is not over, in no tier yet.
    CREATE TABLE open_minutes (
        component INTEGER PRIMARY KEY REFERENCES components (id),
        minute INTEGER NOT NULL,
        bucket BLOB NOT NULL
    ) STRICT;
",
    "
    -- The service that the file is of: one row, and none until a service with a name has opened it.
    CREATE TABLE owner (service TEXT NOT NULL) STRICT;
",
    "
    -- The name of the component at the root of the trouble, which need not be one that has records.
    ALTER TABLE changes ADD COLUMN caused_by TEXT;
",
    "
    -- What jobs have reported. `since` is the last end, which `ending` says was well or failed, or when the job became
    -- known; `took` is in microseconds, `seen` when the job was last among the components.
    CREATE TABLE jobs (
        name TEXT PRIMARY KEY,
        reports INTEGER NOT NULL,
        since INTEGER NOT NULL,
        ending TEXT,
        exit_code INTEGER,
        took INTEGER,
        began INTEGER,
        seen INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX jobs_by_seen ON jobs (seen);
",
    "
    -- Versions of the configuration, and refused attempts at one. `hash` and `refuses` are SHA-256, `bytes` is how much
    -- text there is of it in the other two tables.
    CREATE TABLE config_versions (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        brought_by TEXT NOT NULL,
        author TEXT NOT NULL,
        hash BLOB NOT NULL,
        outcome TEXT NOT NULL,
        returned_to INTEGER,
        refuses BLOB,
        has_content INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
    -- The files of a version in the order in which they are merged, as written: they may hold secrets.
    CREATE TABLE config_files (
        version INTEGER NOT NULL REFERENCES config_versions (id),
        place INTEGER NOT NULL,
        name TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (version, place)
    ) STRICT;
    -- What differs from the version before, or why it was refused, line by line.
    CREATE TABLE config_summaries (
        version INTEGER NOT NULL REFERENCES config_versions (id),
        place INTEGER NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (version, place)
    ) STRICT, WITHOUT ROWID;
",
];
/// The first version that knows whose the file is.
const OWNED: u32 = 4;

/// The newest version that is understood.
pub(super) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// Makes or migrates the schema, and sets what every writing connection needs.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    check(connection, path)?;
    set_up(connection).map_err(|error| StoreError::sqlite(path, error))
}

fn set_up(connection: &mut Connection) -> rusqlite::Result<()> {
    // Readers and the writer don't wait for each other. Where the file system can't do it, SQLite stays with its
    // older journal, which is slower and as safe.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // In WAL mode a killed process loses nothing, and the file survives the loss of power.
    connection.pragma_update(None, "synchronous", "normal")?;
    // In KiB. Two megabytes, the default, would be a third of what a thousand components take.
    connection.pragma_update(None, "cache_size", -512)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The journal that a burst has blown up is given back.
    connection.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |_| Ok(()))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again under the lock: another process may have migrated meanwhile.
    let version = version(&transaction)?;
    let steps = MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX));
    for step in steps {
        transaction.execute_batch(step)?;
    }
    if version < known() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", known())?;
    }
    transaction.commit()
}

/// Refuses a file that is not ours or not understood. A file that is empty is ours to fill.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::sqlite(path, error);
    let found = version(connection).map_err(failed)?;
    let id: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let path = path.to_owned();
    let is_new = found == 0 && id == 0 && tables == 0;
    if !is_new && id != APPLICATION_ID {
        return Err(StoreError::Foreign { path });
    }
    if found > known() {
        return Err(StoreError::Newer { path, found, known: known() });
    }
    // Somebody reads who may neither make the tables nor bring them up to date.
    if found < known() && connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        return Err(if is_new { StoreError::Missing { path } } else { StoreError::Older { path } });
    }
    Ok(())
}

/// The service that the file is of, if it says so.
pub(super) fn owner(connection: &Connection) -> rusqlite::Result<Option<String>> {
    if version(connection)? < OWNED {
        return Ok(None);
    }
    connection.query_row("SELECT service FROM owner", [], |row| row.get(0)).optional()
}

/// Refuses a file of another service.
pub(super) fn check_owner(connection: &Connection, path: &Path, owner: &Owner) -> Result<(), StoreError> {
    match self::owner(connection).map_err(|error| StoreError::sqlite(path, error))? {
        Some(found) if !owner.may_open(&found) => {
            Err(StoreError::OtherService { path: path.to_owned(), found, service: owner.service.clone() })
        }
        _ => Ok(()),
    }
}

/// Makes the file that of a service with a name. It is known not to be another one's.
pub(super) fn adopt(connection: &mut Connection, owner: &Owner) -> rusqlite::Result<()> {
    if owner.service.is_empty() || self::owner(connection)?.is_some_and(|found| found == owner.service) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM owner", [])?;
    transaction.execute("INSERT INTO owner (service) VALUES (?1)", [&owner.service])?;
    transaction.commit()
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// A file as a release made it whose version this was, with one change of the service in it.
#[cfg(test)]
pub(super) fn make_old(path: &Path, version: u32) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(&MIGRATIONS[..usize::try_from(version).unwrap()].concat()).unwrap();
    let insert = "INSERT INTO changes (from_status, to_status, reason, message, at) \
        VALUES ('healthy', 'unhealthy', 'refused', 'connection refused', 7123456)";
    connection.execute(insert, []).unwrap();
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
}
