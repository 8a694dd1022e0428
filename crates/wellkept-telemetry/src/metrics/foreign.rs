//! Registries of the crate `prometheus-client`: what they write is read as OpenMetrics, as strictly as it is needed for a
//! page that they can't break.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

use super::collector::{Collector, FamilyReadings, Fault, Readings};
use super::declaration::{Declaration, Kind};
use super::exemplar::{Exemplar, may_be_shown};
use super::names;
use super::reading::{HistogramValue, Labels, Number, Value};

/// A foreign registry as a collector.
#[derive(Debug)]
pub(super) struct Foreign(pub(super) Registry);

impl Collector for Foreign {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        Vec::new()
    }

    fn collect(&self, readings: &mut Readings) {
        let mut text = String::new();
        if encode_registry(&mut text, &self.0).is_err() {
            readings.fail(Fault::Foreign("a collector failed".to_owned()));
            return;
        }
        if let Err(line) = read(&text, readings) {
            readings.fail(Fault::Foreign(line.escape_debug().take(200).collect()));
        }
    }
}

/// What stands before a family's samples.
#[derive(Default)]
struct Head<'t> {
    name: &'t str,
    help: &'t str,
    kind: Option<Kind>,
    unit: Option<&'t str>,
}

/// Reads all of it, or gives the line that can't be read.
fn read<'t>(text: &'t str, readings: &mut Readings) -> Result<(), &'t str> {
    let (mut head, mut samples) = (Head::default(), Vec::new());
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            head.kind.ok_or(line)?;
            let line = Line::read(line).ok_or(line)?;
            readings.exemplars_dropped += u64::from(line.has_bad_exemplar);
            samples.push(line);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (Some(keyword), Some(name)) = (words.next(), words.next()) else { return Err(line) };
        let rest = words.next().unwrap_or_default();
        if name != head.name || !samples.is_empty() {
            family(&head, std::mem::take(&mut samples), readings)?;
            head = Head { name, ..Head::default() };
        }
        match keyword {
            "HELP" => head.help = rest,
            "UNIT" => head.unit = Some(rest),
            "TYPE" if head.kind.is_none() => head.kind = Some(kind(rest).ok_or(line)?),
            _ => return Err(line),
        }
    }
    family(&head, samples, readings)
}

fn kind(word: &str) -> Option<Kind> {
    [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Info, Kind::Unknown]
        .into_iter()
        .find(|kind| kind.as_str() == word)
}

fn family<'t>(head: &Head<'t>, samples: Vec<Line<'t>>, readings: &mut Readings) -> Result<(), &'t str> {
    let Some(kind) = head.kind else { return Ok(()) };
    let declaration = Declaration { name: head.name, kind, unit: head.unit, help: head.help, labels: &[] };
    let mut family = readings.foreign(&declaration);
    if kind == Kind::Histogram {
        return histograms(head.name, samples, family);
    }
    for Line { whole: line, name, labels, number, exemplar, .. } in samples {
        match name.strip_prefix(head.name).ok_or(line)? {
            suffix if suffix == kind.suffix() => {
                family.add_labelled(labels, Value::Number(number, exemplar));
            }
            "_created" if kind == Kind::Counter => {}
            _ => return Err(line),
        }
    }
    Ok(())
}

/// The parts of one histogram, as they come.
#[derive(Default)]
struct Parts {
    /// Each bound with all that is not above it.
    buckets: Vec<(f64, u64, Option<Exemplar>)>,
    sum: Option<f64>,
}

fn histograms<'t>(name: &str, samples: Vec<Line<'t>>, mut family: FamilyReadings<'_>) -> Result<(), &'t str> {
    let (mut order, mut by_labels) = (Vec::new(), HashMap::<Labels, Parts>::new());
    let whole = |number| match number {
        Number::Whole(number) => Some(number),
        Number::Float(_) => None,
    };
    for Line { whole: line, name: full, labels, le, number, exemplar, .. } in samples {
        let parts = by_labels.entry(labels.clone()).or_insert_with(|| {
            order.push((labels, line));
            Parts::default()
        });
        match (full.strip_prefix(name), le) {
            (Some("_bucket"), Some(le)) => parts.buckets.push((le, whole(number).ok_or(line)?, exemplar)),
            (Some("_sum"), None) => parts.sum = Some(number.as_f64()),
            // It is the last bucket.
            (Some("_count" | "_created"), None) => {}
            _ => return Err(line),
        }
    }
    for (labels, line) in order {
        let Parts { buckets, sum } = by_labels.remove(&labels).unwrap_or_default();
        let (Some((last, ..)), Some(sum)) = (buckets.last(), sum) else { return Err(line) };
        if last.is_finite() {
            return Err(line);
        }
        let mut below = 0;
        let (mut counts, mut exemplars) = (Vec::new(), Vec::new());
        let bounds: Vec<f64> = buckets.iter().map(|(le, ..)| *le).filter(|le| le.is_finite()).collect();
        for (bucket, (_, all, exemplar)) in buckets.into_iter().enumerate() {
            counts.push(all.checked_sub(below).ok_or(line)?);
            below = all;
            exemplars.extend(exemplar.map(|exemplar| (bucket, exemplar)));
        }
        let value = HistogramValue { bounds: Arc::from(bounds), counts, sum, exemplars };
        family.add_labelled(labels, Value::Histogram(value));
    }
    Ok(())
}

/// A sample.
struct Line<'t> {
    whole: &'t str,
    name: &'t str,
    /// Without `le`.
    labels: Labels,
    le: Option<f64>,
    number: Number,
    exemplar: Option<Exemplar>,
    has_bad_exemplar: bool,
}

impl<'t> Line<'t> {
    fn read(line: &'t str) -> Option<Self> {
        let (name, rest) = line.split_at_checked(line.find(['{', ' '])?)?;
        let (pairs, rest) = match rest.strip_prefix('{') {
            Some(rest) => pairs(rest)?,
            None => (Vec::new(), rest),
        };
        let rest = rest.strip_prefix(' ')?;
        let (number, exemplar) = match rest.split_once(" # {") {
            Some((number, exemplar)) => (number, Some(read_exemplar(exemplar))),
            None => (rest, None),
        };
        // No reason to lose the sample.
        let has_bad_exemplar = matches!(exemplar, Some(None));
        let is_bucket = name.ends_with("_bucket");
        let le = pairs.iter().find(|(name, _)| is_bucket && *name == "le").and_then(|(_, le)| le.parse().ok());
        let labels = pairs.iter().filter(|(name, _)| !is_bucket || *name != "le");
        let labels = Labels::new(labels.map(|(name, value)| (*name, value.as_str())));
        Some(Self {
            whole: line,
            name,
            labels,
            le,
            number: read_number(number)?,
            exemplar: exemplar.flatten(),
            has_bad_exemplar,
        })
    }
}

/// Label names and values up to the closing brace, and what comes after it.
fn pairs(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((pairs, rest));
        }
        if !pairs.is_empty() {
            rest = rest.strip_prefix(',')?;
        }
        let (name, quoted) = rest.split_once("=\"")?;
        if !names::is_label_name(name) || pairs.iter().any(|(other, _)| *other == name) {
            return None;
        }
        let mut is_escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        let (value, after) = quoted.split_at_checked(end)?;
        pairs.push((name, names::unescaped(value).into_owned()));
        rest = after.strip_prefix('"')?;
    }
}

fn read_number(text: &str) -> Option<Number> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(whole) = text.parse()
    {
        return Some(Number::Whole(whole));
    }
    text.parse().ok().map(Number::Float)
}

/// Labels, a value, perhaps a time in seconds.
fn read_exemplar(text: &str) -> Option<Exemplar> {
    let (pairs, rest) = pairs(text)?;
    let mut words = rest.strip_prefix(' ')?.split(' ');
    let value: f64 = words.next()?.parse().ok()?;
    let at = words.next().map(str::parse::<f64>).transpose().ok()?;
    let at = at.and_then(|at| UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(at).ok()?));
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if !may_be_shown(&pairs) {
        return None;
    }
    let labels = Labels::new(pairs);
    Some(Exemplar { labels, value, at: at.unwrap_or_else(std::time::SystemTime::now) })
}
