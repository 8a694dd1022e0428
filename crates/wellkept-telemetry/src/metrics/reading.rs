//! What the metrics say at one instant: families, their samples and values, for exporters, for the JSON, for tests.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::declaration::{Kind, Meta};
use super::exemplar::Exemplar;
use super::names;

/// All metrics at one instant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Reading {
    /// When they were read.
    pub at: SystemTime,
    /// Since when counters and histograms count.
    pub since: SystemTime,
    /// The families, each name once.
    pub families: Vec<Family>,
}

impl Reading {
    /// The family of that name, without `_total`.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name() == name)
    }
}

/// A family at one instant.
#[derive(Debug, Clone)]
pub struct Family {
    pub(super) meta: Arc<Meta>,
    /// Its samples, each set of labels once.
    pub samples: Vec<Sample>,
}

impl Family {
    /// Its name, a counter's without `_total`.
    pub fn name(&self) -> &str {
        &self.meta.name
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        self.meta.kind
    }

    /// Its unit, which is the end of the name too.
    pub fn unit(&self) -> Option<&str> {
        self.meta.unit.as_deref()
    }

    /// What it says.
    pub fn help(&self) -> &str {
        &self.meta.help
    }

    /// The only sample of a family without labels, or that with just these labels, in the order of the declaration.
    pub fn sample(&self, labels: &[(&str, &str)]) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.labels.iter().eq(labels.iter().map(|(n, v)| (*n, Cow::Borrowed(*v)))))
    }
}

/// One series at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What tells it from the others of its family.
    pub labels: Labels,
    /// What it says.
    pub value: Value,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter, a gauge, an info (where it is 1), or one that does not say.
    Number(Number, Option<Exemplar>),
    /// Of a histogram.
    Histogram(HistogramValue),
}

impl Value {
    /// The number, unless it is a histogram.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number, _) => Some(number.as_f64()),
            Self::Histogram(_) => None,
        }
    }
}

/// A number, as it was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Of what is counted one by one.
    Whole(u64),
    /// Of all else.
    Float(f64),
}

impl Number {
    /// As a float; beyond 2^53 that is rounded.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// A histogram at one instant. What was observed since is in none of its parts or, for the sum, may be in it already.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramValue {
    /// The upper bounds of the buckets, growing, without the infinite one.
    pub bounds: Arc<[f64]>,
    /// How many values each bucket alone has, and last the infinite one: one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
    /// The latest examples, by the number of their bucket.
    pub exemplars: Vec<(usize, Exemplar)>,
}

impl HistogramValue {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The labels of a series: names and values, in the order of the declaration. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Arc<str>);

impl Labels {
    /// As the page has them between the braces.
    pub(super) fn new<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Self {
        let mut text = String::new();
        for (name, value) in labels {
            if !text.is_empty() {
                text.push(',');
            }
            text.extend([name, "=\""]);
            names::push_escaped(&mut text, value);
            text.push('"');
        }
        Self(text.into())
    }

    /// Escaped: `a="x",b="y"`.
    pub(super) fn as_text(&self) -> &str {
        &self.0
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, quoted) = rest.split_once("=\"")?;
            let mut is_escaped = false;
            let end = quoted.bytes().position(|byte| {
                let ends = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                ends
            })?;
            rest = quoted[end + 1..].trim_start_matches(',');
            Some((name, names::unescaped(&quoted[..end])))
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn labels_are_read_as_they_were_given(values in proptest::collection::vec("[\\x00-\\x7fü\"\\\\\n,={}]*", 0..4)) {
            let names = ["a", "b_2", "_c", "d"];
            let given: Vec<_> = names.into_iter().zip(values.iter().map(String::as_str)).collect();
            let labels = Labels::new(given.iter().copied());
            let read: Vec<_> = labels.iter().map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
            let given: Vec<_> = given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            prop_assert_eq!(read, given);
        }
    }
}
