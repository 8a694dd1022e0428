//! Health as metrics: one series for each component and status, runs, durations, ages.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use wellkept_health::{
    Changes, Checker, ComponentHealth, ExportStats, HeartbeatStats, Lags, Lifecycle, RunTotals, Snapshot, Status,
    Verdict,
};

use super::Families;

/// The service as a whole.
#[derive(Debug)]
pub(super) struct ServiceCollector(pub(super) Checker);

/// Each component, by its name.
#[derive(Debug)]
pub(super) struct ComponentCollector(pub(super) Checker);

type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

impl Collector for ServiceCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.service(&mut families, self.0.snapshot().overall())?;
        self.engine(&mut families)
    }
}

impl Collector for ComponentCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let snapshot = self.0.snapshot();
        components(&mut families, &snapshot)?;
        runs(&mut families, &snapshot)?;
        match &*self.0.heartbeats() {
            [] => {}
            some => heartbeats(&mut families, some)?,
        }
        match &*self.0.exports() {
            [] => Ok(()),
            some => exports(&mut families, some),
        }
    }
}

impl ServiceCollector {
    fn service(&self, families: &mut Families<'_>, overall: Status) -> fmt::Result {
        let checker = &self.0;
        let labels: Labels<'_, 2> = [("service", checker.service()), ("version", checker.version())];
        families.gauges("wellkept_service", "The service, always 1.", [(labels, 1.0)])?;
        let statuses = Status::ALL.map(|status| ([("status", status.as_str())], truth(status == overall)));
        families.gauges("wellkept_status", "The service's status: 1 for the one it is in.", statuses)?;
        let readiness = checker.readiness();
        families.gauge("wellkept_ready", "Whether traffic may come.", truth(readiness.ready))?;
        families.gauge("wellkept_alive", "Whether the liveness probe passes.", truth(checker.is_alive()))?;
        families.gauge("wellkept_started", "Whether the start is complete.", truth(checker.is_started()))?;
        let draining = truth(readiness.lifecycle == Lifecycle::Draining);
        families.gauge("wellkept_draining", "Whether the process is on its way out.", draining)?;
        let help = "Changes of the service's status by the reason of the first component behind it.";
        changes(families, "wellkept_status_changes", help, &checker.status_changes())?;
        let help = "Changes of readiness, and of why there is none: starting, draining, maintenance, components.";
        changes(families, "wellkept_readiness_changes", help, &checker.readiness_changes())?;
        let uptime = checker.uptime().as_secs_f64();
        families.gauge("wellkept_uptime_seconds", "Time since the start, suspend included.", uptime)?;
        let lag = checker.liveness().lag().as_secs_f64();
        families.gauge("wellkept_runtime_lag_seconds", "How late the runtime's latest answer came.", lag)?;
        let stalls = checker.liveness().stalls_total();
        families.counter("wellkept_runtime_stalls", "How often the runtime was found stalled.", count(stalls))?;
        let late = checker.liveness().late_total();
        families.counter("wellkept_heartbeats_late", "How often a loop was found late.", count(late))
    }

    fn engine(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = self.0.stats();
        families.gauge("wellkept_checks_running", "Checks that run now.", count(stats.running))?;
        families.gauge("wellkept_checks_queued", "Checks that are due and wait for a place.", count(stats.queued))?;
        let help = "Runs past their time that have not ended: each occupies a thread or a task.";
        families.gauge("wellkept_checks_stragglers", help, count(stats.stragglers))?;
        let limits = [("remote", stats.max_concurrent), ("local", stats.max_concurrent_local)];
        let limits = limits.map(|(scope, limit)| ([("scope", scope)], limit as f64));
        families.gauges("wellkept_checks_limit", "Checks that may run at once, by how far they look.", limits)?;
        lags(families, &stats.lags)?;
        if let Some(ticked) = stats.ticked {
            let help = "When the engine last looked around, which it does once a second.";
            let ticked = ticked.as_millisecond() as f64 / 1000.0;
            families.gauge("wellkept_engine_tick_timestamp_seconds", help, ticked)?;
        }
        families.counter("wellkept_snapshots_published", "Snapshots published.", count(stats.published_total))?;
        let publishing = stats.publishing_total.as_secs_f64();
        families.counter("wellkept_snapshots_publishing_seconds", "Time that it took to publish them.", publishing)?;
        let Some(history) = self.0.history() else { return Ok(()) };
        let history = history.stats();
        families.counter(
            "wellkept_history_written",
            "Records that the store has taken.",
            count(history.written_total),
        )?;
        families.counter(
            "wellkept_history_dropped",
            "Records given up, a queue being full.",
            count(history.dropped_total),
        )?;
        let help = "Records that wait for a store that fails.";
        families.gauge("wellkept_history_backlog", help, count(history.backlog))
    }
}

fn lags(families: &mut Families<'_>, lags: &Lags) -> fmt::Result {
    let help = "How much later than due runs started.";
    let buckets: Vec<_> = Lags::BUCKETS.into_iter().zip(lags.buckets).collect();
    let exemplars = None::<&std::collections::HashMap<usize, Exemplar<Labels<'_, 0>, f64>>>;
    families.0.encode_descriptor("wellkept_checks_lag_seconds", help, None, MetricType::Histogram)?.encode_histogram(
        lags.total.as_secs_f64(),
        lags.count(),
        &buckets,
        exemplars,
    )
}

fn changes(families: &mut Families<'_>, name: &str, help: &str, changes: &Changes) -> fmt::Result {
    let counts = changes.iter().map(|change| ([("to", change.to), ("reason", change.reason)], count(change.count)));
    families.counters(name, help, counts)
}

fn components(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let statuses = snapshot.components().flat_map(|one| {
        let standing = snapshot.standing(one).status;
        Status::ALL.map(|status| {
            let labels: Labels<'_, 2> = [("component", &one.name), ("status", status.as_str())];
            (labels, truth(status == standing))
        })
    });
    families.gauges("wellkept_component_status", "A component's status: 1 for the one it is in.", statuses)?;
    let ages = snapshot.components().filter_map(|one| Some((name(one), snapshot.age(one)?.as_secs_f64())));
    families.gauges("wellkept_component_age_seconds", "The age of a component's latest result.", ages)?;
    let times =
        snapshot.components().filter_map(|one| Some((name(one), one.checked?.wall.as_millisecond() as f64 / 1000.0)));
    families.gauges("wellkept_component_checked_timestamp_seconds", "When a component was last checked.", times)?;
    let changes = snapshot.components().flat_map(|one| {
        one.changes.iter().map(|change| {
            let labels: Labels<'_, 3> = [("component", &one.name), ("to", change.to), ("reason", change.reason)];
            (labels, count(change.count))
        })
    });
    let help = "Changes of a component's status, the first one included, by what it changed to and why.";
    families.counters("wellkept_component_changes", help, changes)
}

fn runs(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let verdicts = snapshot.components().flat_map(|one| {
        [Verdict::Pass, Verdict::Warn, Verdict::Fail].map(|verdict| {
            let labels: Labels<'_, 2> = [("component", &one.name), ("verdict", verdict.as_str())];
            (labels, count(one.totals.runs[verdict as usize]))
        })
    });
    families.counters("wellkept_check_runs", "Runs of a component's check by verdict.", verdicts)?;
    let missed = snapshot.components().map(|one| (name(one), count(one.totals.missed)));
    families.counters("wellkept_check_missed", "Runs due while the one before still went on.", missed)?;
    let help = "How long a component's check took.";
    let mut family =
        families.0.encode_descriptor("wellkept_check_duration_seconds", help, None, MetricType::Histogram)?;
    for one in snapshot.components() {
        let buckets: Vec<_> = RunTotals::BUCKETS.into_iter().zip(one.totals.buckets).collect();
        let exemplars = None::<&std::collections::HashMap<usize, Exemplar<Labels<'_, 0>, f64>>>;
        let labels = name(one);
        family.encode_family(&labels)?.encode_histogram(one.totals.seconds, one.totals.count(), &buckets, exemplars)?;
    }
    Ok(())
}

fn heartbeats(families: &mut Families<'_>, heartbeats: &[HeartbeatStats]) -> fmt::Result {
    let ages = heartbeats.iter().map(|one| {
        let labels: Labels<'_, 1> = [("component", &one.name)];
        (labels, one.age.as_secs_f64())
    });
    families.gauges("wellkept_heartbeat_age_seconds", "How long ago a loop's latest sign of life was.", ages)
}

fn exports(families: &mut Families<'_>, exports: &[ExportStats]) -> fmt::Result {
    let calls = exports.iter().flat_map(|one| {
        [("taken", one.taken_total), ("failed", one.failed_total), ("dropped", one.dropped_total)].map(
            |(fate, calls)| {
                let labels: Labels<'_, 2> = [("exporter", &one.name), ("fate", fate)];
                (labels, count(calls))
            },
        )
    });
    families.counters("wellkept_exports", "What was handed to an exporter, by what became of it.", calls)?;
    let queued = exports.iter().map(|one| {
        let labels: Labels<'_, 1> = [("exporter", &one.name)];
        (labels, count(one.queued))
    });
    families.gauges("wellkept_exports_queued", "Changes that wait for an exporter.", queued)
}

fn name(component: &ComponentHealth) -> Labels<'_, 1> {
    [("component", &component.name)]
}

fn truth(so: bool) -> f64 {
    f64::from(u8::from(so))
}

fn count(number: u64) -> f64 {
    number as f64
}
