//! Writes the page, in either format, straight from the values.

use std::time::UNIX_EPOCH;

use super::declaration::{Kind, Meta};
use super::exemplar::Exemplar;
use super::names::{push_float, push_integer};
use super::reading::{Family, Number, Value};

/// A page being written.
#[derive(Debug)]
pub struct Page {
    text: String,
    is_open_metrics: bool,
}

impl Page {
    pub(super) fn new(is_open_metrics: bool, room: usize) -> Self {
        Self { text: String::with_capacity(room), is_open_metrics }
    }

    /// The whole page.
    pub(super) fn end(mut self) -> String {
        if self.is_open_metrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// The lines before a family's samples.
    pub(super) fn head(&mut self, meta: &Meta) {
        self.text.push_str(meta.head(self.is_open_metrics));
    }

    /// A sample that is one number. `line` is the name with the labels and a blank.
    #[inline]
    pub(super) fn number(&mut self, line: &str, number: Number, exemplar: Option<&Exemplar>) {
        self.text.push_str(line);
        match number {
            Number::Whole(number) => push_integer(&mut self.text, number),
            Number::Float(number) => push_float(&mut self.text, number),
        }
        self.exemplar(exemplar);
        self.text.push('\n');
    }

    /// The samples of a histogram: each bucket with its bound, how many it alone has, and an example.
    pub(super) fn histogram<'b>(
        &mut self,
        name: &str,
        labels: &str,
        buckets: impl Iterator<Item = (&'b str, u64, Option<Exemplar>)>,
        sum: f64,
    ) {
        let mut count: u64 = 0;
        for (le, more, exemplar) in buckets {
            count = count.wrapping_add(more);
            self.text.push_str(name);
            self.text.push_str("_bucket{");
            if !labels.is_empty() {
                self.text.push_str(labels);
                self.text.push(',');
            }
            self.text.push_str("le=\"");
            self.text.push_str(le);
            self.text.push_str("\"} ");
            push_integer(&mut self.text, count);
            self.exemplar(exemplar.as_ref());
            self.text.push('\n');
        }
        self.name(name, "_count", labels);
        push_integer(&mut self.text, count);
        self.text.push('\n');
        self.name(name, "_sum", labels);
        push_float(&mut self.text, sum);
        self.text.push('\n');
    }

    /// A family that was read before.
    pub(super) fn family(&mut self, family: &Family) {
        let meta = &family.meta;
        self.head(meta);
        for sample in &family.samples {
            match &sample.value {
                Value::Number(number, exemplar) => {
                    self.name(&meta.name, meta.kind.suffix(), sample.labels.as_text());
                    let exemplar = exemplar.as_ref().filter(|_| meta.kind == Kind::Counter);
                    self.number("", *number, exemplar);
                }
                Value::Histogram(value) => {
                    let les = value.bounds.iter().copied().chain([f64::INFINITY]).map(super::names::bound);
                    let les: Vec<_> = les.collect();
                    let buckets = les.iter().zip(&value.counts).enumerate().map(|(bucket, (le, count))| {
                        let exemplar = value.exemplars.iter().find(|(of, _)| *of == bucket);
                        (&**le, *count, exemplar.map(|(_, exemplar)| exemplar.clone()))
                    });
                    self.histogram(&meta.name, sample.labels.as_text(), buckets, value.sum);
                }
            }
        }
    }

    /// The beginning of a sample: its name, its labels, a blank.
    fn name(&mut self, name: &str, suffix: &str, labels: &str) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        if !labels.is_empty() {
            self.text.push('{');
            self.text.push_str(labels);
            self.text.push('}');
        }
        self.text.push(' ');
    }

    fn exemplar(&mut self, exemplar: Option<&Exemplar>) {
        let Some(exemplar) = exemplar.filter(|_| self.is_open_metrics) else { return };
        self.text.push_str(" # {");
        self.text.push_str(exemplar.labels.as_text());
        self.text.push_str("} ");
        push_float(&mut self.text, exemplar.value);
        if let Ok(at) = exemplar.at.duration_since(UNIX_EPOCH) {
            self.text.push(' ');
            push_float(&mut self.text, at.as_millis() as f64 / 1000.0);
        }
    }
}
