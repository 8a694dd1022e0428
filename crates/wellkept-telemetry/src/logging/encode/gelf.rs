//! Graylog's format, version 1.1, by the letter: <https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>.

use super::escaped;
use crate::logging::Level;
use crate::logging::buffer::Buffer;
use crate::logging::clock::Clock;
use crate::logging::escape::Style;

pub(super) const MESSAGE_KEY: &[u8] = b",\"short_message\":";

pub(super) fn begin(line: &mut Buffer, clock: &Clock) {
    line.push(b"{\"version\":\"1.1\",\"timestamp\":");
    line.push(itoa::Buffer::new().format(clock.seconds()).as_bytes());
    line.push(b".");
    line.push(&clock.millis());
}

pub(super) fn head(host: &str, level: Level, target: &str) -> Vec<u8> {
    let [host, target] = [host, target].map(|text| escaped(text, Style::Quoted));
    let level = level.syslog().to_string();
    [b",\"host\":\"", host.as_slice(), b"\",\"level\":", level.as_bytes(), b",\"_target\":\"", &target, b"\""].concat()
}

/// The letters that a name may have, and `_` for each other one.
pub(super) fn name(name: &str) -> String {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    name.chars().map(|letter| if is_letter(letter) { letter } else { '_' }).collect()
}

pub(super) fn key(name: &str) -> Vec<u8> {
    [b",\"_", name.as_bytes(), b"\":"].concat()
}

/// What is said when nothing is: the server refuses a message that is empty.
pub(super) fn no_message(target: &str) -> &str {
    if target.is_empty() { "-" } else { target }
}
