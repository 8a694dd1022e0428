//! A PostgreSQL server, asked with a query over one connection that is kept.
//!
//! A run is one round trip: the query, and with it whether the server is in recovery, how many connections it has, how far
//! replicas are behind and how old the oldest transaction is. A connection that broke in between is replaced within the same run, so that a restarted server does not look ill.
//! The server is told to give up a query that outlives the run (`statement_timeout`), so that nothing piles up there.
//!
//! The URL is that of `libpq`: `postgres://user:password@host:5432/database`, also with several hosts, which are tried
//! in order, or with the folder of a Unix socket: `postgres://user@/database?host=/run/postgresql`. TLS follows
//! `sslmode`:
//!
//! | `sslmode` | TLS |
//! |---|---|
//! | `disable` | none |
//! | `prefer` (default), `allow` | if the server has it; whose certificate it is, is **not** asked |
//! | `require`, `verify-ca`, `verify-full` | always; the certificate is **verified**, for the host's name too |
//!
//! Note that `require` is stricter here than in `libpq`. The roots are the system's; `SSL_CERT_FILE` names others.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer in time, and the detail says in which stage | unhealthy | `timeout` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//! | the TLS handshake failed, or the certificate is not trusted | unhealthy | `tls` |
//! | the password or the user is not accepted, or the query is not permitted | unhealthy | `auth` |
//! | too many connections, or the server is out of resources | unhealthy | `exhausted` |
//! | the server starts up or shuts down | unhealthy | `not_ready` |
//! | a primary is expected, by `role` or the URL, and the server is in recovery or read-only | unhealthy | `not_ready` |
//! | a replica is expected, and the server is none | unhealthy | `not_ready` |
//! | a replica is expected, and it is not connected to the server that it copies | degraded | `not_ready` |
//! | the query gives another value than `expect`, or no row | unhealthy | `unexpected` |
//! | more connections than `connections_degraded_above` | degraded | `threshold` |
//! | more connections than `connections_unhealthy_above` | unhealthy | `threshold` |
//! | the lag is above `lag_degraded_above` or `lag_bytes_degraded_above` | degraded | `threshold` |
//! | the lag is above `lag_unhealthy_above` or `lag_bytes_unhealthy_above` | unhealthy | `threshold` |
//! | a transaction is older than `transaction_degraded_above` | degraded | `threshold` |
//! | a transaction is idle for longer than `idle_transaction_degraded_above` | degraded | `threshold` |
//! | one of these limits is set, and the user may not see what it is about | degraded | `auth` |
//! | the database does not exist, or the query failed | unhealthy | `error` |
//! | what came is no answer that PostgreSQL gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! To log in, and what the query needs. `pg_read_all_stats`, which `pg_monitor` holds, shows what the sessions of others
//! do and how far replicas are behind; without it there is only their number. A replica tells its own lag to everyone.
//!
//! # Cost
//!
//! One connection, kept from run to run, and one round trip per run. The server's own views are read in it, each once.
//!
//! # Lag
//!
//! Asked of a replica, the lag is its own: the seconds since the last transaction that it replayed, or none when it has
//! replayed all that it received and is connected, and the bytes that it has received and not replayed. Asked of a
//! primary, it is that of the slowest connected replica; what is not connected is not seen there, so ask the replicas.

mod failure;
mod judge;
mod server;
mod session;

pub use failure::Failure;
pub use server::{Connection, Server};

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use wellkept_config::{ByteSize, Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};

use self::session::{Readings, Session};
use crate::findings::ordered;
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{Comparison, InvalidOption, Kind, Opens, Role};

/// The settings of a [`Postgres`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// What is asked. An error fails the check. Default `SELECT 1`.
    ///
    /// It runs in a transaction with the check's own readings, so it can't be one that PostgreSQL refuses there
    /// (`VACUUM`).
    pub query: String,
    /// What the first column of the query's first row must be: a text or number as PostgreSQL writes it (a truth value is
    /// `t` or `f`, no value `"null"`), or a comparison such as `"< 100"` or `"!= failed"`. Default: any, or no row at all.
    pub expect: Option<Comparison>,
    /// Which server is expected: `primary` fails where writes are refused, in recovery or by
    /// `default_transaction_read_only`; `replica` fails on a server that is not in recovery. Default `any`.
    pub role: Role,
    /// Degraded when more than this part of the connections is in use, of those that ordinary users may have. Default 90%.
    pub connections_degraded_above: Ratio,
    /// Unhealthy when more than this part is in use. Default: not set, as a server without any left refuses the check too.
    pub connections_unhealthy_above: Option<Ratio>,
    /// Degraded when the lag is longer. Default: not set.
    pub lag_degraded_above: Option<Duration>,
    /// Unhealthy when the lag is longer. Default: not set.
    pub lag_unhealthy_above: Option<Duration>,
    /// Degraded when the lag is more than this. Default: not set.
    pub lag_bytes_degraded_above: Option<ByteSize>,
    /// Unhealthy when the lag is more than this. Default: not set.
    pub lag_bytes_unhealthy_above: Option<ByteSize>,
    /// Degraded when a transaction is older, be it of a client or a prepared one: nothing that it may still see can be
    /// cleaned up (`VACUUM`). Default: not set.
    pub transaction_degraded_above: Option<Duration>,
    /// Degraded when a client has begun a transaction and been silent in it for longer. Default: not set.
    pub idle_transaction_degraded_above: Option<Duration>,
}

impl Options {
    /// For a server, with the default query.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            query: "SELECT 1".to_owned(),
            expect: None,
            role: Role::Any,
            connections_degraded_above: Ratio::new(0.9).expect("the default is from 0 to 1"),
            connections_unhealthy_above: None,
            lag_degraded_above: None,
            lag_unhealthy_above: None,
            lag_bytes_degraded_above: None,
            lag_bytes_unhealthy_above: None,
            transaction_degraded_above: None,
            idle_transaction_degraded_above: None,
        }
    }
}

/// A PostgreSQL server, asked with a query.
///
/// The metadata holds `server_version`, `in_recovery`, `read_only`, and `connections`: `total` and `max`, and if the user
/// may see the sessions of all others (`pg_monitor`), `active`, `idle` and `idle_in_transaction`. The check's own
/// connection is among them, as an active one. `connections_left` is what ordinary users may still open. Where there are
/// such, `oldest_transaction_s`, `idle_transaction_s`, `lag_s`, `lag_bytes`, `replicas` and, on a replica, `receiving`;
/// with `expect`, `value` if it is a number.
pub struct Postgres {
    server: Server,
    options: Options,
    kept: Kept<Session>,
}

impl Postgres {
    /// Refuses a URL that can't be used. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let server = Server::parse(options.url.expose_secret())?;
        if options.query.trim().is_empty() || options.query.contains('\0') {
            return Err(InvalidOption::new("query", "write a query such as SELECT 1"));
        }
        let connections = (Some(options.connections_degraded_above), options.connections_unhealthy_above);
        ordered(connections.0, connections.1, "connections_unhealthy_above", "connections_degraded_above")?;
        let lag = (options.lag_degraded_above, options.lag_unhealthy_above);
        ordered(lag.0, lag.1, "lag_unhealthy_above", "lag_degraded_above")?;
        let bytes = (options.lag_bytes_degraded_above, options.lag_bytes_unhealthy_above);
        ordered(bytes.0, bytes.1, "lag_bytes_unhealthy_above", "lag_bytes_degraded_above")?;
        Ok(Self { server, options, kept: Kept::nothing() })
    }

    /// As [`Postgres::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Readings, Failure> {
        if let Some(mut session) = self.kept.take().filter(Session::is_open) {
            match session.ask(&self.options.query, deadline).await {
                // It may have broken long ago, with nobody there to notice.
                Err(failure) if failure.is_lost_connection() => {}
                answer => return self.keep_if_usable(session, answer),
            }
        }
        let mut session = Session::new(self.server.connect(deadline).await?);
        let answer = session.ask(&self.options.query, deadline).await;
        self.keep_if_usable(session, answer)
    }

    /// A refused query leaves the connection as it was; after a timeout an answer may still be under way.
    fn keep_if_usable(&self, session: Session, answer: Result<Readings, Failure>) -> Result<Readings, Failure> {
        if answer.as_ref().err().is_none_or(Failure::is_refused_query) {
            self.kept.put(session);
        }
        answer
    }
}

impl Check for Postgres {
    async fn run(&self, context: &Context) -> Outcome {
        match self.ask(give_up_at(context)).await {
            Ok(readings) => judge::judge(&self.options, &readings),
            Err(failure) => failure.outcome(),
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Postgres").field("query", &self.options.query).finish_non_exhaustive()
    }
}

/// ```yaml
/// postgres:
///   url: "${DATABASE_URL}"
///   query: "SELECT count(*) FROM jobs WHERE state = 'waiting'"
///   expect: "< 1000"
///   role: primary
///   transaction_degraded_above: 1h
/// ```
pub const KIND: Kind = Kind {
    name: "postgres",
    summary: "A PostgreSQL server: a query, its role, lag, connections and transactions",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let options = read_options(section)?;
    built(section, Postgres::new(options))
}

fn read_options(section: &mut Section<'_>) -> Option<Options> {
    let url = section.required::<SecretString>("url");
    let defaults = Options::new(url.clone().unwrap_or_default());
    let options = Options {
        url: defaults.url,
        query: section.or("query", defaults.query),
        expect: section.optional("expect"),
        role: section.or("role", defaults.role),
        connections_degraded_above: section.or("connections_degraded_above", defaults.connections_degraded_above),
        connections_unhealthy_above: section.optional("connections_unhealthy_above"),
        lag_degraded_above: section.optional("lag_degraded_above"),
        lag_unhealthy_above: section.optional("lag_unhealthy_above"),
        lag_bytes_degraded_above: section.optional("lag_bytes_degraded_above"),
        lag_bytes_unhealthy_above: section.optional("lag_bytes_unhealthy_above"),
        transaction_degraded_above: section.optional("transaction_degraded_above"),
        idle_transaction_degraded_above: section.optional("idle_transaction_degraded_above"),
    };
    url.map(|_| options)
}

#[cfg(test)]
mod tests;
