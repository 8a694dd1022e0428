//! A SQLite database, by its file: whether it can be read, and is what it should be.
//!
//! The file is opened read-only in each run, its schema is read, and a query if there is one. Whoever holds an exclusive
//! lock is waited for until the run's timeout. Nothing is written and no file is created: a database in WAL mode that
//! nobody has open is read as it lies there, without the last commits of a process that crashed. A look through all of
//! the file (`PRAGMA quick_check`) is asked for by `quick_check_every`.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the file is not there, is empty or no file | unhealthy | `unexpected` |
//! | it may not be read | unhealthy | `auth` |
//! | it is not a SQLite database | unhealthy | `protocol` |
//! | it is damaged: on the way to what was read, or anywhere by the last `quick_check` | unhealthy | `corrupt` |
//! | somebody holds an exclusive lock for longer than the timeout | unhealthy | `locked` |
//! | the query did not end in time | unhealthy | `timeout` |
//! | the query is refused, or would write | unhealthy | `error` |
//! | it gives another value than `expect`, or no row | unhealthy | `unexpected` |
//! | no room is left on the file system: the next write fails | unhealthy | `exhausted` |
//! | the file can't be read, for a failure of the disk or a lack of descriptors or memory | unhealthy | `internal` |
//! | a write was cut short by a crash, and the next writer has to take it back | degraded | `not_ready` |
//! | the write-ahead log is above `wal_degraded_above`, as a reader does not end or nobody checkpoints | degraded | `threshold` |
//! | `quick_check` did not end within the run's timeout | degraded | `timeout` |
//!
//! # Rights
//!
//! To read the file and its folder, and in WAL mode its `-wal` and `-shm`.
//!
//! # Cost
//!
//! A few pages of the file per run, under a shared lock for as long as the query takes. `quick_check` reads the whole file,
//! and in a database without WAL mode holds writers off until it ends.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags};
use wellkept_config::{ByteSize, Section};
use wellkept_health::{AnyCheck, Context, Outcome, Reason, Scope};
use wellkept_telemetry::system;

use crate::findings::{Findings, Found, unexpected_value};
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::{give_up_at, timed_out};
use crate::{Comparison, InvalidOption, Kind, Opens};

/// How many steps of SQLite's machine there are between two looks at the clock; some microseconds.
const STEPS: i32 = 1000;

/// The settings of a [`Sqlite`] check.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The database's file. Required.
    pub path: PathBuf,
    /// What is asked, one statement that only reads. Default: none, only the schema is read.
    pub query: Option<String>,
    /// What the first column of the query's first row must be: a text or number (no value is `"null"`), or a comparison
    /// such as `"< 100"` or `"!= failed"`. Default: any, or no row at all.
    pub expect: Option<Comparison>,
    /// How often the whole file is looked through, after the query and for as long as the run's timeout lasts. Until the
    /// next time the last verdict holds. Default: never.
    pub quick_check_every: Option<Duration>,
    /// Degraded when the write-ahead log is larger. Default: not set.
    pub wal_degraded_above: Option<ByteSize>,
}

impl Options {
    /// For a file, without a query.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), query: None, expect: None, quick_check_every: None, wal_degraded_above: None }
    }
}

/// A SQLite database, by its file.
///
/// The metadata holds `size_bytes`, `wal_bytes` where there is a write-ahead log, `journal_mode`, and with `expect`
/// `value` if it is a number.
#[derive(Debug)]
pub struct Sqlite {
    options: Options,
    /// The file as a URI, without parameters.
    uri: String,
    looked_through: Kept<LookedThrough>,
}

/// What the last `quick_check` said, and when.
#[derive(Debug)]
struct LookedThrough {
    at: Instant,
    finding: Option<Outcome>,
}

impl Sqlite {
    /// Refuses options that can't be used. Opens nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let path = options.path.to_str().filter(|path| !path.is_empty() && !path.contains('\0'));
        let Some(path) = path else { return Err(InvalidOption::new("path", "write the path of a file, in UTF-8")) };
        if options.query.as_ref().is_some_and(|query| query.trim().is_empty() || query.contains('\0')) {
            return Err(InvalidOption::new("query", "write a query such as SELECT count(*) FROM jobs"));
        }
        if options.expect.is_some() && options.query.is_none() {
            return Err(InvalidOption::new("expect", "there is no query whose value it could be"));
        }
        // What ends the path in a URI.
        let encoded = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = if path.starts_with('/') { format!("file://{encoded}") } else { format!("file:{encoded}") };
        Ok(Self { options, uri, looked_through: Kept::nothing() })
    }

    /// Runs once. Blocks for as long as the file system does, and for a lock until `context`'s deadline.
    pub fn run(&self, context: &Context) -> Outcome {
        let deadline = give_up_at(context).into_std();
        let size = match size_of(&self.options.path) {
            Ok(size) => size,
            Err(failed) => return *failed,
        };
        let wal = fs::metadata(beside(&self.options.path, "-wal")).ok().map(|file| file.len());
        let mut findings = Findings::default();
        let looked = self.look(deadline, &mut findings).map_err(|error| findings.add(outcome_of(&error)));
        if has_no_room(&self.options.path) {
            findings.add(Outcome::fail(Reason::Exhausted, "no room is left on the file system"));
        }
        if let Some(wal) = wal {
            let limit = self.options.wal_degraded_above.map(ByteSize::as_u64);
            findings.limit(wal, limit, None, || format!("write-ahead log has {wal} bytes"));
        }
        let mut outcome = findings.worst().with("size_bytes", size);
        if let Some(wal) = wal {
            outcome = outcome.with("wal_bytes", wal);
        }
        let Ok(looked) = looked else { return outcome };
        if let Some(value) = looked.found.number().filter(|_| self.options.expect.is_some()) {
            outcome = outcome.with("value", value);
        }
        outcome.with("journal_mode", looked.journal_mode)
    }

    fn look(&self, deadline: Instant, findings: &mut Findings) -> Result<Looked, Error> {
        let (connection, journal_mode) = self.open_as_it_lies(deadline)?;
        // The first page that is read: what is no database is found out here.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let mut found = Found::NoRow;
        if let Some(query) = &self.options.query {
            let mut statement = connection.prepare(query)?;
            if statement.readonly() {
                found = match statement.raw_query().next()? {
                    Some(row) => value(row.get_ref(0)?),
                    None => Found::NoRow,
                };
                let unexpected =
                    self.options.expect.as_ref().and_then(|expected| unexpected_value(expected, &found));
                if let Some(finding) = unexpected {
                    findings.add(finding);
                }
            } else {
                findings.add(Outcome::fail(Reason::Error, "query would write"));
            }
        }
        if let Some(finding) = self.options.quick_check_every.and_then(|every| self.look_through(&connection, every)) {
            findings.add(finding);
        }
        Ok(Looked { found, journal_mode })
    }

    /// A database in WAL mode can't be opened without its index, which SQLite would create. Without an index nobody has it
    /// open, so that it may be read without locks.
    fn open_as_it_lies(&self, deadline: Instant) -> Result<(Connection, String), Error> {
        let has_index = || beside(&self.options.path, "-shm").exists();
        if !has_index() && self.is_in_wal_mode(deadline)? && !has_index() {
            return Ok((self.open("mode=ro&immutable=1", deadline)?, "wal".to_owned()));
        }
        let connection = self.open("mode=ro", deadline)?;
        let mode = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        Ok((connection, mode))
    }

    /// SQLite refuses to read such a database without locks (`nolock=1`), before it creates anything. The file's header says
    /// it too, but nobody else may open the file: closing it would release the locks that SQLite may hold on it in this
    /// process (fcntl(2)).
    fn is_in_wal_mode(&self, deadline: Instant) -> Result<bool, Error> {
        let connection = self.open("mode=ro&nolock=1", deadline)?;
        let read = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        Ok(read.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::CannotOpen)))
    }

    fn open(&self, parameters: &str, deadline: Instant) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(format!("{}?{parameters}", self.uri), flags)?;
        connection.busy_timeout(deadline.saturating_duration_since(Instant::now()))?;
        connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline))?;
        Ok(connection)
    }

    fn look_through(&self, connection: &Connection, every: Duration) -> Option<Outcome> {
        let last = self.looked_through.take().filter(|last| last.at.elapsed() < every);
        let last = last.unwrap_or_else(|| {
            let said = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
            let finding = match said {
                Ok(said) if said == "ok" => None,
                Ok(said) => Some(corrupt(said)),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                    Some(Outcome::warn(Reason::Timeout, "database could not be looked through in time"))
                }
                Err(error) => Some(outcome_of(&error)),
            };
            LookedThrough { at: Instant::now(), finding }
        });
        let finding = last.finding.clone();
        self.looked_through.put(last);
        finding
    }
}

impl From<Sqlite> for AnyCheck {
    fn from(check: Sqlite) -> Self {
        Self::blocking_with(move |context| check.run(context))
    }
}

/// ```yaml
/// sqlite:
///   path: /var/lib/orders/orders.db
///   query: "SELECT count(*) FROM jobs WHERE state = 'failed'"
///   expect: 0
///   quick_check_every: 1d
/// ```
pub const KIND: Kind =
    Kind { name: "sqlite", summary: "A SQLite database, by its file", scope: Scope::Machine, opens: Opens::Paths, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let path = section.required::<PathBuf>("path");
    let query = section.optional("query");
    let expect = section.optional("expect");
    let quick_check_every = section.optional("quick_check_every");
    let wal_degraded_above = section.optional("wal_degraded_above");
    built(section, Sqlite::new(Options { path: path?, query, expect, quick_check_every, wal_degraded_above }))
}

struct Looked {
    found: Found,
    journal_mode: String,
}

fn size_of(path: &Path) -> Result<u64, Box<Outcome>> {
    let failed = match fs::metadata(path) {
        Ok(file) if !file.is_file() => Outcome::fail(Reason::Unexpected, "database is not a file"),
        Ok(file) if file.len() == 0 => Outcome::fail(Reason::Unexpected, "database's file is empty"),
        Ok(file) => return Ok(file.len()),
        Err(error) => {
            let outcome = match error.kind() {
                io::ErrorKind::NotFound => Outcome::fail(Reason::Unexpected, "database's file is not there"),
                io::ErrorKind::PermissionDenied => Outcome::fail(Reason::Auth, "database may not be read"),
                _ => Outcome::fail(Reason::Internal, "database can't be read"),
            };
            outcome.with_detail(format!("{}: {error}", path.display()))
        }
    };
    Err(Box::new(failed))
}

fn has_no_room(path: &Path) -> bool {
    system::Disk::read(path).is_ok_and(|disk| disk.available == 0)
}

/// The files that SQLite keeps beside a database: its path, and more.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn value(found: ValueRef<'_>) -> Found {
    match found {
        ValueRef::Null => Found::Null,
        ValueRef::Integer(number) => Found::Value(number.to_string()),
        ValueRef::Real(number) => Found::Value(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Found::Value(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn corrupt(detail: String) -> Outcome {
    Outcome::fail(Reason::Custom("corrupt"), "database is damaged").with_detail(detail)
}

/// By SQLite's result codes (sqlite.org/rescode.html).
fn outcome_of(error: &Error) -> Outcome {
    let outcome = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => return corrupt(error.to_string()),
        Some(ErrorCode::NotADatabase) => Outcome::fail(Reason::Protocol, "not a SQLite database"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            Outcome::fail(Reason::Custom("locked"), "database is locked")
        }
        Some(ErrorCode::OperationInterrupted) => return timed_out("querying"),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied | ErrorCode::CannotOpen) => {
            Outcome::fail(Reason::Auth, "database may not be read")
        }
        // It is opened read-only, and only to take back or replay what a crash has left would it be written.
        Some(ErrorCode::ReadOnly) => Outcome::warn(Reason::NotReady, "a write was cut short, the next writer mends it"),
        Some(ErrorCode::DiskFull) => Outcome::fail(Reason::Exhausted, "no room is left on the file system"),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
            Outcome::fail(Reason::Internal, "database can't be read")
        }
        _ => Outcome::fail(Reason::Error, "query failed"),
    };
    outcome.with_detail(error.to_string())
}

#[cfg(test)]
mod tests;
