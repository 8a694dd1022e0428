//! A MySQL or MariaDB server, asked with a query over one connection that is kept.
//!
//! A run is one round trip: the query, and with it whether the server accepts writes, how many connections it has, how
//! far it is behind what it copies and how old the oldest transaction is. A connection that broke in between is replaced
//! within the same run, so that a restarted server does not look ill. The server is told to give up a query that outlives
//! the run (`max_statement_time`, of MySQL `max_execution_time`, which is for `SELECT` only), so that nothing piles up
//! there.
//!
//! The URL is `mysql://user:password@host:3306/database` or `mariadb://…`; `?socket=/run/mysqld/mysqld.sock` goes over a
//! Unix socket. TLS follows `ssl-mode`, with the words of MySQL's own clients:
//!
//! | `ssl-mode` | TLS |
//! |---|---|
//! | `disabled` | none |
//! | `preferred` (default) | if the server has it; whose certificate it is, is **not** asked |
//! | `required`, `verify_ca`, `verify_identity` | always; the certificate is **verified**, for the host's name too |
//!
//! Note that `required` is stricter here than in those clients. The roots are the system's; `SSL_CERT_FILE` names others.
//! Logins are by `mysql_native_password`, `caching_sha2_password`, the operating system's user on a Unix socket, and
//! `mysql_clear_password` over verified TLS or a Unix socket. For `caching_sha2_password` the server at times wants the
//! password itself. It gets it over TLS or a Unix socket only; with `preferred` that is from whoever answers, as with
//! MySQL's own clients.
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
//! | the TLS handshake failed, the certificate is not trusted, or there is no TLS where one side demands it | unhealthy | `tls` |
//! | the password, the user or this host is not accepted, or the database or query is not permitted | unhealthy | `auth` |
//! | the server wants a login method that is not among those above | unhealthy | `auth` |
//! | too many connections, or the server is out of resources | unhealthy | `exhausted` |
//! | the server shuts down, or a node of Galera is not ready for queries | unhealthy | `not_ready` |
//! | a primary is expected, and the server copies another or is read-only | unhealthy | `not_ready` |
//! | a replica is expected, and the server copies no other | unhealthy | `not_ready` |
//! | a replica is expected, and it accepts writes | degraded | `not_ready` |
//! | with `role: replica` or a limit on the lag: what is received is not applied, or nothing is received | degraded | `not_ready` |
//! | the query gives another value than `expect`, or no row | unhealthy | `unexpected` |
//! | more connections than `connections_degraded_above` | degraded | `threshold` |
//! | more connections than `connections_unhealthy_above` | unhealthy | `threshold` |
//! | the lag is above `lag_degraded_above` | degraded | `threshold` |
//! | the lag is above `lag_unhealthy_above` | unhealthy | `threshold` |
//! | a transaction is older than `transaction_degraded_above` | degraded | `threshold` |
//! | a transaction is idle for longer than `idle_transaction_degraded_above` | degraded | `threshold` |
//! | a role or one of these limits is set, and the user may not see what it is about | degraded | `auth` |
//! | the database does not exist, or the query failed | unhealthy | `error` |
//! | what came is no answer that MySQL gives | unhealthy | `protocol` |
//!
//! # Rights
//!
//! To log in, and what the query needs; that also shows how many connections there are, and whether the server is
//! read-only. What more is asked needs a right each, without which it is left out:
//!
//! | what | MariaDB | MySQL |
//! |---|---|---|
//! | `role`, the lag and the rest of replication | `SLAVE MONITOR` (`REPLICA MONITOR`; before 10.5 `REPLICATION CLIENT`) | `REPLICATION CLIENT` |
//! | transactions | `PROCESS` | `PROCESS` |
//!
//! `GRANT PROCESS, SLAVE MONITOR ON *.* TO wellkept` gives both.
//!
//! # Cost
//!
//! One connection, kept from run to run, and one round trip per run. Where the user may not see a part, the first run takes
//! one more for the parts after it; where a role or limit is on that part, the connection is not kept, as a right counts from
//! the next login on. `idle_transaction_degraded_above` makes the server list its sessions.
//!
//! # Replication
//!
//! The lag is that of the server itself, as it tells it (`Seconds_Behind_Master`), the longest where it copies several, and
//! none where it copies none: a primary knows of no lag, so ask the replicas. While replication is stopped or cut off the
//! server tells none; then it is what it was, and the time since. A delay that is wanted (`MASTER_DELAY`) is part of it.
//! Galera and group replication have no such lag.
//!
//! `super_read_only` is never on without `read_only`, and `innodb_read_only` is what a reader that shares its primary's
//! storage has. A server that once copied another and was stopped for good is none that copies.

mod connection;
mod failure;
mod judge;
mod server;
mod session;
mod wire;

#[cfg(feature = "mysql-async")]
pub(crate) use failure::refused;

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use wellkept_config::{Ratio, Section};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};

use self::failure::Failure;
use self::server::Server;
use self::session::{Copy, Readings, Session, Transactions};
use crate::findings::ordered;
use crate::kept::Kept;
use crate::kind::built;
use crate::reach::give_up_at;
use crate::{Comparison, InvalidOption, Kind, Opens, Role};

/// The longest query, in bytes.
const LONGEST_QUERY: usize = 64 * 1024;

/// The settings of a [`Mysql`] check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the server is and who asks. Required. It is kept secret, as it may hold a password.
    pub url: SecretString,
    /// What is asked, at most 64 KiB. An error fails the check. Default `SELECT 1`.
    pub query: String,
    /// What the first column of the query's first row must be: a text or number as MySQL writes it (a truth value is
    /// `1` or `0`, no value `"null"`), or a comparison such as `"< 100"` or `"!= failed"`. Default: any, or no row at all.
    pub expect: Option<Comparison>,
    /// Which server is expected: `primary` fails where writes are refused (`read_only`, `super_read_only`,
    /// `innodb_read_only`) or another server is copied; `replica` fails on a server that copies none. Default `any`.
    pub role: Role,
    /// Degraded when more than this part of `max_connections` is in use. Default 90%.
    pub connections_degraded_above: Ratio,
    /// Unhealthy when more than this part is in use. Default: not set, as a server without any left refuses the check too.
    pub connections_unhealthy_above: Option<Ratio>,
    /// Degraded when the lag is longer. Default: not set.
    pub lag_degraded_above: Option<Duration>,
    /// Unhealthy when the lag is longer. Default: not set.
    pub lag_unhealthy_above: Option<Duration>,
    /// Degraded when a transaction is older, be it of a client or a prepared one (`XA PREPARE`): nothing that it may still
    /// see can be cleaned up. Of InnoDB only, to the second. Default: not set.
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
            transaction_degraded_above: None,
            idle_transaction_degraded_above: None,
        }
    }
}

/// A MySQL or MariaDB server, asked with a query.
///
/// The metadata holds `server_version`, `read_only`, and `connections`: `active`, which a statement runs in, `idle`, `total`
/// and `max`. The check's own connection is among them, as an active one. `connections_left` is what may still be opened.
/// Where the user may see it, `replica`; where there is such, `receiving` and `applying`, `lag_s` and
/// `oldest_transaction_s`; with a limit on idle transactions, `idle_in_transaction` and `idle_transaction_s`; with `expect`,
/// `value` if it is a number.
pub struct Mysql {
    server: Server,
    options: Options,
    kept: Kept<Session>,
    /// The lag in seconds when it was last known, and when that was.
    known_lag: Kept<(Instant, f64)>,
}

impl Mysql {
    /// Refuses a URL that can't be used. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let server = Server::parse(options.url.expose_secret())?;
        if options.query.trim().is_empty() || options.query.len() > LONGEST_QUERY {
            return Err(InvalidOption::new("query", "write a query such as SELECT 1, of at most 64 KiB"));
        }
        let connections = (Some(options.connections_degraded_above), options.connections_unhealthy_above);
        ordered(connections.0, connections.1, "connections_unhealthy_above", "connections_degraded_above")?;
        let lag = (options.lag_degraded_above, options.lag_unhealthy_above);
        ordered(lag.0, lag.1, "lag_unhealthy_above", "lag_degraded_above")?;
        Ok(Self { server, options, kept: Kept::nothing(), known_lag: Kept::nothing() })
    }

    /// As [`Mysql::new`] with [`Options::new`].
    pub fn by_url(url: impl Into<SecretString>) -> Result<Self, InvalidOption> {
        Self::new(Options::new(url))
    }

    async fn ask(&self, deadline: Instant) -> Result<Readings, Failure> {
        if let Some(session) = self.kept.take() {
            match self.ask_in(session, deadline).await {
                // It may have broken long ago, with nobody there to notice.
                Err(failure) if failure.is_lost_connection() => {}
                answer => return answer,
            }
        }
        self.ask_in(Session::new(self.server.connect(deadline).await?), deadline).await
    }

    /// A refused query leaves the connection as it was; after a timeout an answer may still be under way. One that does
    /// not show what is to be judged is not kept: rights that are given count from the next login on.
    async fn ask_in(&self, mut session: Session, deadline: Instant) -> Result<Readings, Failure> {
        let transactions = match self.options.idle_transaction_degraded_above {
            Some(_) => Transactions::OldestAndIdle,
            None => Transactions::Oldest,
        };
        let answer = session.ask(&self.options.query, transactions, deadline).await;
        let is_usable = match &answer {
            Ok(readings) => !judge::is_blind(&self.options, readings),
            Err(failure) => failure.is_refused_query(),
        };
        if is_usable {
            self.kept.put(session);
        }
        answer
    }

    /// In seconds, the longest. Where one is not known, it has grown since it was.
    fn lag(&self, copies: &[Copy]) -> Option<f64> {
        let now = Instant::now();
        let longest = copies.iter().filter_map(|copy| copy.lag).reduce(f64::max);
        if copies.iter().all(|copy| copy.lag.is_some()) {
            self.known_lag.take();
            if let Some(lag) = longest {
                self.known_lag.put((now, lag));
            }
            return longest;
        }
        let (at, known) = self.known_lag.take()?;
        self.known_lag.put((at, known));
        let grown = known + now.duration_since(at).as_secs_f64();
        Some(longest.map_or(grown, |longest| longest.max(grown)))
    }
}

impl Check for Mysql {
    async fn run(&self, context: &Context) -> Outcome {
        match self.ask(give_up_at(context)).await {
            Ok(readings) => {
                let lag = self.lag(readings.copies.as_deref().unwrap_or_default());
                judge::judge(&self.options, &readings, lag)
            }
            Err(failure) => failure.outcome(),
        }
    }
}

impl fmt::Debug for Mysql {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mysql").field("query", &self.options.query).finish_non_exhaustive()
    }
}

/// ```yaml
/// mysql:
///   url: "${MYSQL_URL}"
///   query: "SELECT count(*) FROM jobs WHERE state = 'waiting'"
///   expect: "< 1000"
///   role: primary
///   transaction_degraded_above: 1h
/// ```
pub const KIND: Kind = Kind {
    name: "mysql",
    summary: "A MySQL or MariaDB server: a query, its role, lag, connections and transactions",
    scope: Scope::Remote, opens: Opens::Nothing,
    read,
};

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let options = read_options(section)?;
    built(section, Mysql::new(options))
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
        transaction_degraded_above: section.optional("transaction_degraded_above"),
        idle_transaction_degraded_above: section.optional("idle_transaction_degraded_above"),
    };
    url.map(|_| options)
}

#[cfg(test)]
mod tests;
