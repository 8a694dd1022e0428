//! Claims about maintenance: when a window is on, what two clocks do to an end, and what follows for the statuses.

mod engine;
mod model;

use std::sync::Mutex;

use jiff::SignedDuration;
use jiff::civil::{Weekday, date, time};
use jiff::tz::TimeZone;

use super::*;
use crate::check::AnyCheck;
use crate::clock::Clock;
use crate::component::Component;
use crate::outcome::{Outcome, Reason, Verdict};
use crate::run::Finished;
use crate::snapshot::{Belonging, Moment, Snapshot};
use crate::status::{Criticality, Status};
use crate::table::{Generation, Table};

const HOUR: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

/// The window's occurrences from one time on, so many of them, by looking again at each end.
fn occurrences(window: &MaintenanceWindow, from: &str, count: usize) -> Vec<String> {
    window.validate().unwrap();
    let mut now = at(from);
    let mut found = Vec::new();
    while found.len() < count {
        let Some((begin, end)) = window.occurrences(now).first().copied() else { break };
        found.push(format!("{begin} {end}"));
        now = end;
    }
    found
}

#[test]
fn a_window_in_the_skipped_hour_begins_an_hour_later_by_the_clock_and_lasts_as_long() {
    let daily = Recurrence::Weekly(vec![Weekday::Saturday, Weekday::Sunday, Weekday::Monday]);
    let window = MaintenanceWindow::new("w", daily, time(2, 30, 0, 0), 2 * HOUR, berlin());
    // On 2026-03-29 the clocks go from 02:00 (+01:00) to 03:00 (+02:00): 02:30 is not shown, 03:30 is meant.
    assert_eq!(
        occurrences(&window, "2026-03-28T00:00:00Z", 3),
        [
            "2026-03-28T01:30:00Z 2026-03-28T03:30:00Z",
            "2026-03-29T01:30:00Z 2026-03-29T03:30:00Z",
            "2026-03-30T00:30:00Z 2026-03-30T02:30:00Z",
        ]
    );
}

#[test]
fn a_window_in_the_hour_that_is_shown_twice_begins_at_the_first_and_only_once() {
    let daily = Recurrence::Weekly(vec![Weekday::Saturday, Weekday::Sunday, Weekday::Monday]);
    let window = MaintenanceWindow::new("w", daily, time(2, 30, 0, 0), HOUR / 2, berlin());
    // On 2026-10-25 the clocks go from 03:00 (+02:00) back to 02:00 (+01:00).
    assert_eq!(
        occurrences(&window, "2026-10-24T00:00:00Z", 3),
        [
            "2026-10-24T00:30:00Z 2026-10-24T01:00:00Z",
            "2026-10-25T00:30:00Z 2026-10-25T01:00:00Z",
            "2026-10-26T01:30:00Z 2026-10-26T02:00:00Z",
        ]
    );
}

#[test]
fn two_hours_are_two_hours_across_both_changes_of_the_clock() {
    let sundays = || Recurrence::Weekly(vec![Weekday::Sunday]);
    let window = MaintenanceWindow::new("w", sundays(), time(1, 0, 0, 0), 2 * HOUR, berlin());
    assert_eq!(occurrences(&window, "2026-03-29T00:00:00Z", 1), ["2026-03-29T00:00:00Z 2026-03-29T02:00:00Z"]);
    assert_eq!(occurrences(&window, "2026-10-25T00:00:00Z", 1), ["2026-10-24T23:00:00Z 2026-10-25T01:00:00Z"]);
}

#[test]
fn a_window_over_the_end_of_the_year_is_one_window() {
    let last = Recurrence::Monthly(vec![MonthDay::Last]);
    let window = MaintenanceWindow::new("w", last, time(23, 0, 0, 0), 2 * HOUR, TimeZone::UTC);
    assert_eq!(
        occurrences(&window, "2027-01-01T00:30:00Z", 2),
        ["2026-12-31T23:00:00Z 2027-01-01T01:00:00Z", "2027-01-31T23:00:00Z 2027-02-01T01:00:00Z"]
    );
}

#[test]
fn a_day_that_a_month_does_not_have_is_left_out_and_the_last_one_is_always_there() {
    let monthly =
        |day| MaintenanceWindow::new("w", Recurrence::Monthly(vec![day]), time(0, 0, 0, 0), HOUR, TimeZone::UTC);
    let days = |window: &MaintenanceWindow, from: &str, count| -> Vec<String> {
        occurrences(window, from, count).iter().map(|text| text[..10].to_owned()).collect()
    };
    assert_eq!(
        days(&monthly(MonthDay::Day(29)), "2027-01-20T00:00:00Z", 3),
        ["2027-01-29", "2027-03-29", "2027-04-29"]
    );
    assert_eq!(days(&monthly(MonthDay::Day(29)), "2028-02-01T00:00:00Z", 2), ["2028-02-29", "2028-03-29"]);
    assert_eq!(
        days(&monthly(MonthDay::Day(31)), "2026-12-31T12:00:00Z", 3),
        ["2027-01-31", "2027-03-31", "2027-05-31"]
    );
    assert_eq!(days(&monthly(MonthDay::Last), "2028-02-01T00:00:00Z", 3), ["2028-02-29", "2028-03-31", "2028-04-30"]);
}

#[test]
fn a_day_that_a_zone_skipped_is_no_second_window() {
    // Samoa went from the end of 29 December 2011 to the 31st.
    let daily = Recurrence::Weekly(vec![Weekday::Thursday, Weekday::Friday, Weekday::Saturday, Weekday::Sunday]);
    let window = MaintenanceWindow::new("w", daily, time(12, 0, 0, 0), HOUR, TimeZone::get("Pacific/Apia").unwrap());
    assert_eq!(
        occurrences(&window, "2011-12-29T00:00:00Z", 3),
        [
            "2011-12-29T22:00:00Z 2011-12-29T23:00:00Z",
            "2011-12-30T22:00:00Z 2011-12-30T23:00:00Z",
            "2011-12-31T22:00:00Z 2011-12-31T23:00:00Z",
        ]
    );
}

#[test]
fn a_window_on_one_day_comes_once() {
    let once = Recurrence::Once(date(2026, 5, 1));
    let window = MaintenanceWindow::new("w", once, time(8, 0, 0, 0), HOUR, berlin());
    assert_eq!(occurrences(&window, "2020-01-01T00:00:00Z", 5), ["2026-05-01T06:00:00Z 2026-05-01T07:00:00Z"]);
    assert!(window.occurrences(at("2026-05-01T07:00:00Z")).is_empty(), "its end is not in it");
}

#[test]
fn windows_that_make_no_sense_are_refused_with_the_reason() {
    let window =
        |recurrence, lasts| MaintenanceWindow::new("nightly", recurrence, time(2, 0, 0, 0), lasts, TimeZone::UTC);
    let problem = |window: MaintenanceWindow| window.validate().unwrap_err().to_string();
    let sundays = || Recurrence::Weekly(vec![Weekday::Sunday]);
    assert!(problem(window(Recurrence::Weekly(vec![]), HOUR)).contains("no day"));
    assert!(problem(window(Recurrence::Monthly(vec![MonthDay::Day(32)]), HOUR)).contains("from 1 to 31"));
    assert!(problem(window(sundays(), Duration::ZERO)).contains("1s to 7d"));
    assert!(problem(window(sundays(), Duration::MAX)).contains("1s to 7d"));
    assert!(problem(window(sundays(), 7 * 24 * HOUR)).contains("never be over"));
    let twice = Recurrence::Weekly(vec![Weekday::Sunday, Weekday::Monday]);
    assert!(problem(window(twice, 24 * HOUR)).contains("begins 24 h after"));
    let ends = Recurrence::Monthly(vec![MonthDay::Day(1), MonthDay::Last]);
    assert!(problem(window(ends, 24 * HOUR)).contains("begins 24 h after"));
    assert!(problem(window(sundays(), HOUR).components(Vec::<String>::new())).contains("names no component"));
    assert!(problem(window(sundays(), HOUR).reason("x".repeat(10_000))).contains("at most 500 bytes"));
    assert!(
        problem(MaintenanceWindow::new("a\nb", sundays(), time(0, 0, 0, 0), HOUR, TimeZone::UTC)).contains("`a\\nb`")
    );
    window(Recurrence::Monthly(vec![MonthDay::Day(15)]), 6 * 24 * HOUR).validate().unwrap();
}

/// Two clocks that are set by hand.
#[derive(Debug)]
struct Hands(Mutex<Moment>);

impl Hands {
    fn start(wall: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Moment { boot: 100 * HOUR, wall: at(wall) })))
    }

    /// Time passes on both.
    fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        now.boot += time;
        now.wall += time;
    }

    /// Somebody sets the time of day.
    fn set(&self, by: SignedDuration) {
        self.0.lock().unwrap().wall += by;
    }
}

impl Clock for Hands {
    fn boot(&self) -> Duration {
        self.0.lock().unwrap().boot
    }

    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap().wall
    }
}

/// The table of a service, as the engine keeps it, without running a check.
struct Tested {
    table: Table,
    clock: Arc<Hands>,
}

impl Tested {
    fn new(wall: &str, components: &[(&str, Criticality, Verdict)]) -> Self {
        let mut kept = Self { table: Table::new(100, LONGEST), clock: Hands::start(wall) };
        for (name, criticality, _) in components {
            let component = Component::new(*name, AnyCheck::from_fn(async || ()));
            let component = component.criticality(*criticality).max_age(Duration::from_secs(u64::from(u32::MAX)));
            kept.table.insert(component, Belonging::Set, &*kept.clock).unwrap();
        }
        for (id, (.., verdict)) in kept.table.take_fresh().into_iter().zip(components) {
            let outcome = match verdict {
                Verdict::Pass => Outcome::pass(),
                Verdict::Warn => Outcome::warn(Reason::Threshold, ""),
                Verdict::Fail => Outcome::fail(Reason::Refused, ""),
            };
            kept.table.apply(id, Generation::default(), Finished { outcome, elapsed: Duration::ZERO }, &*kept.clock);
        }
        kept
    }

    fn begin(&mut self, wanted: NewMaintenance) -> Result<Vec<Arc<Maintenance>>, MaintenanceError> {
        let now = Moment::now(&*self.clock);
        self.table.maintain(|book| book.begin(wanted, now))
    }

    fn end(&mut self, id: &str) {
        let now = Moment::now(&*self.clock);
        self.table.maintain(|book| book.end(id, "", now)).unwrap();
    }

    fn snapshot(&mut self) -> Snapshot {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        self.table.snapshot(&clock)
    }

    /// As after a restart: what a store has kept is all there is.
    fn restart(&mut self, components: &[(&str, Criticality, Verdict)], windows: Vec<MaintenanceWindow>) {
        let now = Moment::now(&*self.clock);
        self.table.maintain(|book| book.restore(Vec::new(), now));
        let kept = self.table.take_unsaved_maintenances().unwrap();
        let clock = Arc::clone(&self.clock);
        *self = Self { clock, ..Self::new("2026-01-01T00:00:00Z", components) };
        let now = Moment::now(&*self.clock);
        self.table.maintain(|book| book.restore(kept, now));
        self.table.maintain(|book| book.set_windows(windows, now)).unwrap();
    }
}

const ONE: [(&str, Criticality, Verdict); 1] = [("db", Criticality::Required, Verdict::Pass)];

fn for_an_hour() -> NewMaintenance {
    NewMaintenance::of_the_service(End::After(HOUR), "new disks").by("ann")
}

#[test]
fn a_duration_is_neither_lengthened_nor_shortened_by_setting_the_clock() {
    for by in [-3, 3] {
        let mut kept = Tested::new("2026-06-01T12:00:00Z", &ONE);
        kept.begin(for_an_hour()).unwrap();
        kept.clock.pass(HOUR / 2);
        kept.clock.set(SignedDuration::from_hours(by));
        kept.table.sweep(&*kept.clock);
        kept.restart(&ONE, Vec::new());
        kept.clock.pass(Duration::from_secs(1799));
        assert_eq!(kept.snapshot().overall(), Status::Maintenance, "set by {by} h");
        let shown = Arc::clone(kept.snapshot().maintenance().unwrap());
        assert_eq!(shown.until, kept.clock.wall() + Duration::from_secs(1), "what is shown follows");
        kept.clock.pass(Duration::from_secs(1));
        assert_eq!(kept.snapshot().overall(), Status::Healthy, "set by {by} h");
    }
}

#[test]
fn a_clock_set_back_while_the_process_is_away_lengthens_no_maintenance_beyond_its_duration() {
    let mut kept = Tested::new("2026-06-01T12:00:00Z", &ONE);
    let begun = kept.begin(for_an_hour()).unwrap();
    kept.clock.set(SignedDuration::from_hours(-48));
    let mut later = Tested { clock: Arc::clone(&kept.clock), ..Tested::new("2026-01-01T00:00:00Z", &ONE) };
    let now = Moment::now(&*later.clock);
    later.table.maintain(|book| book.restore(vec![(*begun[0]).clone()], now));
    later.clock.pass(HOUR);
    assert_eq!(later.snapshot().overall(), Status::Healthy);
}

#[test]
fn an_end_by_the_clock_follows_the_clock_and_still_has_a_bound() {
    let mut kept = Tested::new("2026-06-01T12:00:00Z", &ONE);
    let end = End::At(at("2026-06-01T14:00:00Z"));
    kept.begin(NewMaintenance::of_the_service(end, "until two")).unwrap();
    kept.clock.set(SignedDuration::from_hours(-1));
    kept.table.sweep(&*kept.clock);
    kept.clock.pass(Duration::from_secs(3 * 3600 - 1));
    assert_eq!(kept.snapshot().overall(), Status::Maintenance);
    kept.clock.set(SignedDuration::from_hours(-24 * 365));
    kept.table.sweep(&*kept.clock);
    kept.clock.pass((7 * 24 - 3) * HOUR);
    assert_eq!(kept.snapshot().overall(), Status::Maintenance);
    kept.clock.pass(Duration::from_secs(1));
    assert_eq!(kept.snapshot().overall(), Status::Healthy, "however far back the clock was set");
}

#[test]
fn an_open_end_has_a_bound() {
    let mut kept = Tested::new("2026-06-01T12:00:00Z", &ONE);
    let begun = kept.begin(NewMaintenance::of_the_service(End::Open, "who knows")).unwrap();
    assert_eq!(begun[0].until, at("2026-06-08T12:00:00Z"));
    kept.clock.pass(Duration::from_secs(7 * 24 * 3600 - 1));
    assert_eq!(kept.snapshot().overall(), Status::Maintenance);
    kept.clock.pass(Duration::from_secs(1));
    assert_eq!(kept.snapshot().overall(), Status::Healthy);
}

#[test]
fn hostile_wishes_are_refused_and_change_nothing() {
    let mut kept = Tested::new("2026-06-01T12:00:00Z", &ONE);
    let wanted = |end, reason: &str| NewMaintenance::of_the_service(end, reason);
    let hour = End::After(HOUR);
    for (wanted, code) in [
        (wanted(hour, ""), "maintenance.reason"),
        (wanted(hour, " \t "), "maintenance.reason"),
        (wanted(hour, "two\nlines"), "maintenance.reason"),
        (wanted(hour, "\u{1b}[31mred"), "maintenance.reason"),
        (wanted(hour, &"x".repeat(10_240)), "maintenance.reason"),
        (wanted(hour, "why").by("x".repeat(101)), "maintenance.author"),
        (wanted(hour, "why").by("ann\r\nbob"), "maintenance.author"),
        (wanted(End::After(Duration::ZERO), "why"), "maintenance.length"),
        (wanted(End::After(Duration::MAX), "why"), "maintenance.length"),
        (wanted(End::After(LONGEST + Duration::from_secs(1)), "why"), "maintenance.length"),
        (wanted(End::At(at("2026-06-01T12:00:00Z")), "why"), "maintenance.past"),
        (wanted(End::At(Timestamp::MIN), "why"), "maintenance.past"),
        (wanted(End::At(Timestamp::MAX), "why"), "maintenance.length"),
        (NewMaintenance::of_components(Vec::<String>::new(), hour, "why"), "maintenance.no_component"),
        (
            NewMaintenance::of_components((0..1001).map(|number| number.to_string()), hour, "why"),
            "maintenance.too_many",
        ),
    ] {
        assert_eq!(kept.begin(wanted.clone()).unwrap_err().code(), code, "{wanted:?}");
    }
    assert_eq!(kept.snapshot().overall(), Status::Healthy);
    assert!(kept.table.take_unsaved_maintenances().is_none());
}
