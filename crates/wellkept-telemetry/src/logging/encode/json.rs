//! Flat JSON: what its lines begin with, and which keys are theirs.

use super::escaped;
use crate::logging::Level;
use crate::logging::buffer::Buffer;
use crate::logging::clock::Clock;
use crate::logging::escape::Style;

pub(super) const MESSAGE_KEY: &[u8] = b",\"message\":";

pub(super) fn begin(line: &mut Buffer, clock: &Clock) {
    line.push(b"{\"timestamp\":\"");
    line.push(clock.stamp());
}

pub(super) fn head(level: Level, target: &str) -> Vec<u8> {
    let target = escaped(target, Style::Quoted);
    [b"\",\"level\":\"", level.as_str().as_bytes(), b"\",\"target\":\"", &target, b"\""].concat()
}

pub(super) fn key(name: &str) -> Vec<u8> {
    [b",\"", escaped(name, Style::Quoted).as_slice(), b"\":"].concat()
}
