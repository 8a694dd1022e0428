//! A pool of `deadpool-postgres`, as a check sees it.

use deadpool_postgres::{Object, Pool, PoolError};
use wellkept_health::{Outcome, Reason};

use super::{ConnectionPool, PoolStats};
use crate::postgres::Failure;
use crate::reach::{explained, timed_out};

/// What is asked is `SELECT 1`. A new connection is opened as the pool is told to.
impl ConnectionPool for Pool {
    type Connection = Object;

    fn stats(&self) -> PoolStats {
        let status = self.status();
        PoolStats {
            active: status.size.saturating_sub(status.available),
            idle: status.available,
            max: status.max_size,
            waiting: Some(status.waiting),
        }
    }

    async fn acquire(&self) -> Result<Object, Outcome> {
        self.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Failure::Driver(error).outcome(),
            PoolError::Closed => Outcome::fail(Reason::NotReady, "pool is closed"),
            // The pool's own limits may be shorter than ours.
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
                Outcome::fail(Reason::Exhausted, "all connections of the pool are in use")
            }
            PoolError::Timeout(_) => timed_out("opening a connection of the pool"),
            error => Outcome::fail(Reason::Error, "no connection from the pool").with_detail(explained(&error)),
        })
    }

    async fn ask(&self, connection: &mut Object) -> Result<(), Outcome> {
        let asked = connection.simple_query("SELECT 1").await;
        asked.map(drop).map_err(|error| Failure::Driver(error).outcome())
    }

    fn discard(&self, connection: Object) {
        drop(Object::take(connection));
    }
}
