//! The section `maintenance`: windows of time in which the service, or some of its components, are taken out.

use std::collections::HashMap;
use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{TimeZone, db};
use wellkept_config::{FromNode, Position, Schema, Section, one_of, quoted};
use wellkept_health::{Maintenance, MaintenanceWindow, MonthDay, Recurrence};

/// What the section `maintenance` says.
///
/// ```yaml
/// maintenance:
///   longest: 7d                  # of one that is begun by hand; an open one ends there. Needs a restart
///   windows:
///     - name: backup
///       days: [sat, sun]         # or `daily`; or `monthly: [1, last]`; or `date: 2026-05-01`, once
///       at: "02:30"              # by the clocks of the zone
///       for: 2h                  # of elapsed time, shorter than the time to the next one
///       zone: Europe/Berlin      # default: UTC
///       components: [orders-db]  # default: the whole service
///       reason: weekly backup    # for operators. Default: none
/// ```
///
/// A time that the clocks skip in the night in which they change is read with the offset from before; one that they
/// show twice is the first (RFC 5545, 3.3.5). A day that a month does not have is left out; `last` is always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceRules {
    /// How long a maintenance that is begun by hand may last. Default 7 days, at most 366.
    pub longest: Duration,
    /// The windows. Default: none.
    pub windows: Vec<MaintenanceWindow>,
}

impl Default for MaintenanceRules {
    fn default() -> Self {
        Self { longest: DAY * 7, windows: Vec::new() }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl MaintenanceRules {
    /// Reads the section. `components` are the names that a window may name.
    pub(super) fn read(section: &mut Section<'_>, components: &[&str]) -> Self {
        section.describe(&[
            ("longest", "How long a maintenance that is begun by hand may last, from 1m to 366d."),
            ("windows", "When the service, or some of its components, are taken out."),
        ]);
        let longest = section.or("longest", DAY * 7);
        if longest < Duration::from_secs(60) || longest > DAY * 366 {
            let at = section.position_of("longest");
            section.report(at, "config.range", "the longest maintenance must be from 1m to 366d");
        }
        let mut places = HashMap::new();
        let windows = section.list("windows", |item| read_window(item, components, &mut places)).unwrap_or_default();
        section.complete();
        let named: usize = windows.iter().map(|window| window.component_names().len()).sum();
        let at = section.position_of("windows");
        if windows.len() > Maintenance::MAX_WINDOWS {
            section.report(at, "config.range", format!("at most {} windows", Maintenance::MAX_WINDOWS));
        }
        if named > Maintenance::MAX_NAMED {
            let most = Maintenance::MAX_NAMED;
            section.report(at, "config.range", format!("all windows together name {named} components: at most {most}"));
        }
        Self { longest, windows }
    }
}

fn read_window(
    item: &mut Section<'_>,
    components: &[&str],
    places: &mut HashMap<String, Position>,
) -> Option<MaintenanceWindow> {
    item.describe(&[
        ("name", "What it is called, once among all windows."),
        ("days", "The days of the week, or `daily`. Default: `monthly` or `date` is there."),
        ("monthly", "The days of the month, from 1 to 31, or `last`. Default: `days` or `date` is there."),
        ("date", "The day, for a window that comes once. Default: `days` or `monthly` is there."),
        ("at", "The time of day at which it begins, by the clocks of its zone."),
        ("for", "How long it lasts; shorter than the time to the next one."),
        ("zone", "The time zone, of the IANA database."),
        ("components", "The names of the checks that are taken out. Default: the whole service."),
        ("reason", "Why, for operators."),
    ]);
    item.exactly_one(&["days", "monthly", "date"]);
    let name = item.required::<String>("name");
    let days = item.optional::<Vec<Days>>("days");
    let monthly = item.optional::<Vec<DayOfMonth>>("monthly");
    let date = item.optional::<Day>("date");
    let at = item.required::<TimeOfDay>("at");
    let lasts = item.required::<Duration>("for");
    let zone = item.or("zone", Zone(TimeZone::UTC)).0;
    let of_some = item.optional::<Vec<String>>("components");
    let reason = item.or("reason", String::new());
    item.complete();

    let ways = ["days", "monthly", "date"].into_iter().filter(|key| item.has(key)).collect::<Vec<_>>();
    match ways[..] {
        [_] => {}
        [] => {
            let message = "when is it? Add `days: [mon, sun]`, `monthly: [1, last]` or `date: 2026-05-01`";
            item.report(item.position(), "maintenance.no_recurrence", message);
        }
        [_, second, ..] => {
            let message = "one of `days`, `monthly` and `date` says when it is, not several";
            item.report(item.position_of(second), "maintenance.two_recurrences", message);
        }
    }
    for unknown in of_some.iter().flatten().filter(|name| !components.contains(&name.as_str())) {
        item.report_unknown(item.position_of("components"), "check", unknown, components);
    }
    if let Some(name) = &name {
        match places.get(name) {
            Some(first) => {
                let message =
                    format!("there are two windows named {}: the first is in line {}", quoted(name), first.line);
                item.report(item.position_of("name"), "maintenance.duplicate", message);
            }
            None => drop(places.insert(name.clone(), item.position_of("name"))),
        }
    }
    let recurrence = match (days, monthly, date) {
        (Some(days), ..) => Recurrence::Weekly(days.into_iter().flat_map(|days| days.0).collect()),
        (_, Some(days), _) => Recurrence::Monthly(days.into_iter().map(|day| day.0).collect()),
        (.., Some(Day(date))) => Recurrence::Once(date),
        (None, None, None) => return None,
    };
    let window = MaintenanceWindow::new(name?, recurrence, at?.0, lasts?, zone).reason(reason);
    let window = match of_some {
        Some(names) => window.components(names),
        None => window,
    };
    if let Err(error) = window.validate() {
        item.report(item.position(), error.code(), error.to_string());
    }
    Some(window)
}

/// A day of the week, or all of them.
struct Days(Vec<Weekday>);

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl FromNode for Days {
    const EXPECTED: &'static str = "days such as [mon, sun], or daily";

    fn schema() -> Schema {
        Schema::Either(vec![Schema::words(&DAYS), Schema::words(&[("daily", ())])])
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        let daily = DAYS.iter().map(|(_, day)| *day).collect::<Vec<_>>();
        let one = DAYS.iter().map(|(word, day)| (*word, vec![*day]));
        one_of(text, &one.chain([("daily", daily)]).collect::<Vec<_>>()).map(Self)
    }
}

/// A day of the month.
struct DayOfMonth(MonthDay);

impl FromNode for DayOfMonth {
    const EXPECTED: &'static str = "days of the month from 1 to 31, or last";

    fn schema() -> Schema {
        Schema::Either(vec![Schema::Whole { least: 1, most: 31 }, Schema::words(&[("last", ())])])
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(day @ 1..=31) => Ok(Self(MonthDay::Day(day))),
            _ => one_of(text, &[("last", MonthDay::Last)]).map(Self),
        }
    }
}

/// A day.
struct Day(Date);

impl FromNode for Day {
    const EXPECTED: &'static str = "a day such as 2026-05-01";

    fn schema() -> Schema {
        Schema::Text { pattern: "[0-9]{4}-[0-9]{2}-[0-9]{2}", examples: &["2026-05-01"] }
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        Date::strptime("%Y-%m-%d", text).map(Self).map_err(|_| String::new())
    }
}

/// A time of day, to the second.
struct TimeOfDay(Time);

impl FromNode for TimeOfDay {
    const EXPECTED: &'static str = "a time of day such as \"02:30\"";

    fn schema() -> Schema {
        Schema::Text { pattern: "[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", examples: &["02:30"] }
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        let read = Time::strptime("%H:%M", text).or_else(|_| Time::strptime("%H:%M:%S", text));
        read.map(Self).map_err(|_| String::new())
    }
}

/// A zone of the IANA database, of the system or the one that is built in.
struct Zone(TimeZone);

impl FromNode for Zone {
    const EXPECTED: &'static str = "a time zone such as Europe/Berlin";

    fn written(&self) -> Option<String> {
        self.0.iana_name().map(ToOwned::to_owned)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        TimeZone::get(text).map(Self).map_err(|_| {
            let known: Vec<String> = db().available().map(|name| name.to_string()).collect();
            let choices: Vec<(&str, ())> = known.iter().map(|name| (name.as_str(), ())).collect();
            one_of(text, &choices).err().unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests;
