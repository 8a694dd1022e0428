//! The fields of spans and events as attributes: masked as in the log, then cut, few, and of a bounded size.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use super::messages::{KeyValue, Value};
use crate::logging::redact::{MASK, Redactor};

/// Longest value, in bytes; a longer one is cut and ends with `…`.
pub(super) const MAX_VALUE: usize = 1024;
/// What is looked at of a value before it is masked and cut.
const MAX_LOOKED_AT: usize = 16 * 1024;

/// Takes fields in. Names that begin with `otel.` say what the span is, and are no attributes of it.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) attributes: Vec<KeyValue>,
    pub(super) directives: Vec<(&'static str, String)>,
    pub(super) message: Option<String>,
}

impl Fields {
    pub(super) fn of(redactor: &Redactor, record: impl FnOnce(&mut dyn Visit)) -> Self {
        let mut reader = Reader { redactor, fields: Self::default() };
        record(&mut reader);
        reader.fields
    }
}

struct Reader<'r> {
    redactor: &'r Redactor,
    fields: Fields,
}

impl Reader<'_> {
    fn add(&mut self, field: &Field, value: Value) {
        let value = if self.redactor.is_secret(field.name()) { Value::Text(MASK.to_owned()) } else { value };
        self.fields.attributes.push(KeyValue::new(field.name(), value));
    }

    /// A card's number is one as a number too.
    fn add_number(&mut self, field: &Field, value: Value, text: &str) {
        let mut masked = String::new();
        let is_masked = self.redactor.redact(text, &mut masked);
        self.add(field, if is_masked { Value::Text(masked) } else { value });
    }

    fn add_text(&mut self, field: &Field, text: &str) {
        let (name, text) = (field.name(), safe(text, self.redactor));
        if name == "message" {
            self.fields.message = Some(text);
        } else if name.starts_with("otel.") {
            self.fields.directives.push((name, text));
        } else {
            self.add(field, Value::Text(text));
        }
    }
}

impl Visit for Reader<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        // Ends with an error when there is enough of it, and when a value can't be shown: what is there is taken.
        let _ = write!(text, "{value:?}");
        self.add_text(field, &text.0);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add_number(field, Value::Real(value), &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_number(field, Value::Whole(value), itoa::Buffer::new().format(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // There is no larger integer in OTLP.
        match i64::try_from(value) {
            Ok(value) => self.record_i64(field, value),
            Err(_) => self.add_text(field, itoa::Buffer::new().format(value)),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name().starts_with("otel.") {
            self.fields.directives.push((field.name(), value.to_string()));
        } else {
            self.add(field, Value::Truth(value));
        }
    }
}

/// The text with its secrets masked, and cut.
pub(super) fn safe(text: &str, redactor: &Redactor) -> String {
    let text = front(text, MAX_LOOKED_AT);
    let mut masked = String::new();
    let text = if redactor.redact(text, &mut masked) { masked.as_str() } else { text };
    if text.len() <= MAX_VALUE {
        return text.to_owned();
    }
    format!("{}…", front(text, MAX_VALUE - '…'.len_utf8()))
}

/// At most so many bytes of it, whole letters.
fn front(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Takes so much that more would be cut anyway.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_LOOKED_AT.saturating_sub(self.0.len());
        self.0.push_str(front(text, room));
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}
