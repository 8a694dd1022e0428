//! Why a store could not do as asked, said so that an operator knows what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use wellkept_config::StoreFault;
use wellkept_health::HistoryError;

/// Why a store could not do as asked. Messages are for operators: they hold paths, never contents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file or its folder can't be made, read or written.
    #[error("store {}: {problem}; make sure that the folder exists and can be written", path.display())]
    Io {
        /// The store's file, or a folder above it.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// There is no store to read.
    #[error("store {}: there is none; it is made by the first `wellkept serve`", path.display())]
    Missing {
        /// The store's file.
        path: PathBuf,
    },
    /// The store may be read only.
    #[error("store {}: it can't be written, only read", path.display())]
    ReadOnly {
        /// The store's file.
        path: PathBuf,
    },
    /// There is no room left.
    #[error("store {}: no space is left on its disk", path.display())]
    Full {
        /// The store's file.
        path: PathBuf,
    },
    /// Somebody else has held the store for too long.
    #[error("store {}: another process holds it", path.display())]
    Busy {
        /// The store's file.
        path: PathBuf,
    },
    /// Another process writes to the store, and goes on doing so.
    #[error(
        "store {}: another process writes to it; give each service a store of its own, with `store: {{ url: … }}`",
        path.display()
    )]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is another service's.
    #[error(
        "store {}: the file is of {}, and this is {}; name another file with `store: {{ url: … }}`, remove this one, or \
         if the service has been renamed, say so once with `store: {{ url: …, formerly: … }}`",
        path.display(), named(found), named(service)
    )]
    OtherService {
        /// The store's file.
        path: PathBuf,
        /// The service that the file is of.
        found: String,
        /// The service that wanted to open it.
        service: String,
    },
    /// The file is damaged, or was never a store.
    #[error("store {}: the file is damaged or no database; move it aside and start again with a new one", path.display())]
    Corrupt {
        /// The store's file.
        path: PathBuf,
    },
    /// The file is a database of some other program.
    #[error("store {}: the file is another program's database; name another file", path.display())]
    Foreign {
        /// The store's file.
        path: PathBuf,
    },
    /// The file was written by a newer release.
    #[error(
        "store {}: its schema has version {found}, this release knows up to {known}; use the newer release or another file",
        path.display()
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The file's version.
        found: u32,
        /// The newest version that is understood here.
        known: u32,
    },
    /// The file was written by an older release, and may not be brought up to date by who only reads it.
    #[error("store {}: its schema is older than this release; start `wellkept serve` once, which brings it up to date", path.display())]
    Older {
        /// The store's file.
        path: PathBuf,
    },
    /// Anything else that SQLite says.
    #[error("store {}: {source}", path.display())]
    Database {
        /// The store's file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// A stable code, for example `store.full`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store.io",
            Self::Missing { .. } => "store.missing",
            Self::ReadOnly { .. } => "store.read_only",
            Self::Full { .. } => "store.full",
            Self::Busy { .. } | Self::InUse { .. } => "store.busy",
            Self::OtherService { .. } => "store.other_service",
            Self::Corrupt { .. } => "store.corrupt",
            Self::Foreign { .. } => "store.foreign",
            Self::Newer { .. } => "store.newer_schema",
            Self::Older { .. } => "store.older_schema",
            Self::Database { .. } => "store.database",
        }
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::StorageFull => Self::Full { path },
            _ => Self::Io { path, problem: error.to_string() },
        }
    }

    /// Sorts what SQLite says by what an operator can do about it.
    pub(crate) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::PermissionDenied) => {
                Self::Io { path, problem: source.to_string() }
            }
            _ => Self::Database { path, source },
        }
    }
}

/// A service as it may stand in a message, whatever its name holds.
fn named(service: &str) -> String {
    if service.is_empty() { "a service without a name".to_owned() } else { format!("service {service:?}") }
}

impl From<StoreError> for HistoryError {
    fn from(error: StoreError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<StoreError> for StoreFault {
    fn from(error: StoreError) -> Self {
        Self { code: error.code(), detail: error.to_string() }
    }
}
