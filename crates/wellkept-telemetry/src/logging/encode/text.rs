//! Lines for people.

use super::escaped;
use crate::logging::Level;
use crate::logging::buffer::Buffer;
use crate::logging::clock::Clock;
use crate::logging::escape::Style;

pub(super) const MESSAGE_KEY: &[u8] = b" ";

pub(super) fn begin(line: &mut Buffer, clock: &Clock) {
    line.push(clock.stamp());
}

pub(super) fn head(level: Level, target: &str, is_coloured: bool) -> Vec<u8> {
    let (word, colour) = shown(level);
    let target = escaped(target, Style::Bare);
    if is_coloured {
        return [b" \x1b[", colour.as_bytes(), b"m", word.as_bytes(), b"\x1b[0m ", &target, b":"].concat();
    }
    [b" ", word.as_bytes(), b" ", &target, b":"].concat()
}

/// The names are those of JSON, so that who reads both finds the same.
pub(super) fn key(name: &str) -> Vec<u8> {
    [b" ", escaped(name, Style::Bare).as_slice(), b"="].concat()
}

/// Whether a value can stand without quotes.
pub(super) fn is_bare(value: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || "-_.:/+@*%,#".contains(letter);
    !value.is_empty() && value.chars().all(is_word)
}

/// The word, of one width where it is a frequent one, and its colour.
fn shown(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::Trace => ("TRACE  ", "2"),
        Level::Debug => ("DEBUG  ", "36"),
        Level::Info => ("INFO   ", "32"),
        Level::Warning => ("WARNING", "33"),
        Level::Error => ("ERROR  ", "31"),
        Level::Critical => ("CRITICAL", "1;31"),
    }
}
