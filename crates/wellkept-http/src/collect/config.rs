//! The configuration as metrics: what runs, and what reloads came to.

use std::sync::Arc;
use std::time::SystemTime;

use wellkept_config::{Control, OutcomeKind};
use wellkept_telemetry::metrics::{Collector, Declaration, Readings};

use super::{families, truth};

/// Figures of reloads.
#[derive(Debug)]
pub(super) struct ConfigCollector(pub(super) Arc<dyn Control>);

/// Which content runs.
#[derive(Debug)]
pub(super) struct ContentCollector(pub(super) Arc<dyn Control>);

families! { FAMILIES:
    RELOADS = counter "wellkept_config_reloads" ["outcome"], "Reloads of the configuration by outcome.";
    APPLIED = gauge "wellkept_config_applied_timestamp_seconds", "When the running configuration was applied.";
    SUCCESSFUL = gauge "wellkept_config_last_reload_successful",
        "Whether the last reload was not refused; 1 before the first.";
    LAST = gauge "wellkept_config_last_reload_timestamp_seconds", "When the last reload ended.";
    TOOK = gauge "wellkept_config_last_reload_duration_seconds",
        "How long the last reload took, from the request to the end.";
    SUCCESS = gauge "wellkept_config_last_success_timestamp_seconds",
        "When the configuration was last read without being refused.";
    VERSION = gauge "wellkept_config_version", "The number of the version that runs.";
    PROBATION = gauge "wellkept_config_probation", "Whether the version that runs is on probation.";
    PINNED = gauge "wellkept_config_pinned", "Whether a content is refused since a rollback, until the files change.";
    UNWRITTEN = gauge "wellkept_config_versions_unwritten",
        "Versions that are in memory only, since the store can't be written.";
    LOST = counter "wellkept_config_versions_lost",
        "Versions that were lost, since the store could not be written for too long.";
    WAITING = gauge "wellkept_config_restart_required", "Keys whose new value waits for a restart.";
}

families! { CONTENT_FAMILIES:
    CONTENT = info "wellkept_config" ["hash"], "The first digits of the hash of the content that runs, always 1.";
}

/// How many digits of the hash: as many as tell the contents of one service apart.
const DIGITS: usize = 12;

impl Collector for ConfigCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        FAMILIES.to_vec()
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
        out.value(&SUCCESSFUL, truth(!matches!(stats.last, Some((_, OutcomeKind::Rejected)))));
        if let Some((at, _)) = stats.last {
            out.value(&LAST, seconds(at));
            out.value(&TOOK, stats.took.as_secs_f64());
        }
        out.value(&SUCCESS, seconds(stats.last_success));
        if let Some(version) = stats.version {
            out.value(&VERSION, version.0 as f64);
        }
        out.value(&PROBATION, truth(stats.on_probation));
        out.value(&PINNED, truth(stats.pinned));
        out.value(&UNWRITTEN, stats.unwritten as f64);
        out.value(&LOST, stats.lost as f64);
        out.value(&WAITING, running.restart_required.len() as f64);
    }
}

impl Collector for ContentCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        CONTENT_FAMILIES.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        let digits: String = self.0.stats().hash.to_string().chars().take(DIGITS).collect();
        out.family(&CONTENT).sample([digits.as_str()], 1.0);
    }
}

/// Since 1970.
fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
