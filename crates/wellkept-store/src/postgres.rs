//! The store that several instances share: tables in PostgreSQL.

mod error;
mod history;
mod jobs;
mod link;
mod maintenances;
mod schema;
mod text;
mod tiers;
mod versions;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use wellkept_checks::postgres::Server;
use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{HistoryError, HistoryStore, Record, RunResult, StatusChange, Sweep, Swept};

pub use self::error::PostgresError;
use self::history::Doubt;
pub use self::jobs::PostgresJobs;
use self::link::{Link, Purpose};
pub use self::maintenances::PostgresMaintenances;
pub use self::versions::PostgresVersions;
use crate::Limits;

/// How long one call may take beyond opening a session, which may take two seconds.
const CALL: Duration = Duration::from_secs(3);
/// And for each part of a minute in it: after an outage there are many at once.
const PART: Duration = Duration::from_micros(500);
/// The same for a sweep, which removes some thousand rows.
const SWEEP: Duration = Duration::from_secs(10);

/// Where a store in PostgreSQL is, and whose.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The server, as [`wellkept_checks::postgres`] describes URLs; a secret, as it may hold a password.
    pub url: SecretString,
    /// The schema that the tables are in, made when it is not there. Default `wellkept`.
    pub schema: String,
    /// The service, which shares its maintenances and what its jobs report. At most 200 bytes.
    pub service: String,
    /// Which of the service's instances this is: each has a history of its own, and finds it again by this name after a
    /// restart. At most 200 bytes.
    pub instance: String,
    /// How much is kept of each component.
    pub limits: Limits,
}

impl PostgresOptions {
    /// The schema that is used unless another is named.
    pub const SCHEMA: &str = "wellkept";

    /// With the default schema and limits.
    pub fn new(url: impl Into<SecretString>, service: impl Into<String>, instance: impl Into<String>) -> Self {
        let (schema, limits) = (Self::SCHEMA.to_owned(), Limits::default());
        Self { url: url.into(), schema, service: service.into(), instance: instance.into(), limits }
    }

    /// Refuses what can't be used. Connects to nothing.
    ///
    /// # Errors
    /// [`PostgresError::Invalid`], which shows nothing of the URL.
    pub fn validate(&self) -> Result<(), PostgresError> {
        self.check().map(drop)
    }

    fn check(&self) -> Result<Server, PostgresError> {
        const LONGEST: usize = 200;
        let invalid = |option, problem: &str| PostgresError::Invalid { option, problem: problem.to_owned() };
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins_well = self.schema.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        if !begins_well || self.schema.len() > 63 || !self.schema.bytes().all(is_word) || self.schema.starts_with("pg_")
        {
            let problem = "expected lower-case letters, digits and _, at most 63, not beginning with a digit or `pg_`";
            return Err(invalid("schema", problem));
        }
        for (option, name) in [("service", &self.service), ("instance", &self.instance)] {
            if name.is_empty() || name.len() > LONGEST {
                return Err(invalid(option, "its name must have from 1 to 200 bytes"));
            }
        }
        Server::parse(self.url.expose_secret()).map_err(|error| invalid("url", &error.message))
    }
}

/// The history of one instance of a service, in tables of PostgreSQL that other instances and services use too.
///
/// Nothing is connected to before the first call. Every method blocks, for a few seconds at most when the server does
/// not answer, and opens a session again after any failure; after one it says the same for a second without asking. The
/// session is the server's own: a pooler in between must not share it among clients ("transaction mode").
///
/// One process writes under the name of an instance. Another one with the same name is refused with
/// [`PostgresError::InUse`] until that one's session has ended, which the server sees when the process does. A batch is
/// written whole or not at all, also when the connection breaks just then: whether it was is asked of the server before
/// anything else is written.
///
/// It keeps what [`SqliteStore`](crate::SqliteStore) does, within the same bounds, for each instance. Instances of the
/// service that are gone for longer than the retention, or that are more than a hundred, the longest gone first, are
/// forgotten with all they have. Not for use on a thread of an asynchronous runtime. PostgreSQL 13 or later.
#[derive(Debug)]
pub struct PostgresStore {
    link: Link,
    limits: Limits,
    /// Whether what an earlier process left was seen to.
    taken_over: bool,
    records: Option<Doubt<Record>>,
    minutes: Option<Doubt<MinutePart>>,
}

impl PostgresStore {
    /// Refuses options that can't be used. Connects to nothing.
    ///
    /// # Errors
    /// [`PostgresError::Invalid`], or when there are no threads or descriptors left.
    pub fn new(options: PostgresOptions) -> Result<Self, PostgresError> {
        let limits = options.limits;
        let link = Link::new(Arc::new(options))?;
        Ok(Self { link, limits, taken_over: false, records: None, minutes: None })
    }
}

impl HistoryStore for PostgresStore {
    fn append(&mut self, records: &[Record]) -> Result<(), HistoryError> {
        let Self { link, limits, taken_over, records: doubt, .. } = self;
        Ok(link.call(Purpose::Write, CALL, async |session| {
            session.take_over(taken_over).await?;
            let records = session.left(doubt, records).await?;
            session.append(records, *limits, doubt).await
        })?)
    }

    fn changes(&mut self, component: Option<&str>, limit: usize) -> Result<Vec<StatusChange>, HistoryError> {
        Ok(self.link.call(Purpose::Read, CALL, async |session| session.changes(component, limit).await)?)
    }

    fn results(&mut self, component: &str, limit: usize) -> Result<Vec<RunResult>, HistoryError> {
        Ok(self.link.call(Purpose::Read, CALL, async |session| session.results(component, limit).await)?)
    }

    fn keep_time(&mut self, over: &[MinutePart], open: &[MinutePart]) -> Result<(), HistoryError> {
        let Self { link, taken_over, minutes: doubt, .. } = self;
        let patience = CALL + PART * u32::try_from(over.len() + open.len()).unwrap_or(u32::MAX);
        Ok(link.call(Purpose::Write, patience, async |session| {
            session.take_over(taken_over).await?;
            let over = session.left(doubt, over).await?;
            session.keep_time(over, open, doubt).await
        })?)
    }

    fn buckets(
        &mut self,
        component: &str,
        tier: Tier,
        slots: RangeInclusive<i64>,
    ) -> Result<Vec<(i64, Bucket)>, HistoryError> {
        Ok(self.link.call(Purpose::Read, CALL, async |session| session.buckets(component, tier, slots).await)?)
    }

    fn slots(&self, tier: Tier) -> i64 {
        tier.slots()
    }

    fn forget(&mut self, sweep: &Sweep) -> Result<Swept, HistoryError> {
        let Self { link, taken_over, .. } = self;
        Ok(link.call(Purpose::Write, SWEEP, async |session| {
            session.take_over(taken_over).await?;
            session.forget(sweep).await
        })?)
    }
}

#[cfg(test)]
mod tests;
