//! Values that want to break a line, forge a second one, or carry a secret out: none does, in any format.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;
use tracing::{error, info, info_span};
use wellkept_telemetry::logging::{
    Format, MAX_FIELD_BYTES, MAX_FIELDS, MAX_LINE_BYTES, Options, Redaction, SinkOptions, subscriber,
};

const FORMATS: [Format; 3] = [Format::Json, Format::Gelf, Format::Text];

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics while writing").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged in each format.
fn logged(redaction: Redaction, work: impl FnOnce()) -> [String; 3] {
    let memories = [(); 3].map(|()| Memory::default());
    let sinks = FORMATS.into_iter().zip(&memories).map(|(format, memory)| SinkOptions::writer(format, memory.clone()));
    let options = Options { sinks: sinks.collect(), redaction, service: Some("orders".into()), ..Options::default() };
    let (subscriber, logging) = subscriber(options).expect("the options are right");
    tracing::subscriber::with_default(subscriber, work);
    assert!(logging.flush(Duration::from_secs(10)));
    memories.map(|memory| String::from_utf8(memory.0.lock().expect("nobody panics").clone()).expect("lines are UTF-8"))
}

/// The keys and values of a line, which may not have a key twice.
struct Flat(Vec<(String, Value)>);

fn flat(line: &str) -> Flat {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Flat;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flat, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(Flat(pairs))
        }
    }
    let mut reader = serde_json::Deserializer::from_str(line);
    let flat = reader.deserialize_map(Pairs).unwrap_or_else(|error| panic!("{error}: {line}"));
    reader.end().unwrap_or_else(|error| panic!("{error}: {line}"));
    let keys: HashSet<&String> = flat.0.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), flat.0.len(), "a key stands twice: {line}");
    assert!(flat.0.iter().all(|(_, value)| !value.is_object() && !value.is_array()), "not flat: {line}");
    flat
}

/// The letter of GELF 1.1.
fn assert_gelf(line: &str) {
    let Flat(pairs) = flat(line);
    let of = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    assert_eq!(of("version"), Some(&"1.1".into()), "{line}");
    assert!(of("host").is_some_and(|host| host.as_str().is_some_and(|text| !text.is_empty())), "{line}");
    assert!(of("short_message").is_some_and(|said| said.as_str().is_some_and(|text| !text.is_empty())), "{line}");
    assert!(of("timestamp").is_some_and(|time| time.as_f64().is_some_and(|time| time > 1.7e9)), "{line}");
    assert!(of("level").is_some_and(|level| level.as_u64().is_some_and(|level| level < 8)), "{line}");
    for (key, value) in &pairs {
        let is_standard = ["version", "host", "short_message", "timestamp", "level"].contains(&key.as_str());
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        assert!(is_standard || (key.starts_with('_') && key.chars().all(is_letter)), "{key}: {line}");
        assert!(key != "_id", "{line}");
        assert!(value.is_string() || value.is_number(), "{key}: {line}");
    }
}

/// One line in each format, that is what it says.
fn assert_lines([json, gelf, text]: &[String; 3], count: usize) {
    for lines in [json, gelf, text] {
        assert_eq!(lines.matches('\n').count(), count, "{lines}");
        assert!(lines.ends_with('\n') && lines.lines().all(|line| line.len() < MAX_LINE_BYTES));
        let is_bad = |letter: char| {
            letter != '\n'
                && (letter.is_control()
                    || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        };
        assert!(!lines.contains(is_bad), "{lines:?}");
    }
    json.lines().for_each(|line| drop(flat(line)));
    gelf.lines().for_each(assert_gelf);
}

/// Shown as it is, whatever it is.
struct Raw<'t>(&'t str);

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

#[derive(Debug)]
struct Failure(String, Option<Box<Self>>);

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[test]
fn secret_canaries_in_every_kind_of_field_reach_no_format() {
    const CANARY: &str = "canary7hunter2";
    let card: u64 = 4_111_111_111_111_111;
    let url = format!("postgres://app:{CANARY}@db/orders");
    let bearer = format!("Authorization: Bearer {CANARY}");
    let token = format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI{CANARY}.sig{CANARY}");
    let nested = format!(r#"{{"outer":"{{\"inner\":\"{{\\\"api_key\\\":\\\"{CANARY}\\\"}}\"}}"}}"#);
    let failure = Failure("query failed".into(), Some(Box::new(Failure(format!("can't reach {url}"), None))));
    let own = "KD-424242";
    let redaction = Redaction {
        names: vec!["tax_number".into()],
        patterns: vec![r"\bKD-\d{6}\b".into(), "^31337$".into()],
        ..Redaction::default()
    };
    let lines = logged(redaction, || {
        let span = info_span!("request", password = CANARY, url, late = tracing::field::Empty, pan = card, %bearer);
        let _entered = span.enter();
        span.record("late", &nested);
        info!(text = url, "connecting to {url}");
        info!(debug = ?Some(&url), display = %bearer, token, nested, own);
        info!(password = 4711, tax_number = 471_199, secret = true, session_id = 47.5, jwt = ?[CANARY]);
        info!(
            card,
            signed = -4_111_111_111_111_111_i64,
            wide = 4_111_111_111_111_111_u128,
            float = 4_111_111_111_111_111.0
        );
        info!(
            dashes = "4111-1111-1111-1111",
            blanks = "4111 1111 1111 1111",
            bytes = url.as_bytes(),
            pin_number = 31_337
        );
        info!(bytes = [b"\xff\xfe ", bearer.as_bytes()].concat().as_slice(), settings = ?Raw("Settings { token: Key(\"canary7hunter2\") }"));
        error!(error = &failure as &dyn Error, "{own} failed");
        error!(error = ?failure, "{own} failed");
        info!(target: "wellkept::KD-424242", "a target");
        info!(cut = format!("{}{url}", "x".repeat(MAX_FIELD_BYTES - 40)));
        wellkept_telemetry::critical!(password = CANARY, "{bearer}");
    });
    assert_lines(&lines, 11);
    for text in &lines {
        for secret in [CANARY, "4111", "4711", "47.5", own, "31337"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert!(text.matches("***").count() >= 11 * 5, "{text}");
    }
}

#[test]
fn what_is_too_large_is_cut_with_a_mark_and_leaves_the_rest_its_room() {
    let huge = "ü\n".repeat(500_000);
    let lines = logged(Redaction::default(), || {
        let _span = info_span!("request", order = 7, huge).entered();
        info!(one = huge, two = ?huge, three = %huge, four = huge.as_bytes(), last = 1, "{huge}");
        info!(short = "x", "after");
    });
    assert_lines(&lines, 2);
    let Flat(pairs) = flat(lines[0].lines().next().unwrap());
    let of = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    assert!(of("message").unwrap().as_str().unwrap().ends_with("…[cut]"));
    assert_eq!((of("truncated"), of("service")), (Some(&true.into()), Some(&"orders".into())));
    let Flat(pairs) = flat(lines[0].lines().nth(1).unwrap());
    assert!(pairs.contains(&("order".into(), 7.into())) && pairs.contains(&("short".into(), "x".into())));
}

#[test]
fn names_that_are_taken_or_stand_twice_make_no_second_value_of_a_key() {
    let lines = logged(Redaction::default(), || {
        let _outer =
            info_span!("outer", level = 1, level_ = 2, message = "m", service = "mine", "a b" = 3, id = 4).entered();
        let _inner = info_span!("inner", a_b = 5, "a-b" = 6, r#type = "t", trace_id = "t").entered();
        info!(
            level = "l",
            message_ = "x",
            id = "i",
            _id = "j",
            timestamp = 0,
            host = "h",
            source = "s",
            truncated = false,
            "é" = 1,
            "ö" = 2,
            "" = 3,
            "said"
        );
        info!(a = 1, a = 2, a_ = 3);
        info!({ message = 7 }, "");
    });
    assert_lines(&lines, 3);
    let Flat(pairs) = flat(lines[0].lines().next().unwrap());
    for pair in
        [("level_", Value::from("l")), ("service", "mine".into()), ("type", "t".into()), ("truncated_", false.into())]
    {
        assert!(pairs.contains(&(pair.0.into(), pair.1.clone())), "{pair:?}: {}", lines[0]);
    }
}

#[test]
fn numbers_that_json_does_not_know_or_rounds_are_strings() {
    let lines = logged(Redaction::default(), || {
        info!(a = f64::NAN, b = f64::INFINITY, c = f64::NEG_INFINITY, d = -0.0, e = f64::MIN_POSITIVE, f = f64::MAX);
        info!(a = u64::MAX, b = i64::MIN, c = i128::MIN, d = u128::MAX, e = f32::MAX, f = 5e-324);
    });
    assert_lines(&lines, 2);
    let Flat(pairs) = flat(lines[0].lines().nth(1).unwrap());
    assert!(
        pairs.contains(&("a".into(), u64::MAX.to_string().into())) && pairs.contains(&("b".into(), i64::MIN.into()))
    );
}

#[test]
fn no_more_fields_are_written_than_an_event_may_have() {
    let lines = logged(Redaction::default(), || {
        info!(
            a0 = 0,
            a1 = 0,
            a2 = 0,
            a3 = 0,
            a4 = 0,
            a5 = 0,
            a6 = 0,
            a7 = 0,
            a8 = 0,
            a9 = 0,
            b0 = 0,
            b1 = 0,
            b2 = 0,
            b3 = 0,
            b4 = 0,
            b5 = 0,
            b6 = 0,
            b7 = 0,
            b8 = 0,
            b9 = 0,
            c0 = 0,
            c1 = 0,
            c2 = 0,
            c3 = 0,
            c4 = 0,
            c5 = 0,
            c6 = 0,
            c7 = 0,
            c8 = 0,
            c9 = 0,
            d0 = 0,
            d1 = 0,
            d2 = 0,
            d3 = 0,
            d4 = 0,
            d5 = 0,
            d6 = 0,
            d7 = 0,
            d8 = 0,
            d9 = 0,
            e0 = 0,
            e1 = 0,
            e2 = 0,
            e3 = 0,
            e4 = 0,
            e5 = 0,
            e6 = 0,
            e7 = 0,
            e8 = 0,
            e9 = 0,
            f0 = 0,
            f1 = 0,
            f2 = 0,
            f3 = 0,
            f4 = 0,
            f5 = 0,
            f6 = 0,
            f7 = 0,
            f8 = 0,
            f9 = 0,
            g0 = 0,
            g1 = 0,
            g2 = 0,
            g3 = 0,
            g4 = 0,
            g5 = 0,
            g6 = 0,
            g7 = 0,
            g8 = 0,
            g9 = 0,
            "many"
        );
    });
    assert_lines(&lines, 1);
    let Flat(pairs) = flat(lines[0].trim_end());
    // The message is one of them.
    assert_eq!(pairs.iter().filter(|(_, value)| value == &Value::from(0)).count(), MAX_FIELDS - 1);
    assert!(pairs.contains(&("truncated".into(), true.into())));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_line_of_every_value_can_be_read(
        text in any::<String>(),
        odd in "[\\x00-\\u{a0}\\u{600}-\\u{620}\\u{2000}-\\u{2070}\"\\\\]*",
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        float in any::<f64>(),
        wide in any::<i128>(),
    ) {
        let lines = logged(Redaction::default(), || {
            let _span = info_span!("span", text, raw = ?Raw(&odd), "odd.key" = odd).entered();
            info!(text, odd, shown = ?text, raw = ?Raw(&odd), bytes = bytes.as_slice(), float, wide, "{text}{odd}");
            let failure = Failure(odd.clone(), Some(Box::new(Failure(text.clone(), None))));
            error!(error = &failure as &dyn Error);
        });
        assert_lines(&lines, 2);
        let Flat(pairs) = flat(lines[0].lines().next().unwrap());
        let has = |wanted: &dyn Fn(&str) -> bool| pairs.iter().any(|(_, value)| value.as_str().is_some_and(wanted));
        prop_assert!(has(&|value| value == text) || has(&|value| value.contains("***")), "{}", lines[0]);
    }
}
