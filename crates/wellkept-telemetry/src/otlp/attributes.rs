//! The fields of spans and events as attributes: masked as in the log, then cut, few, and of a bounded size.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use super::messages::{KeyValue, Value};
use crate::logging::redact::{MASK, is_secret, redact};

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
    pub(super) fn of(record: impl FnOnce(&mut dyn Visit)) -> Self {
        let mut fields = Self::default();
        record(&mut fields);
        fields
    }

    fn add(&mut self, field: &Field, value: Value) {
        if is_secret(field.name()) {
            self.attributes.push(KeyValue::text(field.name(), MASK));
        } else {
            self.attributes.push(KeyValue::new(field.name(), value));
        }
    }

    fn add_text(&mut self, field: &Field, text: &str) {
        let name = field.name();
        if name == "message" {
            self.message = Some(safe(text));
        } else if name.starts_with("otel.") {
            self.directives.push((name, safe(text)));
        } else {
            self.add(field, Value::Text(safe(text)));
        }
    }
}

impl Visit for Fields {
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
        self.add(field, Value::Real(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Whole(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // There is no larger integer in OTLP.
        match i64::try_from(value) {
            Ok(value) => self.add(field, Value::Whole(value)),
            Err(_) => self.add(field, Value::Text(value.to_string())),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name().starts_with("otel.") {
            self.directives.push((field.name(), value.to_string()));
        } else {
            self.add(field, Value::Truth(value));
        }
    }
}

/// The text with its secrets masked, and cut.
pub(super) fn safe(text: &str) -> String {
    let text = front(text, MAX_LOOKED_AT);
    let mut masked = String::new();
    let text = if redact(text, &mut masked) { masked.as_str() } else { text };
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
