//! What jobs have reported, as rows that all instances of a service share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use wellkept_health::{HistoryError, JobRecord, JobStore};

use super::error::PostgresError;
use super::history::time;
use super::link::{Link, Parameter, Purpose, Session};
use super::maintenances::NOW;
use super::text::{escaped, unescaped};
use super::{CALL, PostgresOptions};
use crate::rows;

/// How often it is told which jobs are still there, and what is long gone is removed.
const CLEAN_UP: Duration = Duration::from_secs(3600);

/// What the jobs of a service have reported, shared by its instances through tables of PostgreSQL.
///
/// Blocks as [`PostgresStore`](super::PostgresStore) does, over a session of its own. Which instance a report reached
/// makes no difference, so that two of the same name share them too.
#[derive(Debug)]
pub struct PostgresJobs {
    link: Link,
    /// What the rows are known to have, so that only news is written.
    known: HashMap<Arc<str>, JobRecord>,
    clean_up_at: Instant,
}

impl PostgresJobs {
    /// Refuses options that can't be used. Connects to nothing.
    ///
    /// # Errors
    /// As [`PostgresStore::new`](super::PostgresStore::new).
    pub fn new(options: PostgresOptions) -> Result<Self, PostgresError> {
        let link = Link::new(Arc::new(options))?;
        Ok(Self { link, known: HashMap::new(), clean_up_at: Instant::now() })
    }
}

impl JobStore for PostgresJobs {
    fn exchange(&mut self, ours: &[JobRecord]) -> Result<Vec<JobRecord>, HistoryError> {
        let is_news = |one: &&JobRecord| self.known.get(&one.name).is_none_or(|known| one.holds_over(known));
        let mut news: Vec<&JobRecord> = ours.iter().filter(is_news).collect();
        // In one order everywhere, so that no two of them wait for each other's rows.
        news.sort_by(|one, other| one.name.cmp(&other.name));
        let clean_up = self.clean_up_at <= Instant::now();
        let known = self.link.call(Purpose::Write, CALL, async |session| {
            if !news.is_empty() {
                session.tell_jobs(&news).await?;
            }
            if clean_up {
                session.clean_up_jobs(ours).await?;
            }
            session.jobs(ours).await
        })?;
        if clean_up {
            self.clean_up_at = Instant::now() + CLEAN_UP;
        }
        self.known = known.iter().map(|one| (Arc::clone(&one.name), one.clone())).collect();
        Ok(known)
    }
}

impl Session {
    /// Keeps what holds over what the rows have.
    async fn tell_jobs(&mut self, news: &[&JobRecord]) -> Result<(), PostgresError> {
        let options = Arc::clone(&self.options);
        let names: Vec<_> = news.iter().map(|one| escaped(&one.name)).collect();
        let reports: Vec<_> = news.iter().map(|one| i64::try_from(one.reports).unwrap_or(i64::MAX)).collect();
        let since: Vec<_> = news.iter().map(|one| one.from.as_microsecond()).collect();
        let (endings, codes): (Vec<_>, Vec<_>) = news.iter().map(|one| rows::ending(one.end)).unzip();
        let took = |one: &&JobRecord| one.took.map(|took| i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
        let took: Vec<_> = news.iter().map(took).collect();
        let began: Vec<_> = news.iter().map(|one| one.began.map(Timestamp::as_microsecond)).collect();
        let parameters: [Parameter<'_>; 8] = [
            (&escaped(&options.service), Type::TEXT),
            (&names, Type::TEXT_ARRAY),
            (&reports, Type::INT8_ARRAY),
            (&since, Type::INT8_ARRAY),
            (&endings, Type::TEXT_ARRAY),
            (&codes, Type::INT4_ARRAY),
            (&took, Type::INT8_ARRAY),
            (&began, Type::INT8_ARRAY),
        ];
        // The rule is that of `JobRecord::holds_over`, decided here, where two that tell at once wait for each other.
        let statement = format!(
            "INSERT INTO wellkept_jobs AS known (service, name, reports, since, ending, exit_code, took, began, seen) \
             SELECT $1, told.*, {NOW} FROM unnest($2, $3, $4, $5, $6, $7, $8) AS told \
             ON CONFLICT (service, name) DO UPDATE SET (reports, since, ending, exit_code, took, began, seen) = \
                (excluded.reports, excluded.since, excluded.ending, excluded.exit_code, excluded.took, excluded.began, \
                 excluded.seen) \
             WHERE excluded.reports > known.reports OR (excluded.reports = known.reports AND CASE known.reports \
                WHEN 0 THEN excluded.since < known.since \
                ELSE greatest(excluded.since, excluded.began) > greatest(known.since, known.began) END)"
        );
        self.client().execute_typed(&statement, &parameters).await?;
        Ok(())
    }

    /// What holds of each of these.
    async fn jobs(&mut self, ours: &[JobRecord]) -> Result<Vec<JobRecord>, PostgresError> {
        let options = Arc::clone(&self.options);
        let names: Vec<_> = ours.iter().map(|one| escaped(&one.name)).collect();
        let parameters: [Parameter<'_>; 2] = [(&escaped(&options.service), Type::TEXT), (&names, Type::TEXT_ARRAY)];
        let statement = "SELECT name, reports, since, ending, exit_code, took, began FROM wellkept_jobs \
            WHERE service = $1 AND name = ANY($2)";
        self.client().query_typed(statement, &parameters).await?.iter().map(record).collect()
    }

    /// Says of these that they are there, and forgets who is long gone.
    async fn clean_up_jobs(&mut self, ours: &[JobRecord]) -> Result<(), PostgresError> {
        let options = Arc::clone(&self.options);
        let service = escaped(&options.service);
        let names: Vec<_> = ours.iter().map(|one| escaped(&one.name)).collect();
        let parameters: [Parameter<'_>; 2] = [(&service, Type::TEXT), (&names, Type::TEXT_ARRAY)];
        // What another instance is about to write is there anyway: nobody waits for it, nor it for this one.
        let statement = format!(
            "UPDATE wellkept_jobs SET seen = {NOW} WHERE (service, name) IN ( \
                SELECT service, name FROM wellkept_jobs WHERE service = $1 AND name = ANY($2) \
                FOR UPDATE SKIP LOCKED)"
        );
        self.client().execute_typed(&statement, &parameters).await?;
        let kept = i64::try_from(JobRecord::KEPT.as_micros()).unwrap_or(i64::MAX);
        let most = i64::try_from(JobRecord::MOST).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 3] = [(&service, Type::TEXT), (&kept, Type::INT8), (&most, Type::INT8)];
        let statement = format!(
            "DELETE FROM wellkept_jobs WHERE service = $1 AND (seen < {NOW} - $2 OR name IN ( \
                SELECT name FROM wellkept_jobs WHERE service = $1 ORDER BY seen DESC, name OFFSET $3))"
        );
        self.client().execute_typed(&statement, &parameters).await?;
        Ok(())
    }
}

fn record(row: &Row) -> Result<JobRecord, PostgresError> {
    let reports: i64 = row.try_get(1)?;
    let (ending, exit_code): (Option<&str>, _) = (row.try_get(3)?, row.try_get(4)?);
    let end = ending.map(|word| rows::job_end(word, exit_code).ok_or_else(PostgresError::unreadable)).transpose()?;
    let took: Option<i64> = row.try_get(5)?;
    let began: Option<i64> = row.try_get(6)?;
    Ok(JobRecord {
        name: unescaped(row.try_get(0)?).as_ref().into(),
        reports: u64::try_from(reports).unwrap_or(0),
        from: time(row, 2)?,
        end,
        took: took.map(|took| Duration::from_micros(u64::try_from(took).unwrap_or(0))),
        began: began.map(|_| time(row, 6)).transpose()?,
    })
}
