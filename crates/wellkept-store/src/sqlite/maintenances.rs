//! Maintenances that were begun by hand, as rows of the store's file.

use std::sync::Arc;

use rusqlite::{Row, TransactionBehavior, params};
use wellkept_health::{HistoryError, Maintenance, MaintenanceOrigin, MaintenanceStore};

use super::{SqliteStore, time, unreadable};

impl SqliteStore {
    fn read_maintenances(&self) -> rusqlite::Result<Vec<Maintenance>> {
        let query = "SELECT id, component, reason, author, since, until, origin FROM maintenances ORDER BY since, id";
        let limit = Maintenance::MAX_BEGUN;
        self.connection.prepare(query)?.query_map([], maintenance)?.take(limit).collect()
    }

    fn replace_maintenances(&mut self, maintenances: &[Maintenance]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM maintenances", [])?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO maintenances (id, component, reason, author, since, until, origin) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for Maintenance { id, component, reason, author, since, until, origin } in maintenances {
            let (since, until) = (since.as_microsecond(), until.as_microsecond());
            insert.execute(params![id, component, reason, author, since, until, origin.as_str()])?;
        }
        drop(insert);
        transaction.commit()
    }
}

impl MaintenanceStore for SqliteStore {
    fn load(&mut self) -> Result<Vec<Maintenance>, HistoryError> {
        self.read_maintenances().map_err(|error| self.error(error))
    }

    fn save(&mut self, maintenances: &[Maintenance]) -> Result<(), HistoryError> {
        self.replace_maintenances(maintenances).map_err(|error| self.error(error))
    }
}

fn maintenance(row: &Row<'_>) -> rusqlite::Result<Maintenance> {
    let text = |column| Ok::<Arc<str>, rusqlite::Error>(row.get::<_, String>(column)?.into());
    let origin: String = row.get(6)?;
    Ok(Maintenance {
        id: text(0)?,
        component: row.get::<_, Option<String>>(1)?.map(Arc::from),
        reason: text(2)?,
        author: text(3)?,
        since: time(4, row.get(4)?)?,
        until: time(5, row.get(5)?)?,
        origin: MaintenanceOrigin::ALL.into_iter().find(|one| one.as_str() == origin).ok_or_else(|| unreadable(6))?,
    })
}
