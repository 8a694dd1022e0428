//! `wellkept maintenance`: takes a running service, or some of its components, out on purpose, and in again.

use jiff::civil::Time;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wellkept::checks::fetch::Method;
use wellkept::config::quoted;
use wellkept::health::wire;

use crate::arguments::{Door, MaintenanceEnd, MaintenanceList, MaintenanceStart};
use crate::ask::{AskError, Server};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colours, Table, error, print, print_json};

const PATH: &str = "/api/v1/maintenance";

/// What the server says of maintenances; `kept` only after a change.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    maintenances: Vec<wire::Maintenance>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kept: Option<String>,
}

pub(crate) fn start(options: &MaintenanceStart) -> Result<Exit, Failure> {
    let (server, _) = super::find_server(&options.door)?;
    let mut wanted = json!({ "reason": options.reason, "author": super::author(options.author.as_deref()) });
    if !options.components.is_empty() {
        wanted["components"] = json!(options.components);
    }
    if let Some(lasts) = &options.lasts {
        wanted["for"] = json!(format!("{}ms", super::duration(lasts)?.as_millis()));
    }
    if let Some(until) = &options.until {
        wanted["until"] = json!(time(until, &Zoned::now())?.to_string());
    }
    if options.open {
        wanted["open"] = Value::Bool(true);
    }
    let answer = ask(&server, Method::POST, PATH, Some(&wanted))?;
    show(&answer, &options.door, "Begun:");
    Ok(Exit::Clean)
}

pub(crate) fn end(options: &MaintenanceEnd) -> Result<Exit, Failure> {
    let (server, _) = super::find_server(&options.door)?;
    let listed = ask(&server, Method::GET, PATH, None)?;
    let is_meant = |one: &&wire::Maintenance| match &one.component {
        _ if one.origin == "window" => false,
        _ if options.all => true,
        None => options.components.is_empty(),
        Some(name) => options.components.contains(name),
    };
    let meant: Vec<_> = listed.maintenances.iter().filter(is_meant).collect();
    let missing = options.components.iter().find(|name| !meant.iter().any(|one| one.component.as_ref() == Some(name)));
    if let Some(name) = missing {
        return Err(nothing_to_end(&listed, Some(name)));
    }
    if meant.is_empty() && !options.all {
        return Err(nothing_to_end(&listed, None));
    }
    let author = super::author(options.author.as_deref());
    let mut ended = Answer::default();
    for one in meant {
        let path = format!("{PATH}/{}?author={}", super::encoded(&one.id), super::encoded(&author));
        let answer = ask(&server, Method::DELETE, &path, None)?;
        ended.maintenances.extend(answer.maintenances);
        ended.kept = answer.kept;
    }
    show(&ended, &options.door, "Ended:");
    Ok(Exit::Clean)
}

pub(crate) fn list(options: &MaintenanceList) -> Result<Exit, Failure> {
    let (server, _) = super::find_server(&options.door)?;
    let answer = ask(&server, Method::GET, PATH, None)?;
    show(&answer, &options.door, "");
    Ok(Exit::Clean)
}

fn ask(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
    server.act(method, path, body).map_err(|problem| {
        let what = if matches!(problem, AskError::Refused { .. }) { "refuses" } else { "can't be asked" };
        Failure::new(problem.exit(), format!("{} {what}: {problem}", server.address()))
    })
}

fn nothing_to_end(listed: &Answer, component: Option<&str>) -> Failure {
    let of_window = |one: &&wire::Maintenance| one.component.as_deref() == component && one.origin == "window";
    let what = component.map_or_else(|| "the whole service".to_owned(), quoted);
    match listed.maintenances.iter().filter(of_window).find(|one| one.active) {
        Some(window) => {
            let problem =
                format!("{what} is in {}, a window of the configuration: change it there", quoted(&window.id));
            Failure::new(Exit::Usage, problem)
        }
        None => Failure::new(Exit::Usage, format!("nothing was begun for {what}: see `wellkept maintenance list`")),
    }
}

fn show(answer: &Answer, door: &Door, title: &str) {
    if door.json {
        print_json(answer);
    } else if answer.maintenances.is_empty() {
        print("Nothing is in maintenance.\n");
    } else {
        let title = if title.is_empty() { String::new() } else { format!("{title}\n\n") };
        print(&format!("{title}{}", table(&answer.maintenances).render(Colours::of_stdout())));
    }
    if answer.kept.as_deref() == Some("memory") {
        error("the server keeps this in memory only: it will not survive a restart of it");
    }
}

fn table(maintenances: &[wire::Maintenance]) -> Table {
    let mut table = Table::new(&["WHAT", "NOW", "SINCE", "UNTIL", "AUTHOR", "REASON", "ID"]);
    for one in maintenances {
        table.row([
            Cell::from(one.component.as_deref().unwrap_or("the service")),
            Cell::from(if one.active { "on" } else { "off" }),
            Cell::from(&one.since),
            Cell::from(&one.until),
            Cell::from(&one.author),
            Cell::from(&one.reason),
            Cell::from(&one.id),
        ]);
    }
    table
}

/// A time with its offset, or a time of day: the next one, by this machine's clock.
fn time(text: &str, now: &Zoned) -> Result<Timestamp, Failure> {
    let of_day = || Time::strptime("%H:%M", text).or_else(|_| Time::strptime("%H:%M:%S", text)).ok();
    let next = |time: Time| {
        let today = now.date().to_datetime(time).to_zoned(now.time_zone().clone()).ok()?;
        let tomorrow =
            || now.date().checked_add(1.day()).ok()?.to_datetime(time).to_zoned(now.time_zone().clone()).ok();
        if today > *now { Some(today.timestamp()) } else { tomorrow().map(|time| time.timestamp()) }
    };
    text.parse().ok().or_else(|| of_day().and_then(next)).ok_or_else(|| {
        let problem = format!("{} is no time: write 14:00, or 2026-05-01T14:00:00+02:00", quoted(text));
        Failure::new(Exit::Usage, problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_the_next_one_here() {
        let now: Zoned = "2026-10-24T13:00:00+02:00[Europe/Berlin]".parse().unwrap();
        let read = |text: &str| time(text, &now).map(|time| time.to_string()).map_err(|failure| failure.message);
        assert_eq!(read("14:00").unwrap(), "2026-10-24T12:00:00Z");
        assert_eq!(read("13:00").unwrap(), "2026-10-25T12:00:00Z", "tomorrow, after the clocks went back");
        assert_eq!(read("2026-05-01T14:00:00+02:00").unwrap(), "2026-05-01T12:00:00Z");
        for wrong in ["25:00", "noon", "", "2026-05-01", "2026-05-01T14:00:00"] {
            assert!(read(wrong).unwrap_err().contains("is no time"), "{wrong}");
        }
    }
}
