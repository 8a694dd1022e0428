//! Names, escapes and numbers as Prometheus' text 0.0.4 and OpenMetrics 1.0 want them.

use std::borrow::Cow;

/// What tells the samples of one family apart (OpenMetrics 1.0, "Suffixes").
pub(super) const RESERVED_SUFFIXES: [&str; 8] =
    ["_total", "_created", "_bucket", "_count", "_sum", "_info", "_gcount", "_gsum"];

/// The base units of Prometheus' naming rules.
const BASE_UNITS: [&str; 9] = ["seconds", "bytes", "ratio", "celsius", "joules", "volts", "amperes", "meters", "grams"];

/// Longest value of a label, in bytes; what is longer is cut.
pub const MAX_VALUE: usize = 256;

/// The unit that a name ends in.
pub(super) fn base_unit(name: &str) -> Option<&'static str> {
    let (_, last) = name.rsplit_once('_')?;
    BASE_UNITS.into_iter().find(|unit| *unit == last)
}

/// Colons are for recording rules, and names that begin with `_` are reserved.
pub(super) fn is_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic()) && bytes.all(is_word)
}

/// What the formats allow.
pub(super) fn is_foreign_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, b'_' | b':'))
        && bytes.all(|byte| is_word(byte) || byte == b':')
}

pub(super) fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    !name.starts_with("__")
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(is_word)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Writes a label's value between its quotes.
pub(super) fn push_escaped(text: &mut String, value: &str) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        text.push_str(value);
        return;
    }
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// What [`push_escaped`] has written, as it was.
pub(super) fn unescaped(escaped: &str) -> Cow<'_, str> {
    if !escaped.contains('\\') {
        return Cow::Borrowed(escaped);
    }
    let (mut text, mut letters) = (String::with_capacity(escaped.len()), escaped.chars());
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            (other, false) => text.push(other),
        }
    }
    Cow::Owned(text)
}

/// A help text on one line. OpenMetrics escapes quotes in it too, the older text must not.
pub(super) fn escaped_help(help: &str, with_quotes: bool) -> String {
    let mut text = String::with_capacity(help.len());
    for letter in help.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if with_quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
    text
}

/// A value that is short enough to be kept.
pub(super) fn cut(value: &str) -> &str {
    if value.len() <= MAX_VALUE {
        return value;
    }
    let end = (0..=MAX_VALUE).rev().find(|end| value.is_char_boundary(*end)).unwrap_or_default();
    &value[..end]
}

/// Writes a number with a point or an exponent.
pub(super) fn push_float(text: &mut String, value: f64) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        text.push_str(zmij::Buffer::new().format_finite(value));
    }
}

/// Writes a whole number.
pub(super) fn push_integer(text: &mut String, value: u64) {
    text.push_str(itoa::Buffer::new().format(value));
}

/// A bound as the label `le` has it: as Go and Python write floats, with an exponent below 0.0001 and from 1,000,000 on
/// (OpenMetrics 1.0, "Numbers" and "Canonical numbers").
pub(super) fn bound(value: f64) -> String {
    let mut text = String::new();
    if value.is_infinite() || value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        push_float(&mut text, value);
        return text;
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_written_as_the_standard_lists_them() {
        let listed = [
            (1e-10, "1e-10"),
            (1e-9, "1e-09"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (0.1, "0.1"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (9.999, "9.999"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1e10, "1e+10"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, text) in listed {
            assert_eq!(bound(value), text);
        }
    }

    proptest! {
        #[test]
        fn what_was_escaped_is_read_as_it_was(value in any::<String>()) {
            let mut escaped = String::new();
            push_escaped(&mut escaped, &value);
            prop_assert!(!escaped.contains('\n'));
            prop_assert_eq!(unescaped(&escaped), value);
        }

        #[test]
        fn a_float_is_read_as_it_was_and_is_told_from_a_whole_number(value in any::<f64>()) {
            let mut text = String::new();
            push_float(&mut text, value);
            let read: f64 = text.parse().unwrap();
            prop_assert!(read.total_cmp(&value).is_eq() || value.is_nan());
            prop_assert!(text.contains(['.', 'e', 'N', 'I']), "{}", text);
            prop_assert!(bound(value).parse::<f64>().unwrap().total_cmp(&value).is_eq() || value.is_nan());
        }
    }
}
