//! `wellkept status`: what a running server knows, and what changed; from its store when it is not running.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::json;
use wellkept::health::trend::Brief;
use wellkept::health::{StatusChange, wire};
use wellkept::program::Configuration;

use crate::arguments::Status;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colours, Table, error, escaped, indented, print, print_json};

pub(crate) fn run(options: &Status) -> Result<Exit, Failure> {
    let (server, configuration) = super::find_server(&options.door)?;
    let answer = server
        .get_json::<wire::Detailed>("/health/detailed")
        .and_then(|(_, detailed)| Ok((detailed, server.get_json::<Past>(&past(options))?.1)));
    // An older server has none: then nothing is said of the past.
    let trends = || server.get_json::<Trends>("/api/v1/trends").map(|(_, trends)| trends).unwrap_or_default();
    match answer {
        Ok((detailed, past)) => {
            if options.door.json {
                print_json(&json!({
                    "server": server.address(), "health": detailed, "trends": trends().components,
                    "changes": past.changes,
                }));
            } else {
                print(&render(&detailed, &past.changes, &trends()));
            }
            Ok(if detailed.ready { Exit::Clean } else { Exit::NotHealthy })
        }
        Err(problem) => {
            error(&format!("{} can't be asked: {problem}", server.address()));
            if let Some(changes) = configuration.and_then(|configuration| stored(&configuration, options.changes)) {
                if options.door.json {
                    print_json(&json!({ "server": null, "health": null, "changes": changes }));
                } else {
                    print(&format!("From the store, the latest changes:\n\n{}", changes_table(&changes)));
                }
            }
            Ok(Exit::Unreachable)
        }
    }
}

/// What `/api/v1/history` answers, as far as it is shown here.
#[derive(Debug, Serialize, Deserialize)]
struct Past {
    changes: Vec<StatusChange>,
}

/// What `/api/v1/trends` answers.
#[derive(Debug, Default, Deserialize)]
struct Trends {
    components: BTreeMap<String, Brief>,
}

fn past(options: &Status) -> String {
    format!("/api/v1/history?limit={}", options.changes)
}

fn stored(configuration: &Configuration, limit: usize) -> Option<Vec<StatusChange>> {
    let read = configuration.store.latest_changes(limit)?;
    read.inspect_err(|problem| error(&problem.to_string())).ok()
}

fn render(detailed: &wire::Detailed, changes: &[StatusChange], trends: &Trends) -> String {
    let mut text = format!(
        "{} {} is {}, {}; up {}\n\n",
        escaped(&detailed.service),
        escaped(&detailed.version),
        detailed.status,
        if detailed.ready { "takes traffic" } else { "takes no traffic" },
        escaped(&detailed.uptime)
    )
    .replace("  ", " ");
    if let Some(maintenance) = &detailed.maintenance {
        // Writing to a String can't fail.
        let _ = write!(text, "The service is in maintenance {}\n\n", escaped(&maintenance.sentence()));
    }
    let mut table = Table::new(&["COMPONENT", "STATUS", "SINCE", "UP 24H", "TOOK", "REASON", "WHAT IT FOUND"]);
    for (name, component) in &detailed.components {
        let optional = if component.required { "" } else { " (optional)" };
        let cause = component.caused_by.as_ref().map(|root| format!("because of {root}")).unwrap_or_default();
        let maintenance = component.maintenance.as_ref().map(wire::Maintenance::sentence).unwrap_or_default();
        let found = [component.message.as_str(), &maintenance, &cause, &component.detail];
        let found = found.into_iter().filter(|text| !text.is_empty());
        table.row([
            Cell::from(format!("{name}{optional}")),
            Cell::status(component.status),
            Cell::from(&component.since),
            Cell::from(up(trends.components.get(name))),
            Cell::from(component.response_time.as_deref().unwrap_or_default()),
            Cell::from(component.reason.as_deref().unwrap_or_default()),
            Cell::from(found.collect::<Vec<_>>().join(": ")),
        ]);
        for (name, part) in indented(&component.components, 1) {
            table.row([
                Cell::from(name),
                Cell::status(part.status),
                Cell::from(""),
                Cell::from(""),
                Cell::from(part.response_time_ms.map(|time| format!("{time:.1}ms")).unwrap_or_default()),
                Cell::from(part.reason.as_deref().unwrap_or_default()),
                Cell::from(&part.message),
            ]);
        }
    }
    text.push_str(&table.render(Colours::of_stdout()));
    // Writing to a String can't fail.
    let _ = write!(text, "\nThe latest changes:\n\n{}", changes_table(changes));
    text
}

/// The share of the last 24 hours in which it was up, of the time known, which is told when it is less; cut off, so that
/// only always is 100%.
fn up(brief: Option<&Brief>) -> String {
    let Some((brief, share)) = brief.and_then(|brief| Some((brief, brief.availability_24h?))) else {
        return String::new();
    };
    let observed = brief.short_of_24h().map(|observed| format!(" of {}", wire::hours(observed))).unwrap_or_default();
    format!("{:.2}%{observed}", (share * 1e4).floor() / 1e2)
}

fn changes_table(changes: &[StatusChange]) -> String {
    let mut table = Table::new(&["WHEN", "WHAT", "FROM", "TO", "REASON", "MESSAGE"]);
    for change in changes {
        table.row([
            Cell::from(wire::rfc3339(change.at)),
            Cell::from(change.component.as_deref().unwrap_or("the service")),
            change.from.map_or_else(|| Cell::from("started"), Cell::status),
            Cell::status(change.to),
            Cell::from(change.reason.as_deref().unwrap_or_default()),
            Cell::from(&change.message),
        ]);
    }
    table.render(Colours::of_stdout())
}
