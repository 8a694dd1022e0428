//! What the business counts, each declared once.

use wellkept::telemetry::metrics::{Counter, Gauge, Histogram, Labelled, MetricError, Metrics};

/// The handles, kept where they are counted on. The task throughput is `rate(tasks_completed_total[5m])`.
#[derive(Debug, Clone)]
pub(crate) struct Business {
    pub(crate) clients_created: Labelled<Counter, 1>,
    pub(crate) tasks_completed: Counter,
    pub(crate) tasks_open: Gauge,
    pub(crate) task_duration: Histogram,
}

impl Business {
    pub(crate) fn declared_in(metrics: &Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            clients_created: metrics.counters("clients_created", "Clients created, by channel.", ["channel"])?,
            tasks_completed: metrics.counter("tasks_completed", "Tasks completed.")?,
            tasks_open: metrics.gauge("tasks_open", "Tasks that are worked on.")?,
            task_duration: metrics.histogram("task_duration_seconds", "How long a task took.")?,
        })
    }
}
