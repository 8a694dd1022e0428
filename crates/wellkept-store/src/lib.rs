//! What survives a restart: the history of health, maintenances, what jobs report, and versions of the configuration, in
//! an embedded SQLite file, or in PostgreSQL where several instances share it (feature `postgres`). It keeps and decides
//! nothing.
//!
//! [`SqliteStore`] implements [`wellkept_health::HistoryStore`], [`wellkept_health::MaintenanceStore`] and
//! [`wellkept_health::JobStore`], and [`SqliteVersions`] implements [`wellkept_config::VersionStore`]. They block, so that
//! they belong on threads of their own, which is where the engines call them.

mod error;
mod hold;
#[cfg(feature = "postgres")]
mod postgres;
mod reopening;
mod rows;
mod sqlite;

pub use error::StoreError;
#[cfg(feature = "postgres")]
pub use postgres::{
    PostgresError, PostgresJobs, PostgresMaintenances, PostgresOptions, PostgresStore, PostgresVersions,
};
pub use reopening::ReopeningStore;
pub use rows::Limits;
pub use sqlite::{Owner, SqliteStore, SqliteVersions};
