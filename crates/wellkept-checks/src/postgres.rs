//! A PostgreSQL server, asked with a query over one connection that is kept.
//!
//! A run is one round trip: the query, and with it whether the server is in recovery and how many connections it has.
//! A connection that broke in between is replaced within the same run, so that a restarted server does not look ill.
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
//! | the server starts up or shuts down, or accepts no writes where the URL asks for it | unhealthy | `not_ready` |
//! | the database does not exist, or the query failed | unhealthy | `error` |
//! | what came is no answer that PostgreSQL gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! To log in, and what the query needs. `pg_monitor` shows what the sessions of others do; without it there is only their
//! number.
//!
//! # Cost
//!
//! One connection, kept from run to run, and one round trip per run.

mod failure;
mod server;
mod session;

pub use failure::Failure;
pub use server::{Connection, Server};

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};

use self::session::{Readings, Session};
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{InvalidOption, Kind};

/// The settings of a [`Postgres`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// What is asked. Its rows are not looked at; an error fails the check. Default `SELECT 1`.
    ///
    /// It runs in a transaction with the check's own readings, so it can't be one that PostgreSQL refuses there
    /// (`VACUUM`).
    pub query: String,
}

impl Options {
    /// For a server, with the default query.
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self { url: url.into(), query: "SELECT 1".to_owned() }
    }
}

/// A PostgreSQL server, asked with a query.
///
/// The metadata holds `server_version`, `in_recovery`, and `connections`: `total` and `max`, and if the user may see
/// the sessions of all others (`pg_monitor`), `active`, `idle` and `idle_in_transaction`. The check's own connection
/// is among them, as an active one.
pub struct Postgres {
    server: Server,
    query: String,
    kept: Kept<Session>,
}

impl Postgres {
    /// Refuses a URL that can't be used. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let server = Server::parse(options.url.expose_secret())?;
        if options.query.trim().is_empty() || options.query.contains('\0') {
            return Err(InvalidOption::new("query", "write a query such as SELECT 1"));
        }
        Ok(Self { server, query: options.query, kept: Kept::nothing() })
    }

    /// As [`Postgres::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Readings, Failure> {
        if let Some(mut session) = self.kept.take().filter(Session::is_open) {
            match session.ask(&self.query, deadline).await {
                // It may have broken long ago, with nobody there to notice.
                Err(failure) if failure.is_lost_connection() => {}
                answer => return self.keep_if_usable(session, answer),
            }
        }
        let mut session = Session::new(self.server.connect(deadline).await?);
        let answer = session.ask(&self.query, deadline).await;
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
            Ok(readings) => passed(&readings),
            Err(failure) => failure.outcome(),
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Postgres").field("query", &self.query).finish_non_exhaustive()
    }
}

/// `postgres: { url: "${DATABASE_URL}", query: "SELECT 1" }`
pub const KIND: Kind =
    Kind { name: "postgres", summary: "A PostgreSQL server, with a query", scope: Scope::Remote, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let url = section.required::<SecretString>("url");
    let query = section.optional("query");
    let defaults = Options::new(url?);
    built(section, Postgres::new(Options { query: query.unwrap_or(defaults.query), ..defaults }))
}

fn passed(readings: &Readings) -> Outcome {
    let mut outcome = Outcome::pass();
    if let Some(version) = &readings.version {
        outcome = outcome.with("server_version", version.as_str());
    }
    if let Some(in_recovery) = readings.in_recovery {
        outcome = outcome.with("in_recovery", in_recovery);
    }
    let connections = &readings.connections;
    let named = [
        ("active", connections.active),
        ("idle", connections.idle),
        ("idle_in_transaction", connections.idle_in_transaction),
        ("total", connections.total),
        ("max", connections.max),
    ];
    let known = named.into_iter().filter_map(|(name, count)| Some((name.to_owned(), json!(count?))));
    match known.collect::<serde_json::Map<_, _>>() {
        known if known.is_empty() => outcome,
        known => outcome.with("connections", Value::Object(known)),
    }
}

#[cfg(test)]
mod tests;
