//! Values of events that come from outside, made short and harmless, and names that are fit for labels.

use std::fmt;

use super::EventError;

/// Longest value that is written whole, in bytes. All fields of an event fit into one line then, and no long one pushes
/// out another.
pub(super) const MAX_VALUE_BYTES: usize = 512;
/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A value of at most so many bytes and a mark where it was cut, without control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounded<'a>(&'a str);

/// A value, when there is one.
pub(super) fn bounded(value: &str) -> Option<Bounded<'_>> {
    (!value.is_empty()).then_some(Bounded(value))
}

impl fmt::Display for Bounded<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, mark) = kept(self.0);
        let is_plain = |letter: char| !letter.is_control() && !matches!(letter, '\u{2028}' | '\u{2029}');
        for part in kept.split_inclusive(|letter| !is_plain(letter)) {
            let plain = part.trim_end_matches(|letter| !is_plain(letter));
            formatter.write_str(plain)?;
            if plain.len() < part.len() {
                formatter.write_str("\u{fffd}")?;
            }
        }
        formatter.write_str(mark)
    }
}

/// What is written of a value. It is cut between two words only: half a secret is one that nobody recognises.
fn kept(value: &str) -> (&str, &'static str) {
    if value.len() <= MAX_VALUE_BYTES {
        return (value, "");
    }
    let words = (0..=MAX_VALUE_BYTES).rev().find_map(|most| value.get(..most)).unwrap_or_default();
    let end = words.rfind(char::is_whitespace).unwrap_or(0);
    (words.get(..end).unwrap_or_default(), "…")
}

/// A name that labels and rules can rely on: lower case letters, digits, `_` and `.`, a letter first, at most 64.
pub(super) fn check_name(name: &str) -> Result<(), EventError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    let is_name = name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name.bytes().all(fits);
    if is_name && name.len() <= MAX_NAME_BYTES { Ok(()) } else { Err(EventError::Name) }
}
