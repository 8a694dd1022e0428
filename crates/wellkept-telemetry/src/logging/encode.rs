//! One event becomes one line of each format, in one pass over its fields, into buffers that are used again.

mod gelf;
mod json;
mod own;
mod plan;
mod span;
mod text;
mod visit;

use std::cell::Cell;
use std::sync::Arc;

use tracing::field::Visit;
use tracing::{Event, Metadata};

use self::plan::{Message, Plans, Recent};
use self::visit::{Pass, Visitor, within};
use super::buffer::Buffer;
use super::clock::Clock;
use super::escape::{self, Marks, Style};
use super::levels::{OWN_TARGET, is_in};
use super::redact::Redactor;
use super::{Format, Level, Precision};
use crate::correlation::{Correlation, LogStyle};
use crate::events::{AUDIT_TARGET, SECURITY_TARGET};

pub(super) use self::span::Recorded;

/// Longest line, in bytes, with its end.
pub(super) const MAX_LINE_BYTES: usize = 16 << 10;
/// Longest value of one field, in bytes as it is written.
pub(super) const MAX_FIELD_BYTES: usize = 8 << 10;
/// Most fields of one event, and of one span.
pub(super) const MAX_FIELDS: usize = 64;
/// Most of one value that is formatted and searched for secrets. More than is written, so that masking comes before
/// cutting.
const MAX_VALUE_BYTES: usize = 4 * MAX_FIELD_BYTES;
/// Kept free for the mark of a cut line and its end.
const END: usize = 64;
/// Kept free for what the work is known by, and for who says it.
const TAIL: usize = 1 << 10;
/// Kept free for the fields of spans.
const CONTEXT: usize = 2 << 10;
/// Stands where a value was cut.
const CUT: &str = "…[cut]";

/// The field that is the message.
const MESSAGE: &str = "message";
/// The field that makes an error a critical one, and is not written then.
const SEVERITY: &str = "severity";

/// A finished line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// UTF-8 that ends with a line break and holds no other.
    pub(super) text: &'a [u8],
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
        let is_kept = is_in(target, SECURITY_TARGET) || is_in(target, AUDIT_TARGET);
        if is_kept { Self::Security } else { Self::Ordinary }
    }
}

/// Writes lines of one format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoder {
    form: Form,
    origin: Arc<Origin>,
    /// Who says it, as it stands at the end of a line: its key, and all of it.
    tail: Vec<(Vec<u8>, Vec<u8>)>,
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
    /// The machine's own name where none is given.
    machine: String,
    host: Option<String>,
    service: Option<String>,
}

impl Origin {
    pub(super) fn new(host: Option<String>, service: Option<String>) -> Arc<Self> {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let machine = host.clone().unwrap_or(own);
        Arc::new(Self { machine, host, service })
    }
}

impl Encoder {
    pub(super) fn new(format: Format, is_coloured: bool, origin: &Arc<Origin>) -> Self {
        let form = match format {
            Format::Json => Form::Json,
            Format::Gelf => Form::Gelf,
            Format::Text if is_coloured => Form::ColouredText,
            Format::Text => Form::Text,
        };
        let mut encoder = Self { form, origin: Arc::clone(origin), tail: Vec::new() };
        let said: &[_] = match form {
            Form::Json => &[("host", &origin.host), ("service", &origin.service)],
            Form::Gelf => &[("service", &origin.service)],
            Form::Text | Form::ColouredText => &[],
        };
        for (name, value) in said {
            if let Some(value) = value {
                let key = encoder.key(name);
                let whole = [key.as_slice(), b"\"", &escaped(value, Style::Quoted), b"\""].concat();
                encoder.tail.push((key, whole));
            }
        }
        encoder
    }

    /// A line of the log's own: that lines were dropped, that it is closed.
    pub(super) fn notice(&self, level: Level, message: &str, sink: &str, figures: &[(&str, u64)]) -> String {
        let mut line = Buffer::new(MAX_LINE_BYTES);
        let mut clock = Clock::default();
        clock.tick(Precision::Exact);
        self.begin(&mut line, &clock);
        line.push(&self.head(level, OWN_TARGET));
        line.push(self.message_key());
        self.message(&mut line, message, (Marks::of(message.as_bytes()), true));
        line.push(&self.key("sink"));
        self.string(&mut line, sink, (Marks::of(sink.as_bytes()), true));
        for (name, figure) in figures {
            line.push(&self.key(name));
            line.push(itoa::Buffer::new().format(*figure).as_bytes());
        }
        for (_, whole) in &self.tail {
            line.push(whole);
        }
        self.finish(&mut line, false);
        String::from_utf8_lossy(line.bytes()).into_owned()
    }

    fn begin(&self, line: &mut Buffer, clock: &Clock) {
        match self.form {
            Form::Json => json::begin(line, clock),
            Form::Gelf => gelf::begin(line, clock),
            Form::Text | Form::ColouredText => text::begin(line, clock),
        }
    }

    fn head(&self, level: Level, target: &str) -> Vec<u8> {
        match self.form {
            Form::Json => json::head(level, target),
            Form::Gelf => gelf::head(&self.origin.machine, level, target),
            Form::Text => text::head(level, target, false),
            Form::ColouredText => text::head(level, target, true),
        }
    }

    fn message_key(&self) -> &'static [u8] {
        match self.form {
            Form::Json => json::MESSAGE_KEY,
            Form::Gelf => gelf::MESSAGE_KEY,
            Form::Text | Form::ColouredText => text::MESSAGE_KEY,
        }
    }

    /// The name as this format can write it.
    fn name(&self, name: &str) -> String {
        match self.form {
            Form::Gelf => gelf::name(name),
            _ => name.to_owned(),
        }
    }

    /// Whether the line itself writes a value of that name.
    fn is_taken(&self, name: &str) -> bool {
        match self.form {
            Form::Gelf => own::is_taken_in_gelf(name),
            _ => own::is_taken(name),
        }
    }

    fn key(&self, name: &str) -> Vec<u8> {
        match self.form {
            Form::Json => json::key(name),
            Form::Gelf => gelf::key(name),
            Form::Text | Form::ColouredText => text::key(name),
        }
    }

    /// Appends a value, cut with a mark where there is no more room. Returns whether all of it is there.
    fn string(&self, line: &mut Buffer, value: &str, (marks, is_whole): (Marks, bool)) -> bool {
        match self.form {
            Form::Text | Form::ColouredText if text::is_bare(value) => bare(line, value, is_whole),
            _ => quoted(line, value, (marks, is_whole)),
        }
    }

    fn message(&self, line: &mut Buffer, value: &str, (marks, is_whole): (Marks, bool)) -> bool {
        match self.form {
            Form::Text | Form::ColouredText => bare(line, value, is_whole),
            Form::Json | Form::Gelf => quoted(line, value, (marks, is_whole)),
        }
    }

    fn style(&self) -> LogStyle {
        match self.form {
            Form::Json => LogStyle::Json,
            Form::Gelf => LogStyle::Gelf,
            Form::Text | Form::ColouredText => LogStyle::Text,
        }
    }

    fn boolean(&self, value: bool) -> &'static [u8] {
        match (self.form, value) {
            // Its values are strings and numbers.
            (Form::Gelf, true) => b"\"true\"",
            (Form::Gelf, false) => b"\"false\"",
            (_, true) => b"true",
            (_, false) => b"false",
        }
    }

    /// For lines that say nothing: what stands there instead, if anything must.
    fn no_message<'t>(&self, target: &'t str) -> Option<&'t str> {
        match self.form {
            Form::Json => Some(""),
            Form::Gelf => Some(gelf::no_message(target)),
            Form::Text | Form::ColouredText => None,
        }
    }

    fn finish(&self, line: &mut Buffer, is_truncated: bool) {
        line.limit_to(MAX_LINE_BYTES);
        line.push(match (self.form, is_truncated) {
            (Form::Json | Form::Gelf, false) => b"}\n",
            (Form::Json, true) => b",\"truncated\":true}\n",
            (Form::Gelf, true) => b",\"_truncated\":\"true\"}\n",
            (_, false) => b"\n",
            (_, true) => b" truncated=true\n",
        });
    }
}

fn quoted(line: &mut Buffer, value: &str, (marks, is_whole): (Marks, bool)) -> bool {
    line.push_byte(b'"');
    let is_whole = within(line, is_whole, |line| {
        if marks.needs_escape() { escape::push(line, value, Style::Quoted) } else { escape::push_plain(line, value) }
    });
    line.push_byte(b'"');
    is_whole
}

fn bare(line: &mut Buffer, value: &str, is_whole: bool) -> bool {
    within(line, is_whole, |line| escape::push(line, value, Style::Bare))
}

/// For what is escaped once.
fn escaped(text: &str, style: Style) -> Vec<u8> {
    let mut out = Buffer::new(MAX_FIELD_BYTES / 4);
    escape::push(&mut out, text, style);
    out.bytes().to_vec()
}

/// Writes the lines of all formats that a log has.
#[derive(Debug)]
pub(super) struct Encoders {
    all: Vec<Encoder>,
    redactor: Redactor,
    precision: Precision,
    plans: Plans,
}

/// What walks the spans of an event, from the innermost out, showing each one's fields to the function it is given.
pub(super) type Spans<'a> = &'a dyn Fn(&mut dyn FnMut(&Recorded));

impl Encoders {
    pub(super) fn new(all: Vec<Encoder>, redactor: Redactor, precision: Precision) -> Self {
        Self { all, redactor, precision, plans: Plans::new() }
    }

    /// Encodes an event, if one of its level is admitted, and hands the line of each format to `take`, with the number
    /// of the format.
    pub(super) fn event(
        &self,
        event: &Event<'_>,
        admits: impl FnOnce(Level) -> bool,
        spans: Spans<'_>,
        correlation: Option<Correlation>,
        mut take: impl FnMut(usize, Line<'_>),
    ) {
        with_scratch(|scratch| {
            let Scratch { recent, lines, clock, texts } = scratch;
            let plan = recent.plan(&self.plans, event.metadata(), (&self.all, &self.redactor));
            let is_critical = plan.may_be_critical && visit::is_critical(event);
            let level = if is_critical { Level::Critical } else { plan.level };
            if !admits(level) {
                return;
            }
            clock.tick(self.precision);
            lines.resize_with(self.all.len(), Written::default);
            for ((encoder, form), written) in self.all.iter().zip(&plan.forms).zip(&mut *lines) {
                written.clear();
                encoder.begin(&mut written.line, clock);
                written.line.push(&form.heads[usize::from(is_critical)]);
                written.line.limit_to(MAX_LINE_BYTES - END - TAIL - CONTEXT);
            }
            let mut visitor = Visitor::new(self, plan, lines, texts);
            visitor.of_level(level);
            if plan.message == Message::First {
                event.record(visitor.passing(Pass::Everything));
                visitor.complete_message();
            } else {
                if plan.message == Message::Elsewhere {
                    event.record(visitor.passing(Pass::Message));
                }
                visitor.complete_message();
                event.record(visitor.passing(Pass::Fields));
            }
            let recorded = visitor.recorded();
            // What is current belongs to the work; else what the innermost span that has one was opened in.
            let mut correlation = correlation;
            for written in &mut *lines {
                written.line.limit_to(MAX_LINE_BYTES - END - TAIL);
            }
            spans(&mut |span: &Recorded| {
                correlation = correlation.take().or_else(|| span.correlation.clone());
                for ((written, form), fields) in lines.iter_mut().zip(&plan.forms).zip(span.forms()) {
                    written.span((form, recorded), fields);
                }
            });
            for (index, (encoder, form)) in self.all.iter().zip(&plan.forms).enumerate() {
                let Some(written) = lines.get_mut(index) else { continue };
                written.tail(encoder, (form, recorded), correlation.as_ref());
                encoder.finish(&mut written.line, written.is_truncated);
                let Written { line, is_truncated, .. } = &*written;
                take(index, Line { text: line.bytes(), level, kind: plan.kind, is_truncated: *is_truncated });
            }
        });
    }

    /// Encodes the fields of a span, or those that are recorded later.
    pub(super) fn span(
        &self,
        metadata: &'static Metadata<'static>,
        recorded: &mut Recorded,
        record: impl FnOnce(&mut dyn Visit),
    ) {
        with_scratch(|scratch| {
            let Scratch { recent, lines, texts, .. } = scratch;
            let plan = recent.plan(&self.plans, metadata, (&self.all, &self.redactor));
            lines.resize_with(self.all.len(), Written::default);
            lines.iter_mut().for_each(Written::clear);
            let mut visitor = Visitor::new(self, plan, lines, texts);
            record(visitor.passing(Pass::Span));
            recorded.take(plan, lines);
        });
    }
}

/// A line while it is written.
#[derive(Debug)]
struct Written {
    line: Buffer,
    is_truncated: bool,
    /// Where each field stands that came from a span, or that is to go to one: its key's hash, where it begins, how long
    /// its key is.
    fields: Vec<Place>,
    /// Which keys may be among these.
    bloom: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    start: usize,
    key: usize,
}

impl Default for Written {
    fn default() -> Self {
        Self { line: Buffer::new(MAX_LINE_BYTES), is_truncated: false, fields: Vec::new(), bloom: 0 }
    }
}

impl Written {
    fn clear(&mut self) {
        self.line.clear();
        self.is_truncated = false;
        self.fields.clear();
        self.bloom = 0;
    }
}

/// What a thread needs to write lines, used again for each.
#[derive(Debug, Default)]
struct Scratch {
    recent: Recent,
    lines: Vec<Written>,
    clock: Clock,
    texts: Texts,
}

/// A value as it is formatted, and with its secrets masked.
#[derive(Debug, Default)]
struct Texts {
    value: String,
    masked: String,
}

fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    }
    // Taken out rather than borrowed: a value's Debug may log an event itself, which then uses a new one. At the end
    // of a thread there is none left.
    let mut scratch = SCRATCH.try_with(Cell::take).ok().flatten().unwrap_or_default();
    let result = work(&mut scratch);
    SCRATCH.try_with(|cell| cell.set(Some(scratch))).ok();
    result
}
