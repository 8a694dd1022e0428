//! Quantities: a part of a whole, a number of bytes, or whichever of them is written.

use std::fmt;

use super::FromNode;
use super::duration::Decimal;
use crate::diagnostics::codes;
use crate::schema::Schema;

/// A part of a whole, from 0 to 1: written `20%` or `0.2`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Ratio(f64);

/// A number of bytes: written `512B`, `64KiB`, `10GiB` (powers of 1024, also `10Gi` as Kubernetes has it) or `10GB`
/// (powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A part of a whole or a number of bytes, as in "less than 20% free" and "less than 10GiB free".
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// A part of the whole.
    Ratio(Ratio),
    /// A number of bytes.
    Bytes(ByteSize),
}

const BYTE_UNITS: [(&str, u128); 16] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
    ("pi", 1 << 50),
];

impl Ratio {
    /// A ratio, if it is from 0 to 1.
    pub fn new(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }

    /// The ratio, from 0 to 1.
    pub fn as_f64(self) -> f64 {
        self.0
    }
}

/// In percent: `20%`.
impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 0.07 × 100 is not 7 in binary; nobody writes more than six decimals.
        write!(formatter, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

impl FromNode for Ratio {
    const EXPECTED: &'static str = "a ratio such as 20% or 0.2";

    fn schema() -> Schema {
        Schema::Either(vec![
            Schema::Number { least: 0.0, most: 1.0 },
            Schema::Text { pattern: r"[0-9.]+ *%", examples: &["20%"] },
        ])
    }

    fn written(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        let Some(number) = ratio(text) else { return Err(String::new()) };
        Self::new(number).ok_or_else(|| {
            if text.ends_with('%') {
                "from 0% to 100%".to_owned()
            } else if (0.0..=100.0).contains(&number) {
                format!("{text}%?")
            } else {
                "from 0 to 1".to_owned()
            }
        })
    }

    fn code_for(text: &str) -> &'static str {
        if ratio(text).is_some() { codes::RANGE } else { codes::WRONG_TYPE }
    }
}

impl ByteSize {
    /// The number of bytes.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl FromNode for ByteSize {
    const EXPECTED: &'static str = "a number of bytes such as 512MiB or 10GiB";

    fn schema() -> Schema {
        Schema::Text {
            pattern: "[0-9]+(\\.[0-9]{1,9})? *([bB]|[kKmMgGtTpP]([iI]|[iI]?[bB]))",
            examples: &["512MiB", "10GiB", "10GB"],
        }
    }

    fn written(&self) -> Option<String> {
        const BINARY: [(u64, &str); 5] = [(50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let exact = |(shift, unit): (u64, &str)| {
            let number = self.0 >> shift;
            (number > 0 && number << shift == self.0).then(|| format!("{number}{unit}"))
        };
        Some(BINARY.into_iter().find_map(exact).unwrap_or_else(|| format!("{}B", self.0)))
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        match bytes(text) {
            Ok(bytes) => Ok(Self(bytes)),
            Err(Refusal::NoUnit) => Err(format!("add a unit: {text}B?")),
            Err(Refusal::TooLarge) => Err("too large".to_owned()),
            Err(Refusal::UnknownUnit) => Err("units are B, KiB, MiB, GiB, TiB, and kB, MB, GB, TB".to_owned()),
            Err(Refusal::Malformed) => Err(String::new()),
        }
    }

    fn code_for(text: &str) -> &'static str {
        if matches!(bytes(text), Err(Refusal::TooLarge)) { codes::RANGE } else { codes::WRONG_TYPE }
    }
}

impl FromNode for Amount {
    const EXPECTED: &'static str = "a ratio such as 20%, or a number of bytes such as 10GiB";

    fn schema() -> Schema {
        Schema::Either(vec![Ratio::schema(), ByteSize::schema()])
    }

    fn written(&self) -> Option<String> {
        match self {
            Self::Ratio(ratio) => ratio.written(),
            Self::Bytes(bytes) => bytes.written(),
        }
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        if is_ambiguous(text) {
            return Err(format!("add a unit: {text}% or {text}B?"));
        }
        if ratio(text).is_some() {
            return Ratio::from_scalar(text).map(Self::Ratio);
        }
        ByteSize::from_scalar(text).map(Self::Bytes)
    }

    fn code_for(text: &str) -> &'static str {
        if ratio(text).is_some() && !is_ambiguous(text) { Ratio::code_for(text) } else { ByteSize::code_for(text) }
    }
}

enum Refusal {
    Malformed,
    NoUnit,
    TooLarge,
    UnknownUnit,
}

/// A bare 1 may be one byte or all of it.
fn is_ambiguous(text: &str) -> bool {
    text != "0" && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ratio as a number, in range or not; `None` when it is no number.
fn ratio(text: &str) -> Option<f64> {
    let percent = text.strip_suffix('%');
    let number = f64::from_scalar(percent.map_or(text, str::trim_end)).ok()?;
    Some(if percent.is_some() { number / 100.0 } else { number })
}

fn bytes(text: &str) -> Result<u64, Refusal> {
    let unit_start = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let number = Decimal::parse(number).ok_or(Refusal::Malformed)?;
    if unit.is_empty() {
        return Err(Refusal::NoUnit);
    }
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, factor) = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(Refusal::UnknownUnit)?;
    number.times(*factor).and_then(|bytes| u64::try_from(bytes).ok()).ok_or(Refusal::TooLarge)
}
