//! `wellkept log`: what a running server logs, and how to have it log more or less.

use serde_json::{Value, json};
use wellkept::checks::fetch::Method;
use wellkept::config::quoted;
use wellkept::telemetry::logging::Level;

use crate::arguments::{Door, LogLevel, LogStatus};
use crate::ask::{AskError, Server};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colours, Table, print, print_json};

const PATH: &str = "/api/v1/logging";
/// In place of a level: the configured one.
const RESET: &str = "reset";

pub(crate) fn level(options: &LogLevel) -> Result<Exit, Failure> {
    let (module, word) = match options.what.as_slice() {
        [word] => (None, word),
        [module, word] => (Some(module), word),
        _ => return Err(Failure::new(Exit::Usage, "name a level, or a module and a level")),
    };
    let author = super::author(options.author.as_deref());
    let asked = if word == RESET {
        if options.lasts.is_some() {
            return Err(Failure::new(Exit::Usage, "what is taken back has no end: leave out --for"));
        }
        let module = module.map(|module| format!("module={}&", super::encoded(module))).unwrap_or_default();
        (Method::DELETE, format!("{PATH}?{module}author={}", super::encoded(&author)), None)
    } else {
        let level: Level = word
            .parse()
            .map_err(|error| Failure::new(Exit::Usage, format!("{error}, or {RESET}; found {}", quoted(word))))?;
        let mut wanted = json!({ "level": level.as_str(), "reason": options.reason, "author": author });
        if let Some(module) = module {
            wanted["module"] = json!(module);
        }
        if let Some(lasts) = &options.lasts {
            wanted["for"] = json!(format!("{}ms", super::duration(lasts)?.as_millis()));
        }
        (Method::PUT, PATH.to_owned(), Some(wanted))
    };
    let (server, _) = super::find_server(&options.door)?;
    let (method, path, body) = asked;
    show(&ask(&server, method, &path, body.as_ref())?, &options.door, Part::Levels);
    Ok(Exit::Clean)
}

pub(crate) fn status(options: &LogStatus) -> Result<Exit, Failure> {
    let (server, _) = super::find_server(&options.door)?;
    show(&ask(&server, Method::GET, PATH, None)?, &options.door, Part::All);
    Ok(Exit::Clean)
}

fn ask(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    server.act(method, path, body).map_err(|problem| {
        let what = if matches!(problem, AskError::Refused { .. }) { "refuses" } else { "can't be asked" };
        Failure::new(problem.exit(), format!("{} {what}: {problem}", server.address()))
    })
}

/// How much of the answer is printed for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Levels,
    All,
}

fn show(answer: &Value, door: &Door, part: Part) {
    if door.json {
        return print_json(answer);
    }
    let colours = Colours::of_stdout();
    print(&levels(answer).render(colours));
    if part == Part::All {
        print(&format!("\n{}", books(answer).render(colours)));
        print(&format!("\nLeft out because they repeated: {}\n", answer["suppressed"]));
    }
}

fn levels(answer: &Value) -> Table {
    let mut table = Table::new(&["WHAT", "LEVEL", "CONFIGURED", "UNTIL", "LEFT", "BY", "REASON"]);
    let modules = answer["modules"].as_array().map(Vec::as_slice).unwrap_or_default();
    for rule in std::iter::once(answer).chain(modules) {
        let set = &rule["set"];
        let until = if set.is_null() { "" } else { set["ends"].as_str().unwrap_or("taken back") };
        table.row([
            Cell::from(rule["module"].as_str().unwrap_or("the whole log")),
            cell(&rule["level"]),
            cell(&rule["configured"]),
            Cell::from(until),
            cell(&set["left"]),
            cell(&set["by"]),
            cell(&set["reason"]),
        ]);
    }
    table
}

fn books(answer: &Value) -> Table {
    let mut table = Table::new(&["SINK", "ACCEPTED", "WRITTEN", "PENDING", "DROPPED", "BECAUSE"]);
    for sink in answer["sinks"].as_array().into_iter().flatten() {
        let dropped: Vec<(&str, u64)> = sink["dropped"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(reason, count)| Some((reason.as_str(), count.as_u64().filter(|count| *count > 0)?)))
            .collect();
        let why: Vec<String> = dropped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        table.row([
            cell(&sink["sink"]),
            cell(&sink["accepted"]),
            cell(&sink["written"]),
            cell(&sink["pending"]),
            Cell::from(dropped.iter().map(|(_, count)| count).sum::<u64>().to_string()),
            Cell::from(why.join(", ")),
        ]);
    }
    table
}

/// A word or a number; nothing of what is not there.
fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::from(""),
        Value::String(text) => Cell::from(text),
        other => Cell::from(other.to_string()),
    }
}
