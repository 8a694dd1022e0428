//! What a value is held against: one in JSON, or one that a query of a database gives.

use std::fmt;

use serde_json::Value;
use wellkept_config::FromNode;

/// What a value is held against: `healthy`, `< 100`, `!= failed`.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    operator: Operator,
    /// As written, without the operator.
    text: String,
    /// The same as a number, for the operators that need one.
    number: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// Longer ones first, as the shorter begin some of them.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("!=", Operator::NotEqual),
    ("==", Operator::Equal),
    ("<", Operator::Below),
    (">", Operator::Above),
];

impl Comparison {
    /// With a value as it is written: `healthy`, `3`, `true`, `null`.
    pub fn equal(text: impl Into<String>) -> Self {
        Self { operator: Operator::Equal, text: text.into(), number: 0.0 }
    }

    /// Whether a value is as expected. Lists and objects never are.
    pub fn holds(&self, value: &Value) -> bool {
        let number = || value.as_f64();
        match self.operator {
            Operator::Equal => is_written(value, &self.text),
            Operator::NotEqual => !value.is_array() && !value.is_object() && !is_written(value, &self.text),
            Operator::Below => number().is_some_and(|found| found < self.number),
            Operator::AtMost => number().is_some_and(|found| found <= self.number),
            Operator::Above => number().is_some_and(|found| found > self.number),
            Operator::AtLeast => number().is_some_and(|found| found >= self.number),
        }
    }

    /// Whether what a database gives is as expected: a text, which may be a number, or `NULL`, which is `null`.
    pub fn holds_text(&self, found: Option<&str>) -> bool {
        let Some(text) = found else { return self.holds(&Value::Null) };
        let number = text.parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number);
        let as_text = self.holds(&Value::String(text.to_owned()));
        match (number, self.operator) {
            (None, _) => as_text,
            (Some(number), Operator::NotEqual) => as_text && self.holds(&number),
            (Some(number), _) => as_text || self.holds(&number),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OPERATORS.iter().find(|(_, operator)| *operator == self.operator) {
            Some((sign, operator)) if *operator != Operator::Equal => write!(formatter, "{sign} {}", self.text),
            _ => formatter.write_str(&self.text),
        }
    }
}

impl FromNode for Comparison {
    const EXPECTED: &'static str = "a value, or a comparison such as < 100 or != failed";

    fn from_scalar(text: &str) -> Result<Self, String> {
        let signed = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?.trim())));
        let Some((operator, rest)) = signed else { return Ok(Self::equal(text)) };
        if matches!(operator, Operator::Equal | Operator::NotEqual) {
            return Ok(Self { operator, ..Self::equal(rest) });
        }
        let number = f64::from_scalar(rest).map_err(|_| format!("for this very text: == {text}"))?;
        Ok(Self { operator, text: rest.to_owned(), number })
    }
}

/// Whether a scalar of JSON is what the configuration writes. Numbers are compared as numbers: `1.0` is `1`.
fn is_written(value: &Value, expected: &str) -> bool {
    match value {
        Value::String(text) => text == expected,
        Value::Bool(truth) => expected == if *truth { "true" } else { "false" },
        Value::Null => expected == "null",
        Value::Number(number) => {
            number.to_string() == expected
                || number
                    .as_f64()
                    .zip(expected.parse().ok())
                    .is_some_and(|(found, expected): (f64, f64)| (found - expected).abs() <= f64::EPSILON * found.abs())
        }
        Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(expected: &str, value: &Value) -> bool {
        Comparison::from_scalar(expected).unwrap().holds(value)
    }

    #[test]
    fn numbers_are_compared_and_what_is_none_is_never_below_or_above() {
        for (expected, of_99, of_100, of_text) in [
            ("< 100", true, false, false),
            ("<=100", true, true, false),
            (">99.5", false, true, false),
            (">= 100", false, true, false),
            ("100", false, true, true),
            ("== 100", false, true, true),
            ("!= 100", true, false, false),
        ] {
            let found = [json!(99), json!(100.0), json!("100")].map(|value| holds(expected, &value));
            assert_eq!(found, [of_99, of_100, of_text], "{expected}");
        }
        assert!(holds("!= failed", &json!("done")) && holds("!= failed", &json!(null)));
        assert!(!holds("!= failed", &json!(["done"])) && !holds("!= failed", &json!({})));
        assert!(holds("== < 100", &json!("< 100")));
    }

    #[test]
    fn what_a_database_gives_is_compared_as_the_number_that_it_may_be() {
        let holds = |expected, found| Comparison::from_scalar(expected).unwrap().holds_text(found);
        for (expected, of_99, of_text, of_null) in [
            ("< 100", true, false, false),
            (">= 100", false, false, false),
            ("99", true, false, false),
            ("!= 99", false, true, true),
            ("done", false, true, false),
            ("null", false, false, true),
        ] {
            let found = [Some("99.0"), Some("done"), None].map(|found| holds(expected, found));
            assert_eq!(found, [of_99, of_text, of_null], "{expected}");
        }
    }

    #[test]
    fn a_comparison_without_a_number_is_refused() {
        for text in ["< 10O", "<", ">= many", "< inf", "<html>"] {
            Comparison::from_scalar(text).expect_err(text);
        }
        assert_eq!(Comparison::from_scalar("<= 7").unwrap().to_string(), "<= 7");
        assert_eq!(Comparison::from_scalar("seven").unwrap().to_string(), "seven");
    }
}
