//! The fields of a span, written once when they are recorded and copied into each line after.

use super::plan::{FormPlan, Plan, bloom, hash};
use super::{END, Encoder, MAX_LINE_BYTES, Place, Written};
use crate::correlation::Correlation;

/// What a span brings along: its fields in each format, and the work that it was opened in.
#[derive(Debug, Default)]
pub(in super::super) struct Recorded {
    pub(super) correlation: Option<Correlation>,
    forms: Vec<SpanFields>,
}

/// The fields of a span in one format.
#[derive(Debug, Default)]
pub(super) struct SpanFields {
    bytes: Vec<u8>,
    fields: Vec<SpanField>,
    bloom: u64,
    is_truncated: bool,
}

/// One of them: its key's hash, how long its key is, and how long all of it.
#[derive(Debug, Clone, Copy)]
struct SpanField {
    hash: u32,
    key: usize,
    length: usize,
}

impl Recorded {
    pub(in super::super) fn of(correlation: Option<Correlation>) -> Self {
        Self { correlation, forms: Vec::new() }
    }

    /// Takes the fields that were just written; one that was recorded before is replaced.
    pub(super) fn take(&mut self, plan: &Plan, lines: &[Written]) {
        self.forms.resize_with(plan.forms.len(), SpanFields::default);
        for (fields, written) in self.forms.iter_mut().zip(lines) {
            fields.is_truncated |= written.is_truncated;
            let ends = written.fields.iter().skip(1).map(|place| place.start).chain([written.line.len()]);
            for (place, end) in written.fields.iter().zip(ends) {
                let field = written.line.bytes().get(place.start..end).unwrap_or_default();
                fields.replace(place.hash, place.key, field);
            }
        }
    }

    /// Takes what was recorded later; a field that was recorded before is replaced.
    pub(in super::super) fn add(&mut self, later: &Self) {
        self.forms.resize_with(later.forms.len(), SpanFields::default);
        for (fields, later) in self.forms.iter_mut().zip(&later.forms) {
            fields.is_truncated |= later.is_truncated;
            let mut rest = later.bytes.as_slice();
            for &SpanField { hash, key, length } in &later.fields {
                let (field, after) = rest.split_at_checked(length).unwrap_or_default();
                rest = after;
                fields.replace(hash, key, field);
            }
        }
    }

    pub(super) fn forms(&self) -> impl Iterator<Item = &SpanFields> {
        self.forms.iter()
    }
}

impl SpanFields {
    fn replace(&mut self, hash: u32, key: usize, field: &[u8]) {
        let mut start = 0;
        let is_same = |(other, known): (&SpanField, &[u8])| other.hash == hash && known.get(..key) == field.get(..key);
        let mut known = None;
        for (index, other) in self.fields.iter().enumerate() {
            if is_same((other, self.bytes.get(start..).unwrap_or_default())) {
                known = Some((index, start));
                break;
            }
            start += other.length;
        }
        if let Some((index, start)) = known {
            let old = self.fields.remove(index);
            self.bytes.drain(start..start + old.length);
        }
        if self.bytes.len() + field.len() > MAX_LINE_BYTES {
            self.is_truncated = true;
            return;
        }
        self.bytes.extend_from_slice(field);
        self.fields.push(SpanField { hash, key, length: field.len() });
        self.bloom |= bloom(hash);
    }
}

impl Written {
    /// Copies the fields of a span. The event's own wins over a span's, an inner span's over an outer one's.
    pub(super) fn span(&mut self, event: (&FormPlan, u64), fields: &SpanFields) {
        self.is_truncated |= fields.is_truncated;
        let mut start = self.line.len();
        if (event.0.bloom | self.bloom) & fields.bloom == 0 && self.line.push(&fields.bytes) {
            for field in &fields.fields {
                self.fields.push(Place { hash: field.hash, start, key: field.key });
                start += field.length;
            }
            self.bloom |= fields.bloom;
            return;
        }
        let mut rest = fields.bytes.as_slice();
        for &SpanField { hash, key, length } in &fields.fields {
            let (field, later) = rest.split_at_checked(length).unwrap_or_default();
            rest = later;
            self.append(event, (hash, key), field);
        }
    }

    /// What the work is known by, and who says it; what a field of the same name says goes before it.
    pub(super) fn tail(&mut self, encoder: &Encoder, event: (&FormPlan, u64), correlation: Option<&Correlation>) {
        self.line.limit_to(MAX_LINE_BYTES - END);
        if let Some(correlation) = correlation {
            for (key, field) in correlation.logged(encoder.style()) {
                self.append(event, (hash(key), key.len()), field);
            }
        }
        for (key, whole) in &encoder.tail {
            self.append(event, (hash(key), key.len()), whole);
        }
    }

    /// Appends a field, with its key's hash and length, unless there is one of that name.
    fn append(&mut self, event: (&FormPlan, u64), (hash, key): (u32, usize), field: &[u8]) {
        if (event.0.bloom | self.bloom) & bloom(hash) != 0
            && self.has(event, hash, field.get(..key).unwrap_or_default())
        {
            return;
        }
        let start = self.line.len();
        if self.line.push(field) {
            self.fields.push(Place { hash, start, key });
            self.bloom |= bloom(hash);
        } else {
            self.is_truncated = true;
        }
    }

    fn has(&self, (form, recorded): (&FormPlan, u64), hash: u32, key: &[u8]) -> bool {
        let line = self.line.bytes();
        let of_event = |(index, known): (usize, &super::plan::Key)| {
            known.hash == hash
                && recorded & 1_u64.checked_shl(u32::try_from(index).unwrap_or(64)).unwrap_or(0) != 0
                && known.text() == key
        };
        form.keys.iter().enumerate().any(of_event)
            || self.fields.iter().any(|place| {
                place.hash == hash && line.get(place.start..place.start + place.key).is_some_and(|known| known == key)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_recorded_a_thousand_times_takes_the_room_of_one() {
        let mut fields = SpanFields::default();
        for _ in 0..1000 {
            for field in [&b",\"attempt\":7"[..], b",\"user\":8"] {
                let key = field.len() - 1;
                fields.replace(hash(&field[..key]), key, field);
            }
        }
        assert_eq!(fields.bytes, b",\"attempt\":7,\"user\":8");
        assert_eq!(fields.fields.len(), 2);
    }
}
