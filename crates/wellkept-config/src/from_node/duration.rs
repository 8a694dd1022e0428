//! Durations: numbers with units, from microseconds to days.

use std::time::Duration;

use super::FromNode;
use crate::diagnostics::codes;
use crate::schema::Schema;

/// The longest duration: ten years of 365 days. Longer ones are mistakes, and adding them to an instant may overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

const UNITS: [(&str, u128); 7] = [
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// A number with a unit: `250ms`, `10s`, `5m`, `2h`, `1d`, `1.5s`, or several, largest first: `1h30m`. A number alone is
/// refused, because half of the world reads it as seconds and the other half as milliseconds. At most ten years.
impl FromNode for Duration {
    const EXPECTED: &'static str = "a duration such as 10s or 250ms";

    fn schema() -> Schema {
        Schema::Text {
            pattern: r"([0-9]+(\.[0-9]{1,9})?(us|µs|ms|s|m|h|d))+",
            examples: &["10s", "250ms", "5m", "1h30m", "7d"],
        }
    }

    /// Exact to the microsecond.
    fn written(&self) -> Option<String> {
        let mut rest = self.as_nanos();
        let parts = UNITS.iter().rev().filter(|(unit, _)| *unit != "µs").filter_map(|(unit, nanoseconds)| {
            let whole = rest / nanoseconds;
            rest %= nanoseconds;
            (whole > 0).then(|| format!("{whole}{unit}"))
        });
        let text = parts.collect::<Vec<_>>().concat();
        Some(if text.is_empty() { "0s".to_owned() } else { text })
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        match parse(text) {
            Ok(duration) => Ok(duration),
            Err(Refusal::TooLong) => Err("at most 3650d".to_owned()),
            Err(Refusal::NoUnit) => Err(format!("add a unit: {text}s?")),
            Err(Refusal::Negative) => Err("a duration can't be negative".to_owned()),
            Err(Refusal::Malformed) => Err(hint(text)),
        }
    }

    fn code_for(text: &str) -> &'static str {
        match parse(text) {
            Err(Refusal::TooLong | Refusal::Negative) => codes::RANGE,
            _ => codes::WRONG_TYPE,
        }
    }
}

enum Refusal {
    Malformed,
    Negative,
    NoUnit,
    TooLong,
}

fn parse(text: &str) -> Result<Duration, Refusal> {
    if let Some(positive) = text.strip_prefix('-') {
        parse(positive)?;
        return Err(Refusal::Negative);
    }
    if text.is_empty() {
        return Err(Refusal::Malformed);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    let mut larger_unit = u128::MAX;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |character| character.is_ascii_digit() || character == '.');
        let (unit, after) = split_while(after, char::is_alphabetic);
        let scaled = Decimal::parse(number).ok_or(Refusal::Malformed)?;
        if unit.is_empty() && after.is_empty() && larger_unit == u128::MAX {
            return Err(Refusal::NoUnit);
        }
        let (_, nanoseconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(Refusal::Malformed)?;
        if *nanoseconds >= larger_unit {
            return Err(Refusal::Malformed);
        }
        larger_unit = *nanoseconds;
        total = scaled.times(*nanoseconds).and_then(|more| total.checked_add(more)).ok_or(Refusal::TooLong)?;
        rest = after;
    }
    let total = u64::try_from(total).map(Duration::from_nanos).map_err(|_| Refusal::TooLong)?;
    if total > LONGEST { Err(Refusal::TooLong) } else { Ok(total) }
}

fn hint(text: &str) -> String {
    let (number, unit) = split_while(text, |character| character.is_ascii_digit() || character == '.');
    if Decimal::parse(number).is_none() {
        return String::new();
    }
    let unit = match unit.trim().to_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" | "ms" => "ms",
        "min" | "mins" | "minute" | "minutes" | "m" => "m",
        "hr" | "hrs" | "hour" | "hours" | "h" => "h",
        "day" | "days" | "d" => "d",
        _ => return "units are us, ms, s, m, h and d".to_owned(),
    };
    format!("{number}{unit}?")
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|character| !belongs(character)).unwrap_or(text.len()))
}

/// A decimal number that is not negative, exact: `digits` divided by `10^scale`.
pub(super) struct Decimal {
    digits: u128,
    scale: u32,
}

impl Decimal {
    /// At most nine digits behind the point, and at least one on each side of it. `None` when it is no such number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const MOST_DECIMALS: usize = 9;
        let (whole, decimals) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || decimals.is_some_and(|part| !is_number(part) || part.len() > MOST_DECIMALS) {
            return None;
        }
        let decimals = decimals.unwrap_or_default();
        // More digits than fit are more than any caller accepts.
        let digits = format!("{whole}{decimals}").parse().unwrap_or(u128::MAX);
        Some(Self { digits, scale: u32::try_from(decimals.len()).ok()? })
    }

    /// The product, rounded down; `None` when it overflows.
    pub(super) fn times(&self, factor: u128) -> Option<u128> {
        Some(self.digits.checked_mul(factor)? / 10_u128.pow(self.scale))
    }
}
