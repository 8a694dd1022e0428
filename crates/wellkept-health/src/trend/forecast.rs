//! When a reading that shrinks will be used up, and when nothing honest can be said of it.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::direction::{Line, Point};

/// Fewer readings, or readings over a shorter time, are not projected.
const FEWEST: usize = 12;
const SHORTEST: f64 = 2.0 * 3600.0;
/// A latest reading that began longer ago than so many slots says nothing of now.
const LATEST: f64 = 2.0;
/// The normal quantile of 90 %.
const QUANTILE: f64 = 1.645;
const CONFIDENCE: f64 = 0.9;
/// How far the points may lie from the line, as a share of what was used up.
const MOST_SCATTER: f64 = 0.25;
/// How much later than its earliest the latest end may be.
const WIDEST: f64 = 4.0;
/// Nothing is projected further than so many times the time that was looked at.
const HORIZON: f64 = 10.0;

/// When a reading runs out, or why that is not said.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Forecast {
    /// The reading, for example `free_bytes`.
    pub reading: &'static str,
    /// Its latest value.
    pub remaining: f64,
    /// What can be said.
    #[serde(flatten)]
    pub outlook: Outlook,
}

/// What can be said of a reading that may run out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "outlook", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outlook {
    /// It shrinks along a line that meets zero.
    RunsOut {
        /// When, if it goes on as it did.
        #[schemars(with = "String", extend("format" = "date-time"))]
        at: Timestamp,
        /// Not before, with the confidence given.
        #[schemars(with = "String", extend("format" = "date-time"))]
        earliest: Timestamp,
        /// Not after, with the confidence given.
        #[schemars(with = "String", extend("format" = "date-time"))]
        latest: Timestamp,
        /// That it is between the two, from 0 to 1.
        confidence: f64,
    },
    /// It does not shrink, or not for certain.
    NotShrinking,
    /// Fewer than twelve readings, less than two hours of them, or none of late.
    TooLittleKnown,
    /// It does not shrink along a line: it jumps, or goes up and down.
    TooUneven,
    /// It would last for longer than ten times the time that was looked at.
    TooFarAway,
}

impl Forecast {
    /// Projects readings: seconds since 1970 and values, in the order of time, each at the beginning of its slot. A
    /// slot takes `slot` seconds; `now` is in seconds since 1970 too.
    pub(super) fn of(reading: &'static str, points: &[Point], slot: f64, now: f64) -> Option<Self> {
        let (latest, remaining) = *points.last()?;
        let known = if now - latest > LATEST * slot { None } else { outlook(points) };
        Some(Self { reading, remaining, outlook: known.unwrap_or(Outlook::TooLittleKnown) })
    }
}

fn outlook(points: &[Point]) -> Option<Outlook> {
    let (now, remaining) = *points.last()?;
    // Seconds since 1970 squared would use up the digits.
    let points: Vec<Point> = points.iter().map(|(time, value)| (time - now, *value)).collect();
    let line = Line::through(&points)?;
    if points.len() < FEWEST || line.span < SHORTEST {
        return None;
    }
    let (steepest, flattest) = line.interval(QUANTILE)?;
    if flattest >= 0.0 {
        return Some(Outlook::NotShrinking);
    }
    let used = -line.slope * line.span;
    let until = |slope: f64| remaining.max(0.0) / -slope;
    let (earliest, likely, latest) = (until(steepest), until(line.slope), until(flattest));
    if line.scatter > MOST_SCATTER * used {
        return Some(Outlook::TooUneven);
    }
    if likely > HORIZON * line.span {
        return Some(Outlook::TooFarAway);
    }
    if latest > WIDEST * earliest.max(SHORTEST) {
        return Some(Outlook::TooUneven);
    }
    Some(Outlook::RunsOut {
        at: after(now, likely)?,
        earliest: after(now, earliest)?,
        latest: after(now, latest)?,
        confidence: CONFIDENCE,
    })
}

fn after(now: f64, seconds: f64) -> Option<Timestamp> {
    let duration = SignedDuration::try_from_secs_f64((now + seconds).round()).ok()?;
    Timestamp::from_duration(duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: f64 = 1_767_225_600.0;
    const HOUR: f64 = 3600.0;

    fn hours(count: u32, value: impl Fn(f64) -> f64) -> Vec<Point> {
        (0..count).map(f64::from).map(|hour| (START + hour * HOUR, value(hour))).collect()
    }

    fn outlook_of(points: &[Point]) -> Outlook {
        outlook_at(points, points.last().unwrap().0)
    }

    fn outlook_at(points: &[Point], now: f64) -> Outlook {
        Forecast::of("free_bytes", points, HOUR, now).unwrap().outlook
    }

    /// A little up and down, the same in every run.
    fn ripple(hour: f64) -> f64 {
        (hour * 2.3).sin() + (hour * 7.1).cos()
    }

    #[test]
    fn a_disk_that_fills_evenly_has_an_end_with_an_interval_around_the_true_one() {
        // A percent is used up each hour: what is left after 48 hours lasts for 52 more.
        let Outlook::RunsOut { at, earliest, latest, confidence } =
            outlook_of(&hours(49, |hour| 100.0 - hour + 0.5 * ripple(hour)))
        else {
            panic!("no end");
        };
        let truth = START + 100.0 * HOUR;
        let seconds = |at: Timestamp| at.as_second() as f64;
        assert!((seconds(at) - truth).abs() < 3.0 * HOUR, "{at}");
        assert!(earliest < at && at < latest);
        assert!(seconds(latest) - seconds(earliest) < 6.0 * HOUR, "from {earliest} to {latest}");
        assert!((confidence - 0.9).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_known_well_is_not_said() {
        assert_eq!(outlook_of(&hours(11, |hour| 100.0 - hour)), Outlook::TooLittleKnown);
        let within_an_hour: Vec<Point> = (0..60).map(|minute| (START + 60.0 * f64::from(minute), 9.0)).collect();
        assert_eq!(outlook_of(&within_an_hour), Outlook::TooLittleKnown);
        assert_eq!(outlook_of(&hours(49, |_| 100.0)), Outlook::NotShrinking);
        assert_eq!(outlook_of(&hours(49, |hour| 50.0 + hour)), Outlook::NotShrinking);
        assert_eq!(outlook_of(&hours(49, |hour| 50.0 + 5.0 * ripple(hour))), Outlook::NotShrinking);
        assert_eq!(outlook_of(&hours(49, |hour| 1000.0 - hour)), Outlook::TooFarAway);
    }

    #[test]
    fn readings_that_stopped_say_nothing_of_now() {
        let points = hours(49, |hour| 100.0 - hour);
        let last = START + 48.0 * HOUR;
        assert!(matches!(outlook_at(&points, last + 2.0 * HOUR), Outlook::RunsOut { .. }));
        for age in [2.1, 60.0, 100.0] {
            assert_eq!(outlook_at(&points, last + age * HOUR), Outlook::TooLittleKnown, "{age} hours later");
        }
    }

    #[test]
    fn a_step_a_sawtooth_and_a_cloud_are_no_lines() {
        let step = outlook_of(&hours(49, |hour| if hour < 24.0 { 90.0 } else { 40.0 } + 0.1 * ripple(hour)));
        assert!(!matches!(step, Outlook::RunsOut { .. }), "{step:?}");
        let sawtooth = outlook_of(&hours(168, |hour| 80.0 - hour.rem_euclid(24.0)));
        assert!(!matches!(sawtooth, Outlook::RunsOut { .. }), "{sawtooth:?}");
        let shaken = outlook_of(&hours(168, |hour| 400.0 - hour + 45.0 * ripple(hour)));
        assert_eq!(shaken, Outlook::TooUneven);
    }

    #[test]
    fn a_full_disk_is_full_now() {
        let Outlook::RunsOut { at, .. } = outlook_of(&hours(24, |hour| (20.0 - hour).max(0.0))) else {
            panic!("no end");
        };
        assert!((at.as_second() as f64 - (START + 23.0 * HOUR)).abs() < 1.0, "{at}");
    }
}
