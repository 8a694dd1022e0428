//! The application's own pools of connections as metrics, from the counters that their checks read.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wellkept_checks::pool::{ConnectionPool, PoolStats};
use wellkept_telemetry::metrics::{Collector, Declaration, Readings};

const CONNECTIONS: Declaration<'static> =
    Declaration::gauge("wellkept_pool_connections", "Connections of a pool, by whether they are in use.")
        .by(&["pool", "state"]);
const LIMIT: Declaration<'static> =
    Declaration::gauge("wellkept_pool_connections_limit", "Most connections of a pool.").by(&["pool"]);
const WAITING: Declaration<'static> =
    Declaration::gauge("wellkept_pool_waiting", "Callers that wait for a connection of a pool.").by(&["pool"]);

type Read = Arc<dyn Fn() -> PoolStats + Send + Sync>;

/// The pools that are shown. A few, added while the process starts.
#[derive(Clone, Default)]
pub(crate) struct Pools(Arc<Mutex<Vec<(String, Read)>>>);

impl Pools {
    /// Shows one more, in the place of one of the same name.
    pub(crate) fn add(&self, name: &str, pool: impl ConnectionPool) {
        let mut pools = self.pools();
        pools.retain(|(other, _)| other != name);
        pools.push((name.to_owned(), Arc::new(move || pool.stats())));
    }

    fn pools(&self) -> MutexGuard<'_, Vec<(String, Read)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.pools().iter().map(|(name, _)| name)).finish()
    }
}

impl Collector for Pools {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        vec![CONNECTIONS, LIMIT, WAITING]
    }

    fn collect(&self, out: &mut Readings) {
        // Foreign code runs under no lock of ours.
        let pools = self.pools().clone();
        let read: Vec<_> = pools.iter().map(|(name, read)| (name.as_str(), read())).collect();
        let connections = read.iter().flat_map(|(name, stats)| {
            [("active", stats.active), ("idle", stats.idle)].map(|(state, count)| ([*name, state], count as f64))
        });
        out.family(&CONNECTIONS).samples(connections);
        out.family(&LIMIT).samples(read.iter().map(|(name, stats)| ([*name], stats.max as f64)));
        let waiting = read.iter().filter_map(|(name, stats)| Some(([*name], stats.waiting? as f64)));
        out.family(&WAITING).samples(waiting);
    }
}

#[cfg(test)]
mod tests {
    use wellkept_health::Outcome;

    use super::*;

    struct Mine;

    impl ConnectionPool for Mine {
        type Connection = ();

        fn stats(&self) -> PoolStats {
            PoolStats { active: 3, idle: 1, max: 8, waiting: Some(2) }
        }

        async fn acquire(&self) -> Result<(), Outcome> {
            Ok(())
        }

        async fn ask(&self, _connection: &mut ()) -> Result<(), Outcome> {
            Ok(())
        }
    }

    #[test]
    fn a_pool_is_shown_by_the_counters_that_its_check_reads() {
        let pools = Pools::default();
        pools.add("orders-db", Mine);
        pools.add("orders-db", Mine);
        let families = Readings::of(&pools).unwrap();
        let value = |name: &str, labels: &[(&str, &str)]| {
            let family = families.iter().find(|family| family.name() == name).unwrap();
            family.sample(labels).unwrap().value.number().unwrap().to_bits()
        };
        let pool = ("pool", "orders-db");
        assert_eq!(value("wellkept_pool_connections", &[pool, ("state", "active")]), 3.0_f64.to_bits());
        assert_eq!(value("wellkept_pool_connections_limit", &[pool]), 8.0_f64.to_bits());
        assert_eq!(value("wellkept_pool_waiting", &[pool]), 2.0_f64.to_bits());
    }
}
