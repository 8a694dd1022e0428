//! The pass over the fields: each value is looked at once, masked once, and written in each format.

use std::error::Error;
use std::fmt::{self, Write as _};

use tracing::Event;
use tracing::field::{Field, Visit};

use super::plan::{Class, Key, Plan};
use super::{CUT, Encoders, MAX_FIELD_BYTES, MAX_FIELDS, MAX_VALUE_BYTES, Place, SEVERITY, Texts, Written};
use crate::logging::Level;
use crate::logging::buffer::Buffer;
use crate::logging::escape::{Marks, prefix};
use crate::logging::redact::{MASK, is_card};

/// Most causes of an error that are written.
const MAX_SOURCES: usize = 8;
/// Least room after a key: for a value, or the mark of one that was cut.
const LEAST: usize = 24;

/// Which of the fields a visitor writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Everything,
    Message,
    Fields,
    /// A span's: none of them is the message.
    Span,
}

#[derive(Debug)]
pub(super) struct Visitor<'v> {
    encoders: &'v Encoders,
    plan: &'v Plan,
    lines: &'v mut [Written],
    texts: &'v mut Texts,
    pass: Pass,
    is_critical: bool,
    has_message: bool,
    /// The fields that were written, one bit each.
    recorded: u64,
}

impl<'v> Visitor<'v> {
    pub(super) fn new(encoders: &'v Encoders, plan: &'v Plan, lines: &'v mut [Written], texts: &'v mut Texts) -> Self {
        Self {
            encoders,
            plan,
            lines,
            texts,
            pass: Pass::Everything,
            is_critical: false,
            has_message: false,
            recorded: 0,
        }
    }

    pub(super) fn of_level(&mut self, level: Level) {
        self.is_critical = level == Level::Critical;
    }

    pub(super) fn passing(&mut self, pass: Pass) -> &mut Self {
        self.pass = pass;
        self
    }

    /// The fields that were written, one bit each.
    pub(super) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Says something, where a format needs it, for an event that has said nothing.
    pub(super) fn complete_message(&mut self) {
        if self.has_message {
            return;
        }
        for (encoder, written) in self.encoders.all.iter().zip(&mut *self.lines) {
            if let Some(text) = encoder.no_message(&self.plan.target) {
                written.line.push(encoder.message_key());
                encoder.message(&mut written.line, text, (Marks::of(text.as_bytes()), true));
            }
        }
    }

    /// The number of a field that is to be written, and what is done with it.
    #[inline]
    fn wanted(&mut self, field: &Field) -> Option<(usize, Class)> {
        let index = field.index();
        let class = *self.plan.classes.get(index)?;
        let is_wanted = match (class, self.pass) {
            (Class::Severity, _) => !self.is_critical,
            (Class::Message, Pass::Fields) => false,
            (Class::Message, _) | (_, Pass::Everything | Pass::Fields | Pass::Span) => true,
            (_, Pass::Message) => false,
        };
        if !is_wanted {
            return None;
        }
        if index >= MAX_FIELDS {
            self.lines.iter_mut().for_each(|written| written.is_truncated = true);
            return None;
        }
        self.recorded |= 1 << index;
        self.has_message |= class == Class::Message;
        Some((index, class))
    }

    /// A value that needs neither quotes nor a look at what it holds.
    #[inline]
    fn literal(&mut self, index: usize, value: &[u8]) {
        for (written, form) in self.lines.iter_mut().zip(&self.plan.forms) {
            let Some(key) = form.keys.get(index) else { continue };
            let start = written.line.len();
            if written.key(key) && written.line.push(value) {
                written.placed(self.pass, key, start);
            } else {
                written.dropped(start);
            }
        }
    }

    /// A number, that some may have to be told as a text: because it is a card's, or because it is larger than what
    /// readers of JSON keep exactly.
    #[inline]
    fn number(&mut self, field: &Field, size: u128, text: &str, is_wide: bool) {
        let Some((index, class)) = self.wanted(field) else { return };
        if class != Class::Secret {
            let redactor = &self.encoders.redactor;
            let is_masked = redactor.is_on() && size >= FIRST_CARD && is_card(size);
            if !is_masked && !is_wide && !redactor.has_patterns() {
                return self.literal(index, text.as_bytes());
            }
            if !is_masked && !redactor.redact(text, &mut self.texts.masked) && !is_wide {
                return self.literal(index, text.as_bytes());
            }
            if !is_masked {
                return self.string(index, class, text, true);
            }
        }
        self.string(index, Class::Secret, text, true);
    }

    /// A text, masked before it is cut.
    fn string(&mut self, index: usize, class: Class, value: &str, is_whole: bool) {
        let is_whole = is_whole && value.len() <= MAX_VALUE_BYTES;
        let value = prefix(value, MAX_VALUE_BYTES);
        let redactor = &self.encoders.redactor;
        let marks = Marks::of(value.as_bytes());
        let value = if class == Class::Secret {
            MASK
        } else if (marks.may_be_secret(value.len()) || redactor.has_patterns())
            && redactor.redact(value, &mut self.texts.masked)
        {
            &self.texts.masked
        } else {
            value
        };
        for ((written, form), encoder) in self.lines.iter_mut().zip(&self.plan.forms).zip(&self.encoders.all) {
            let Some(key) = form.keys.get(index) else { continue };
            let start = written.line.len();
            if !written.key(key) {
                written.dropped(start);
                continue;
            }
            let (value, marks) = match class {
                Class::Message if value.is_empty() => {
                    let text = encoder.no_message(&self.plan.target).unwrap_or_default();
                    (text, Marks::of(text.as_bytes()))
                }
                _ => (value, marks),
            };
            if class == Class::Message {
                written.is_truncated |= !encoder.message(&mut written.line, value, (marks, is_whole));
            } else {
                written.is_truncated |= !encoder.string(&mut written.line, value, (marks, is_whole));
            }
            written.placed(self.pass, key, start);
        }
    }

    fn text(&mut self, field: &Field, value: &str) {
        if let Some((index, class)) = self.wanted(field) {
            self.string(index, class, value, true);
        }
    }

    fn formatted(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let Some((index, class)) = self.wanted(field) else { return };
        let mut text = std::mem::take(&mut self.texts.value);
        text.clear();
        let mut bounded = Bounded { text: &mut text, is_full: false };
        // What can't be formatted is written as far as it came.
        if class != Class::Secret {
            bounded.write_fmt(value).ok();
        }
        let is_whole = !bounded.is_full;
        self.string(index, class, &text, is_whole);
        self.texts.value = text;
    }
}

const FIRST_CARD: u128 = 1_000_000_000_000;

impl Visit for Visitor<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if !value.is_finite() {
            return self.formatted(field, format_args!("{value}"));
        }
        // A card's number that became a float still is one; what is past it or has a fraction is none.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float is cut off at the ends")]
        let size = if value.fract() == 0.0 { value.abs() as u128 } else { 0 };
        self.number(field, size, zmij::Buffer::new().format_finite(value), false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value.unsigned_abs().into(), itoa::Buffer::new().format(value), false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, value.into(), itoa::Buffer::new().format(value), i64::try_from(value).is_err());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        let is_wide = i64::try_from(value).is_err();
        self.number(field, value.unsigned_abs(), itoa::Buffer::new().format(value), is_wide);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field, value, itoa::Buffer::new().format(value), i64::try_from(value).is_err());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let Some((index, class)) = self.wanted(field) else { return };
        if class == Class::Secret {
            return self.string(index, class, MASK, true);
        }
        for ((written, form), encoder) in self.lines.iter_mut().zip(&self.plan.forms).zip(&self.encoders.all) {
            let Some(key) = form.keys.get(index) else { continue };
            let start = written.line.len();
            if written.key(key) && written.line.push(encoder.boolean(value)) {
                written.placed(self.pass, key, start);
            } else {
                written.dropped(start);
            }
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    /// Bytes that are text are written as text, which can be searched for secrets; others as hexadecimal digits.
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let value = value.get(..MAX_VALUE_BYTES).unwrap_or(value);
        let text = String::from_utf8_lossy(value);
        let is_text = matches!(text, std::borrow::Cow::Borrowed(_));
        if is_text || self.encoders.redactor.redact(&text, &mut String::new()) {
            return self.text(field, &text);
        }
        self.formatted(field, format_args!("{}", Hexadecimal(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.formatted(field, format_args!("{}", Chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.formatted(field, format_args!("{value:?}"));
    }
}

impl Written {
    #[inline]
    fn key(&mut self, key: &Key) -> bool {
        self.line.room() > key.text().len() + LEAST
            && match key.block() {
                Some((block, length)) => self.line.push_block(block, length),
                None => self.line.push(key.text()),
            }
    }

    /// What a span records is found again by its key.
    #[inline]
    fn placed(&mut self, pass: Pass, key: &Key, start: usize) {
        if pass == Pass::Span {
            self.fields.push(Place { hash: key.hash, start, key: key.text().len() });
        }
    }

    fn dropped(&mut self, start: usize) {
        self.line.truncate(start);
        self.is_truncated = true;
    }
}

/// Writes a value within the room of a field, with a mark where it was cut. Returns whether all of it is there.
pub(super) fn within(line: &mut Buffer, is_whole: bool, write: impl FnOnce(&mut Buffer) -> bool) -> bool {
    let limit = line.limit();
    let end = limit.min(line.len() + MAX_FIELD_BYTES);
    // The quote after it has its place too.
    line.limit_to(end.saturating_sub(CUT.len() + 1));
    let is_whole = write(line) && is_whole;
    line.limit_to(end);
    if !is_whole {
        line.push(CUT.as_bytes());
    }
    line.limit_to(limit);
    is_whole
}

/// Whether an event says of itself that it is critical.
pub(super) fn is_critical(event: &Event<'_>) -> bool {
    struct Critical(bool);
    impl Visit for Critical {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0 |= field.name() == SEVERITY && value == "critical";
        }

        fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
    }
    let mut critical = Critical(false);
    event.record(&mut critical);
    critical.0
}

/// An error with its causes.
struct Chain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        for _ in 0..MAX_SOURCES {
            let Some(cause) = source else { break };
            write!(formatter, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

struct Hexadecimal<'b>(&'b [u8]);

impl fmt::Display for Hexadecimal<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Takes what fits and then stops the formatting, so that a huge value is not formatted to its end.
struct Bounded<'t> {
    text: &'t mut String,
    is_full: bool,
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_VALUE_BYTES.saturating_sub(self.text.len());
        if text.len() <= room {
            self.text.push_str(text);
            return Ok(());
        }
        self.text.push_str(prefix(text, room));
        self.is_full = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_never_ends_is_not_formatted_to_its_end() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    formatter.write_str("ü")?;
                }
            }
        }
        let mut text = String::new();
        let mut bounded = Bounded { text: &mut text, is_full: false };
        assert!(write!(bounded, "{Endless}").is_err() && bounded.is_full);
        assert!(text.len() <= MAX_VALUE_BYTES);
    }
}
