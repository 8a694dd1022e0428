//! Why a store in PostgreSQL could not do as asked, said so that an operator knows what to do.

use wellkept_checks::postgres::Failure;
use wellkept_config::StoreFault;
use wellkept_health::{HistoryError, Reason};

/// Why a store in PostgreSQL could not do as asked. Messages are for operators: they may hold an address and what the
/// server says, never the URL or its password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// A setting can't be used.
    #[error("the store's {option}: {problem}")]
    Invalid {
        /// Which one: `url`, `schema`, `service` or `instance`.
        option: &'static str,
        /// What is wrong with it. Nothing of its value.
        problem: String,
    },
    /// The server can't be reached, or refuses.
    #[error("store in PostgreSQL: {problem}")]
    Failed {
        /// The stable code.
        code: &'static str,
        /// What happened.
        problem: String,
    },
    /// Another process keeps its history under the same name.
    #[error(
        "store in PostgreSQL: another process writes to it as instance {instance:?} of service {service:?}; give each \
         instance a name of its own, with `store: {{ instance: … }}`"
    )]
    InUse {
        /// The service's name.
        service: String,
        /// The instance's name.
        instance: String,
    },
    /// There are no tables to read.
    #[error("store in PostgreSQL: schema {schema:?} has no tables; they are made by the first `wellkept serve`")]
    Missing {
        /// The schema.
        schema: String,
    },
    /// The tables were made by a newer release.
    #[error(
        "store in PostgreSQL: the tables in schema {schema:?} have version {found}, this release knows up to {known}; \
         use the newer release or another schema"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// The tables' version.
        found: i32,
        /// The newest version that is understood here.
        known: i32,
    },
    /// The tables were made by an older release, and may not be brought up to date by who only reads them.
    #[error(
        "store in PostgreSQL: the tables in schema {schema:?} are older than this release; start `wellkept serve` once, \
         which brings them up to date"
    )]
    Older {
        /// The schema.
        schema: String,
    },
    /// The database can't keep every text.
    #[error("store in PostgreSQL: the database's encoding is {found}; use one with UTF8")]
    Encoding {
        /// The database's encoding.
        found: String,
    },
}

impl PostgresError {
    /// A stable code, for example `store.timeout`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "store.invalid",
            Self::Failed { code, .. } => code,
            Self::InUse { .. } => "store.busy",
            Self::Missing { .. } => "store.missing",
            Self::Newer { .. } => "store.newer_schema",
            Self::Older { .. } => "store.older_schema",
            Self::Encoding { .. } => "store.encoding",
        }
    }

    pub(super) fn timeout(doing: &'static str) -> Self {
        Failure::Timeout(doing).into()
    }

    /// A row that no release of this has written.
    pub(super) fn unreadable() -> Self {
        Self::Failed { code: "store.database", problem: "a row holds an unknown value".into() }
    }
}

impl From<Failure> for PostgresError {
    fn from(failure: Failure) -> Self {
        let outcome = failure.outcome();
        let code = match outcome.reason() {
            Some(Reason::Timeout) => "store.timeout",
            Some(Reason::Auth) => "store.denied",
            Some(Reason::Exhausted) => "store.full",
            Some(Reason::Error) => "store.database",
            _ => "store.unreachable",
        };
        Self::Failed { code, problem: format!("{} ({})", outcome.message(), outcome.detail()) }
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Driver(error).into()
    }
}

impl From<PostgresError> for HistoryError {
    fn from(error: PostgresError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<PostgresError> for StoreFault {
    fn from(error: PostgresError) -> Self {
        Self { code: error.code(), detail: error.to_string() }
    }
}
