//! One session with a PostgreSQL server: how it is opened, and what is asked in it.

use futures_util::TryStreamExt;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::failure::Failure;
use super::server::Connection;

/// Ends the query given by the user; its first column's name is how the answers after it are recognised. Nothing in
/// it needs a right that could be missing.
const STATE: &str = "SELECT pg_catalog.pg_is_in_recovery() AS wellkept_in_recovery, \
                     pg_catalog.current_setting('max_connections')";
const STATE_COLUMN: &str = "wellkept_in_recovery";

/// Sessions of clients, and of these the ones whose state is not known: others' is hidden from users without
/// `pg_read_all_stats`, and nobody's is tracked with `track_activities` off. A server that only speaks like PostgreSQL
/// may not have the view.
const CONNECTIONS: &str = "SELECT count(*), count(*) FILTER (WHERE state IS NULL OR state = 'disabled'), \
                           count(*) FILTER (WHERE state IN ('active', 'fastpath function call')), \
                           count(*) FILTER (WHERE state = 'idle'), \
                           count(*) FILTER (WHERE state LIKE 'idle in transaction%') \
                           FROM pg_catalog.pg_stat_activity \
                           WHERE datid IS NOT NULL AND usesysid IS NOT NULL";

/// An open session. Dropping it closes the connection at once.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    counts_connections: bool,
}

/// What one round trip tells.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) version: Option<String>,
    pub(super) in_recovery: Option<bool>,
    pub(super) connections: Connections,
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) active: Option<u64>,
    pub(super) idle: Option<u64>,
    pub(super) idle_in_transaction: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) max: Option<u64>,
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, counts_connections: true }
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Asks the query and the readings in one message, so in one round trip.
    pub(super) async fn ask(&mut self, query: &str, deadline: Instant) -> Result<Readings, Failure> {
        // The message is one implicit transaction, and so is the reach of this setting: it is gone with it, also in a
        // connection that a pooler shares with others.
        let patience = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
        let counts = if self.counts_connections { CONNECTIONS } else { "" };
        // The line break ends a comment that the query may end with.
        let message = format!("SET LOCAL statement_timeout = {patience}; {query}\n; {STATE}; {counts}");
        match timeout_at(deadline, self.answer(&message)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Failure::Timeout("querying")),
        }
    }

    async fn answer(&mut self, message: &str) -> Result<Readings, Failure> {
        let version = self.connection.version().map(ToOwned::to_owned);
        let mut answers = std::pin::pin!(self.connection.client().simple_query_raw(message).await.map_err(Failure::Driver)?);
        let mut readings = Readings { version, ..Readings::default() };
        let mut part = Part::Query;
        loop {
            match answers.try_next().await {
                Ok(None) => return Ok(readings),
                Ok(Some(SimpleQueryMessage::RowDescription(columns))) => {
                    let is_state = columns.first().is_some_and(|column| column.name() == STATE_COLUMN);
                    part = part.next(is_state);
                }
                Ok(Some(SimpleQueryMessage::Row(row))) => readings.add(part, &row),
                Ok(Some(_)) => {}
                // The query has passed: what failed is only our counting, for want of rights or of the view.
                Err(error) if part == Part::State && is_unsupported(&error) => {
                    self.counts_connections = false;
                    return Ok(readings);
                }
                Err(error) => return Err(Failure::Driver(error)),
            }
        }
    }
}

/// Which part of the message the rows belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Query,
    State,
    Connections,
}

impl Part {
    fn next(self, is_state: bool) -> Self {
        match self {
            Self::Query if is_state => Self::State,
            Self::Query => Self::Query,
            Self::State | Self::Connections => Self::Connections,
        }
    }
}

impl Readings {
    fn add(&mut self, part: Part, row: &SimpleQueryRow) {
        let number = |column| row.try_get(column).ok().flatten()?.parse::<u64>().ok();
        match part {
            Part::Query => {}
            Part::State => {
                self.in_recovery = row.try_get(0).ok().flatten().map(|text| text == "t");
                self.connections.max = number(1);
            }
            Part::Connections => {
                self.connections.total = number(0);
                if number(1) == Some(0) {
                    self.connections.active = number(2);
                    self.connections.idle = number(3);
                    self.connections.idle_in_transaction = number(4);
                }
            }
        }
    }
}

/// Classes 42 (undefined, or not permitted) and 0A (not supported).
fn is_unsupported(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42") || code.code().starts_with("0A"))
}
