//! What survives a restart: the history of health, maintenances, and what jobs report, in an embedded SQLite file, or in
//! PostgreSQL where several instances share it (feature `postgres`). It keeps and decides nothing.
//!
//! [`SqliteStore`] implements [`wellkept_health::HistoryStore`], [`wellkept_health::MaintenanceStore`] and
//! [`wellkept_health::JobStore`]. It blocks, so that it belongs on a thread of its own, which is where the health engine
//! calls it.

mod error;
mod hold;
#[cfg(feature = "postgres")]
mod postgres;
mod reopening;
mod rows;
mod sqlite;

pub use error::StoreError;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresError, PostgresJobs, PostgresMaintenances, PostgresOptions, PostgresStore};
pub use reopening::ReopeningStore;
pub use rows::Limits;
pub use sqlite::{Owner, SqliteStore};
