//! The application's own pool of connections: whether it still gives one out, and how full it is. For use from code.
//!
//! A server that answers is of no use to an application whose pool has no connection left. This check asks on a
//! connection of the pool itself, and tells a pool that is used up from a server that does not answer:
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | all connections are in use, and none came free within `acquire_timeout` | unhealthy | `exhausted` |
//! | callers wait for a connection | degraded | `exhausted` |
//! | more than `degraded_above` of the connections are in use | degraded | `threshold` |
//! | a connection could be had neither from the pool nor anew before the deadline, or did not answer | unhealthy | `timeout` |
//! | the pool is closed | unhealthy | `not_ready` |
//! | what the adapter says of the connection or of the answer | | |
//!
//! The metadata holds `pool`: `active`, `idle` and `max`, and where the pool counts them, `waiting`.
//!
//! The check never makes exhaustion worse: it takes one connection, for one round trip, and where there is none it leaves
//! the queue after `acquire_timeout`. Where callers wait already, it does not join them.
//!
//! Any pool can be looked at, by a [`ConnectionPool`] of your own. Those of `deadpool-postgres` are ones with the feature
//! of that name, and those of `mysql_async` as a `MysqlPool` with the feature `mysql-async`.
#![cfg_attr(
    feature = "deadpool-postgres",
    doc = r"
```
use wellkept_checks::pool::{Options, Pool};
use wellkept_health::AnyCheck;

fn check_of(pool: deadpool_postgres::Pool) -> AnyCheck {
    AnyCheck::from(Pool::new(pool, Options::default()))
}
```
"
)]
#![cfg_attr(
    feature = "mysql-async",
    doc = r"
```
use wellkept_checks::pool::{MysqlPool, Options, Pool};
use wellkept_health::AnyCheck;

fn check_of(pool: mysql_async::Pool, made_with: &mysql_async::Opts) -> AnyCheck {
    AnyCheck::from(Pool::new(MysqlPool::new(pool, made_with), Options::default()))
}
```
"
)]

#[cfg(feature = "deadpool-postgres")]
mod deadpool;
#[cfg(feature = "mysql-async")]
mod mysql;

#[cfg(feature = "mysql-async")]
pub use self::mysql::MysqlPool;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};
use wellkept_config::Ratio;
use wellkept_health::{Check, Context, Outcome, Reason};

use crate::findings::Findings;
use crate::reach::{give_up_at, timed_out};

/// A pool of connections, as a check sees it.
///
/// ```
/// use wellkept_checks::pool::{ConnectionPool, PoolStats};
/// use wellkept_health::{Outcome, Reason};
///
/// struct Mine;
///
/// impl ConnectionPool for Mine {
///     type Connection = ();
///
///     fn stats(&self) -> PoolStats {
///         PoolStats { active: 3, idle: 1, max: 8, waiting: None }
///     }
///
///     async fn acquire(&self) -> Result<(), Outcome> {
///         Ok(())
///     }
///
///     async fn ask(&self, _connection: &mut ()) -> Result<(), Outcome> {
///         Err(Outcome::fail(Reason::Error, "query failed"))
///     }
/// }
/// ```
pub trait ConnectionPool: Send + Sync + 'static {
    /// A connection. Dropping it gives it back.
    type Connection: Send;

    /// How full it is. Reads counters and waits for nothing.
    fn stats(&self) -> PoolStats;

    /// Takes a connection, and waits for one without a limit of its own that would matter: dropping the future leaves the
    /// queue. The error says what is wrong as an operator would call it, with addresses and the driver's text only in its
    /// detail.
    fn acquire(&self) -> impl Future<Output = Result<Self::Connection, Outcome>> + Send;

    /// Asks on a connection, in one round trip. The future is dropped at the deadline.
    fn ask(&self, connection: &mut Self::Connection) -> impl Future<Output = Result<(), Outcome>> + Send;

    /// Takes a connection that has not answered out of the pool, so that nobody else gets it. Where it is not
    /// implemented, it is given back as any other.
    fn discard(&self, connection: Self::Connection) {
        drop(connection);
    }
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Connections in use, those that are being opened among them.
    pub active: usize,
    /// Connections that nobody uses.
    pub idle: usize,
    /// As many as there may be.
    pub max: usize,
    /// Callers that wait for a connection, if the pool counts them.
    pub waiting: Option<usize>,
}

impl PoolStats {
    fn is_used_up(&self) -> bool {
        self.idle == 0 && self.active >= self.max
    }
}

/// The settings of a [`Pool`] check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// How long a pool that is used up is waited for. Default 250 ms.
    pub acquire_timeout: Duration,
    /// Degraded when more than this part of the connections is in use. Default: not set, as a pool may well be in full
    /// use without anybody waiting.
    pub degraded_above: Option<Ratio>,
}

impl Default for Options {
    fn default() -> Self {
        Self { acquire_timeout: Duration::from_millis(250), degraded_above: None }
    }
}

/// The application's own pool of connections.
pub struct Pool<P> {
    pool: P,
    options: Options,
}

impl<P: ConnectionPool> Pool<P> {
    /// Looks at this pool; a clone that shares its connections will do.
    pub fn new(pool: P, options: Options) -> Self {
        Self { pool, options }
    }

    async fn ask(&self, before: PoolStats, deadline: Instant) -> Result<(), Outcome> {
        let used_up = || Outcome::fail(Reason::Exhausted, "all connections of the pool are in use");
        if before.is_used_up() && before.waiting.is_some_and(|waiting| waiting > 0) {
            return Err(used_up());
        }
        // A pool with room opens a connection, which may take longer than any wait for a used one should.
        let patience = if before.is_used_up() { Instant::now() + self.options.acquire_timeout } else { deadline };
        let acquired = timeout_at(patience.min(deadline), self.pool.acquire()).await;
        let mut connection = match acquired {
            Ok(acquired) => acquired?,
            Err(_elapsed) if before.is_used_up() => return Err(used_up()),
            Err(_elapsed) => return Err(timed_out("waiting for a connection of the pool")),
        };
        match timeout_at(deadline, self.pool.ask(&mut connection)).await {
            Ok(answered) => answered,
            Err(_elapsed) => {
                self.pool.discard(connection);
                Err(timed_out("asking on a connection of the pool"))
            }
        }
    }
}

impl<P: ConnectionPool> Check for Pool<P> {
    async fn run(&self, context: &Context) -> Outcome {
        // As it was without this check.
        let stats = self.pool.stats();
        let mut findings = Findings::default();
        if let Err(failure) = self.ask(stats, give_up_at(context)).await {
            findings.add(failure);
        }
        if let Some(waiting) = stats.waiting.filter(|waiting| *waiting > 0) {
            findings.add(Outcome::warn(Reason::Exhausted, format!("{waiting} callers wait for a connection")));
        }
        if stats.max > 0 {
            let usage = stats.active as f64 / stats.max as f64;
            let limit = self.options.degraded_above.map(Ratio::as_f64);
            findings.limit(usage, limit, None, || format!("{:.1}% of the pool's connections used", usage * 100.0));
        }
        let named = [
            ("active", Some(stats.active)),
            ("idle", Some(stats.idle)),
            ("max", Some(stats.max)),
            ("waiting", stats.waiting),
        ];
        let counts = named.into_iter().filter_map(|(name, count)| Some((name.to_owned(), Value::from(count?))));
        findings.worst().with("pool", Value::Object(counts.collect::<Map<_, _>>()))
    }
}

impl<P> fmt::Debug for Pool<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "deadpool-postgres"))]
mod tests;
