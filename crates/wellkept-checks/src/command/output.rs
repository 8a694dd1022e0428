//! What a plugin prints: a line for people, behind a `|` readings for machines, then more of both.

use serde_json::{Map, Value, json};

/// Most readings that are kept.
const MOST_READINGS: usize = 64;
/// Most of a label, a unit or a range that is kept, in characters.
const LONGEST_WORD: usize = 64;

/// An output taken apart, as the Monitoring Plugins' guidelines have it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Printed {
    /// For people, without line breaks and other control characters.
    pub(super) first_line: String,
    /// All that is for people.
    pub(super) text: String,
    /// By their labels.
    pub(super) readings: Map<String, Value>,
}

impl Printed {
    /// The first line's readings stand behind its `|`, the other lines' behind the first `|` in any of them.
    pub(super) fn of(output: &str) -> Self {
        let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
        let (first, first_readings) = first.split_once('|').unwrap_or((first, ""));
        let (rest, rest_readings) = rest.split_once('|').unwrap_or((rest, ""));
        let first_line: String = first.trim().chars().filter(|character| !character.is_control()).collect();
        let text = format!("{first_line}\n{}", rest.trim()).trim().to_owned();
        let mut readings = Map::new();
        read(first_readings, &mut readings);
        read(rest_readings, &mut readings);
        Self { first_line, text, readings }
    }
}

/// Reads `'label'=value[unit];[warn];[crit];[min];[max] …`; what is not of this form is passed over.
fn read(text: &str, readings: &mut Map<String, Value>) {
    let mut rest = text.trim_start();
    while !rest.is_empty() && readings.len() < MOST_READINGS {
        let (label, after) = label(rest);
        let (word, after) = after.split_once(char::is_whitespace).unwrap_or((after, ""));
        rest = after.trim_start();
        if let (Some(label), Some(reading)) = (label, word.strip_prefix('=').and_then(reading)) {
            readings.insert(short(&label), reading);
        }
    }
}

/// The label, with or without quotes, and what follows it. In quotes, `''` stands for one.
fn label(text: &str) -> (Option<String>, &str) {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let end = text.find(|character: char| character == '=' || character.is_whitespace()).unwrap_or(text.len());
        let (label, rest) = text.split_at(end);
        return (Some(label.to_owned()).filter(|label| !label.is_empty()), rest);
    };
    let mut label = String::new();
    while let Some((part, after)) = rest.split_once('\'') {
        label.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                label.push('\'');
                rest = after;
            }
            None => return (Some(label).filter(|label| !label.is_empty()), after),
        }
    }
    (None, "")
}

fn reading(text: &str) -> Option<Value> {
    let mut parts = text.split(';');
    let measured = parts.next()?;
    let end = measured.find(|character: char| !matches!(character, '0'..='9' | '-' | '+' | '.' | ','));
    let (digits, unit) = measured.split_at(end.unwrap_or(measured.len()));
    let (value, unit) = match (number(digits), unit) {
        (Some(value), unit) => (Some(value), unit),
        (None, "U") => (None, ""),
        (None, _) => return None,
    };
    let mut reading = Map::from_iter([("value".to_owned(), json!(value))]);
    if !unit.is_empty() {
        reading.insert("unit".to_owned(), short(unit).into());
    }
    for (name, part) in ["warn", "crit", "min", "max"].into_iter().zip(parts).filter(|(_, part)| !part.is_empty()) {
        // Limits may be ranges such as `10:20`.
        let value = number(part).map_or_else(|| short(part).into(), |number| json!(number));
        reading.insert(name.to_owned(), value);
    }
    Some(reading.into())
}

/// Some plugins write a comma where their language does.
fn number(text: &str) -> Option<f64> {
    text.replace(',', ".").parse().ok().filter(|number: &f64| number.is_finite())
}

fn short(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(LONGEST_WORD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn readings(text: &str) -> Value {
        Printed::of(text).readings.into()
    }

    #[test]
    fn text_and_readings_are_taken_apart_over_all_lines() {
        let printed = Printed::of(
            "DISK OK - free space: / 3326 MB (56%) | /=2643MB;5948;5958;0;5968\n/ 15272 MB (77%)\nall is well | /boot=68MB;88\n/home=69357MB\n",
        );
        assert_eq!(printed.first_line, "DISK OK - free space: / 3326 MB (56%)");
        assert_eq!(printed.text, "DISK OK - free space: / 3326 MB (56%)\n/ 15272 MB (77%)\nall is well");
        insta::assert_snapshot!(Value::from(printed.readings), @r#"{"/":{"value":2643.0,"unit":"MB","warn":5948.0,"crit":5958.0,"min":0.0,"max":5968.0},"/boot":{"value":68.0,"unit":"MB","warn":88.0},"/home":{"value":69357.0,"unit":"MB"}}"#);
    }

    #[test]
    fn labels_may_be_quoted_values_missing_and_limits_ranges() {
        insta::assert_snapshot!(
            readings("ok | 'it''s free'=0,5%;10:20;@5:7 time=U lag=-3s;; 'no end"),
            @r#"{"it's free":{"value":0.5,"unit":"%","warn":"10:20","crit":"@5:7"},"time":{"value":null},"lag":{"value":-3.0,"unit":"s"}}"#
        );
    }

    #[test]
    fn what_is_no_reading_is_passed_over_and_their_number_is_bounded() {
        assert_eq!(readings("ok | a b=x =1 c= d=9-9 ok=1"), json!({ "ok": { "value": 1.0 } }));
        let many: Vec<_> = (0..100).map(|number| format!("r{number}=1")).collect();
        assert_eq!(Printed::of(&format!("ok | {}", many.join(" "))).readings.len(), MOST_READINGS);
        assert_eq!(Printed::of(""), Printed::default());
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text in "(\\PC|[|'=;\n ]){0,80}") {
            let printed = Printed::of(&text);
            prop_assert!(!printed.first_line.contains(['\n', '|']));
        }

        #[test]
        fn a_label_in_quotes_is_read_back(label in "[^\\p{C}|]{1,40}", value in -1000_i32..1000) {
            let quoted = label.replace('\'', "''");
            let readings = Printed::of(&format!("ok | '{quoted}'={value}")).readings;
            prop_assert_eq!(&readings[&label]["value"], &json!(f64::from(value)));
        }
    }
}
