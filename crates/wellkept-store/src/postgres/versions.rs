//! Versions of the configuration, as rows of tables in PostgreSQL.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use wellkept_config::{Content, ContentHash, Kept, Part, StoreFault, Version, VersionId, VersionStore, forgotten};

use super::error::PostgresError;
use super::history::time;
use super::link::{Link, Parameter, Purpose, Session};
use super::text::{escaped, unescaped};
use super::{CALL, PostgresOptions};
use crate::rows;

/// The versions of the configuration of one instance of a service, in tables of PostgreSQL.
///
/// Each instance has versions of its own, numbered from 1, since each reads files of its own: what was rolled back from
/// on one is refused there alone, and found again under the instance's name. They are forgotten with the instance.
///
/// Blocks as [`PostgresStore`](super::PostgresStore) does, over a session of its own; the first call makes the tables. Two
/// processes of the same name, one of which takes over from the other, write one after the other. Contents are kept as
/// written, which may hold secrets: the tables are for the role that the service logs in as.
#[derive(Debug)]
pub struct PostgresVersions {
    link: Link,
}

impl PostgresVersions {
    /// Refuses options that can't be used. Connects to nothing.
    ///
    /// # Errors
    /// As [`PostgresStore::new`](super::PostgresStore::new).
    pub fn new(options: PostgresOptions) -> Result<Self, PostgresError> {
        Ok(Self { link: Link::new(Arc::new(options))? })
    }

    fn call<T>(&mut self, work: impl AsyncFnOnce(&mut Session) -> Result<T, PostgresError>) -> Result<T, StoreFault> {
        Ok(self.link.call(Purpose::Write, CALL, work)?)
    }
}

impl VersionStore for PostgresVersions {
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault> {
        self.call(async |session| {
            session.begin().await?;
            let id = session.add_version(version, content, keep).await?;
            session.commit().await?;
            Ok(id)
        })
    }

    fn versions(&mut self) -> Result<Vec<Version>, StoreFault> {
        self.call(async |session| session.versions().await)
    }

    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault> {
        match self.call(async |session| session.version_content(id).await)? {
            // A damaged row is not noticed by the server where only text stands in it.
            Some((hash, content)) if content.hash() != hash => {
                let problem = format!("the content of version {id} is not the one that was written");
                Err(PostgresError::Failed { code: "store.corrupt", problem }.into())
            }
            found => Ok(found.map(|(_, content)| content)),
        }
    }
}

/// What a version is read from, in the order that [`version`] expects.
const COLUMNS: &str = "id, at, brought_by, author, hash, outcome, returned_to, refuses";
/// The instance with the service's name $1 and its own, $2.
const INSTANCE: &str = "(SELECT id FROM wellkept_instances WHERE service = $1 AND instance = $2)";

impl Session {
    /// In a transaction, which keeps others of the same name out until it ends.
    async fn add_version(
        &mut self,
        version: &Version,
        content: Option<&Content>,
        keep: usize,
    ) -> Result<VersionId, PostgresError> {
        let options = Arc::clone(&self.options);
        let names: [Parameter<'_>; 2] =
            [(&escaped(&options.service), Type::TEXT), (&escaped(&options.instance), Type::TEXT)];
        let statement = "INSERT INTO wellkept_instances AS known (service, instance, seen) \
            VALUES ($1, $2, extract(epoch FROM now())::bigint) \
            ON CONFLICT (service, instance) DO UPDATE SET seen = excluded.seen RETURNING id";
        let instance: i64 = self.client().query_typed_one(statement, &names).await?.try_get(0)?;

        let newest =
            format!("SELECT {COLUMNS} FROM wellkept_config_versions WHERE instance = $1 ORDER BY id DESC LIMIT 1");
        let newest = self.client().query_typed_opt(&newest, &[(&instance, Type::INT8)]).await?;
        let newest = newest.as_ref().map(self::version).transpose()?;
        if let Some(newest) = newest.as_ref().filter(|newest| newest.is_same_attempt(version)) {
            return Ok(newest.id);
        }
        let id = newest.map_or(0, |newest| newest.id.0) + 1;
        self.insert_version(instance, number(id), version, content).await?;
        self.forget_versions(instance, keep).await?;
        Ok(VersionId(id))
    }

    async fn insert_version(
        &mut self,
        instance: i64,
        id: i64,
        version: &Version,
        content: Option<&Content>,
    ) -> Result<(), PostgresError> {
        let parameters: [Parameter<'_>; 11] = [
            (&instance, Type::INT8),
            (&id, Type::INT8),
            (&rows::microseconds(version.at), Type::INT8),
            (&version.trigger.as_str(), Type::TEXT),
            (&escaped(&version.author), Type::TEXT),
            (&version.hash.0.as_slice(), Type::BYTEA),
            (&version.outcome.as_str(), Type::TEXT),
            (&version.returned_to.map(|id| number(id.0)), Type::INT8),
            (&version.refuses.as_ref().map(|hash| hash.0.as_slice()), Type::BYTEA),
            (&content.is_some(), Type::BOOL),
            (&number(version.bytes(content)), Type::INT8),
        ];
        let statement = "INSERT INTO wellkept_config_versions \
            (instance, id, at, brought_by, author, hash, outcome, returned_to, refuses, has_content, bytes) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        self.client().execute_typed(statement, &parameters).await?;

        let parts = content.map_or(&[][..], |content| &content.parts);
        let names: Vec<Cow<'_, str>> = parts.iter().map(|part| escaped(&part.name)).collect();
        let texts: Vec<Cow<'_, str>> = parts.iter().map(|part| escaped(&part.text)).collect();
        let parameters: [Parameter<'_>; 4] =
            [(&instance, Type::INT8), (&id, Type::INT8), (&names, Type::TEXT_ARRAY), (&texts, Type::TEXT_ARRAY)];
        let statement = "INSERT INTO wellkept_config_files (instance, version, place, name, text) \
            SELECT $1, $2, part.place, part.name, part.text \
            FROM unnest($3, $4) WITH ORDINALITY AS part (name, text, place)";
        self.client().execute_typed(statement, &parameters).await?;

        let lines: Vec<Cow<'_, str>> = version.summary.iter().map(|line| escaped(line)).collect();
        let parameters: [Parameter<'_>; 3] = [(&instance, Type::INT8), (&id, Type::INT8), (&lines, Type::TEXT_ARRAY)];
        let statement = "INSERT INTO wellkept_config_summaries (instance, version, place, line) \
            SELECT $1, $2, summary.place, summary.line FROM unnest($3) WITH ORDINALITY AS summary (line, place)";
        self.client().execute_typed(statement, &parameters).await?;
        Ok(())
    }

    async fn forget_versions(&mut self, instance: i64, keep: usize) -> Result<(), PostgresError> {
        let statement = "SELECT id, outcome, bytes FROM wellkept_config_versions WHERE instance = $1 ORDER BY id DESC";
        let rows = self.client().query_typed(statement, &[(&instance, Type::INT8)]).await?;
        let kept = |row: &Row| {
            let outcome = rows::outcome(row.try_get(1)?).ok_or_else(PostgresError::unreadable)?;
            Ok(Kept { id: version_id(row.try_get(0)?)?, outcome, bytes: row.try_get::<_, i64>(2)?.unsigned_abs() })
        };
        let kept = rows.iter().map(kept).collect::<Result<Vec<_>, PostgresError>>()?;
        let gone: Vec<i64> = forgotten(&kept, keep).iter().map(|id| number(id.0)).collect();
        if !gone.is_empty() {
            let statement = "DELETE FROM wellkept_config_versions WHERE instance = $1 AND id = ANY($2)";
            let parameters: [Parameter<'_>; 2] = [(&instance, Type::INT8), (&gone, Type::INT8_ARRAY)];
            self.client().execute_typed(statement, &parameters).await?;
        }
        Ok(())
    }

    async fn versions(&mut self) -> Result<Vec<Version>, PostgresError> {
        let options = Arc::clone(&self.options);
        let names: [Parameter<'_>; 2] =
            [(&escaped(&options.service), Type::TEXT), (&escaped(&options.instance), Type::TEXT)];
        let statement = format!(
            "SELECT {COLUMNS}, ARRAY(SELECT line FROM wellkept_config_summaries AS summary \
                WHERE summary.instance = known.instance AND summary.version = known.id ORDER BY place) \
             FROM wellkept_config_versions AS known WHERE instance = {INSTANCE} ORDER BY id DESC"
        );
        let rows = self.client().query_typed(&statement, &names).await?;
        rows.iter().map(|row| Ok(Version { summary: texts(row, 8)?, ..version(row)? })).collect()
    }

    /// With the hash that it had when it was written.
    async fn version_content(&mut self, id: VersionId) -> Result<Option<(ContentHash, Content)>, PostgresError> {
        let options = Arc::clone(&self.options);
        let parameters: [Parameter<'_>; 3] = [
            (&escaped(&options.service), Type::TEXT),
            (&escaped(&options.instance), Type::TEXT),
            (&number(id.0), Type::INT8),
        ];
        let statement = format!(
            "SELECT hash, ARRAY(SELECT name FROM wellkept_config_files AS part \
                    WHERE part.instance = known.instance AND part.version = known.id ORDER BY place), \
                ARRAY(SELECT text FROM wellkept_config_files AS part \
                    WHERE part.instance = known.instance AND part.version = known.id ORDER BY place) \
             FROM wellkept_config_versions AS known WHERE instance = {INSTANCE} AND id = $3 AND has_content"
        );
        let Some(row) = self.client().query_typed_opt(&statement, &parameters).await? else { return Ok(None) };
        let parts = texts(&row, 1)?.into_iter().zip(texts(&row, 2)?);
        let content = Content { parts: parts.map(|(name, text)| Part { name, text }).collect() };
        Ok(Some((hash(row.try_get(0)?)?, content)))
    }
}

/// A row's version, without its summary.
fn version(row: &Row) -> Result<Version, PostgresError> {
    Ok(Version {
        id: version_id(row.try_get(0)?)?,
        at: SystemTime::from(time(row, 1)?),
        trigger: rows::trigger(row.try_get(2)?).ok_or_else(PostgresError::unreadable)?,
        author: unescaped(row.try_get(3)?).into_owned(),
        hash: hash(row.try_get(4)?)?,
        outcome: rows::outcome(row.try_get(5)?).ok_or_else(PostgresError::unreadable)?,
        returned_to: row.try_get::<_, Option<i64>>(6)?.map(version_id).transpose()?,
        refuses: row.try_get::<_, Option<&[u8]>>(7)?.map(hash).transpose()?,
        summary: Vec::new(),
    })
}

fn texts(row: &Row, column: usize) -> Result<Vec<String>, PostgresError> {
    let texts: Vec<&str> = row.try_get(column)?;
    Ok(texts.into_iter().map(|text| unescaped(text).into_owned()).collect())
}

fn hash(bytes: &[u8]) -> Result<ContentHash, PostgresError> {
    rows::content_hash(bytes).ok_or_else(PostgresError::unreadable)
}

fn version_id(id: i64) -> Result<VersionId, PostgresError> {
    u64::try_from(id).map(VersionId).map_err(|_negative| PostgresError::unreadable())
}

/// As the server keeps it. Larger ones are none that was given.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
