//! The section `metrics`, and the metrics of the parts that the doors don't know: the log, the machine.

use wellkept_config::Section;
use wellkept_telemetry::logging::Logging;
use wellkept_telemetry::metrics::{Audience, Metrics};
use wellkept_telemetry::system::{System, SystemCollector, SystemOptions};

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
pub(super) fn registry(settings: MetricsSettings, logging: Option<Logging>) -> Metrics {
    let metrics = Metrics::new();
    let log = logging.map(|logging| metrics.collector("log", logging, Audience::Everyone));
    let mut added: Vec<_> = log.into_iter().collect();
    if settings.system == SystemFigures::Shown {
        let system = System::new(&SystemOptions::default());
        added.push(metrics.collector("system", SystemCollector::new(&system), Audience::Operators));
    }
    for error in added.into_iter().filter_map(Result::err) {
        tracing::error!(target: "wellkept::metrics", code = error.code(), "{error}");
    }
    metrics
}
