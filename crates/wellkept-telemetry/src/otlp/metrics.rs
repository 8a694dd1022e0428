//! The messages of OTLP 1 for metrics, and how a reading becomes them. The names are those of the metrics page, so that a
//! question to either finds the same.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;

use super::exporter::scope;
use super::messages::{KeyValue, Resource, Scope};
use crate::metrics::{self, HistogramValue, Kind, Labels, Reading, Sample};

/// Most points in one message, but for a single family that has more.
const MAX_POINTS: usize = 2_000;

/// `ExportMetricsServiceRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetricsMessage {
    #[prost(message, repeated, tag = "1")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(oneof = "Data", tags = "5, 7, 9")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Gauge {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<NumberPoint>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sum {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<NumberPoint>,
    #[prost(enumeration = "Temporality", tag = "2")]
    aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    is_monotonic: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histogram {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<HistogramPoint>,
    #[prost(enumeration = "Temporality", tag = "2")]
    aggregation_temporality: i32,
}

/// `AggregationTemporality`: what is counted since the start, as the page has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum Temporality {
    Unspecified = 0,
    Delta = 1,
    Cumulative = 2,
}

/// `NumberDataPoint`.
#[derive(Clone, PartialEq, prost::Message)]
struct NumberPoint {
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(oneof = "PointValue", tags = "4, 6")]
    value: Option<PointValue>,
    #[prost(message, repeated, tag = "5")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum PointValue {
    #[prost(double, tag = "4")]
    Real(f64),
    #[prost(sfixed64, tag = "6")]
    Whole(i64),
}

/// `HistogramDataPoint`.
#[derive(Clone, PartialEq, prost::Message)]
struct HistogramPoint {
    #[prost(fixed64, tag = "2")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, optional, tag = "5")]
    sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    explicit_bounds: Vec<f64>,
    #[prost(message, repeated, tag = "8")]
    exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exemplar {
    #[prost(fixed64, tag = "2")]
    time_unix_nano: u64,
    #[prost(double, optional, tag = "3")]
    value: Option<f64>,
    #[prost(bytes = "vec", tag = "5")]
    trace_id: Vec<u8>,
    #[prost(message, repeated, tag = "7")]
    filtered_attributes: Vec<KeyValue>,
}

/// A message, and how many points are in it.
pub(super) type Encoded = (Vec<u8>, u64);

/// A reading as messages of a bounded size.
pub(super) fn encode(reading: &Reading, resource: &Resource) -> Vec<Encoded> {
    let (start, time) = (nanoseconds(reading.since), nanoseconds(reading.at));
    let mut messages = Vec::new();
    let (mut metrics, mut points) = (Vec::new(), 0);
    for family in reading.families.iter().filter(|family| !family.samples.is_empty()) {
        if points > 0 && points + family.samples.len() > MAX_POINTS {
            messages.push((message(std::mem::take(&mut metrics), resource), std::mem::take(&mut points) as u64));
        }
        points += family.samples.len();
        metrics.push(metric(family, start, time));
    }
    if points > 0 {
        messages.push((message(metrics, resource), points as u64));
    }
    messages
}

fn message(metrics: Vec<Metric>, resource: &Resource) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics }];
    let resource_metrics = vec![ResourceMetrics { resource: Some(resource.clone()), scope_metrics }];
    MetricsMessage { resource_metrics }.encode_to_vec()
}

fn metric(family: &metrics::Family, start: u64, time: u64) -> Metric {
    let cumulative = Temporality::Cumulative.into();
    let numbers = |start| family.samples.iter().filter_map(|sample| number(sample, start, time)).collect();
    let (suffix, data) = match family.kind() {
        Kind::Counter => {
            let sum = Sum { data_points: numbers(start), aggregation_temporality: cumulative, is_monotonic: true };
            ("_total", Data::Sum(sum))
        }
        // As OpenTelemetry maps it ("Prometheus and OpenMetrics Compatibility", Info).
        Kind::Info => {
            let sum = Sum { data_points: numbers(start), aggregation_temporality: cumulative, is_monotonic: false };
            ("_info", Data::Sum(sum))
        }
        Kind::Gauge | Kind::Unknown => ("", Data::Gauge(Gauge { data_points: numbers(0) })),
        Kind::Histogram => {
            let data_points = family.samples.iter().filter_map(|sample| histogram(sample, start, time)).collect();
            ("", Data::Histogram(Histogram { data_points, aggregation_temporality: cumulative }))
        }
    };
    Metric {
        name: format!("{}{suffix}", family.name()),
        description: family.help().to_owned(),
        unit: family.unit().map_or_else(String::new, ucum),
        data: Some(data),
    }
}

fn number(sample: &Sample, start: u64, time: u64) -> Option<NumberPoint> {
    let metrics::Value::Number(number, seen) = &sample.value else { return None };
    let value = match number {
        metrics::Number::Whole(whole) => {
            i64::try_from(*whole).map_or(PointValue::Real(number.as_f64()), PointValue::Whole)
        }
        metrics::Number::Float(number) => PointValue::Real(*number),
    };
    Some(NumberPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(value),
        exemplars: seen.iter().map(exemplar).collect(),
        attributes: attributes(&sample.labels),
    })
}

fn histogram(sample: &Sample, start: u64, time: u64) -> Option<HistogramPoint> {
    let metrics::Value::Histogram(value) = &sample.value else { return None };
    let HistogramValue { bounds, counts, sum, exemplars } = value;
    Some(HistogramPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: value.count(),
        sum: Some(*sum),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds.to_vec(),
        exemplars: exemplars.iter().map(|(_, seen)| exemplar(seen)).collect(),
        attributes: attributes(&sample.labels),
    })
}

fn exemplar(seen: &metrics::Exemplar) -> Exemplar {
    let mut trace_id = Vec::new();
    let mut filtered_attributes = Vec::new();
    for (name, value) in seen.labels.iter() {
        match u128::from_str_radix(&value, 16) {
            Ok(id) if name == "trace_id" && value.len() == 32 => trace_id = id.to_be_bytes().to_vec(),
            _ => filtered_attributes.push(KeyValue::text(name, value)),
        }
    }
    Exemplar { time_unix_nano: nanoseconds(seen.at), value: Some(seen.value), trace_id, filtered_attributes }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| KeyValue::text(name, value)).collect()
}

/// The unit as OTLP writes it, by UCUM; one that is not known there is an annotation.
fn ucum(unit: &str) -> String {
    match unit {
        "seconds" => "s".to_owned(),
        "bytes" => "By".to_owned(),
        "ratio" => "1".to_owned(),
        "celsius" => "Cel".to_owned(),
        "meters" => "m".to_owned(),
        "volts" => "V".to_owned(),
        "amperes" => "A".to_owned(),
        "joules" => "J".to_owned(),
        "grams" => "g".to_owned(),
        other => format!("{{{other}}}"),
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
