//! This process as metrics, under the names that Prometheus' client libraries share.

use std::fmt;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use wellkept_telemetry::system::{Process, SystemRoot};

use super::Families;

#[derive(Debug, Default)]
pub(super) struct ProcessCollector {
    root: SystemRoot,
}

impl Collector for ProcessCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // What can't be read is left out: a scrape is worth having without it.
        let Ok(process) = Process::read(&self.root) else { return Ok(()) };
        let mut families = Families(encoder);
        let cpu = [([("mode", "total"); 0], process.cpu.as_secs_f64())];
        families.counters("process_cpu_seconds", "CPU time used.", cpu)?;
        families.gauge("process_resident_memory_bytes", "Memory resident.", process.resident_bytes as f64)?;
        families.gauge("process_virtual_memory_bytes", "Memory mapped.", process.virtual_bytes as f64)?;
        families.gauge("process_open_fds", "Open file descriptors.", process.open_fds as f64)?;
        if let Some(limit) = process.max_fds {
            families.gauge("process_max_fds", "Limit of file descriptors.", limit as f64)?;
        }
        families.gauge("process_threads", "Threads.", process.threads as f64)?;
        let start = process.start_time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        families.gauge("process_start_time_seconds", "Start of the process since the epoch.", start)
    }
}
