//! Maintenances begun by hand, as rows that all instances of a service share.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use wellkept_health::{
    EndedMaintenance, HistoryError, Maintenance, MaintenanceBooks, MaintenanceOrigin, SharedMaintenanceStore,
};

use super::error::PostgresError;
use super::history::{optional, time};
use super::link::{Link, Parameter, Purpose, Session};
use super::text::{escaped, unescaped};
use super::{CALL, PostgresOptions};

/// How often what is long over is removed.
const CLEAN_UP: Duration = Duration::from_secs(3600);
/// Most of a service that are remembered as ended.
const ENDED: i64 = 10_000;
/// The server's time, in microseconds since 1970.
pub(super) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// The maintenances of a service, shared by its instances through tables of PostgreSQL.
///
/// Blocks as [`PostgresStore`](super::PostgresStore) does, over a session of its own. One that was ended by hand is
/// remembered as ended until a day after its time. Which instance asks makes no difference, so that two of the same
/// name share them too.
#[derive(Debug)]
pub struct PostgresMaintenances {
    link: Link,
    /// What the rows are known to have, so that only news is written.
    begun: HashSet<Arc<str>>,
    ended: HashSet<Arc<str>>,
    clean_up_at: Instant,
}

impl PostgresMaintenances {
    /// Refuses options that can't be used. Connects to nothing.
    ///
    /// # Errors
    /// As [`PostgresStore::new`](super::PostgresStore::new).
    pub fn new(options: PostgresOptions) -> Result<Self, PostgresError> {
        let link = Link::new(Arc::new(options))?;
        Ok(Self { link, begun: HashSet::new(), ended: HashSet::new(), clean_up_at: Instant::now() })
    }
}

impl SharedMaintenanceStore for PostgresMaintenances {
    fn exchange(&mut self, ours: &MaintenanceBooks) -> Result<MaintenanceBooks, HistoryError> {
        let begun: Vec<&Maintenance> = ours.begun.iter().filter(|what| !self.begun.contains(&what.id)).collect();
        let ended: Vec<&EndedMaintenance> = ours.ended.iter().filter(|what| !self.ended.contains(&what.id)).collect();
        let clean_up = self.clean_up_at <= Instant::now();
        let theirs = self.link.call(Purpose::Write, CALL, async |session| {
            if clean_up {
                session.clean_up_maintenances().await?;
            }
            if !begun.is_empty() || !ended.is_empty() {
                session.begin().await?;
                session.add_maintenances(&begun).await?;
                session.end_maintenances(&ended).await?;
                session.commit().await?;
            }
            session.maintenances(ours).await
        })?;
        if clean_up {
            self.clean_up_at = Instant::now() + CLEAN_UP;
        }
        // What the rows no longer have, though it is on here, is written again.
        self.begun =
            theirs.begun.iter().map(|what| &what.id).chain(theirs.ended.iter().map(|what| &what.id)).cloned().collect();
        self.ended = ours.ended.iter().map(|what| Arc::clone(&what.id)).collect();
        Ok(theirs)
    }
}

impl Session {
    async fn add_maintenances(&mut self, begun: &[&Maintenance]) -> Result<(), PostgresError> {
        let options = Arc::clone(&self.options);
        let ids: Vec<_> = begun.iter().map(|what| escaped(&what.id)).collect();
        let components: Vec<_> = begun.iter().map(|what| what.component.as_deref().map(escaped)).collect();
        let reasons: Vec<_> = begun.iter().map(|what| escaped(&what.reason)).collect();
        let authors: Vec<_> = begun.iter().map(|what| escaped(&what.author)).collect();
        let since: Vec<i64> = begun.iter().map(|what| what.since.as_microsecond()).collect();
        let until: Vec<i64> = begun.iter().map(|what| what.until.as_microsecond()).collect();
        let origins: Vec<&str> = begun.iter().map(|what| what.origin.as_str()).collect();
        let parameters: [Parameter<'_>; 8] = [
            (&escaped(&options.service), Type::TEXT),
            (&ids, Type::TEXT_ARRAY),
            (&components, Type::TEXT_ARRAY),
            (&reasons, Type::TEXT_ARRAY),
            (&authors, Type::TEXT_ARRAY),
            (&since, Type::INT8_ARRAY),
            (&until, Type::INT8_ARRAY),
            (&origins, Type::TEXT_ARRAY),
        ];
        // One that is there stays as it was begun: its times may have moved here with the time of day.
        let statement = "INSERT INTO wellkept_maintenances \
            (service, id, component, reason, author, since, until, origin) \
            SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8) ON CONFLICT (service, id) DO NOTHING";
        self.client().execute_typed(statement, &parameters).await?;
        Ok(())
    }

    async fn end_maintenances(&mut self, ended: &[&EndedMaintenance]) -> Result<(), PostgresError> {
        let options = Arc::clone(&self.options);
        let ids: Vec<_> = ended.iter().map(|what| escaped(&what.id)).collect();
        let authors: Vec<_> = ended.iter().map(|what| escaped(&what.author)).collect();
        let parameters: [Parameter<'_>; 3] =
            [(&escaped(&options.service), Type::TEXT), (&ids, Type::TEXT_ARRAY), (&authors, Type::TEXT_ARRAY)];
        let statement = "UPDATE wellkept_maintenances AS known SET ended_by = ended.author \
            FROM unnest($2, $3) AS ended (id, author) \
            WHERE known.service = $1 AND known.id = ended.id AND known.ended_by IS NULL";
        self.client().execute_typed(statement, &parameters).await?;
        Ok(())
    }

    /// All that is on, and what of ours was ended.
    async fn maintenances(&mut self, ours: &MaintenanceBooks) -> Result<MaintenanceBooks, PostgresError> {
        let options = Arc::clone(&self.options);
        let ids: Vec<_> = ours.begun.iter().map(|what| escaped(&what.id)).collect();
        let most = i64::try_from(2 * Maintenance::MAX_BEGUN).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 3] =
            [(&escaped(&options.service), Type::TEXT), (&ids, Type::TEXT_ARRAY), (&most, Type::INT8)];
        // An hour more than is needed, for the clocks may differ.
        let statement = format!(
            "SELECT id, component, reason, author, since, until, origin, ended_by FROM wellkept_maintenances \
             WHERE service = $1 AND ((ended_by IS NULL AND until > {NOW} - 3600000000) OR id = ANY($2)) \
             ORDER BY since, id LIMIT $3"
        );
        let mut books = MaintenanceBooks::default();
        for row in self.client().query_typed(&statement, &parameters).await? {
            match optional(&row, 7)? {
                Some(author) => books.ended.push(EndedMaintenance { id: text(&row, 0)?, author: author.into() }),
                None => books.begun.push(maintenance(&row)?),
            }
        }
        Ok(books)
    }

    async fn clean_up_maintenances(&mut self) -> Result<(), PostgresError> {
        let options = Arc::clone(&self.options);
        let parameters: [Parameter<'_>; 2] = [(&escaped(&options.service), Type::TEXT), (&ENDED, Type::INT8)];
        let statement = format!(
            "DELETE FROM wellkept_maintenances WHERE service = $1 AND (until < {NOW} - 86400000000 OR id IN ( \
                SELECT id FROM wellkept_maintenances WHERE service = $1 AND ended_by IS NOT NULL \
                ORDER BY until DESC OFFSET $2))"
        );
        self.client().execute_typed(&statement, &parameters).await?;
        Ok(())
    }
}

fn maintenance(row: &Row) -> Result<Maintenance, PostgresError> {
    let origin: &str = row.try_get(6)?;
    let origin = MaintenanceOrigin::ALL.into_iter().find(|one| one.as_str() == origin);
    Ok(Maintenance {
        id: text(row, 0)?,
        component: optional(row, 1)?.map(Arc::from),
        reason: text(row, 2)?,
        author: text(row, 3)?,
        since: time(row, 4)?,
        until: time(row, 5)?,
        origin: origin.ok_or_else(PostgresError::unreadable)?,
    })
}

fn text(row: &Row, column: usize) -> Result<Arc<str>, PostgresError> {
    Ok(unescaped(row.try_get(column)?).as_ref().into())
}
