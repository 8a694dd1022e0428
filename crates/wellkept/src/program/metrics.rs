//! The section `metrics`, and the metrics of the parts that the doors don't know: reloads, the log, the machine.

use wellkept_config::{Live, OutcomeKind, Section};
use wellkept_telemetry::logging::Logging;
use wellkept_telemetry::metrics::{Audience, Collector, Declaration, Metrics, Readings};
use wellkept_telemetry::system::{System, SystemCollector, SystemOptions};

use super::configuration::Configuration;

const RELOADS: Declaration<'static> =
    Declaration::counter("wellkept_config_reloads", "Reloads of the configuration by outcome.").by(&["outcome"]);
const APPLIED: Declaration<'static> =
    Declaration::gauge("wellkept_config_applied_timestamp_seconds", "When the running configuration was applied.");

/// What the program shows as metrics beyond its own figures: the section `metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Whether the page has the machine's figures and those of the control group (`wellkept_system_…`). Default: yes.
    pub system: SystemFigures,
}

/// Whether the page has the machine's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SystemFigures {
    /// It has.
    #[default]
    Shown,
    /// It has not: something else on the machine tells them.
    Hidden,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { system: SystemFigures::Shown }
    }
}

impl MetricsSettings {
    /// `metrics: { system: true }`
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        section.describe(&[(
            "system",
            "Whether the metrics have the machine's figures and those of the control group, `wellkept_system_…`.",
        )]);
        let system = if section.or("system", true) { SystemFigures::Shown } else { SystemFigures::Hidden };
        section.complete();
        Self { system }
    }
}

/// The program's registry, with what the doors don't add.
pub(super) fn registry(settings: MetricsSettings, logging: Option<Logging>, live: Live<Configuration>) -> Metrics {
    let metrics = Metrics::new();
    let mut added = vec![metrics.collector("reload", ReloadCollector(live), Audience::Everyone)];
    added.extend(logging.map(|logging| metrics.collector("log", logging, Audience::Everyone)));
    if settings.system == SystemFigures::Shown {
        let system = System::new(&SystemOptions::default());
        added.push(metrics.collector("system", SystemCollector::new(&system), Audience::Operators));
    }
    for error in added.into_iter().filter_map(Result::err) {
        tracing::error!(target: "wellkept::metrics", code = error.code(), "{error}");
    }
    metrics
}

/// What became of the configuration.
struct ReloadCollector(Live<Configuration>);

impl Collector for ReloadCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        vec![RELOADS, APPLIED]
    }

    fn collect(&self, out: &mut Readings) {
        let (stats, running) = (self.0.stats(), self.0.running());
        let outcomes = [
            (OutcomeKind::Applied, stats.applied),
            (OutcomeKind::Unchanged, stats.unchanged),
            (OutcomeKind::Rejected, stats.rejected),
            (OutcomeKind::RolledBack, stats.rolled_back),
            (OutcomeKind::RestartRequired, stats.restart_required),
        ];
        out.family(&RELOADS).samples(outcomes.map(|(outcome, count)| ([outcome.as_str()], count as f64)));
        out.value(&APPLIED, running.since as f64 / 1000.0);
    }
}
