//! What may be chosen, from code or from OpenTelemetry's environment variables, and who the process says it is.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::messages::{KeyValue, Resource};
use crate::logging::Level;

/// Where to export to, as whom, how often.
#[derive(Clone, PartialEq)]
pub struct Options {
    /// The receiver, to which `/v1/traces` and `/v1/metrics` are added. Default: `http://localhost:4318`.
    pub endpoint: String,
    /// Headers of each request: for what the receiver wants to know who sends. `Debug` does not show their values.
    /// Default: none.
    pub headers: Vec<(String, String)>,
    /// How long one request may take. Default 10 s.
    pub timeout: Duration,
    /// `service.name`. Default: `unknown_service`, as OpenTelemetry has it.
    pub service: String,
    /// `service.version`. Default: none.
    pub version: String,
    /// Further attributes of the process; they go before those that are found out (`service.instance.id`, `host.name`).
    /// Default: none.
    pub attributes: Vec<(String, String)>,
    /// How much of what begins here is recorded, from 0 to 1. What a caller has begun is recorded where the caller's
    /// `traceparent` says so. Default 1.
    pub ratio: f64,
    /// The least severe level of the spans, and of the events in them, that are exported. Default: info.
    pub level: Level,
    /// Longest that an ended span waits for others to be sent along with it. Default 5 s.
    pub delay: Duration,
    /// How often metrics are pushed. Default 15 s.
    pub interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: "http://localhost:4318".to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            service: "unknown_service".to_owned(),
            version: String::new(),
            attributes: Vec::new(),
            ratio: 1.0,
            level: Level::Info,
            delay: Duration::from_secs(5),
            interval: Duration::from_secs(15),
        }
    }
}

impl Options {
    /// As OpenTelemetry's environment variables say: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT` (milliseconds), `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`. One that is empty counts
    /// as not set. Another protocol than `http/protobuf` in `OTEL_EXPORTER_OTLP_PROTOCOL` is refused.
    ///
    /// ```
    /// use wellkept_telemetry::otlp::Options;
    ///
    /// let options = Options::from_environment(&|name| std::env::var(name).ok())?;
    /// assert_eq!(options.timeout.as_secs(), 10);
    /// # Ok::<(), wellkept_telemetry::otlp::InvalidVariable>(())
    /// ```
    pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, InvalidVariable> {
        let set = |name| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let invalid = |name, expected| InvalidVariable { name, expected };
        if set(PROTOCOL).is_some_and(|protocol| protocol != "http/protobuf") {
            return Err(invalid(PROTOCOL, "http/protobuf, the only protocol there is here"));
        }
        let mut options = Self::default();
        if let Some(endpoint) = set(ENDPOINT) {
            if !is_base(&endpoint) {
                return Err(invalid(ENDPOINT, "a URL that begins with http:// or https://, without query"));
            }
            options.endpoint = endpoint;
        }
        if let Some(headers) = set(HEADERS) {
            options.headers =
                pairs(&headers).ok_or(invalid(HEADERS, "name=value, percent-encoded, with commas between"))?;
        }
        if let Some(timeout) = set(TIMEOUT) {
            let timeout = timeout.parse().ok().filter(|timeout| *timeout > 0);
            options.timeout = timeout.map(Duration::from_millis).ok_or(invalid(TIMEOUT, "milliseconds, at least 1"))?;
        }
        if let Some(attributes) = set(ATTRIBUTES) {
            let named =
                pairs(&attributes).ok_or(invalid(ATTRIBUTES, "key=value, percent-encoded, with commas between"))?;
            for (key, value) in named {
                match key.as_str() {
                    "service.name" => options.service = value,
                    "service.version" => options.version = value,
                    _ => options.attributes.push((key, value)),
                }
            }
        }
        // It goes before `service.name` among the attributes (OpenTelemetry, "General SDK Configuration").
        if let Some(service) = set(SERVICE) {
            options.service = service;
        }
        Ok(options)
    }

    /// Whether the endpoint is a URL that paths can be added to.
    pub(super) fn is_usable(&self) -> bool {
        is_base(&self.endpoint)
    }

    /// The process as the receiver sees it. The first who names an attribute counts.
    pub(super) fn resource(&self) -> Resource {
        let mut attributes = vec![KeyValue::text("service.name", &*self.service)];
        if !self.version.is_empty() {
            attributes.push(KeyValue::text("service.version", &*self.version));
        }
        let found = [
            ("service.instance.id".to_owned(), random_uuid()),
            ("host.name".to_owned(), rustix::system::uname().nodename().to_string_lossy().into_owned()),
            ("telemetry.sdk.name".to_owned(), "wellkept".to_owned()),
            ("telemetry.sdk.language".to_owned(), "rust".to_owned()),
            ("telemetry.sdk.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ];
        for (key, value) in self.attributes.iter().cloned().chain(found) {
            if !attributes.iter().any(|known| known.key == key) {
                attributes.push(KeyValue::text(key, value));
            }
        }
        Resource { attributes }
    }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint may hold a password.
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        let mut shown = formatter.debug_struct("Options");
        shown.field("service", &self.service).field("version", &self.version).field("headers", &headers);
        shown.field("attributes", &self.attributes).field("ratio", &self.ratio).field("level", &self.level);
        shown.field("timeout", &self.timeout).field("delay", &self.delay).field("interval", &self.interval);
        shown.finish_non_exhaustive()
    }
}

/// An environment variable that says what can't be. Holds nothing of its value, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} must be {expected}")]
pub struct InvalidVariable {
    name: &'static str,
    expected: &'static str,
}

impl InvalidVariable {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        "otlp.variable"
    }

    /// The variable's name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

fn is_base(endpoint: &str) -> bool {
    let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ']))
}

/// `a=b,c=d`, as W3C Baggage writes it, without properties.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decoded = |part: &str| percent_decode_str(part.trim()).decode_utf8().ok().map(Cow::into_owned);
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .map(|member| {
            let (key, value) = member.split_once('=')?;
            Some((decoded(key).filter(|key| !key.is_empty())?, decoded(value)?))
        })
        .collect()
}

/// A random UUID (RFC 9562, version 4).
fn random_uuid() -> String {
    let bits = fastrand::u128(..) & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{bits:032x}");
    let part = |range| digits.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Options, InvalidVariable> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options::from_environment(&|name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        })
    }

    fn attribute(options: &Options, key: &str) -> Option<String> {
        let attributes = options.resource().attributes;
        attributes.into_iter().find(|attribute| attribute.key == key).map(|it| format!("{:?}", it.value))
    }

    #[test]
    fn the_environment_is_read_as_the_specification_says() {
        let options = read(&[
            (ENDPOINT, "https://collector.example/base/"),
            (HEADERS, "api-key=a%20b, other = c=d ,"),
            (TIMEOUT, "2500"),
            (SERVICE, "orders"),
            (
                ATTRIBUTES,
                "service.name=ignored,service.version=1.2,deployment.environment.name=test%2Ccanary,host.name=h1",
            ),
            (PROTOCOL, "http/protobuf"),
        ]);
        let options = options.unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(options.endpoint, "https://collector.example/base/");
        assert_eq!(options.headers, [pair("api-key", "a b"), pair("other", "c=d")]);
        assert_eq!(options.timeout, Duration::from_millis(2500));
        assert_eq!((&*options.service, &*options.version), ("orders", "1.2"));
        assert_eq!(options.attributes, [pair("deployment.environment.name", "test,canary"), pair("host.name", "h1")]);
        assert!(
            attribute(&options, "host.name").is_some_and(|it| it.contains("h1")),
            "what is given goes before what is found"
        );
        assert!(attribute(&options, "service.instance.id").is_some());
    }

    #[test]
    fn an_empty_environment_is_the_default_and_an_empty_variable_none() {
        assert_eq!(read(&[]).unwrap(), Options::default());
        assert_eq!(read(&[(ENDPOINT, " "), (TIMEOUT, ""), (HEADERS, "")]).unwrap(), Options::default());
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_name_of_its_variable() {
        for (name, value) in [
            (ENDPOINT, "collector:4318"),
            (ENDPOINT, "http://"),
            (ENDPOINT, "http://c/?token=secret"),
            (HEADERS, "secret"),
            (HEADERS, "=secret"),
            (HEADERS, "a=%ff"),
            (TIMEOUT, "10s"),
            (TIMEOUT, "0"),
            (ATTRIBUTES, "secret"),
            (PROTOCOL, "grpc"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!((error.name(), error.code()), (name, "otlp.variable"));
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn neither_headers_nor_the_endpoint_are_shown() {
        let headers = vec![("authorization".to_owned(), "canary-1".to_owned())];
        let options = Options { endpoint: "http://u:canary-2@h".to_owned(), headers, ..Options::default() };
        let shown = format!("{options:?}");
        assert!(!shown.contains("canary") && shown.contains("authorization"), "{shown}");
    }

    #[test]
    fn an_instance_is_a_uuid_of_version_4() {
        let uuid = random_uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        assert_ne!(uuid, random_uuid());
    }
}
