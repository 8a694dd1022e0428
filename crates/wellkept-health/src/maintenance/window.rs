//! A window: which days, at what time of which zone, for how long; and when that is, through every change of the clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::{Maintenance, MaintenanceError, Target, is_line, shown};

/// How many days are looked through for the next occurrence: the 31st is at most 62 days away.
const LOOK_AHEAD: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A time in which something is in maintenance, again and again or once.
///
/// A window begins when the clocks of its zone show its time, and lasts for as long as it says in elapsed time: two
/// hours are two hours also in the night in which the clocks change. What the clocks do in that night follows RFC 5545,
/// 3.3.5: a time that they **skip** is read with the offset from before the gap, so that 02:30 of a night that goes
/// from 02:00 to 03:00 is 03:30; a time that they show **twice** is the first one. A day that a month does not have, as
/// the 31st in April or the 29th of most Februaries, is left out, not moved; [`MonthDay::Last`] is the one to take for
/// the end of each month.
///
/// ```
/// use std::time::Duration;
/// use jiff::civil::{Weekday, time};
/// use jiff::tz::TimeZone;
/// use wellkept_health::{Recurrence, MaintenanceWindow};
///
/// let sundays = Recurrence::Weekly(vec![Weekday::Sunday]);
/// let zone = TimeZone::get("Europe/Berlin")?;
/// let window = MaintenanceWindow::new("backup", sundays, time(2, 30, 0, 0), Duration::from_secs(7200), zone)
///     .components(["orders-db"])
///     .reason("weekly backup");
/// window.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    pub(super) name: Arc<str>,
    pub(super) target: Target,
    pub(super) reason: Arc<str>,
    recurrence: Recurrence,
    at: Time,
    lasts: Duration,
    zone: TimeZone,
}

/// On which days a window begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recurrence {
    /// On these days of each week.
    Weekly(Vec<Weekday>),
    /// On these days of each month.
    Monthly(Vec<MonthDay>),
    /// On this day only.
    Once(Date),
}

/// A day of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MonthDay {
    /// The first is 1. Months that don't have it are left out.
    Day(u8),
    /// The last, whichever it is.
    Last,
}

impl MaintenanceWindow {
    /// The longest that a window may last.
    pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

    /// A window of the whole service that begins on these days at this time of that zone and lasts so long.
    pub fn new(name: impl Into<Arc<str>>, recurrence: Recurrence, at: Time, lasts: Duration, zone: TimeZone) -> Self {
        Self { name: name.into(), target: Target::Service, reason: "".into(), recurrence, at, lasts, zone }
    }

    /// One of these components instead of the whole service.
    #[must_use]
    pub fn components<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.target = Target::components(names);
        self
    }

    /// Says why, for operators. Default: nothing.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<Arc<str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The components that it names; none when it is one of the whole service.
    pub fn component_names(&self) -> &[Arc<str>] {
        match &self.target {
            Target::Service => &[],
            Target::Components(names) => names,
        }
    }

    /// Whether it can be as it is: a name, at least one day, shorter than the time from one beginning to the next.
    pub fn validate(&self) -> Result<(), MaintenanceError> {
        let refuse = |problem: String| Err(MaintenanceError::Window { name: shown(&self.name), problem });
        if self.name.trim().is_empty() || !is_line(&self.name, 128) {
            return refuse("the name must have 1 to 128 bytes and no control character".to_owned());
        }
        if !is_line(&self.reason, Maintenance::MAX_REASON) {
            return refuse(format!("the reason must be one line of at most {} bytes", Maintenance::MAX_REASON));
        }
        if matches!(&self.target, Target::Components(names) if names.is_empty()) {
            return refuse("it names no component: name one, or leave `components` out for the service".to_owned());
        }
        let days = match &self.recurrence {
            Recurrence::Weekly(days) => days.len(),
            Recurrence::Monthly(days) => days.len(),
            Recurrence::Once(_) => 1,
        };
        if days == 0 {
            return refuse("it has no day".to_owned());
        }
        if let Recurrence::Monthly(days) = &self.recurrence
            && days.iter().any(|day| matches!(day, MonthDay::Day(0 | 32..)))
        {
            return refuse("a day of the month is from 1 to 31, or the last".to_owned());
        }
        if self.lasts < Duration::from_secs(1) || self.lasts > Self::LONGEST {
            return refuse("it must last from 1s to 7d".to_owned());
        }
        match self.recurrence.shortest_distance() {
            Some(distance) if self.lasts >= distance => refuse(format!(
                "it would never be over: the next one begins {} h after the one before",
                distance.as_secs() / 3600
            )),
            _ => Ok(()),
        }
    }

    /// The occurrences that are on at `now`, and the next one after it, from when to when. The end is not in it.
    pub(super) fn occurrences(&self, now: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let lasts = SignedDuration::try_from(self.lasts).unwrap_or(SignedDuration::MAX);
        let mut found: Vec<(Timestamp, Timestamp)> = Vec::new();
        for date in self.dates(now) {
            // Fails only at the ends of what can be written as a date, in the year 9999.
            let begin = self.zone.to_ambiguous_timestamp(date.to_datetime(self.at)).compatible();
            let Ok((begin, end)) = begin.and_then(|begin| Ok((begin, begin.checked_add(lasts)?))) else { continue };
            // Where a whole day was skipped, two dates are one.
            if end <= now || found.iter().any(|(other, _)| *other == begin) {
                continue;
            }
            found.push((begin, end));
            if begin > now {
                break;
            }
        }
        found
    }

    /// The days on which it begins, from those whose occurrence may still be on.
    fn dates(&self, now: Timestamp) -> Vec<Date> {
        if let Recurrence::Once(date) = self.recurrence {
            return vec![date];
        }
        let lasts = SignedDuration::try_from(self.lasts).unwrap_or_default();
        // One more day back: a zone that skips a day moves its occurrences by as much.
        let first = now.checked_sub(lasts + SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
        let days = std::iter::successors(Some(first.to_zoned(self.zone.clone()).date()), |date| date.tomorrow().ok());
        let days = days.take(LOOK_AHEAD + usize::try_from(self.lasts.as_secs() / DAY.as_secs()).unwrap_or(0) + 2);
        days.filter(|date| self.recurrence.holds(*date)).collect()
    }
}

impl Recurrence {
    fn holds(&self, date: Date) -> bool {
        match self {
            Self::Weekly(days) => days.contains(&date.weekday()),
            Self::Monthly(days) => days.iter().any(|day| match day {
                MonthDay::Day(day) => i8::try_from(*day) == Ok(date.day()),
                MonthDay::Last => date.day() == date.days_in_month(),
            }),
            Self::Once(day) => *day == date,
        }
    }

    /// The least time from one beginning to the next by the calendar; `None` when there is no next one.
    fn shortest_distance(&self) -> Option<Duration> {
        if matches!(self, Self::Once(_)) {
            return None;
        }
        // Fourteen months from one that is no leap year into one that is have every neighbourhood of months there is.
        let first = Date::constant(2027, 1, 1);
        let days = (0..425).filter(|day| first.checked_add(day.days()).is_ok_and(|date| self.holds(date)));
        let days: Vec<i32> = days.collect();
        let gaps = days.windows(2).filter_map(|pair| u32::try_from(pair[1] - pair[0]).ok());
        gaps.min().map(|gap| DAY * gap)
    }
}
