//! A pool of `mysql_async`, as a check sees it.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, Error, IoError, Opts, Pool};
use wellkept_health::{Outcome, Reason};

use super::{ConnectionPool, PoolStats};
use crate::mysql::refused;
use crate::reach::explained;

/// A pool of `mysql_async`, and how many connections it may have, which the pool itself does not tell.
///
/// What is asked is `SELECT 1`. A new connection is opened as the pool is told to, and one that is given back is reset by
/// the pool as any other: until then it counts as one in use.
#[derive(Clone)]
pub struct MysqlPool {
    pool: Pool,
    max: usize,
}

impl MysqlPool {
    /// Looks at this pool; a clone shares its connections. `options` are those that it was made with.
    pub fn new(pool: Pool, options: &Opts) -> Self {
        Self { pool, max: options.pool_opts().constraints().max() }
    }
}

impl ConnectionPool for MysqlPool {
    type Connection = Conn;

    fn stats(&self) -> PoolStats {
        let metrics = self.pool.metrics();
        let idle = metrics.connections_in_pool.load(Ordering::Relaxed);
        PoolStats {
            active: metrics.connection_count.load(Ordering::Relaxed).saturating_sub(idle),
            idle,
            max: self.max,
            waiting: Some(metrics.active_wait_requests.load(Ordering::Relaxed)),
        }
    }

    async fn acquire(&self) -> Result<Conn, Outcome> {
        self.pool.get_conn().await.map_err(|error| outcome_of(&error))
    }

    async fn ask(&self, connection: &mut Conn) -> Result<(), Outcome> {
        connection.query_drop("SELECT 1").await.map_err(|error| outcome_of(&error))
    }
}

impl fmt::Debug for MysqlPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MysqlPool").field("max", &self.max).finish_non_exhaustive()
    }
}

fn outcome_of(error: &Error) -> Outcome {
    let outcome = match error {
        Error::Server(answer) => return refused(answer.code, &answer.state, &answer.message),
        Error::Io(error) => broken(error),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => Outcome::fail(Reason::Tls, "TLS handshake failed"),
        Error::Driver(DriverError::PoolDisconnected) => return Outcome::fail(Reason::NotReady, "pool is closed"),
        Error::Driver(DriverError::ConnectionClosed) => Outcome::fail(Reason::Network, "connection broken"),
        Error::Driver(
            DriverError::UnknownAuthPlugin { .. }
            | DriverError::CleartextPluginDisabled
            | DriverError::MysqlOldPasswordDisabled,
        ) => Outcome::fail(Reason::Auth, "login failed"),
        Error::Driver(
            DriverError::PacketOutOfOrder
            | DriverError::UnexpectedPacket { .. }
            | DriverError::PacketTooLarge
            | DriverError::CantParseServerVersion { .. },
        ) => Outcome::fail(Reason::Protocol, "not an answer that MySQL gives"),
        _ => Outcome::fail(Reason::Error, "no connection from the pool"),
    };
    outcome.with_detail(explained(error))
}

fn broken(error: &IoError) -> Outcome {
    use io::ErrorKind::{ConnectionRefused, InvalidData, NotFound, TimedOut};
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(ConnectionRefused | NotFound) => Outcome::fail(Reason::Refused, "connection refused"),
        Some(TimedOut) => Outcome::fail(Reason::Timeout, "no answer in time"),
        // An error of TLS itself, or one that TLS has made of what came.
        Some(InvalidData) | None => Outcome::fail(Reason::Tls, "TLS handshake failed"),
        Some(_) => Outcome::fail(Reason::Network, "connection broken"),
    }
}

#[cfg(test)]
mod tests;
