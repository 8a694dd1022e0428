//! What survives a restart: the history of health, and maintenances, in an embedded SQLite file. It keeps and decides
//! nothing.
//!
//! [`SqliteStore`] implements [`wellkept_health::HistoryStore`] and [`wellkept_health::MaintenanceStore`]. It blocks, so that it belongs on a thread of its own,
//! which is where the health engine calls it.

mod error;
mod hold;
mod reopening;
mod sqlite;

pub use error::StoreError;
pub use reopening::ReopeningStore;
pub use sqlite::{Limits, SqliteStore};
