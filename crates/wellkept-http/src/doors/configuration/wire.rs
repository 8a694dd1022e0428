//! The bodies of `/api/v1/config`. More fields may be added, none renamed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use wellkept_config::{Effect, Intent, Outcome, Report, Running, Shown, ShownValue, Version, VersionId};

/// `GET /api/v1/config`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Runs {
    /// The number of the version, where versions are kept.
    version: Option<u64>,
    /// SHA-256 over the files' names and texts: the `ETag`.
    hash: String,
    /// Since when it runs.
    #[schemars(extend("format" = "date-time"))]
    since: Option<String>,
    /// What made it be read: `start`, `signal`, `api`, `watch`, `code` or `probation`.
    trigger: &'static str,
    /// Who did; may be empty.
    author: String,
    /// The files that it is read from.
    files: Vec<String>,
    /// The hash of a content that is refused since a rollback, until the files change.
    refuses: Option<String>,
    /// Keys whose value in it waits for a restart.
    restart_required: Vec<String>,
    /// Until when it is on probation.
    #[schemars(extend("format" = "date-time"))]
    probation_until: Option<String>,
    /// Why the latest attempt since was refused, one line for each reason.
    last_rejection: Vec<String>,
    /// What operators did to checks since the start, which no file has, one line each: `api: + checks.extra (tcp)`,
    /// `api: ~ checks.orders-db.interval: 5s -> 1s`, `api: checks.orders-db disabled`.
    drift: Vec<String>,
    /// All values.
    values: Vec<Entry>,
}

/// `GET /api/v1/config/file`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Values {
    /// All values.
    values: Vec<Entry>,
}

/// One value.
#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    /// Its key, with those above it: `checks.orders-db.interval`.
    path: String,
    /// As written, before variables are filled in, with what is secret in it as `…`; `null` where nothing is shown.
    value: Option<String>,
    /// Whether nothing of it is shown.
    secret: bool,
    /// Where it comes from, for example `wellkept.yaml:3:5` or `default`.
    origin: String,
}

/// `GET /api/v1/config/versions`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Versions {
    /// The number of the one that runs.
    running: Option<u64>,
    /// Newest first.
    versions: Vec<Kept>,
}

/// One version, or one refused attempt at one.
#[derive(Debug, Serialize, JsonSchema)]
struct Kept {
    id: u64,
    /// When it was decided upon.
    #[schemars(extend("format" = "date-time"))]
    at: Option<String>,
    /// What made it be read: `start`, `signal`, `api`, `watch`, `code` or `probation`.
    trigger: &'static str,
    /// Who did; may be empty.
    author: String,
    /// SHA-256 over the files' names and texts.
    hash: String,
    /// `applied`, `rejected`, `rolled_back` or `restart_required`.
    outcome: &'static str,
    /// The version that was returned to.
    returned_to: Option<u64>,
    /// The hash of the content that is refused since then, until the files change.
    refuses: Option<String>,
    /// What differs from the one before, or why it was refused.
    summary: Vec<String>,
}

/// `GET /api/v1/config/versions/3`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct VersionShown {
    #[serde(flatten)]
    version: Kept,
    /// All values; `null` for one that was refused, whose content is not kept.
    values: Option<Vec<Entry>>,
}

/// `GET /api/v1/config/diff`
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Difference {
    /// `running`, `file`, or the number of a version.
    pub(super) from: String,
    /// The same.
    pub(super) to: String,
    /// One line for each value: `+ KEY: NEW`, `- KEY: OLD`, `~ KEY: OLD -> NEW`. Between `running` and `file` also what
    /// operators did to checks, whichever of the two is `from`: lines that begin with `api: `. Empty when nothing differs.
    pub(super) changes: Vec<String>,
}

/// What came of a reload or a rollback that was not refused.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Done {
    /// `applied`, `unchanged`, `rolled_back`, or `restart_required` when it runs but for some keys.
    outcome: &'static str,
    /// Whether it was only tried.
    dry_run: bool,
    /// The number of the version that runs now, where versions are kept.
    version: Option<u64>,
    /// The hash of the content that runs now.
    hash: String,
    /// For a rollback: the version that runs again.
    returned_to: Option<u64>,
    /// Names of checks that are new.
    added: Vec<String>,
    /// Names of checks whose definition differs.
    changed: Vec<String>,
    /// Names of checks that are gone.
    removed: Vec<String>,
    /// How many checks kept their state.
    kept: usize,
    /// Keys whose new value waits for a restart; the rest is applied.
    restart_required: Vec<String>,
    /// What differs from what ran before, as `GET /api/v1/config/diff` has it.
    changes: Vec<String>,
    /// What was done beyond checks, under words of those that did it.
    effects: BTreeMap<&'static str, What>,
    /// From the request to the end, in milliseconds.
    took_ms: f64,
}

/// One thing that was done.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
enum What {
    /// To these.
    Names(Vec<String>),
    /// To so many.
    Count(usize),
}

impl Runs {
    pub(super) fn of(running: Running, values: Vec<Shown>, drift: Vec<String>) -> Self {
        Self {
            version: running.version.map(number),
            hash: running.hash.to_string(),
            since: moment(running.since),
            trigger: running.trigger.as_str(),
            author: running.author,
            files: running.files,
            refuses: running.refuses.map(|hash| hash.to_string()),
            restart_required: running.restart_required,
            probation_until: running.probation_until.and_then(moment),
            last_rejection: running.last_rejection,
            drift,
            values: Entry::all(values),
        }
    }
}

impl Values {
    pub(super) fn of(values: Vec<Shown>) -> Self {
        Self { values: Entry::all(values) }
    }
}

impl Entry {
    fn all(values: Vec<Shown>) -> Vec<Self> {
        let of = |Shown { path, value, origin, .. }| {
            let (value, secret) = match value {
                ShownValue::Written(text) => (Some(text), false),
                ShownValue::Secret => (None, true),
            };
            Self { path, value, secret, origin }
        };
        values.into_iter().map(of).collect()
    }
}

impl Versions {
    pub(super) fn of(running: Option<VersionId>, versions: Vec<Version>) -> Self {
        Self { running: running.map(number), versions: versions.into_iter().map(Kept::of).collect() }
    }
}

impl VersionShown {
    pub(super) fn of(version: Version, values: Option<Vec<Shown>>) -> Self {
        Self { version: Kept::of(version), values: values.map(Entry::all) }
    }
}

impl Kept {
    fn of(version: Version) -> Self {
        Self {
            id: number(version.id),
            at: written(version.at),
            trigger: version.trigger.as_str(),
            author: version.author,
            hash: version.hash.to_string(),
            outcome: version.outcome.as_str(),
            returned_to: version.returned_to.map(number),
            refuses: version.refuses.map(|hash| hash.to_string()),
            summary: version.summary,
        }
    }
}

impl Done {
    pub(super) fn of(report: Report, intent: Intent) -> Self {
        let outcome = report.outcome.kind().as_str();
        let (returned_to, restart_required) = match report.outcome {
            Outcome::RolledBack { to, restart_required } => (Some(number(to)), restart_required),
            Outcome::RestartRequired { keys } => (None, keys),
            _ => (None, Vec::new()),
        };
        // Several that take part may use the same word.
        let mut effects = BTreeMap::new();
        for (word, effect) in report.effects {
            match (effects.entry(word).or_insert_with(|| What::nothing_of(&effect)), effect) {
                (What::Names(all), Effect::Names(names)) => all.extend(names),
                (What::Count(all), Effect::Count(count)) => *all += count,
                (What::Names(_), Effect::Count(_)) | (What::Count(_), Effect::Names(_)) => {}
            }
        }
        let mut names = |word| match effects.remove(word) {
            Some(What::Names(names)) => names,
            _ => Vec::new(),
        };
        let (added, changed, removed) = (names("added"), names("changed"), names("removed"));
        let kept = match effects.remove("kept") {
            Some(What::Count(kept)) => kept,
            _ => 0,
        };
        Self {
            outcome,
            dry_run: intent == Intent::DryRun,
            version: report.version.map(number),
            hash: report.hash.to_string(),
            returned_to,
            added,
            changed,
            removed,
            kept,
            restart_required,
            changes: report.changes,
            effects,
            took_ms: (report.took.as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

impl What {
    fn nothing_of(effect: &Effect) -> Self {
        match effect {
            Effect::Names(_) => Self::Names(Vec::new()),
            Effect::Count(_) => Self::Count(0),
        }
    }
}

fn number(id: VersionId) -> u64 {
    id.0
}

/// `None` for a time that no calendar has.
fn moment(milliseconds: i64) -> Option<String> {
    Timestamp::from_millisecond(milliseconds).ok().map(|time| format!("{time:.3}"))
}

fn written(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|time| format!("{time:.3}"))
}
