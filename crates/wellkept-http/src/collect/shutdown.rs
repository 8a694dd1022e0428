//! The shutdown as metrics: the phase, and what is in flight.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use wellkept_shutdown::{Phase, Shutdown};

use super::Families;

#[derive(Debug)]
pub(super) struct ShutdownCollector(pub(super) Shutdown);

impl Collector for ShutdownCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let stats = self.0.stats();
        let phases = Phase::ALL.map(|phase| ([("phase", phase.as_str())], f64::from(u8::from(phase == stats.phase))));
        families.gauges("wellkept_shutdown_phase", "Where the shutdown is: 1 for the phase it is in.", phases)?;
        let connections = stats.connection_stats;
        families.gauge("wellkept_connections", "Open connections.", connections.total_connections as f64)?;
        let in_flight = connections.total_in_flight_requests as f64;
        families.gauge("wellkept_requests_in_flight", "Requests whose last byte has not left.", in_flight)?;
        let refused = connections.refused_requests_total as f64;
        families.counter("wellkept_requests_refused", "Requests refused: too many, or too late.", refused)
    }
}
