//! Versions of the configuration, as rows of the store's file.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use wellkept_config::{Content, ContentHash, Kept, Part, StoreFault, Version, VersionId, VersionStore, forgotten};

use super::{open_for_reading, open_for_writing, schema, time, unreadable};
use crate::Owner;
use crate::error::StoreError;
use crate::hold::{Hold, Identity, identity};
use crate::rows;

/// Versions of the configuration in the SQLite file of a [`SqliteStore`](crate::SqliteStore), over a connection of its
/// own.
///
/// Nothing is opened before the first call, and a file that was removed or replaced is opened anew. Reading makes no file,
/// and goes on while another process writes to it; writing is refused then with `store.busy`. Every method blocks, for two
/// seconds at most while the file is locked, and as long as the disk takes. A version is written whole or not at all,
/// whenever the process is killed.
///
/// Contents are kept as written, which may hold secrets: a file that others may read or write is closed to them before the
/// first version is written to it, and what is forgotten is overwritten.
#[derive(Debug)]
pub struct SqliteVersions {
    path: PathBuf,
    owner: Owner,
    writer: Option<Writer>,
}

/// An open file that this process may write to.
#[derive(Debug)]
struct Writer {
    connection: Connection,
    identity: Identity,
    /// Given up after the connection is closed.
    _hold: Arc<Hold>,
}

impl SqliteVersions {
    /// In the file at this path, which is the owner's. Opens nothing yet.
    pub fn new(path: PathBuf, owner: Owner) -> Self {
        Self { path, owner, writer: None }
    }

    /// Gives up a connection to a file that nobody can find any more.
    fn look_again(&mut self) {
        let found = identity(&self.path);
        self.writer.take_if(|writer| found != Some(writer.identity));
    }

    fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        self.look_again();
        match &mut self.writer {
            Some(writer) => Ok(writer),
            closed => {
                let (connection, hold) = open_for_writing(&self.path, &self.owner)?;
                close_to_others(&self.path)?;
                set_up(&connection).map_err(|error| StoreError::sqlite(&self.path, error))?;
                let missing = || StoreError::Missing { path: self.path.clone() };
                let identity = identity(&self.path).ok_or_else(missing)?;
                Ok(closed.insert(Writer { connection, identity, _hold: hold }))
            }
        }
    }

    /// Asks the file; `None` when there is none, or none with versions in it.
    fn read<T>(&mut self, ask: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<Option<T>, StoreError> {
        self.look_again();
        let opened;
        let connection = if let Some(writer) = &self.writer {
            &writer.connection
        } else {
            opened = match open_for_reading(&self.path) {
                // One of an older release knows of no versions yet.
                Err(StoreError::Missing { .. } | StoreError::Older { .. }) => return Ok(None),
                opened => opened?,
            };
            schema::check_owner(&opened, &self.path, &self.owner)?;
            &opened
        };
        // All that is read is of one moment.
        let answer = connection.unchecked_transaction().and_then(|transaction| ask(&transaction));
        answer.map(Some).map_err(|error| StoreError::sqlite(&self.path, error))
    }
}

impl VersionStore for SqliteVersions {
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault> {
        let added = add(&mut self.writer()?.connection, version, content, keep);
        Ok(added.map_err(|error| StoreError::sqlite(&self.path, error))?)
    }

    fn versions(&mut self) -> Result<Vec<Version>, StoreFault> {
        Ok(self.read(read_versions)?.unwrap_or_default())
    }

    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault> {
        match self.read(|transaction| read_content(transaction, id))?.flatten() {
            // A page that is damaged is not noticed where only text stands in it.
            Some((hash, content)) if content.hash() != hash => {
                Err(StoreError::Corrupt { path: self.path.clone() }.into())
            }
            found => Ok(found.map(|(_, content)| content)),
        }
    }
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    // What is deleted is overwritten with zeros.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // A content that was rolled back from stays refused when the machine loses its power. There is little to write.
    connection.pragma_update(None, "synchronous", "full")
}

const COLUMNS: &str = "id, at, brought_by, author, hash, outcome, returned_to, refuses";

fn add(
    connection: &mut Connection,
    version: &Version,
    content: Option<&Content>,
    keep: usize,
) -> rusqlite::Result<VersionId> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest = format!("SELECT {COLUMNS} FROM config_versions ORDER BY id DESC LIMIT 1");
    let newest = transaction.query_row(&newest, [], self::version).optional()?;
    if let Some(newest) = newest.as_ref().filter(|newest| newest.is_same_attempt(version)) {
        return Ok(newest.id);
    }
    let id = newest.map_or(0, |newest| newest.id.0) + 1;
    transaction.execute(
        "INSERT INTO config_versions \
            (id, at, brought_by, author, hash, outcome, returned_to, refuses, has_content, bytes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            id,
            rows::microseconds(version.at),
            version.trigger.as_str(),
            version.author,
            version.hash.0,
            version.outcome.as_str(),
            version.returned_to.map(|id| id.0),
            version.refuses.map(|hash| hash.0),
            content.is_some(),
            version.bytes(content),
        ],
    )?;
    let mut file =
        transaction.prepare("INSERT INTO config_files (version, place, name, text) VALUES (?1, ?2, ?3, ?4)")?;
    for (place, part) in content.iter().flat_map(|content| &content.parts).enumerate() {
        file.execute(params![id, place, part.name, part.text])?;
    }
    let mut summary = transaction.prepare("INSERT INTO config_summaries (version, place, line) VALUES (?1, ?2, ?3)")?;
    for (place, line) in version.summary.iter().enumerate() {
        summary.execute(params![id, place, line])?;
    }
    drop((file, summary));
    forget(&transaction, keep)?;
    transaction.commit()?;
    Ok(VersionId(id))
}

fn forget(transaction: &Transaction<'_>, keep: usize) -> rusqlite::Result<()> {
    let kept: Vec<Kept> = transaction
        .prepare("SELECT id, outcome, bytes FROM config_versions ORDER BY id DESC")?
        .query_map([], |row| {
            let outcome = rows::outcome(&row.get::<_, String>(1)?).ok_or_else(|| unreadable(1))?;
            Ok(Kept { id: VersionId(row.get(0)?), outcome, bytes: row.get(2)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for id in forgotten(&kept, keep) {
        transaction.execute("DELETE FROM config_summaries WHERE version = ?1", [id.0])?;
        transaction.execute("DELETE FROM config_files WHERE version = ?1", [id.0])?;
        transaction.execute("DELETE FROM config_versions WHERE id = ?1", [id.0])?;
    }
    Ok(())
}

fn read_versions(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Version>> {
    let mut versions: Vec<Version> = transaction
        .prepare(&format!("SELECT {COLUMNS} FROM config_versions ORDER BY id DESC"))?
        .query_map([], version)?
        .collect::<rusqlite::Result<_>>()?;
    let mut summaries: HashMap<u64, Vec<String>> = HashMap::new();
    let mut lines = transaction.prepare("SELECT version, line FROM config_summaries ORDER BY version, place")?;
    let mut lines = lines.query([])?;
    while let Some(row) = lines.next()? {
        summaries.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    for version in &mut versions {
        version.summary = summaries.remove(&version.id.0).unwrap_or_default();
    }
    Ok(versions)
}

/// With the hash that it had when it was written.
fn read_content(transaction: &Transaction<'_>, id: VersionId) -> rusqlite::Result<Option<(ContentHash, Content)>> {
    // A number that no row can have.
    let Ok(id) = i64::try_from(id.0) else { return Ok(None) };
    let known = "SELECT hash FROM config_versions WHERE id = ?1 AND has_content";
    let Some(hash) = transaction.query_row(known, [id], |row| hash(row, 0)).optional()? else { return Ok(None) };
    let parts = transaction
        .prepare("SELECT name, text FROM config_files WHERE version = ?1 ORDER BY place")?
        .query_map([id], |row| Ok(Part { name: row.get(0)?, text: row.get(1)? }))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some((hash, Content { parts })))
}

/// A row's version, without its summary.
fn version(row: &Row<'_>) -> rusqlite::Result<Version> {
    let refuses = if row.get_ref(7)? == ValueRef::Null { None } else { Some(hash(row, 7)?) };
    Ok(Version {
        id: VersionId(row.get(0)?),
        at: SystemTime::from(time(1, row.get(1)?)?),
        trigger: rows::trigger(&row.get::<_, String>(2)?).ok_or_else(|| unreadable(2))?,
        author: row.get(3)?,
        hash: hash(row, 4)?,
        outcome: rows::outcome(&row.get::<_, String>(5)?).ok_or_else(|| unreadable(5))?,
        returned_to: row.get::<_, Option<u64>>(6)?.map(VersionId),
        refuses,
        summary: Vec::new(),
    })
}

fn hash(row: &Row<'_>, column: usize) -> rusqlite::Result<ContentHash> {
    rows::content_hash(row.get_ref(column)?.as_blob()?).ok_or_else(|| unreadable(column))
}

/// Sees to it that nobody but its owner may read the file, nor those that SQLite has put beside it.
fn close_to_others(path: &Path) -> Result<(), StoreError> {
    let path = path.canonicalize().map_err(|error| StoreError::io(path, &error))?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let file = Path::new(&name);
        // By its name: to open and close it here would give up SQLite's locks on it.
        let Ok(found) = fs::metadata(file) else { continue };
        if found.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(|error| StoreError::io(file, &error))?;
            let path = file.display();
            tracing::info!(target: "wellkept::store", %path, "the file will hold configurations: closed to others");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
