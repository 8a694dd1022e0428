//! Health as metrics: one series for each component and status, runs, durations, ages.

use std::sync::Arc;

use wellkept_health::{
    Changes, Checker, ExportStats, HeartbeatStats, Lags, Lifecycle, RunTotals, Snapshot, Status, Verdict,
};
use wellkept_telemetry::metrics::{Collector, Declaration, Readings};

use super::{families, truth};

/// The service as a whole.
#[derive(Debug)]
pub(super) struct ServiceCollector(pub(super) Checker);

/// Each component, by its name.
#[derive(Debug)]
pub(super) struct ComponentCollector(pub(super) Checker);

families! { SERVICE_FAMILIES:
    SERVICE = gauge "wellkept_service" ["service", "version"], "The service, always 1.";
    STATUS = gauge "wellkept_status" ["status"], "The service's status: 1 for the one it is in.";
    READY = gauge "wellkept_ready", "Whether traffic may come.";
    ALIVE = gauge "wellkept_alive", "Whether the liveness probe passes.";
    STARTED = gauge "wellkept_started", "Whether the start is complete.";
    DRAINING = gauge "wellkept_draining", "Whether the process is on its way out.";
    STATUS_CHANGES = counter "wellkept_status_changes" ["to", "reason"],
        "Changes of the service's status by the reason of the first component behind it.";
    READINESS_CHANGES = counter "wellkept_readiness_changes" ["to", "reason"],
        "Changes of readiness, and of why there is none: starting, draining, maintenance, components.";
    UPTIME = gauge "wellkept_uptime_seconds", "Time since the start, suspend included.";
    RUNTIME_LAG = gauge "wellkept_runtime_lag_seconds", "How late the runtime's latest answer came.";
    RUNTIME_STALLS = counter "wellkept_runtime_stalls", "How often the runtime was found stalled.";
    HEARTBEATS_LATE = counter "wellkept_heartbeats_late", "How often a loop was found late.";
    RUNNING = gauge "wellkept_checks_running", "Checks that run now.";
    QUEUED = gauge "wellkept_checks_queued", "Checks that are due and wait for a place.";
    STRAGGLERS = gauge "wellkept_checks_stragglers",
        "Runs past their time that have not ended: each occupies a thread or a task.";
    LIMIT = gauge "wellkept_checks_limit" ["scope"], "Checks that may run at once, by how far they look.";
    LAG = histogram "wellkept_checks_lag_seconds", "How much later than due runs started.";
    TICK = gauge "wellkept_engine_tick_timestamp_seconds",
        "When the engine last looked around, which it does once a second.";
    PUBLISHED = counter "wellkept_snapshots_published", "Snapshots published.";
    PUBLISHING = counter "wellkept_snapshots_publishing_seconds", "Time that it took to publish them.";
    HISTORY_WRITTEN = counter "wellkept_history_written", "Records that the store has taken.";
    HISTORY_DROPPED = counter "wellkept_history_dropped", "Records given up, a queue being full.";
    HISTORY_BACKLOG = gauge "wellkept_history_backlog", "Records that wait for a store that fails.";
}

families! { COMPONENT_FAMILIES:
    COMPONENT_STATUS = gauge "wellkept_component_status" ["component", "status"],
        "A component's status: 1 for the one it is in.";
    COMPONENT_AGE = gauge "wellkept_component_age_seconds" ["component"], "The age of a component's latest result.";
    COMPONENT_CHECKED = gauge "wellkept_component_checked_timestamp_seconds" ["component"],
        "When a component was last checked.";
    COMPONENT_CHANGES = counter "wellkept_component_changes" ["component", "to", "reason"],
        "Changes of a component's status, the first one included, by what it changed to and why.";
    RUNS = counter "wellkept_check_runs" ["component", "verdict"], "Runs of a component's check by verdict.";
    MISSED = counter "wellkept_check_missed" ["component"], "Runs due while the one before still went on.";
    DURATION = histogram "wellkept_check_duration_seconds" ["component"], "How long a component's check took.";
    HEARTBEAT_AGE = gauge "wellkept_heartbeat_age_seconds" ["component"],
        "How long ago a loop's latest sign of life was.";
    EXPORTS = counter "wellkept_exports" ["exporter", "fate"],
        "What was handed to an exporter, by what became of it.";
    EXPORTS_QUEUED = gauge "wellkept_exports_queued" ["exporter"], "Changes that wait for an exporter.";
}

impl Collector for ServiceCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        SERVICE_FAMILIES.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        self.service(out, self.0.snapshot().overall());
        self.engine(out);
    }
}

impl Collector for ComponentCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        COMPONENT_FAMILIES.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        let snapshot = self.0.snapshot();
        components(out, &snapshot);
        runs(out, &snapshot);
        match &*self.0.heartbeats() {
            [] => {}
            some => heartbeats(out, some),
        }
        match &*self.0.exports() {
            [] => {}
            some => exports(out, some),
        }
    }
}

impl ServiceCollector {
    fn service(&self, out: &mut Readings, overall: Status) {
        let checker = &self.0;
        out.family(&SERVICE).sample([checker.service(), checker.version()], 1.0);
        out.family(&STATUS).samples(Status::ALL.map(|status| ([status.as_str()], truth(status == overall))));
        let readiness = checker.readiness();
        out.value(&READY, truth(readiness.ready));
        out.value(&ALIVE, truth(checker.is_alive()));
        out.value(&STARTED, truth(checker.is_started()));
        out.value(&DRAINING, truth(readiness.lifecycle == Lifecycle::Draining));
        changes(out, &STATUS_CHANGES, &checker.status_changes());
        changes(out, &READINESS_CHANGES, &checker.readiness_changes());
        out.value(&UPTIME, checker.uptime().as_secs_f64());
        let liveness = checker.liveness();
        out.value(&RUNTIME_LAG, liveness.lag().as_secs_f64());
        out.value(&RUNTIME_STALLS, count(liveness.stalls_total()));
        out.value(&HEARTBEATS_LATE, count(liveness.late_total()));
    }

    fn engine(&self, out: &mut Readings) {
        let stats = self.0.stats();
        out.value(&RUNNING, count(stats.running));
        out.value(&QUEUED, count(stats.queued));
        out.value(&STRAGGLERS, count(stats.stragglers));
        let limits = [(["remote"], stats.max_concurrent), (["local"], stats.max_concurrent_local)];
        out.family(&LIMIT).samples(limits.map(|(scope, limit)| (scope, limit as f64)));
        let lags = &stats.lags;
        out.family(&LAG).histogram([], &bounds(Lags::BUCKETS), lags.buckets, lags.total.as_secs_f64());
        if let Some(ticked) = stats.ticked {
            out.value(&TICK, ticked.as_millisecond() as f64 / 1000.0);
        }
        out.value(&PUBLISHED, count(stats.published_total));
        out.value(&PUBLISHING, stats.publishing_total.as_secs_f64());
        let Some(history) = self.0.history() else { return };
        let history = history.stats();
        out.value(&HISTORY_WRITTEN, count(history.written_total));
        out.value(&HISTORY_DROPPED, count(history.dropped_total));
        out.value(&HISTORY_BACKLOG, count(history.backlog));
    }
}

/// The bounds of buckets, the last of which is infinite and goes without saying.
fn bounds<const N: usize>(buckets: [f64; N]) -> Arc<[f64]> {
    buckets.into_iter().filter(|bound| bound.is_finite()).collect()
}

fn changes(out: &mut Readings, family: &Declaration<'_>, changes: &Changes) {
    out.family(family).samples(changes.iter().map(|change| ([change.to, change.reason], count(change.count))));
}

fn components(out: &mut Readings, snapshot: &Snapshot) {
    let statuses = snapshot.components().flat_map(|one| {
        let standing = snapshot.standing(one).status;
        Status::ALL.map(|status| ([&*one.name, status.as_str()], truth(status == standing)))
    });
    out.family(&COMPONENT_STATUS).samples(statuses);
    let ages = snapshot.components().filter_map(|one| Some(([&*one.name], snapshot.age(one)?.as_secs_f64())));
    out.family(&COMPONENT_AGE).samples(ages);
    let times = snapshot
        .components()
        .filter_map(|one| Some(([&*one.name], one.checked?.wall.as_millisecond() as f64 / 1000.0)));
    out.family(&COMPONENT_CHECKED).samples(times);
    let changes = snapshot
        .components()
        .flat_map(|one| one.changes.iter().map(|change| ([&*one.name, change.to, change.reason], count(change.count))));
    out.family(&COMPONENT_CHANGES).samples(changes);
}

fn runs(out: &mut Readings, snapshot: &Snapshot) {
    let verdicts = snapshot.components().flat_map(|one| {
        [Verdict::Pass, Verdict::Warn, Verdict::Fail]
            .map(|verdict| ([&*one.name, verdict.as_str()], count(one.totals.runs[verdict as usize])))
    });
    out.family(&RUNS).samples(verdicts);
    out.family(&MISSED).samples(snapshot.components().map(|one| ([&*one.name], count(one.totals.missed))));
    let bounds = bounds(RunTotals::BUCKETS);
    let mut durations = out.family(&DURATION);
    for one in snapshot.components() {
        durations.histogram([&*one.name], &bounds, one.totals.buckets, one.totals.seconds);
    }
}

fn heartbeats(out: &mut Readings, heartbeats: &[HeartbeatStats]) {
    let ages = heartbeats.iter().map(|one| ([&*one.name], one.age.as_secs_f64()));
    out.family(&HEARTBEAT_AGE).samples(ages);
}

fn exports(out: &mut Readings, exports: &[ExportStats]) {
    let calls = exports.iter().flat_map(|one| {
        [("taken", one.taken_total), ("failed", one.failed_total), ("dropped", one.dropped_total)]
            .map(|(fate, calls)| ([&*one.name, fate], count(calls)))
    });
    out.family(&EXPORTS).samples(calls);
    out.family(&EXPORTS_QUEUED).samples(exports.iter().map(|one| ([&*one.name], count(one.queued))));
}

fn count(number: u64) -> f64 {
    number as f64
}
