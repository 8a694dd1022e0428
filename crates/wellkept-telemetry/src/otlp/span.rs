//! One span while it is open, and the message that it becomes when it ends. Bounded in all that can be put into it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prost::Message as _;

use super::attributes::Fields;
use super::messages::{self, KNOWS_WHETHER_REMOTE, KeyValue, Kind, PARENT_IS_REMOTE, Status, StatusCode};
use crate::correlation::{SpanId, TraceId};

/// Most attributes of a span, and most of each of its events.
pub const MAX_ATTRIBUTES: usize = 64;
/// Most events in a span.
pub const MAX_EVENTS: usize = 64;
/// Most bytes of a span's attributes and events together.
pub const MAX_SPAN_BYTES: usize = 32 * 1024;

/// Where a span stands in its trace. Kept for those that are not recorded too: what is opened in them isn't either.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// The span of the correlation that it belongs to: what is opened in it while another is current is no child of it.
    pub(super) owner: SpanId,
    pub(super) flags: u8,
    pub(super) is_recorded: bool,
}

/// Where the parent of a span runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parent {
    None,
    Here(SpanId),
    Remote(SpanId),
}

/// A span that is open and recorded.
#[derive(Debug)]
pub(super) struct OpenSpan {
    message: messages::Span,
    began: Instant,
    room: usize,
}

impl OpenSpan {
    pub(super) fn new(name: &'static str, place: Place, parent: Parent, state: Option<&str>) -> Self {
        let (parent, remote) = match parent {
            Parent::None => (Vec::new(), 0),
            Parent::Here(span) => (span.to_bytes().to_vec(), 0),
            Parent::Remote(span) => (span.to_bytes().to_vec(), PARENT_IS_REMOTE),
        };
        let message = messages::Span {
            trace_id: place.trace.to_bytes().to_vec(),
            id: place.span.to_bytes().to_vec(),
            trace_state: state.unwrap_or_default().to_owned(),
            parent_span_id: parent,
            name: name.to_owned(),
            kind: Kind::Internal.into(),
            start_time_unix_nano: now(),
            flags: u32::from(place.flags) | KNOWS_WHETHER_REMOTE | remote,
            ..messages::Span::default()
        };
        Self { message, began: Instant::now(), room: MAX_SPAN_BYTES }
    }

    /// Takes in the fields of the span.
    pub(super) fn record(&mut self, fields: Fields) {
        for (name, value) in fields.directives {
            self.direct(name, value);
        }
        let fields = fields.attributes.into_iter().chain(fields.message.map(|text| KeyValue::text("message", text)));
        for attribute in fields {
            // A field that is recorded again has its last value.
            if let Some(known) = self.message.attributes.iter_mut().find(|known| known.key == attribute.key) {
                let before = known.encoded_len();
                if attribute.encoded_len() <= before + self.room {
                    self.room = (self.room + before).saturating_sub(attribute.encoded_len());
                    *known = attribute;
                }
            } else if self.message.attributes.len() < MAX_ATTRIBUTES && take(&mut self.room, attribute.encoded_len()) {
                self.message.attributes.push(attribute);
            } else {
                self.message.dropped_attributes_count += 1;
            }
        }
    }

    /// The names are those that `tracing-opentelemetry` knows too.
    fn direct(&mut self, name: &str, value: String) {
        let kind = |kind: Kind| i32::from(kind);
        match (name, value.to_ascii_lowercase().as_str()) {
            ("otel.name", _) => self.message.name = value,
            ("otel.kind", "server") => self.message.kind = kind(Kind::Server),
            ("otel.kind", "client") => self.message.kind = kind(Kind::Client),
            ("otel.kind", "producer") => self.message.kind = kind(Kind::Producer),
            ("otel.kind", "consumer") => self.message.kind = kind(Kind::Consumer),
            ("otel.status_code", "ok") => self.status().code = StatusCode::Ok.into(),
            ("otel.status_code", "error") => self.status().code = StatusCode::Error.into(),
            ("otel.status_description", _) => self.status().message = value,
            _ => {}
        }
    }

    fn status(&mut self) -> &mut Status {
        self.message.status.get_or_insert_default()
    }

    /// Takes in an event that happened in it.
    pub(super) fn event(&mut self, name: &str, level: &'static str, fields: Fields) {
        let mut attributes = fields.attributes;
        let dropped = u32::try_from(attributes.len().saturating_sub(MAX_ATTRIBUTES)).unwrap_or(u32::MAX);
        attributes.truncate(MAX_ATTRIBUTES);
        attributes.push(KeyValue::text("level", level));
        let event = messages::Event {
            time_unix_nano: now(),
            name: fields.message.unwrap_or_else(|| name.to_owned()),
            attributes,
            dropped_attributes_count: dropped,
        };
        if self.message.events.len() < MAX_EVENTS && take(&mut self.room, event.encoded_len()) {
            self.message.events.push(event);
        } else {
            self.message.dropped_events_count += 1;
        }
    }

    /// Ends it now. The end is never before the beginning, whatever the wall clock does.
    pub(super) fn end(mut self) -> Vec<u8> {
        let lasted = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.message.end_time_unix_nano = self.message.start_time_unix_nano.saturating_add(lasted);
        self.message.encode_to_vec()
    }
}

/// Takes so many bytes, if they are left.
fn take(room: &mut usize, bytes: usize) -> bool {
    let left = room.checked_sub(bytes);
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// Nanoseconds since the epoch, until the year 2554.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
