//! What the program's configuration can say: every key, for the schema that editors complete from and for the reference
//! page. Told by the code that reads it.

use std::fmt::Write as _;

use wellkept_config::{Entry, Presence, Reference, Section, Shape};

use super::configuration::Configuration;
use super::reload::restart_keys;

impl Configuration {
    /// Every key that the file can have, in the order in which they are read.
    pub fn reference() -> Reference {
        wellkept_config::describe::<Self>()
    }

    /// The JSON Schema (draft 2020-12) of the file.
    pub fn json_schema() -> String {
        Self::reference().json_schema("Configuration of wellkept", "")
    }

    /// The keys in tables of Markdown, a section each. Those of the kinds of checks are left out: each kind has a page.
    pub fn markdown() -> String {
        let reference = Self::reference();
        let is_of_a_kind = |entry: &Entry| {
            let below = entry.path().strip_prefix("checks[].").and_then(|below| below.split(['.', '[']).next());
            below.is_some_and(|first| wellkept_checks::kinds().iter().any(|kind| kind.name == first))
        };
        let mut page = String::new();
        let mut section = None;
        for entry in reference.entries().iter().filter(|entry| !is_of_a_kind(entry)) {
            let top = entry.path().split(['.', '[']).next().unwrap_or_default();
            if section != Some(top) {
                section = Some(top);
                let _ = write!(page, "\n## `{top}`\n\n");
                let default = entry.default().map(|default| format!(" Default: {default}.")).unwrap_or_default();
                let _ = write!(page, "{}{default}\n\n", entry.description());
                page.push_str("| key | type | default | a change | what it is |\n|---|---|---|---|---|\n");
            }
            if entry.path() != top || !is_section(entry) {
                page.push_str(&row(entry));
            }
        }
        page
    }
}

/// What the sections are, and the keys of those that are the configuration's own.
pub(super) fn describe(root: &mut Section<'_>) {
    if root.is_describing() {
        root.restart(&restart_keys().collect::<Vec<_>>());
    }
    root.describe(&[
        ("service", "What the service is called."),
        ("service.name", "Its name, shown to everyone. Default: the machine's host name."),
        ("service.version", "Its version, shown to everyone. Default: empty."),
        (
            "service.id",
            "What tells it from others that look at it and that it looks at; replicas that are one service to the others \
             share it. Default: a random one in each process.",
        ),
        ("store", "Where history is kept. Default: a file of the service's own in `$XDG_STATE_HOME/wellkept`."),
        ("history", "How much of the past is remembered."),
        ("liveness", "How the runtime that the checks run on is watched."),
        ("logging", "The log: how it looks, what goes into it, and where."),
        ("otlp", "Where metrics are pushed. Default: nowhere."),
        ("metrics", "What is shown as metrics beyond the program's own figures."),
        ("defaults", "What holds for every check that doesn't say otherwise."),
        ("checks", "What is asked. Default: this machine is watched where there is no file, and nothing where there is one."),
        ("maintenance", "When what is taken out."),
        ("reload", "When the configuration is read again, and how that goes."),
        ("shutdown", "The times of the shutdown. They count from its beginning within the one `deadline`."),
        ("shutdown.profile", "What the other times are taken from. Default: plain."),
        ("shutdown.deadline", "How long the whole may take."),
        ("shutdown.delay", "How long work simply goes on, with readiness failed, so that load balancers notice. With the profile `kubernetes` 5s."),
        ("shutdown.announce", "How long clients are told to go elsewhere before the listeners close, if any is connected."),
        ("shutdown.drain", "How long what is in flight is waited for."),
        ("shutdown.resource", "How long one resource may take to close."),
        ("shutdown.flush", "What is reserved at the end for logs, metrics and traces to leave, a quarter of the deadline at most."),
        ("shutdown.force_after_timeout", "Whether what is still in flight at the end of the drain is cut; if not, it may go on while the deadline leaves time."),
        ("shutdown.log_progress", "How often the log says what is waited for; `0s` says nothing. Default: 1s."),
        ("shutdown.grace", "After what time the outside kills the process, to warn where the deadline does not fit. Default: unknown."),
        ("shutdown.handover", "Where the next process takes over the listeners. Default: nowhere."),
    ]);
}

fn is_section(entry: &Entry) -> bool {
    matches!(entry.shape(), Shape::Section | Shape::Sections | Shape::Mapping)
}

fn row(entry: &Entry) -> String {
    let default = match entry.presence() {
        Presence::Required => "required".to_owned(),
        Presence::Default(default) => format!("`{default}`"),
        Presence::Said(default) => default.clone(),
        Presence::Optional => String::new(),
    };
    let expected = entry.expected();
    let expected = expected.strip_prefix("a ").or_else(|| expected.strip_prefix("an ")).unwrap_or(&expected);
    let change = if entry.needs_restart() { "restart" } else { "reload" };
    let path = format!("`{}`", entry.path());
    let cells = [path, expected.to_owned(), default, change.to_owned(), entry.description().to_owned()];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).replace("|  |", "| |")
}

/// What parts the page `docs/configuration.md` into what is written by hand and what is made.
#[cfg(test)]
const MARK: &str = "<!-- Below this line: `cargo xtask docs` -->\n";

#[cfg(test)]
mod tests;
