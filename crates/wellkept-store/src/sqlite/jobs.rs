//! What jobs have reported, as rows of the store's file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};
use wellkept_health::{HistoryError, JobRecord, JobStore};

use super::{SqliteStore, time, unreadable};
use crate::rows;

/// How exactly it is known since when a job is gone.
const SEEN: SignedDuration = SignedDuration::from_hours(1);

impl SqliteStore {
    fn exchange_jobs(&mut self, ours: &[JobRecord], now: Timestamp) -> rusqlite::Result<Vec<JobRecord>> {
        let known = self.read_jobs(ours)?;
        let mut holding = Vec::with_capacity(ours.len());
        let mut to_write = Vec::new();
        for record in ours {
            match known.get(&record.name) {
                Some((known, seen)) if !record.holds_over(known) => {
                    // A time that is to come is none of a clock that is right.
                    if now.duration_since(*seen).abs() > SEEN {
                        to_write.push(known);
                    }
                    holding.push(known.clone());
                }
                _ => {
                    to_write.push(record);
                    holding.push(record.clone());
                }
            }
        }
        if !to_write.is_empty() {
            self.write_jobs(&to_write, now)?;
        }
        Ok(holding)
    }

    /// What is known of these, with when they were last there.
    fn read_jobs(&self, ours: &[JobRecord]) -> rusqlite::Result<HashMap<Arc<str>, (JobRecord, Timestamp)>> {
        let query = "SELECT reports, since, ending, exit_code, took, began, seen FROM jobs WHERE name = ?1";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut known = HashMap::new();
        for JobRecord { name, .. } in ours {
            let found =
                statement.query_row([name], |row| Ok((record(name, row)?, time(6, row.get(6)?)?))).optional()?;
            known.extend(found.map(|found| (Arc::clone(name), found)));
        }
        Ok(known)
    }

    fn write_jobs(&mut self, records: &[&JobRecord], now: Timestamp) -> rusqlite::Result<()> {
        let now = now.as_microsecond();
        let kept = i64::try_from(JobRecord::KEPT.as_micros()).unwrap_or(i64::MAX);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO jobs (name, reports, since, ending, exit_code, took, began, seen) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for record in records {
            let JobRecord { name, reports, from, end, took, began } = record;
            let (ending, exit_code) = rows::ending(*end);
            let took = took.map(|took| i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
            let reports = i64::try_from(*reports).unwrap_or(i64::MAX);
            let began = began.map(Timestamp::as_microsecond);
            insert.execute(params![name, reports, from.as_microsecond(), ending, exit_code, took, began, now])?;
        }
        drop(insert);
        transaction.prepare_cached("DELETE FROM jobs WHERE seen < ?1")?.execute([now.saturating_sub(kept)])?;
        transaction
            .prepare_cached(
                "DELETE FROM jobs WHERE name IN (SELECT name FROM jobs ORDER BY seen DESC LIMIT -1 OFFSET ?1)",
            )?
            .execute([JobRecord::MOST])?;
        transaction.commit()
    }
}

impl JobStore for SqliteStore {
    fn exchange(&mut self, ours: &[JobRecord]) -> Result<Vec<JobRecord>, HistoryError> {
        self.exchange_jobs(ours, Timestamp::now()).map_err(|error| self.error(error))
    }
}

fn record(name: &Arc<str>, row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    let ending: Option<String> = row.get(2)?;
    let exit_code = row.get(3)?;
    let end = ending.map(|word| rows::job_end(&word, exit_code).ok_or_else(|| unreadable(2))).transpose()?;
    let took: Option<u64> = row.get(4)?;
    Ok(JobRecord {
        name: Arc::clone(name),
        reports: row.get(0)?,
        from: time(1, row.get(1)?)?,
        end,
        took: took.map(Duration::from_micros),
        began: row.get::<_, Option<i64>>(5)?.map(|began| time(5, began)).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> JobRecord {
        JobRecord { name: name.into(), reports: 0, from: at(0), end: None, took: None, began: None }
    }

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(day * 24 * 3600).unwrap()
    }

    fn names(store: &SqliteStore) -> Vec<String> {
        let mut statement = store.connection.prepare("SELECT name FROM jobs ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_job_that_is_there_is_remembered_and_one_that_is_gone_for_long_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("wellkept.db")).unwrap();
        store.exchange_jobs(&[record("gone"), record("kept")], at(0)).unwrap();
        for day in 1..=31 {
            store.exchange_jobs(&[record("kept")], at(day)).unwrap();
        }
        assert_eq!(names(&store), ["gone", "kept"]);
        let known = store.exchange_jobs(&[record("kept")], at(32)).unwrap();
        assert_eq!((names(&store), known), (vec!["kept".to_owned()], vec![record("kept")]));
    }

    #[test]
    fn no_more_jobs_are_remembered_than_may_be_and_the_longest_gone_is_forgotten_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("wellkept.db")).unwrap();
        let numbered = |from: usize| (from..from + JobRecord::MOST).map(|number| record(&number.to_string()));
        store.exchange_jobs(&numbered(0).collect::<Vec<_>>(), at(0)).unwrap();
        store.exchange_jobs(&numbered(10_000).collect::<Vec<_>>(), at(1)).unwrap();
        let left = names(&store);
        assert_eq!(left.len(), JobRecord::MOST);
        assert!(!left.contains(&"9999".to_owned()) && left.contains(&"10000".to_owned()));
    }
}
