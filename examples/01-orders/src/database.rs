//! The connection pool: how it is made, checked and closed.

use std::time::Duration;

use deadpool_postgres::tokio_postgres::{Config, NoTls};
use deadpool_postgres::{BuildError, Manager, Pool, PoolError, Runtime};
use serde_json::json;
use wellkept::Outcome;

/// Most connections to the database.
const MAX_CONNECTIONS: usize = 8;
/// How long a request waits for a free connection, and how long a new one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pool that connects when it is first used.
pub(crate) fn pool(mut database: Config) -> Result<Pool, BuildError> {
    database.application_name("orders");
    Pool::builder(Manager::new(database, NoTls))
        .max_size(MAX_CONNECTIONS)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .build()
}

/// Asks the database through the application's own pool, so that an exhausted pool is noticed too. An error's text
/// is shown to operators only.
pub(crate) async fn check(pool: Pool) -> Result<Outcome, PoolError> {
    pool.get().await?.query_one("SELECT 1", &[]).await?;
    let status = pool.status();
    let active = status.size - status.available;
    let connections = json!({ "active": active, "idle": status.available, "max": status.max_size });
    Ok(Outcome::pass().with("connections", connections))
}

/// Closes the connections, and says so when some are still in use.
pub(crate) fn close(pool: &Pool) -> Result<(), &'static str> {
    pool.close();
    let left = pool.status().size;
    tracing::info!(left, "the pool is closed");
    if left == 0 { Ok(()) } else { Err("connections are still in use") }
}
