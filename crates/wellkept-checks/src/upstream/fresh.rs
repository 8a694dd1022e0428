//! How old an answer is, and what it tells. Each age is the difference of two times that one clock has told, so that
//! it holds however far the clocks of two machines are apart.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{Format, Options};
use crate::fetch::{Response, header};

/// The times that an answer's body tells.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// When it was written.
    written: Option<Timestamp>,
    /// When the oldest of what it tells was found out.
    oldest: Option<Timestamp>,
    /// How old the oldest of it is, where ages are told.
    oldest_age: Option<Duration>,
}

/// What is too old.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooOld {
    /// The answer is a copy from before.
    Answer(Duration),
    /// The answer is of now, and tells of what was found out before.
    Reading(Duration),
}

/// Since when an answer bears the same time. One that does not go on is a copy, kept by who knows what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    mark: String,
    since: Instant,
    lag: Option<Lag>,
}

/// How far an answer's own time lies behind its `Date`. A proxy may write `Date` by a clock of its own, so a distance
/// says nothing; one that grows from run to run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lag {
    /// What it was when it began to grow.
    first: SignedDuration,
    last: SignedDuration,
}

impl Lag {
    fn after(before: Option<Self>, last: SignedDuration) -> Self {
        let growing = before.filter(|before| last > before.last);
        Self { first: growing.map_or(last, |before| before.first), last }
    }

    fn growth(self) -> Duration {
        Duration::try_from(self.last.saturating_sub(self.first)).unwrap_or_default()
    }
}

impl Times {
    pub(super) fn of(object: &Map<String, Value>, format: Format) -> Self {
        match format {
            Format::Wellkept => Self::of_wellkept(object),
            Format::HealthJson => Self { oldest: oldest_check(object), ..Self::default() },
            _ => Self::default(),
        }
    }

    fn of_wellkept(object: &Map<String, Value>) -> Self {
        // Others write a status and some timestamp too; these keys say that it is the time of writing.
        let is_sure = ["uptime_seconds", "uptime", "overall_status"].iter().any(|key| object.contains_key(*key));
        let components = object.get("components").and_then(Value::as_object);
        let ages = components.into_iter().flatten().filter_map(|(_, one)| one.get("age_ms")?.as_u64());
        Self {
            written: object.get("timestamp").filter(|_| is_sure).and_then(time),
            oldest: object.get("checked_at").and_then(time),
            oldest_age: ages.max().map(Duration::from_millis),
        }
    }

    /// The age of the oldest thing that it tells, by the clock of who wrote it.
    fn age(&self, date: Option<Timestamp>) -> Option<Duration> {
        let written = self.written.or(date);
        self.oldest_age.or_else(|| Some(between(self.oldest?, written?)))
    }
}

/// What of an answer is too old, and what to compare the next answer with.
pub(super) fn too_old(
    response: &Response,
    times: &Times,
    format: Format,
    max_age: Option<Duration>,
    now: Instant,
    before: Option<Watch>,
) -> (Option<TooOld>, Option<Watch>) {
    let limit = max_age.unwrap_or(Options::MAX_AGE);
    let text = |name| response.headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = text(header::DATE).and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());

    let mark = times.written.map(|written| written.to_string()).or_else(|| text(header::DATE).map(ToOwned::to_owned));
    let lag = times.written.zip(date).map(|(written, date)| date.duration_since(written));
    let lag = lag.map(|lag| Lag::after(before.as_ref().and_then(|before| before.lag), lag));
    let watch = mark.map(|mark| match before {
        Some(before) if before.mark == mark => Watch { lag, ..before },
        _ => Watch { mark, since: now, lag },
    });
    let standing_still = watch.as_ref().map(|watch| now.saturating_duration_since(watch.since));
    // RFC 9111, section 5.1: seconds since the answer was made or found good at its origin, as caches add them up.
    let cached = text(header::AGE).and_then(|age| age.parse().ok()).map(Duration::from_secs);
    let copy = [standing_still, cached, lag.map(Lag::growth)].into_iter().flatten().max().filter(|age| *age > limit);

    let reading_counts = format != Format::Wellkept || max_age.is_some();
    let reading = times.age(date).filter(|age| reading_counts && *age > limit);
    (copy.map(TooOld::Answer).or(reading.map(TooOld::Reading)), watch)
}

/// From an earlier time to a later one; zero when they are the other way round.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// RFC 3339, or seconds since 1970.
fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(seconds) => {
            let milliseconds = seconds.as_f64()? * 1000.0;
            #[expect(clippy::cast_possible_truncation, reason = "what is out of range is no time and refused below")]
            Timestamp::from_millisecond(milliseconds as i64).ok()
        }
        _ => None,
    }
}

/// The oldest `time` of the checks of health+json.
fn oldest_check(object: &Map<String, Value>) -> Option<Timestamp> {
    let checks = object.get("checks")?.as_object()?.values();
    let all = checks.flat_map(|check| check.as_array().map_or(std::slice::from_ref(check), Vec::as_slice));
    all.filter_map(|check| time(check.get("time")?)).min()
}
