//! The shutdown as metrics: the phase, and what is in flight.

use wellkept_shutdown::{Phase, Shutdown};
use wellkept_telemetry::metrics::{Collector, Declaration, Readings};

use super::{families, truth};

families! { FAMILIES:
    PHASE = gauge "wellkept_shutdown_phase" ["phase"], "Where the shutdown is: 1 for the phase it is in.";
    CONNECTIONS = gauge "wellkept_connections", "Open connections.";
    IN_FLIGHT = gauge "wellkept_requests_in_flight", "Requests whose last byte has not left.";
    REFUSED = counter "wellkept_requests_refused", "Requests refused: too many, or too late.";
}

#[derive(Debug)]
pub(super) struct ShutdownCollector(pub(super) Shutdown);

impl Collector for ShutdownCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        FAMILIES.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        let stats = self.0.stats();
        let phases = Phase::ALL.map(|phase| ([phase.as_str()], truth(phase == stats.phase)));
        out.family(&PHASE).samples(phases);
        let connections = stats.connection_stats;
        out.value(&CONNECTIONS, connections.total_connections as f64);
        out.value(&IN_FLIGHT, connections.total_in_flight_requests as f64);
        out.value(&REFUSED, connections.refused_requests_total as f64);
    }
}
