//! One event becomes one line, in one pass over its fields, into buffers that are used again.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Event;
use tracing::field::{Field, Visit};

use super::clock::Clock;
use super::escape::{self, Style};
use super::levels::{OWN_TARGET, is_in};
use super::redact::{MASK, is_secret, redact};
use super::{Format, Level};
use crate::correlation::Correlation;
use crate::events::SECURITY_TARGET;

/// Longest line, in bytes, with its end.
pub(super) const MAX_LINE_BYTES: usize = 16 * 1024;
/// Kept free for the mark of a cut line and its end.
const RESERVE: usize = 64;
const LIMIT: usize = MAX_LINE_BYTES - RESERVE;
/// Most of one value that is formatted and searched for secrets. More than a line takes, so that masking comes
/// before cutting.
const MAX_VALUE_BYTES: usize = 4 * MAX_LINE_BYTES;
/// Most causes of an error that are written.
const MAX_SOURCES: usize = 8;

/// Writes lines of one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoder {
    form: Form,
    origin: Arc<Origin>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Gelf,
    Text,
    ColouredText,
}

/// Who says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    host: Option<String>,
    service: Option<String>,
}

impl Origin {
    pub(super) fn new(host: Option<String>, service: Option<String>) -> Arc<Self> {
        Arc::new(Self { host, service })
    }
}

/// A finished line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// Ends with a line break and holds no other.
    pub(super) text: &'a str,
    pub(super) level: Level,
    pub(super) kind: LineKind,
    pub(super) is_truncated: bool,
}

/// Whether a line may be done without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// That depends on its level.
    Ordinary,
    /// It may not, whatever its level: an event of security.
    Security,
}

impl LineKind {
    fn of(target: &str) -> Self {
        if is_in(target, SECURITY_TARGET) { Self::Security } else { Self::Ordinary }
    }
}

/// The field that makes an error a critical one, and is not written then.
pub(super) const SEVERITY: &str = "severity";

/// The fields of a span, encoded once when they are recorded.
#[derive(Debug, Default)]
pub(super) struct SpanFields {
    encoded: String,
    /// Name and length of each field, in order.
    fields: Vec<(&'static str, usize)>,
    is_truncated: bool,
}

impl SpanFields {
    /// Adds fields; one that was recorded before is replaced.
    pub(super) fn record(&mut self, encoder: &Encoder, record: impl FnOnce(&mut dyn Visit)) {
        with_scratch(|scratch| {
            scratch.line.clear();
            scratch.names.clear();
            let mut visitor = Visitor::new(encoder.form, false, scratch, Pass::Span);
            record(&mut visitor);
            let (lengths, is_truncated) = (visitor.lengths, visitor.is_truncated);
            self.is_truncated |= is_truncated;
            let mut start = 0;
            for (name, length) in scratch.names.iter().copied().zip(lengths) {
                self.replace(name, &scratch.line[start..start + length]);
                start += length;
            }
        });
    }

    fn replace(&mut self, name: &'static str, encoded: &str) {
        if let Some(index) = self.fields.iter().position(|(known, _)| *known == name) {
            let start: usize = self.fields[..index].iter().map(|(_, length)| length).sum();
            let (_, length) = self.fields.remove(index);
            self.encoded.replace_range(start..start + length, "");
        }
        if self.encoded.len() + encoded.len() > LIMIT {
            self.is_truncated = true;
            return;
        }
        self.encoded.push_str(encoded);
        self.fields.push((name, encoded.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mut start = 0;
        self.fields.iter().map(move |&(name, length)| {
            let field = &self.encoded[start..start + length];
            start += length;
            (name, field)
        })
    }
}

/// What walks the spans of an event, from the innermost out, showing each one's fields to the function it is given.
pub(super) type Spans<'a> = &'a dyn Fn(&mut dyn FnMut(&SpanFields));

impl Encoder {
    pub(super) fn new(format: Format, is_coloured: bool, origin: &Arc<Origin>) -> Self {
        let form = match format {
            Format::Json => Form::Json,
            Format::Gelf => Form::Gelf,
            Format::Text if is_coloured => Form::ColouredText,
            Format::Text => Form::Text,
        };
        Self { form, origin: Arc::clone(origin) }
    }

    /// Encodes an event and hands the line to `take`.
    pub(super) fn event<R>(
        &self,
        (event, level): (&Event<'_>, Level),
        spans: Spans<'_>,
        correlation: Option<&Correlation>,
        take: impl FnOnce(Line<'_>) -> R,
    ) -> R {
        let target = event.metadata().target();
        with_scratch(|scratch| {
            let now = scratch.clock.now();
            scratch.line.clear();
            scratch.names.clear();
            self.head(&mut scratch.line, &now, level, target);
            let is_critical = level == Level::Critical;
            let mut is_truncated = self.form.fields((event, is_critical), spans, scratch);
            if let Some(correlation) = correlation {
                is_truncated |= self.form.correlation(correlation, scratch);
            }
            self.form.finish(&mut scratch.line, is_truncated);
            take(Line { text: &scratch.line, level, kind: LineKind::of(target), is_truncated })
        })
    }

    /// A line of the log's own: that lines were dropped, that it is closed.
    pub(super) fn notice(&self, level: Level, message: &str, sink: &str, figures: &[(&str, u64)]) -> String {
        let mut line = String::new();
        self.head(&mut line, &Clock::default().now(), level, OWN_TARGET);
        self.form.key(&mut line, MESSAGE, Pass::Message);
        self.form.string(&mut line, message, true);
        self.form.key(&mut line, "sink", Pass::Fields);
        self.form.string(&mut line, sink, false);
        for (name, figure) in figures {
            self.form.key(&mut line, name, Pass::Fields);
            line.push_str(itoa::Buffer::new().format(*figure));
        }
        self.form.finish(&mut line, false);
        line
    }

    fn head(&self, line: &mut String, now: &[u8], level: Level, target: &str) {
        let now = std::str::from_utf8(now).unwrap_or_default();
        match self.form {
            Form::Json => {
                line.push_str("{\"timestamp\":\"");
                line.push_str(now);
                line.push_str("\",\"level\":\"");
                line.push_str(level.as_str());
                line.push_str("\",\"target\":\"");
                escape::push(line, target, Style::Quoted, LIMIT / 2);
                line.push('"');
                for (name, value) in [("host", &self.origin.host), ("service", &self.origin.service)] {
                    if let Some(value) = value {
                        line.extend([",\"", name, "\":\""]);
                        escape::push(line, value, Style::Quoted, LIMIT / 2);
                        line.push('"');
                    }
                }
            }
            Form::Gelf => {
                line.push_str("{\"version\":\"1.1\",\"host\":\"");
                escape::push(line, self.origin.host.as_deref().unwrap_or("localhost"), Style::Quoted, LIMIT / 2);
                line.push_str("\",\"level\":");
                line.push_str(itoa::Buffer::new().format(level.syslog()));
                line.push_str(",\"timestamp\":");
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                write!(line, "{}.{:03}", since.as_secs(), since.subsec_millis()).expect("a string takes all");
                line.push_str(",\"_target\":\"");
                escape::push(line, target, Style::Quoted, LIMIT / 2);
                line.push('"');
            }
            Form::Text | Form::ColouredText => {
                line.push_str(now);
                line.push(' ');
                let (word, colour) = shown(level);
                if self.form == Form::ColouredText {
                    line.extend(["\x1b[", colour, "m", word, "\x1b[0m"]);
                } else {
                    line.push_str(word);
                }
                line.push(' ');
                escape::push(line, target, Style::Bare, LIMIT / 2);
                line.push(':');
            }
        }
    }
}

impl Form {
    fn fields(self, (event, is_critical): (&Event<'_>, bool), spans: Spans<'_>, scratch: &mut Scratch) -> bool {
        let message_comes_first = event.metadata().fields().iter().next().is_some_and(|it| it.name() == MESSAGE);
        let mut is_truncated = false;
        if message_comes_first {
            let mut visitor = Visitor::new(self, is_critical, scratch, Pass::Everything);
            event.record(&mut visitor);
            is_truncated |= visitor.is_truncated;
        } else {
            let mut visitor = Visitor::new(self, is_critical, scratch, Pass::Message);
            event.record(&mut visitor);
            if visitor.lengths.is_empty() && matches!(self, Self::Json | Self::Gelf) {
                visitor.string(MESSAGE, "");
            }
            is_truncated |= visitor.is_truncated;
            let mut visitor = Visitor::new(self, is_critical, scratch, Pass::Fields);
            event.record(&mut visitor);
            is_truncated |= visitor.is_truncated;
        }
        let Scratch { line, names, .. } = scratch;
        spans(&mut |span: &SpanFields| {
            is_truncated |= span.is_truncated;
            for (name, field) in span.iter() {
                // The event's own field wins over a span's, an inner span's over an outer one's.
                if names.contains(&name) {
                    continue;
                }
                if line.len() + field.len() > LIMIT {
                    is_truncated = true;
                    continue;
                }
                names.push(name);
                line.push_str(field);
            }
        });
        is_truncated
    }

    /// Where the work belongs, last: what a field of the same name says goes before it.
    fn correlation(self, correlation: &Correlation, scratch: &mut Scratch) -> bool {
        let Scratch { line, names, .. } = scratch;
        let mut is_truncated = false;
        for field in correlation.fields().filter(|field| !names.contains(&field.name)) {
            if line.len() + field.json.len() > LIMIT {
                is_truncated = true;
            } else if self == Self::Json {
                line.push_str(field.json);
            } else if self == Self::Gelf {
                line.extend([",\"_", field.name, "\":\"", field.value(), "\""]);
            } else {
                line.extend([" ", field.name, "=", field.value()]);
            }
        }
        is_truncated
    }

    fn finish(self, line: &mut String, is_truncated: bool) {
        line.push_str(match (self, is_truncated) {
            (Self::Json | Self::Gelf, false) => "}\n",
            (Self::Json, true) => ",\"truncated\":true}\n",
            (Self::Gelf, true) => ",\"_truncated\":\"true\"}\n",
            (_, false) => "\n",
            (_, true) => " truncated=true\n",
        });
    }
}

const MESSAGE: &str = "message";

/// The word in text lines, of one width, and its colour.
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

/// Which of the fields a visitor writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Everything,
    Message,
    Fields,
    /// A span's: none of them is the message.
    Span,
}

struct Visitor<'s> {
    form: Form,
    is_critical: bool,
    scratch: &'s mut Scratch,
    pass: Pass,
    /// Only counted where somebody asks for them: for spans, and to see that there was a message.
    lengths: Lengths,
    is_truncated: bool,
}

type Lengths = Vec<usize>;

impl<'s> Visitor<'s> {
    fn new(form: Form, is_critical: bool, scratch: &'s mut Scratch, pass: Pass) -> Self {
        Self { form, is_critical, scratch, pass, lengths: Lengths::new(), is_truncated: false }
    }

    fn is_wanted(&self, name: &str) -> bool {
        if self.is_critical && name == SEVERITY {
            return false;
        }
        match self.pass {
            Pass::Everything | Pass::Span => true,
            Pass::Message => name == MESSAGE,
            Pass::Fields => name != MESSAGE,
        }
    }

    /// Writes one field whose value `write` appends within the limit; returns false when it had to be cut.
    fn field(&mut self, name: &'static str, write: impl FnOnce(&mut String) -> bool) {
        let line = &mut self.scratch.line;
        let start = line.len();
        if start + name.len() + RESERVE > LIMIT {
            self.is_truncated = true;
            return;
        }
        self.form.key(line, name, self.pass);
        if !write(line) {
            self.is_truncated = true;
        }
        if line.len() > LIMIT {
            line.truncate(start);
            self.is_truncated = true;
            return;
        }
        if matches!(self.pass, Pass::Span | Pass::Message) {
            self.lengths.push(line.len() - start);
        }
        self.scratch.names.push(name);
    }

    fn literal(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        let name = field.name();
        if !self.is_wanted(name) {
            return;
        }
        if is_secret(name) {
            self.string(name, MASK);
        } else {
            self.field(name, |line| {
                write(line);
                true
            });
        }
    }

    fn string(&mut self, name: &'static str, value: &str) {
        let is_cut = value.len() > MAX_VALUE_BYTES;
        let value = escape::prefix(value, MAX_VALUE_BYTES);
        let mut redacted = std::mem::take(&mut self.scratch.redacted);
        let value = if is_secret(name) {
            MASK
        } else if redact(value, &mut redacted) {
            &redacted
        } else {
            value
        };
        let is_message = name == MESSAGE && self.pass != Pass::Span;
        let form = self.form;
        self.field(name, |line| form.string(line, value, is_message) && !is_cut);
        self.scratch.redacted = redacted;
    }

    fn formatted(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        if !self.is_wanted(name) {
            return;
        }
        let mut text = std::mem::take(&mut self.scratch.value);
        text.clear();
        let is_whole = Bounded(&mut text).write_fmt(value).is_ok();
        self.string(name, &text);
        self.is_truncated |= !is_whole && text.len() >= MAX_VALUE_BYTES;
        self.scratch.value = text;
    }
}

impl Visit for Visitor<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            // Debug writes `1.0` and `1e300`, which JSON reads as numbers too.
            self.literal(field, |line| write!(line, "{value:?}").expect("a string takes all that is written"));
        } else {
            self.formatted(field, format_args!("{value}"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.literal(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.literal(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.literal(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.literal(field, |line| line.push_str(itoa::Buffer::new().format(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let is_quoted = self.form == Form::Gelf;
        self.literal(field, |line| {
            line.push_str(match (value, is_quoted) {
                (true, false) => "true",
                (false, false) => "false",
                (true, true) => "\"true\"",
                (false, true) => "\"false\"",
            });
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.is_wanted(field.name()) {
            self.string(field.name(), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.formatted(field, format_args!("{}", Chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.formatted(field, format_args!("{value:?}"));
    }
}

impl Form {
    fn key(self, line: &mut String, name: &str, pass: Pass) {
        let name = name.strip_prefix("r#").unwrap_or(name);
        let is_message = name == MESSAGE && pass != Pass::Span;
        // Written by the line itself: a second one would make two values of one key.
        let is_taken =
            matches!(name, "timestamp" | "level" | "target" | "truncated") || (name == MESSAGE && !is_message);
        match self {
            Self::Json => {
                line.push_str(",\"");
                escape::push(line, name, Style::Quoted, LIMIT);
                line.push_str(if is_taken { "_\":" } else { "\":" });
            }
            Self::Gelf if is_message => line.push_str(",\"short_message\":"),
            Self::Gelf => {
                line.push_str(",\"_");
                let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
                line.extend(name.chars().map(|letter| if is_letter(letter) { letter } else { '_' }));
                line.push_str(if is_taken || name == "id" { "_\":" } else { "\":" });
            }
            Self::Text | Self::ColouredText => {
                line.push(' ');
                if !is_message {
                    escape::push(line, name, Style::Bare, LIMIT);
                    line.push_str(if is_taken { "_=" } else { "=" });
                }
            }
        }
    }

    fn string(self, line: &mut String, value: &str, is_message: bool) -> bool {
        let is_word = |letter: char| letter.is_alphanumeric() || "-_.:/+@*%,#".contains(letter);
        let is_bare = match self {
            Self::Json | Self::Gelf => false,
            Self::Text | Self::ColouredText => is_message || (!value.is_empty() && value.chars().all(is_word)),
        };
        if is_bare {
            return escape::push(line, value, Style::Bare, LIMIT);
        }
        line.push('"');
        let is_whole = escape::push(line, value, Style::Quoted, LIMIT - 1);
        line.push('"');
        is_whole
    }
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

/// Takes what fits and then stops the formatting, so that a huge value is not formatted to its end.
struct Bounded<'t>(&'t mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_VALUE_BYTES.saturating_sub(self.0.len());
        self.0.push_str(escape::prefix(text, room));
        if text.len() <= room { Ok(()) } else { Err(fmt::Error) }
    }
}

#[derive(Default)]
struct Scratch {
    line: String,
    value: String,
    redacted: String,
    /// The names written so far.
    names: Vec<&'static str>,
    clock: Clock,
}

fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    // Taken out rather than borrowed: a value's Debug may log an event itself, which then uses a new one. At the end
    // of a thread there is none left.
    let mut scratch = SCRATCH.try_with(RefCell::take).unwrap_or_default();
    let result = work(&mut scratch);
    SCRATCH.try_with(|cell| cell.replace(scratch)).ok();
    result
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
        assert!(write!(Bounded(&mut text), "{Endless}").is_err());
        assert!(text.len() <= MAX_VALUE_BYTES);
    }

    #[test]
    fn a_field_recorded_a_million_times_takes_the_room_of_one() {
        let mut fields = SpanFields::default();
        for _ in 0..1000 {
            fields.replace("attempt", ",\"attempt\":7");
            fields.replace("user", ",\"user\":8");
        }
        assert_eq!(fields.iter().map(|(_, field)| field).collect::<String>(), ",\"attempt\":7,\"user\":8");
    }
}
