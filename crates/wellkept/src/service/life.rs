//! What follows a process through its life: its shutdown told to health, to systemd and in the log, and what is written
//! at the end.

use tokio::runtime::Handle;
use wellkept_health::{Checker, LivenessWatch, WatchOptions};
use wellkept_shutdown::systemd::Systemd;
use wellkept_shutdown::{Cause, Hook, Report, Shutdown, Status};
use wellkept_telemetry::events::{Events, SecurityEvent};
use wellkept_telemetry::logging::Logging;
use wellkept_telemetry::metrics::Metrics;

use super::Role;

/// One line for the end: how it came, how long it took, what was left. Where not all went well, another holds the whole
/// report as JSON; otherwise it is for those who look closer.
pub(crate) fn tell_end(report: &Report, events: &Events) {
    let (exit_code, seconds) = (report.exit_code(), report.duration_seconds);
    let (cut, errors) = (report.forced.len(), report.errors.len());
    let status = report.status.as_str();
    let whole = serde_json::to_string(report).unwrap_or_default();
    if report.status == Status::Forced {
        let what = format!("forced: {cut} cut short, {}", report.cause);
        events.security(SecurityEvent::SysShutdown { user: "" }).description(&what).log();
    }
    if report.status == Status::Successful {
        tracing::debug!(target: "wellkept", report = whole, "the report of the shutdown");
    } else {
        tracing::warn!(target: "wellkept", report = whole, "the report of the shutdown");
    }
    tracing::info!(target: "wellkept", status, cause = %report.cause, seconds, cut, errors, exit_code, "ended");
}

/// Has readiness fail from the first phase on, unless another process takes over, and the history, what jobs reported and the exporters' changes handed over
/// in the flush.
pub(crate) fn follow(shutdown: &Shutdown, checker: &Checker) {
    let draining = checker.clone();
    let ending = shutdown.clone();
    let follow = move || {
        // Who is replaced says nothing else than before: the service goes on, and a probe on an old connection must not
        // take it for gone.
        if ending.is_shutting_down() && ending.cause() != Some(&Cause::HandedOver) {
            draining.begin_draining();
        }
    };
    // It may have begun before anyone followed it.
    follow();
    shutdown.on_phase(move |_| follow());
    let patience = shutdown.settings().flush;
    let exporting = checker.clone();
    shutdown.on_flush(Hook::blocking("exports", move || {
        let all = exporting.flush_exports(patience);
        if all { Ok(()) } else { Err("changes are left that an exporter has not taken") }
    }));
    let remembering = checker.clone();
    shutdown.on_flush(Hook::blocking("jobs", move || {
        let all = remembering.flush_jobs(patience);
        if all { Ok(()) } else { Err("reports of jobs are left that the store has not taken") }
    }));
    let checker = checker.clone();
    shutdown.on_flush(Hook::blocking("history", move || match checker.history() {
        Some(history) if !history.flush(patience) => Err("records are left that the store has not taken"),
        _ => Ok(()),
    }));
}

/// Has what waits in the log written in the flush.
pub(crate) fn write_at_the_end(logging: &Logging, shutdown: &Shutdown) {
    let (logging, patience) = (logging.clone(), shutdown.settings().flush);
    // A reader of the log that is stuck is no fault of the service: what is lost is counted.
    shutdown.on_flush(Hook::blocking("log", move || {
        logging.flush(patience);
    }));
}

/// Has the exporters of metrics take them once more in the flush.
pub(crate) fn export_to_the_end(shutdown: &Shutdown, metrics: &Metrics) {
    let (metrics, patience) = (metrics.clone(), shutdown.settings().flush);
    // As with the log: a receiver that is away is no fault of the service.
    shutdown.on_flush(Hook::blocking("metrics", move || {
        if !metrics.flush_exports(patience) {
            tracing::warn!(target: "wellkept::metrics", "an exporter has not taken the last metrics");
        }
    }));
}

/// Tells systemd, where it has started the process and wants to know: ready once the start is complete, alive as liveness
/// has it, and how the end goes.
pub(crate) fn tell_systemd(shutdown: &Shutdown, checker: &Checker, role: Role) -> Option<Systemd> {
    let systemd = Systemd::from_environment()?;
    systemd.follow(shutdown);
    let alive = checker.clone();
    systemd.keep_alive(move || alive.is_alive());
    systemd.status(&format!("{} starts", checker.service()));
    let (telling, checker, ending) = (systemd.clone(), checker.clone(), shutdown.clone());
    tokio::spawn(async move {
        let mut published = checker.subscribe();
        tokio::select! {
            // What ends before it was ready is never said to be.
            biased;
            () = ending.begun() => {}
            Ok(_) = published.wait_for(|_| checker.is_started()) => {
                telling.status(&format!("{} serves", checker.service()));
                match role {
                    Role::First => telling.ready(),
                    Role::Successor => telling.ready_in_place_of_another(),
                }
            }
        }
    });
    Some(systemd)
}

/// Has an OS thread ask the current runtime for signs of life.
pub(crate) fn watch_runtime(checker: &Checker, options: WatchOptions) -> std::io::Result<LivenessWatch> {
    checker.liveness().watch(Handle::current(), options)
}
