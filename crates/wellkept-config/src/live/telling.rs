//! What a change came to, in the log.

use crate::outcome::{Effect, Intent, Outcome, Report, Request};

pub(super) fn log(request: &Request, report: &Report) {
    let (outcome, trigger, author) = (report.outcome.kind().as_str(), request.trigger.as_str(), &*request.author);
    let dry_run = request.intent == Intent::DryRun;
    let restart_required = match &report.outcome {
        Outcome::Unchanged => {
            tracing::info!(
                target: "wellkept::config", outcome, trigger, author, dry_run, "the configuration is unchanged"
            );
            return;
        }
        Outcome::Rejected(rejection) => {
            let code = rejection.code();
            for line in rejection.to_string().lines() {
                tracing::error!(
                    target: "wellkept::config", outcome, trigger, author, dry_run, code, error = line, "reload refused"
                );
            }
            tracing::warn!(target: "wellkept::config", "the configuration from before runs on, unchanged");
            return;
        }
        Outcome::Applied => &[][..],
        Outcome::RestartRequired { keys } | Outcome::RolledBack { restart_required: keys, .. } => keys,
    };
    let version = report.version.map(|version| version.0);
    let counts = ["added", "changed", "removed", "kept"].map(|word| count(report, word));
    let [added, changed, removed, kept] = counts;
    let differing = report.changes.len();
    let message = match (&report.outcome, request.intent) {
        (_, Intent::DryRun) => "the configuration would be reloaded",
        (Outcome::RolledBack { .. }, Intent::Apply) => "an earlier version of the configuration runs again",
        (_, Intent::Apply) => "configuration reloaded",
    };
    tracing::info!(
        target: "wellkept::config", outcome, trigger, author, version, changes = differing, added, changed, removed, kept, "{message}"
    );
    if !restart_required.is_empty() {
        let keys = restart_required.join(", ");
        tracing::warn!(target: "wellkept::config", keys, "these keys wait for a restart; the rest is applied");
    }
}

/// How many that was done to, as those that took part say it.
fn count(report: &Report, word: &str) -> Option<usize> {
    let of_word = report.effects.iter().filter(|(said, _)| *said == word);
    of_word
        .map(|(_, effect)| match effect {
            Effect::Names(names) => names.len(),
            Effect::Count(count) => *count,
        })
        .reduce(|all, more| all + more)
}
