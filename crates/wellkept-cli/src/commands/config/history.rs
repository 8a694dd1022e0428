//! `wellkept config history`: the versions that a running server keeps.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{by, short};
use crate::arguments::ConfigHistory;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colours, Table, escaped, print, print_json};

/// `GET /api/v1/config/versions`
#[derive(Debug, Serialize, Deserialize)]
struct Versions {
    running: Option<u64>,
    versions: Vec<Version>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Version {
    id: u64,
    at: Option<String>,
    trigger: String,
    author: String,
    hash: String,
    outcome: String,
    returned_to: Option<u64>,
    refuses: Option<String>,
    summary: Vec<String>,
}

pub(crate) fn run(options: &ConfigHistory) -> Result<Exit, Failure> {
    let (server, _) = crate::commands::find_server(&options.door)?;
    let path = format!("{}/versions", super::PATH);
    let Versions { running, mut versions } = super::view(&server, &path)?;
    if let Some(wanted) = options.version {
        versions.retain(|version| version.id == wanted);
        let Some(version) = versions.first() else {
            let problem = format!("version {wanted} is not kept: see `wellkept config history`");
            return Err(Failure::new(Exit::Usage, problem));
        };
        if options.door.json {
            print_json(version);
        } else {
            print(&in_full(version, running));
        }
        return Ok(Exit::Clean);
    }
    versions.truncate(options.limit);
    if options.door.json {
        print_json(&json!({ "running": running, "versions": versions }));
    } else if versions.is_empty() {
        print("No version is kept.\n");
    } else {
        print(&table(&versions, running).render(Colours::of_stdout()));
    }
    Ok(Exit::Clean)
}

fn table(versions: &[Version], running: Option<u64>) -> Table {
    let mut table = Table::new(&["VERSION", "WHEN", "OUTCOME", "BY", "HASH", "WHAT"]);
    for version in versions {
        let runs = if running == Some(version.id) { " (runs)" } else { "" };
        table.row([
            Cell::from(format!("{}{runs}", version.id)),
            Cell::from(version.at.as_deref().unwrap_or_default()),
            Cell::from(version.outcome()),
            Cell::from(by(&version.trigger, &version.author)),
            Cell::from(short(&version.hash)),
            Cell::from(version.in_brief()),
        ]);
    }
    table
}

fn in_full(version: &Version, running: Option<u64>) -> String {
    let runs = if running == Some(version.id) { ", which runs" } else { "" };
    let told = [
        ("when", version.at.clone().unwrap_or_default()),
        ("outcome", version.outcome()),
        ("by", by(&version.trigger, &version.author)),
        ("hash", version.hash.clone()),
        ("refused since then", version.refuses.as_deref().map(short).unwrap_or_default()),
    ];
    let told = told.iter().filter(|(_, told)| !told.is_empty()).map(|(word, told)| format!("{word}: {told}"));
    let lines = told.chain(version.summary.iter().cloned()).map(|line| format!("  {}\n", escaped(&line)));
    std::iter::once(format!("Version {}{runs}\n", version.id)).chain(lines).collect()
}

impl Version {
    fn outcome(&self) -> String {
        let words = self.outcome.replace('_', " ");
        match self.returned_to {
            Some(version) => format!("{words} to {version}"),
            None => words,
        }
    }

    /// The first line of what changed, and how many more there are.
    fn in_brief(&self) -> String {
        match self.summary.as_slice() {
            [] => String::new(),
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn versions() -> Vec<Version> {
        let answer = json!([
            {
                "id": 4, "at": "2026-01-15T10:30:00.123Z", "trigger": "api", "author": "ann",
                "hash": "0123456789abcdef", "outcome": "rolled_back", "returned_to": 2,
                "refuses": "fedcba9876543210",
                "summary": ["~ checks.db.interval: 5s -> 10s", "- checks.cache", "\u{1b}[2J"],
            },
            {
                "id": 3, "at": null, "trigger": "signal", "author": "", "hash": "fedcba9876543210",
                "outcome": "restart_required", "returned_to": null, "refuses": null, "summary": [],
            },
        ]);
        Value::as_array(&answer).unwrap().iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect()
    }

    #[test]
    fn versions_are_told_in_a_line_each() {
        insta::assert_snapshot!(table(&versions(), Some(4)).render(Colours::Off), @"
        VERSION   WHEN                      OUTCOME           BY         HASH          WHAT
        4 (runs)  2026-01-15T10:30:00.123Z  rolled back to 2  api (ann)  0123456789ab  ~ checks.db.interval: 5s -> 10s (and 2 more)
        3                                   restart required  signal     fedcba987654
        ");
    }

    #[test]
    fn a_version_is_told_in_full() {
        let told: Vec<_> = versions().iter().map(|version| in_full(version, Some(4))).collect();
        insta::assert_snapshot!(told.concat(), @r"
        Version 4, which runs
          when: 2026-01-15T10:30:00.123Z
          outcome: rolled back to 2
          by: api (ann)
          hash: 0123456789abcdef
          refused since then: fedcba987654
          ~ checks.db.interval: 5s -> 10s
          - checks.cache
          \u{1b}[2J
        Version 3
          outcome: restart required
          by: signal
          hash: fedcba9876543210
        ");
    }
}
