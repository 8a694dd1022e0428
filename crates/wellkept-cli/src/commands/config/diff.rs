//! `wellkept config diff`: what differs between two configurations of a running server.

use serde_json::Value;
use wellkept::config::quoted;

use crate::arguments::ConfigDiff;
use crate::exit::{Exit, Failure};
use crate::output::{print, print_json};

const RUNNING: &str = "running";
const FILE: &str = "file";

pub(crate) fn run(options: &ConfigDiff) -> Result<Exit, Failure> {
    let (from, to) = match (&options.from, &options.to) {
        (None, _) => (RUNNING, FILE),
        // What has changed since, where only one is named.
        (Some(from), None) if from == RUNNING => (RUNNING, FILE),
        (Some(from), None) => (from.as_str(), RUNNING),
        (Some(from), Some(to)) => (from.as_str(), to.as_str()),
    };
    for place in [from, to] {
        if place != RUNNING && place != FILE && place.parse::<u64>().is_err() {
            let problem = format!("expected `running`, `file` or the number of a version, found {}", quoted(place));
            return Err(Failure::new(Exit::Usage, problem));
        }
    }
    let (server, _) = crate::commands::find_server(&options.door)?;
    let answer: Value = super::view(&server, &format!("{}/diff?from={from}&to={to}", super::PATH))?;
    let changes = super::words(&answer["changes"]);
    if options.door.json {
        print_json(&answer);
    } else if changes.is_empty() {
        print("Nothing differs.\n");
    } else {
        print(&(changes.join("\n") + "\n"));
    }
    Ok(if changes.is_empty() { Exit::Clean } else { Exit::Differs })
}
