//! Changes and results as rows, and what becomes of a batch whose end nobody has heard.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use wellkept_health::{Record, RunResult, Status, StatusChange};

use super::error::PostgresError;
use super::link::{Parameter, Session};
use super::text::{escaped, unescaped};
use crate::rows::{self, Limits, PRUNE_BATCH, row_limit};

/// What stands for the whole service where a component's id does.
const SERVICE: i64 = 0;

/// A batch that was to be written and of which nobody has heard that it is.
#[derive(Debug)]
pub(super) struct Doubt<T> {
    /// The server's number of the transaction.
    pub(super) transaction: String,
    /// The last of the batch.
    pub(super) last: T,
}

impl Session {
    /// What is left to write of `all`, which begins with what is left of a batch in doubt: without that, if it was
    /// written. The session holds the instance, so that no other one can still be writing it.
    pub(super) async fn left<'a, T: PartialEq>(
        &mut self,
        doubt: &mut Option<Doubt<T>>,
        all: &'a [T],
    ) -> Result<&'a [T], PostgresError> {
        let Some(open) = doubt else { return Ok(all) };
        let statement = "SELECT pg_xact_status($1::text::xid8)";
        let answer = self.client().query_typed_one(statement, &[(&open.transaction, Type::TEXT)]).await;
        let state: Option<String> = match answer {
            Ok(row) => row.try_get(0)?,
            // A server that took over from the one that was asked, and has not come so far.
            Err(error) if error.as_db_error().is_some() => None,
            Err(error) => return Err(error.into()),
        };
        let written = match state.as_deref() {
            Some("committed") => all.iter().position(|one| *one == open.last).map_or(0, |place| place + 1),
            Some("in progress") => return Err(PostgresError::timeout("waiting for the batch before")),
            _ => 0,
        };
        *doubt = None;
        Ok(&all[written..])
    }

    /// Commits, in doubt until the server has said so.
    pub(super) async fn commit_batch<T: Clone>(
        &mut self,
        doubt: &mut Option<Doubt<T>>,
        last: Option<&T>,
    ) -> Result<(), PostgresError> {
        let row = self.client().query_typed_one("SELECT pg_current_xact_id()::text", &[]).await?;
        let transaction = row.try_get(0)?;
        *doubt = last.map(|last| Doubt { transaction, last: last.clone() });
        self.commit().await?;
        *doubt = None;
        Ok(())
    }

    pub(super) async fn append(
        &mut self,
        records: &[Record],
        limits: Limits,
        doubt: &mut Option<Doubt<Record>>,
    ) -> Result<(), PostgresError> {
        if records.is_empty() {
            return Ok(());
        }
        self.begin().await?;
        let named = records.iter().filter_map(|record| match record {
            Record::Result(result) => Some(&result.component),
            Record::Change(change) => change.component.as_ref(),
        });
        self.know(named).await?;
        let (mut results, mut changes) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Result(result) => results.push(result),
                Record::Change(change) => changes.push(change),
            }
        }
        let batch = PRUNE_BATCH.max(records.len() as u64);
        self.add_results(&results).await?;
        self.add_changes(&changes).await?;
        self.prune(limits, batch).await?;
        self.commit_batch(doubt, records.last()).await
    }

    async fn add_results(&mut self, results: &[&RunResult]) -> Result<(), PostgresError> {
        if results.is_empty() {
            return Ok(());
        }
        let components: Vec<i64> = results.iter().map(|result| self.id(&result.component)).collect();
        self.count_results(&components).await?;
        let verdicts: Vec<&str> = results.iter().map(|result| result.verdict.as_str()).collect();
        let reasons: Vec<_> = results.iter().map(|result| result.reason.as_deref().map(escaped)).collect();
        // As in SQLite, which keeps no NaN.
        let finite = |time: f64| if time.is_finite() { time } else { 0.0 };
        let times: Vec<f64> = results.iter().map(|result| finite(result.response_time_ms)).collect();
        let at: Vec<i64> = results.iter().map(|result| result.at.as_microsecond()).collect();
        let statement = "INSERT INTO wellkept_results (component, verdict, reason, response_time_ms, at) \
            SELECT * FROM unnest($1, $2, $3, $4, $5)";
        self.client()
            .execute_typed(
                statement,
                &[
                    (&components, Type::INT8_ARRAY),
                    (&verdicts, Type::TEXT_ARRAY),
                    (&reasons, Type::TEXT_ARRAY),
                    (&times, Type::FLOAT8_ARRAY),
                    (&at, Type::INT8_ARRAY),
                ],
            )
            .await?;
        for component in components {
            *self.results.entry(component).or_default() += 1;
        }
        Ok(())
    }

    async fn add_changes(&mut self, changes: &[&StatusChange]) -> Result<(), PostgresError> {
        if changes.is_empty() {
            return Ok(());
        }
        let instance = self.hold().await?;
        let id = |change: &&StatusChange| change.component.as_ref().map_or(SERVICE, |name| self.id(name));
        let components: Vec<i64> = changes.iter().map(id).collect();
        self.count_changes(instance, &components).await?;
        let from: Vec<_> = changes.iter().map(|change| change.from.map(Status::as_str)).collect();
        let to: Vec<_> = changes.iter().map(|change| change.to.as_str()).collect();
        let reasons: Vec<_> = changes.iter().map(|change| change.reason.as_deref().map(escaped)).collect();
        let messages: Vec<_> = changes.iter().map(|change| escaped(&change.message)).collect();
        let causes: Vec<_> = changes.iter().map(|change| change.caused_by.as_deref().map(escaped)).collect();
        let details: Vec<_> = changes.iter().map(|change| change.detail.as_deref().map(escaped)).collect();
        let at: Vec<i64> = changes.iter().map(|change| change.at.as_microsecond()).collect();
        let statement = "INSERT INTO wellkept_changes \
            (instance, component, from_status, to_status, reason, message, caused_by, detail, at) \
            SELECT $1, * FROM unnest($2, $3, $4, $5, $6, $7, $8, $9)";
        self.client()
            .execute_typed(
                statement,
                &[
                    (&instance, Type::INT8),
                    (&components, Type::INT8_ARRAY),
                    (&from, Type::TEXT_ARRAY),
                    (&to, Type::TEXT_ARRAY),
                    (&reasons, Type::TEXT_ARRAY),
                    (&messages, Type::TEXT_ARRAY),
                    (&causes, Type::TEXT_ARRAY),
                    (&details, Type::TEXT_ARRAY),
                    (&at, Type::INT8_ARRAY),
                ],
            )
            .await?;
        for component in components {
            *self.changes.entry(component).or_default() += 1;
        }
        Ok(())
    }

    /// Removes the oldest beyond the limits.
    async fn prune(&mut self, limits: Limits, batch: u64) -> Result<(), PostgresError> {
        let (components, surplus) = surplus(&mut self.results, limits.results, batch);
        if !components.is_empty() {
            let statement = "DELETE FROM wellkept_results WHERE id IN ( \
                SELECT oldest.id FROM unnest($1, $2) AS full_one (component, surplus), LATERAL ( \
                SELECT id FROM wellkept_results WHERE component = full_one.component ORDER BY id \
                LIMIT full_one.surplus) AS oldest)";
            let parameters: [Parameter<'_>; 2] = [(&components, Type::INT8_ARRAY), (&surplus, Type::INT8_ARRAY)];
            self.client().execute_typed(statement, &parameters).await?;
        }
        let (components, surplus) = self::surplus(&mut self.changes, limits.changes, batch);
        if !components.is_empty() {
            let instance = self.hold().await?;
            let statement = "DELETE FROM wellkept_changes WHERE id IN ( \
                SELECT oldest.id FROM unnest($1, $2) AS full_one (component, surplus), LATERAL ( \
                SELECT id FROM wellkept_changes WHERE instance = $3 AND component = full_one.component ORDER BY id \
                LIMIT full_one.surplus) AS oldest)";
            let parameters: [Parameter<'_>; 3] =
                [(&components, Type::INT8_ARRAY), (&surplus, Type::INT8_ARRAY), (&instance, Type::INT8)];
            self.client().execute_typed(statement, &parameters).await?;
        }
        Ok(())
    }

    /// Counts the rows of the components that were not counted in this session yet.
    async fn count_results(&mut self, components: &[i64]) -> Result<(), PostgresError> {
        let new = uncounted(&self.results, components);
        if new.is_empty() {
            return Ok(());
        }
        let statement = "SELECT component, count(*) FROM wellkept_results WHERE component = ANY($1) GROUP BY component";
        let rows = self.client().query_typed(statement, &[(&new, Type::INT8_ARRAY)]).await?;
        take_counts(&mut self.results, &new, &rows)
    }

    async fn count_changes(&mut self, instance: i64, components: &[i64]) -> Result<(), PostgresError> {
        let new = uncounted(&self.changes, components);
        if new.is_empty() {
            return Ok(());
        }
        let statement = "SELECT component, count(*) FROM wellkept_changes \
            WHERE instance = $1 AND component = ANY($2) GROUP BY component";
        let parameters: [Parameter<'_>; 2] = [(&instance, Type::INT8), (&new, Type::INT8_ARRAY)];
        let rows = self.client().query_typed(statement, &parameters).await?;
        take_counts(&mut self.changes, &new, &rows)
    }

    /// Makes sure that all these names have an id, which they are given at their first record.
    pub(super) async fn know<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n Arc<str>>,
    ) -> Result<(), PostgresError> {
        let new: BTreeSet<&Arc<str>> = names.into_iter().filter(|name| !self.components.contains_key(*name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let instance = self.hold().await?;
        let names: BTreeMap<_, _> = new.into_iter().map(|name| (escaped(name).into_owned(), name)).collect();
        let written: Vec<&String> = names.keys().collect();
        let parameters: [Parameter<'_>; 2] = [(&instance, Type::INT8), (&written, Type::TEXT_ARRAY)];
        let statement = "INSERT INTO wellkept_components (instance, name) SELECT $1, unnest($2) \
            ON CONFLICT (instance, name) DO NOTHING";
        self.client().execute_typed(statement, &parameters).await?;
        let statement = "SELECT id, name FROM wellkept_components WHERE instance = $1 AND name = ANY($2)";
        for row in self.client().query_typed(statement, &parameters).await? {
            if let Some(name) = names.get(row.try_get::<_, &str>(1)?) {
                self.components.insert(Arc::clone(name), row.try_get(0)?);
            }
        }
        Ok(())
    }

    /// The id of a name that is known.
    pub(super) fn id(&self, name: &Arc<str>) -> i64 {
        *self.components.get(name).expect("`know` was asked for it")
    }

    pub(super) async fn known_component(&mut self, name: &str) -> Result<Option<i64>, PostgresError> {
        if let Some(id) = self.components.get(name) {
            return Ok(Some(*id));
        }
        let Some(instance) = self.known_instance().await? else { return Ok(None) };
        let statement = "SELECT id FROM wellkept_components WHERE instance = $1 AND name = $2";
        let parameters: [Parameter<'_>; 2] = [(&instance, Type::INT8), (&escaped(name), Type::TEXT)];
        let row = self.client().query_typed_opt(statement, &parameters).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    pub(super) async fn changes(
        &mut self,
        component: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StatusChange>, PostgresError> {
        let Some(instance) = self.known_instance().await? else { return Ok(Vec::new()) };
        let of = match component {
            Some(name) => match self.known_component(name).await? {
                Some(id) => Some(id),
                None => return Ok(Vec::new()),
            },
            None => None,
        };
        let only = if of.is_some() { "AND changes.component = $3" } else { "AND $3::bigint IS NULL" };
        let statement = format!(
            "SELECT components.name, from_status, to_status, reason, message, caused_by, detail, at \
             FROM wellkept_changes AS changes \
             LEFT JOIN wellkept_components AS components ON components.id = changes.component \
             WHERE changes.instance = $1 {only} ORDER BY changes.id DESC LIMIT $2"
        );
        let parameters: [Parameter<'_>; 3] =
            [(&instance, Type::INT8), (&row_limit(limit), Type::INT8), (&of, Type::INT8)];
        self.client().query_typed(&statement, &parameters).await?.iter().map(change).collect()
    }

    pub(super) async fn results(&mut self, name: &str, limit: usize) -> Result<Vec<RunResult>, PostgresError> {
        let Some(component) = self.known_component(name).await? else { return Ok(Vec::new()) };
        let statement = "SELECT verdict, reason, response_time_ms, at FROM wellkept_results \
            WHERE component = $1 ORDER BY id DESC LIMIT $2";
        let parameters: [Parameter<'_>; 2] = [(&component, Type::INT8), (&row_limit(limit), Type::INT8)];
        let name: Arc<str> = name.into();
        let read = |row: &Row| {
            Ok(RunResult {
                component: Arc::clone(&name),
                verdict: rows::verdict(row.try_get(0)?).ok_or_else(PostgresError::unreadable)?,
                reason: optional(row, 1)?,
                response_time_ms: row.try_get(2)?,
                at: time(row, 3)?,
            })
        };
        self.client().query_typed(statement, &parameters).await?.iter().map(read).collect()
    }
}

fn change(row: &Row) -> Result<StatusChange, PostgresError> {
    let status = |word: &str| rows::status(word).ok_or_else(PostgresError::unreadable);
    Ok(StatusChange {
        component: optional(row, 0)?.map(Arc::from),
        from: row.try_get::<_, Option<&str>>(1)?.map(status).transpose()?,
        to: status(row.try_get(2)?)?,
        reason: optional(row, 3)?,
        message: unescaped(row.try_get(4)?).into_owned(),
        caused_by: optional(row, 5)?.map(Arc::from),
        detail: optional(row, 6)?,
        at: time(row, 7)?,
    })
}

pub(super) fn optional(row: &Row, column: usize) -> Result<Option<String>, PostgresError> {
    Ok(row.try_get::<_, Option<&str>>(column)?.map(|text| unescaped(text).into_owned()))
}

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, PostgresError> {
    Timestamp::from_microsecond(row.try_get(column)?).map_err(|_| PostgresError::unreadable())
}

fn uncounted(counts: &HashMap<i64, u64>, components: &[i64]) -> Vec<i64> {
    let new: BTreeSet<i64> = components.iter().copied().filter(|component| !counts.contains_key(component)).collect();
    new.into_iter().collect()
}

fn take_counts(counts: &mut HashMap<i64, u64>, new: &[i64], rows: &[Row]) -> Result<(), PostgresError> {
    counts.extend(new.iter().map(|component| (*component, 0)));
    for row in rows {
        counts.insert(row.try_get(0)?, u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or(0));
    }
    Ok(())
}

/// Who has more than the limit, and how many are to go; counted as gone.
fn surplus(counts: &mut HashMap<i64, u64>, limit: u64, batch: u64) -> (Vec<i64>, Vec<i64>) {
    let full = counts.iter_mut().filter(|(_, count)| **count > limit);
    full.map(|(component, count)| {
        let surplus = (*count - limit).min(batch);
        *count -= surplus;
        (*component, i64::try_from(surplus).unwrap_or(i64::MAX))
    })
    .unzip()
}
