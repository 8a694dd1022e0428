//! One session with a PostgreSQL server: how it is opened, and what is asked in it.

use futures_util::TryStreamExt;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::failure::Failure;
use super::server::Connection;
use crate::findings::Found;

/// Ends the query given by the user; its first column's name is how the answers after it are recognised. Nothing in
/// it needs a right that could be missing.
const STATE: &str = "SELECT pg_catalog.pg_is_in_recovery() AS wellkept_in_recovery, \
                     pg_catalog.current_setting('max_connections'), \
                     pg_catalog.current_setting('superuser_reserved_connections', true), \
                     pg_catalog.current_setting('reserved_connections', true), \
                     pg_catalog.current_setting('default_transaction_read_only')";
const STATE_COLUMN: &str = "wellkept_in_recovery";

/// Sessions of clients, and of these the ones whose state is not known: others' is hidden from users without
/// `pg_read_all_stats`, and nobody's is tracked with `track_activities` off. A server that only speaks like PostgreSQL
/// may not have the view. A transaction that was prepared holds what an open one does, and belongs to no session.
const CONNECTIONS: &str = "SELECT count(*), count(*) FILTER (WHERE state IS NULL OR state = 'disabled'), \
                           count(*) FILTER (WHERE state IN ('active', 'fastpath function call')), \
                           count(*) FILTER (WHERE state = 'idle'), \
                           count(*) FILTER (WHERE state LIKE 'idle in transaction%'), \
                           extract(epoch FROM greatest( \
                             max(clock_timestamp() - xact_start) FILTER (WHERE pid <> pg_catalog.pg_backend_pid()), \
                             (SELECT max(clock_timestamp() - prepared) FROM pg_catalog.pg_prepared_xacts))), \
                           extract(epoch FROM max(clock_timestamp() - state_change) \
                             FILTER (WHERE state LIKE 'idle in transaction%')) \
                           FROM pg_catalog.pg_stat_activity \
                           WHERE datid IS NOT NULL AND usesysid IS NOT NULL";

/// What a replica has still to replay, and how far its own replicas are behind a server. The receiver's row is there for
/// everyone, if it is connected; of a server's replicas, the figures are hidden without `pg_read_all_stats`, their number
/// is not. What was replayed last may be old because nothing was written since: only what was received and not replayed
/// is late, or anything at all when nothing is received.
const REPLICATION: &str = "SELECT receiving, \
                           CASE WHEN standby THEN CASE WHEN receiving AND received <= replayed THEN 0 ELSE \
                             extract(epoch FROM clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) END END, \
                           CASE WHEN standby THEN pg_catalog.pg_wal_lsn_diff(received, replayed) END, \
                           replicas, visible, extract(epoch FROM slowest), \
                           pg_catalog.pg_wal_lsn_diff( \
                             CASE WHEN standby THEN received ELSE pg_catalog.pg_current_wal_lsn() END, furthest) \
                           FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby, \
                             EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE pid IS NOT NULL) AS receiving, \
                             pg_catalog.pg_last_wal_receive_lsn() AS received, \
                             pg_catalog.pg_last_wal_replay_lsn() AS replayed) AS own, \
                           (SELECT count(*) AS replicas, count(state) AS visible, max(replay_lag) AS slowest, \
                             min(replay_lsn) AS furthest FROM pg_catalog.pg_stat_replication \
                             WHERE state IS DISTINCT FROM 'backup') AS others";

/// An open session. Dropping it closes the connection at once.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    looks: Looks,
    /// When a replica had last replayed all that it had received.
    level_at: Option<Instant>,
}

/// How much of the readings a server gives: each part is left out for good after it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Looks {
    connections: bool,
    replication: bool,
}

/// What one round trip tells.
#[derive(Debug, Default)]
pub(super) struct Readings {
    pub(super) version: Option<String>,
    /// The first column of the query's first row.
    pub(super) found: Found,
    pub(super) in_recovery: Option<bool>,
    pub(super) read_only: Option<bool>,
    pub(super) connections: Connections,
    pub(super) replication: Replication,
}

#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) active: Option<u64>,
    pub(super) idle: Option<u64>,
    pub(super) idle_in_transaction: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) max: Option<u64>,
    /// Of `max`, what only superusers and roles with `pg_use_reserved_connections` get.
    pub(super) reserved: u64,
    /// Whether what others do is hidden from this user.
    pub(super) hidden: bool,
    /// In seconds; nothing when there is none, or when it is hidden.
    pub(super) oldest_transaction: Option<f64>,
    /// In seconds, since the transaction has been idle.
    pub(super) longest_idle: Option<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Replication {
    /// Whether this replica is connected to what it copies.
    pub(super) receiving: Option<bool>,
    /// In seconds: this replica's own, or the slowest of those that copy this server.
    pub(super) lag: Option<f64>,
    pub(super) lag_bytes: Option<u64>,
    /// Servers that copy this one.
    pub(super) replicas: Option<u64>,
    /// Whether their figures are hidden from this user.
    pub(super) hidden: bool,
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, looks: Looks { connections: true, replication: true }, level_at: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    /// Asks the query and the readings in one message, so in one round trip.
    pub(super) async fn ask(&mut self, query: &str, deadline: Instant) -> Result<Readings, Failure> {
        // The message is one implicit transaction, and so is the reach of this setting: it is gone with it, also in a
        // connection that a pooler shares with others.
        let patience = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
        let connections = if self.looks.connections { CONNECTIONS } else { "" };
        let replication = if self.looks.replication { REPLICATION } else { "" };
        // The line break ends a comment that the query may end with.
        let message =
            format!("SET LOCAL statement_timeout = {patience}; {query}\n; {STATE}; {connections}; {replication}");
        match timeout_at(deadline, self.answer(&message)).await {
            Ok(answer) => {
                let mut readings = answer?;
                self.bound_lag(&mut readings);
                Ok(readings)
            }
            Err(_elapsed) => Err(Failure::Timeout("querying")),
        }
    }

    /// After hours without a write, the first one makes all of them look like lag until it is replayed. A replica can't
    /// be further behind than since it was seen level.
    fn bound_lag(&mut self, readings: &mut Readings) {
        let now = Instant::now();
        let replication = &mut readings.replication;
        if readings.in_recovery != Some(true) || replication.receiving.is_none() {
            return;
        }
        let since = self.level_at.map(|level_at| now.duration_since(level_at).as_secs_f64());
        replication.lag = replication.lag.map(|lag| since.map_or(lag, |since| lag.min(since)));
        if replication.receiving == Some(true) && replication.lag_bytes == Some(0) {
            self.level_at = Some(now);
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
                    part = part.next(is_state, self.looks);
                }
                Ok(Some(SimpleQueryMessage::Row(row))) => readings.add(part, &row),
                Ok(Some(_)) => {}
                // The query has passed: what failed is only our looking, for want of rights or of the view.
                Err(error) if is_unsupported(&error) => match part.next(false, self.looks) {
                    Part::Connections => {
                        self.looks.connections = false;
                        return Ok(readings);
                    }
                    Part::Replication => {
                        self.looks.replication = false;
                        return Ok(readings);
                    }
                    Part::Query | Part::State => return Err(Failure::Driver(error)),
                },
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
    Replication,
}

impl Part {
    /// Which one follows.
    fn next(self, is_state: bool, looks: Looks) -> Self {
        match self {
            Self::Query if is_state => Self::State,
            Self::Query => Self::Query,
            Self::State if looks.connections => Self::Connections,
            Self::State | Self::Connections | Self::Replication => Self::Replication,
        }
    }
}

impl Readings {
    fn add(&mut self, part: Part, row: &SimpleQueryRow) {
        let text = |column| row.try_get(column).ok().flatten();
        let number = |column| text(column)?.parse::<u64>().ok();
        let seconds = |column| text(column)?.parse::<f64>().ok().map(|seconds| seconds.max(0.0));
        // What is replayed may have come from elsewhere than what is received, and is then ahead of it.
        let bytes = |column| text(column)?.parse::<i64>().ok().map(|bytes| bytes.max(0).unsigned_abs());
        let truth = |column| text(column).map(|text| text == "t");
        match part {
            Part::Query if self.found == Found::NoRow && !row.is_empty() => {
                self.found = text(0).map_or(Found::Null, |text| Found::Value(text.to_owned()));
            }
            Part::Query => {}
            Part::State => {
                self.in_recovery = truth(0);
                self.connections.max = number(1);
                self.connections.reserved = number(2).unwrap_or_default() + number(3).unwrap_or_default();
                self.read_only = text(4).map(|text| text == "on");
            }
            Part::Connections => {
                let connections = &mut self.connections;
                connections.total = number(0);
                connections.hidden = number(1) != Some(0);
                if !connections.hidden {
                    connections.active = number(2);
                    connections.idle = number(3);
                    connections.idle_in_transaction = number(4);
                    connections.oldest_transaction = seconds(5);
                    connections.longest_idle = seconds(6);
                }
            }
            Part::Replication => {
                let of_this = self.in_recovery == Some(true);
                self.replication = Replication {
                    receiving: truth(0),
                    lag: seconds(if of_this { 1 } else { 5 }),
                    lag_bytes: bytes(if of_this { 2 } else { 6 }),
                    replicas: number(3),
                    hidden: !of_this && number(3) != number(4),
                };
            }
        }
    }
}

/// Classes 42 (undefined, or not permitted) and 0A (not supported).
fn is_unsupported(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42") || code.code().starts_with("0A"))
}
