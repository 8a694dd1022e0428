//! Claims about the section `maintenance`.

use super::*;
use crate::program::Configuration;

const CHECKS: &str = "checks:\n  - name: orders-db\n    tcp: { address: 'localhost:1' }\n";

fn read(section: &str) -> Result<MaintenanceRules, String> {
    let text = format!("{CHECKS}maintenance:\n{section}");
    let read = Configuration::parse("app.yaml", &text, &|_| None);
    read.map(|configuration| configuration.maintenance).map_err(|error| error.to_string())
}

#[test]
fn a_window_is_read_as_it_is_written() {
    let rules = read(
        "  longest: 2d
  windows:
    - { name: backup, days: [sat, sun], at: '02:30', for: 2h, zone: Europe/Berlin, components: orders-db, reason: disks }
    - { name: month, monthly: [1, last], at: 23:59:30, for: 30m }
    - { name: every, days: daily, at: '00:00', for: 1m }
    - { name: move, date: 2028-02-29, at: '08:00', for: 6h, zone: America/New_York }
",
    )
    .unwrap();
    let weekend = Recurrence::Weekly(vec![Weekday::Saturday, Weekday::Sunday]);
    let (time, hours) = (Time::constant(2, 30, 0, 0), Duration::from_secs(2 * 3600));
    let backup = MaintenanceWindow::new("backup", weekend, time, hours, TimeZone::get("Europe/Berlin").unwrap());
    assert_eq!(rules.longest, DAY * 2);
    assert_eq!(rules.windows.len(), 4);
    assert_eq!(rules.windows[0], backup.components(["orders-db"]).reason("disks"));
    let ends = Recurrence::Monthly(vec![MonthDay::Day(1), MonthDay::Last]);
    let month = MaintenanceWindow::new("month", ends, Time::constant(23, 59, 30, 0), hours / 4, TimeZone::UTC);
    assert_eq!(rules.windows[1], month, "of the whole service, in UTC");
    assert_eq!(read("  windows: []\n").unwrap(), MaintenanceRules::default());
}

#[test]
fn every_mistake_in_a_window_has_its_place() {
    let said = read(
        "  longest: 2y
  window: []
  windows:
    - { name: a, days: [sat, sunday], at: 2:30 pm, for: 2h }
    - { name: a, days: [], at: '24:00', for: 0s, zone: Europe/Berlinn }
    - { name: b, at: '02:00', for: 2h }
    - { name: c, days: daily, monthly: [32], at: '02:00', for: 2h }
    - { name: d, days: daily, at: '02:00', for: 24h }
    - { name: e, date: 2027-02-29, at: '02:00', for: 8d, components: [orders-dp] }
    - { name: f, days: daily, at: '02:00', for: 99999999999999999999h, components: [] }
    - { at: '02:00', zone: ../../etc/passwd }
    - { name: g, days: [], at: '02:00', for: 1h, components: [event-loop] }
",
    )
    .unwrap_err();
    insta::assert_snapshot!(said, @r#"
    app.yaml:5:12: expected a duration such as 10s or 250ms, found `2y` (units are us, ms, s, m, h and d)
    app.yaml:6:3: unknown key `window` in `maintenance`, did you mean `windows`?
    app.yaml:8:30: expected days such as [mon, sun], or daily, found `sunday`
    app.yaml:8:43: expected a time of day such as "02:30", found `2:30 pm`
    app.yaml:9:15: there are two windows named `a`: the first is in line 8
    app.yaml:9:32: expected a time of day such as "02:30", found `24:00`
    app.yaml:9:56: expected a time zone such as Europe/Berlin, found `Europe/Berlinn` (did you mean `Europe/Berlin`?)
    app.yaml:10:7: when is it? Add `days: [mon, sun]`, `monthly: [1, last]` or `date: 2026-05-01`
    app.yaml:11:40: one of `days`, `monthly` and `date` says when it is, not several
    app.yaml:11:41: expected days of the month from 1 to 31, or last, found `32`
    app.yaml:12:7: window `d`: it would never be over: the next one begins 24 h after the one before
    app.yaml:13:24: expected a day such as 2026-05-01, found `2027-02-29`
    app.yaml:13:70: unknown check `orders-dp`, did you mean `orders-db`?
    app.yaml:14:49: expected a duration such as 10s or 250ms, found `99999999999999999999h` (at most 3650d)
    app.yaml:15:7: missing key `name`: expected text
    app.yaml:15:7: missing key `for`: expected a duration such as 10s or 250ms
    app.yaml:15:7: when is it? Add `days: [mon, sun]`, `monthly: [1, last]` or `date: 2026-05-01`
    app.yaml:15:28: expected a time zone such as Europe/Berlin, found `../../etc/passwd`
    app.yaml:16:7: window `g`: it has no day
    "#);
}
