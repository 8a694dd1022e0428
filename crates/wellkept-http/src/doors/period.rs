//! Lengths of time as they are written in requests and answers: `250ms`, `5s`, `1m 30s`, `2h`.

use std::borrow::Cow;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Designator, SpanPrinter};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time of its own unit, which a bare number would leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(pub(super) Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let period = text.parse::<SignedDuration>().ok().and_then(|period| Duration::try_from(period).ok());
        let expected = || de::Error::invalid_value(de::Unexpected::Str(&text), &"a length of time such as 250ms or 5s");
        period.map(Self).ok_or_else(expected)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const PRINTER: SpanPrinter = SpanPrinter::new().designator(Designator::Compact);
        serializer.collect_str(&PRINTER.unsigned_duration_to_string(&self.0))
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["250ms", "5s", "1m 30s", "2h"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_read_and_written_with_its_unit() {
        for (text, millis) in [("250ms", 250), ("5s", 5_000), ("1m 30s", 90_000), ("2h", 7_200_000), ("0s", 0)] {
            let period = Period(Duration::from_millis(millis));
            assert_eq!(serde_json::from_value::<Period>(text.into()).unwrap(), period, "{text}");
            assert_eq!(serde_json::to_value(period).unwrap(), text);
        }
        for wrong in ["5", "", "-5s", "s", "5 parsecs", "99999999999999999999h"] {
            let error = serde_json::from_value::<Period>(wrong.into()).unwrap_err();
            assert!(error.to_string().contains("a length of time such as 250ms or 5s"), "{wrong}: {error}");
        }
        assert!(serde_json::from_str::<Period>("5").is_err(), "a number has no unit");
    }
}
