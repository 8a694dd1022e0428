//! `GET /api/v1/metrics`: all metrics in JSON, for operators and programs that read no exposition format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use wellkept_telemetry::metrics::{Audience, Exemplar, Family, HistogramValue, Kind, Number, Reading, Sample, Value};

use super::super::routes::{Operation, Routes};
use super::super::{Doors, JSON, NoBody, answer, written_as_json};
use crate::error::ApiError;

pub(in super::super) fn routes() -> Routes {
    let operation = Operation::get("/api/v1/metrics", "All metrics, with their types, units and values.")
        .json::<Metrics<'_>>(&[200])
        .error(ApiError::Busy);
    Routes::new().route(operation, metrics)
}

async fn metrics(State(doors): State<Doors>, _: NoBody, parts: Parts) -> Response {
    let metrics = doors.inner.metrics.clone();
    let write = move || written_as_json(&Metrics::of(&metrics.read(Audience::Operators)));
    match doors.in_turn(write).await {
        Ok(held) => answer(StatusCode::OK, JSON, doors.inner.large.page_for(&held, parts.extensions.get())),
        Err(error) => error.into_response(),
    }
}

/// `GET /api/v1/metrics`
#[derive(Serialize, JsonSchema)]
struct Metrics<'r> {
    /// When they were read.
    timestamp: String,
    /// Since when counters and histograms count.
    since: String,
    families: Vec<OneFamily<'r>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MetricFamily")]
struct OneFamily<'r> {
    /// As on the page of `/metrics`: a counter's ends in `_total`, an info's in `_info`.
    name: String,
    /// `counter`, `gauge`, `histogram`, `info` or `unknown`.
    r#type: &'static str,
    unit: Option<&'r str>,
    help: &'r str,
    samples: Vec<OneSample<'r>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MetricSample")]
struct OneSample<'r> {
    labels: BTreeMap<&'r str, Cow<'r, str>>,
    /// Of all but histograms.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Figure>,
    /// Of a histogram: how many values there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    /// Of a histogram.
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<Figure>,
    /// Of a histogram: how many values were not above each bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    buckets: Option<Vec<Bucket<'r>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemplar: Option<Example<'r>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MetricBucket")]
struct Bucket<'r> {
    le: Figure,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemplar: Option<Example<'r>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MetricExemplar")]
struct Example<'r> {
    labels: BTreeMap<&'r str, Cow<'r, str>>,
    value: Figure,
    timestamp: String,
}

/// A number; what JSON has no number for is one of the words `+Inf`, `-Inf` and `NaN`.
struct Figure(Number);

impl<'r> Metrics<'r> {
    fn of(reading: &'r Reading) -> Self {
        let families = reading.families.iter().map(OneFamily::of).collect();
        Self { timestamp: time(reading.at), since: time(reading.since), families }
    }
}

impl<'r> OneFamily<'r> {
    fn of(family: &'r Family) -> Self {
        let suffix = match family.kind() {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            _ => "",
        };
        Self {
            name: format!("{}{suffix}", family.name()),
            r#type: family.kind().as_str(),
            unit: family.unit(),
            help: family.help(),
            samples: family.samples.iter().map(OneSample::of).collect(),
        }
    }
}

impl<'r> OneSample<'r> {
    fn of(sample: &'r Sample) -> Self {
        let none = Self {
            labels: sample.labels.iter().collect(),
            value: None,
            count: None,
            sum: None,
            buckets: None,
            exemplar: None,
        };
        match &sample.value {
            Value::Number(number, exemplar) => {
                Self { value: Some(Figure(*number)), exemplar: exemplar.as_ref().map(Example::of), ..none }
            }
            Value::Histogram(value) => Self {
                count: Some(value.count()),
                sum: Some(Figure(value.sum.into())),
                buckets: Some(buckets(value)),
                ..none
            },
        }
    }
}

fn buckets(value: &HistogramValue) -> Vec<Bucket<'_>> {
    let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
    let not_above = value.counts.iter().scan(0_u64, |all, count| {
        *all = all.wrapping_add(*count);
        Some(*all)
    });
    let exemplar = |bucket| value.exemplars.iter().find(|(of, _)| *of == bucket).map(|(_, exemplar)| exemplar);
    let bucket = |(bucket, (le, count)): (usize, (f64, u64))| Bucket {
        le: Figure(le.into()),
        count,
        exemplar: exemplar(bucket).map(Example::of),
    };
    bounds.zip(not_above).enumerate().map(bucket).collect()
}

impl<'r> Example<'r> {
    fn of(exemplar: &'r Exemplar) -> Self {
        let labels = exemplar.labels.iter().collect();
        Self { labels, value: Figure(exemplar.value.into()), timestamp: time(exemplar.at) }
    }
}

fn time(at: SystemTime) -> String {
    // A clock that is set beyond the year 9999 is no reason to have no metrics.
    format!("{:.3}", Timestamp::try_from(at).unwrap_or(Timestamp::MAX))
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Number::Whole(number) => serializer.serialize_u64(number),
            Number::Float(number) if number.is_finite() => serializer.serialize_f64(number),
            Number::Float(number) if number.is_nan() => serializer.serialize_str("NaN"),
            Number::Float(number) => serializer.serialize_str(if number > 0.0 { "+Inf" } else { "-Inf" }),
        }
    }
}

impl JsonSchema for Figure {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Figure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number" }, { "type": "string", "enum": ["+Inf", "-Inf", "NaN"] }] })
    }
}
