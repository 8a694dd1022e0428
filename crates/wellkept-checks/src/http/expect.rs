//! What is expected of an answer, and how it is judged.

use serde_json::Value;
use wellkept_config::{FromNode, Section};
use wellkept_health::{Outcome, Reason};

use super::json_path::JsonPath;
use crate::Comparison;
use crate::fetch::header::{CONTENT_TYPE, HeaderName};
use crate::fetch::{Response, StatusCode};

/// Longest part of an answer that a detail quotes, in characters.
const MOST_QUOTED: usize = 64;

/// What is expected of an answer. All of it must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// The status is one of these. Default: any from 200 to 299.
    pub status: Vec<StatusPattern>,
    /// A text that the body holds, in its first MiB. Default: none.
    pub body: Option<String>,
    /// Values in a JSON body, by path. A text, number, truth value or null is compared by how it is written: `healthy`,
    /// `3`, `true`, `null`; a number also by `< 100`, `<= 100`, `> 0` or `>= 1`; and `!= failed` is anything else, as long
    /// as it is there. A web page never is what is expected here. Default: none.
    pub json: Vec<(JsonPath, Comparison)>,
    /// Headers and their whole values. Default: none.
    pub header: Vec<(String, String)>,
    /// The media type, such as `application/json`, without parameters. Where a single-page application answers every
    /// path with its page, this tells the page from the answer. Default: any.
    pub content_type: Option<String>,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            status: vec![StatusPattern::Class(2)],
            body: None,
            json: Vec::new(),
            header: Vec::new(),
            content_type: None,
        }
    }
}

impl Expect {
    /// `expect: { status: [200, 204], body: "ok", json: { "$.status": healthy }, header: { x-ready: "1" } }`
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let defaults = Self::default();
        let status = section.or("status", defaults.status);
        let body = section.optional("body");
        let json = Self::read_json(section);
        let header = Self::read_headers(section);
        let content_type = section.optional("content_type");
        Some(Self { status, body, json: json?, header: header?, content_type })
    }

    fn read_json(section: &mut Section<'_>) -> Option<Vec<(JsonPath, Comparison)>> {
        let entries = section.entries("json");
        if !section.has("json") && !section.is_describing() {
            return Some(Vec::new());
        }
        let mut expected = Vec::new();
        for (path, position, node) in entries? {
            // `null` is a value here, not a missing one.
            let is_null = node.is_null() && !section.is_describing();
            let value = if is_null { Some(Comparison::equal("null")) } else { section.value(node) };
            match path.parse::<JsonPath>() {
                Ok(path) => expected.push(value.map(|value| (path, value))),
                Err(error) => {
                    section.report(position, error.code(), error.to_string());
                    expected.push(None);
                }
            }
        }
        expected.into_iter().collect()
    }

    fn read_headers(section: &mut Section<'_>) -> Option<Vec<(String, String)>> {
        let entries = section.entries("header");
        if !section.has("header") && !section.is_describing() {
            return Some(Vec::new());
        }
        let mut expected = Vec::new();
        for (name, position, node) in entries? {
            let value: Option<String> = section.value(node);
            if HeaderName::try_from(name.as_str()).is_err() {
                section.report(position, "check.invalid_option", "this is no header's name");
            }
            expected.push(value.map(|value| (name, value)));
        }
        expected.into_iter().collect()
    }

    /// Whether anything but status and headers matters.
    pub(super) fn needs_body(&self) -> bool {
        self.body.is_some() || !self.json.is_empty()
    }

    /// Judges an answer. The public hears which part was not as expected, and of the answer only its status.
    pub(super) fn judge(&self, response: &Response) -> Outcome {
        let status = response.status;
        if !self.status.iter().any(|pattern| pattern.matches(status)) {
            return self.unexpected_status(status);
        }
        if let Some(expected) = self.content_type.as_deref().filter(|expected| !is_of_type(response, expected)) {
            let detail = format!("expected {expected}, found {}", shown_type(response));
            return unexpected("unexpected content type", detail);
        }
        if let Some(name) = self.header.iter().find(|(name, value)| !has_header(response, name, value)) {
            let detail = format!("header `{}` is missing or has another value", name.0);
            return unexpected("unexpected header", detail);
        }
        if let Some(text) = &self.body
            && !holds(&response.body, text.as_bytes())
        {
            let part = if response.truncated { "the first MiB of the body" } else { "the body" };
            return unexpected("unexpected body", format!("{part} does not hold the expected text"));
        }
        self.judge_json(response)
    }

    fn judge_json(&self, response: &Response) -> Outcome {
        if self.json.is_empty() {
            return Outcome::pass();
        }
        if response.truncated {
            return unexpected("unexpected body", "the body is longer than 1 MiB".to_owned());
        }
        if is_of_type(response, "text/html") {
            let detail = "a web page where JSON is expected, such as a single-page application has for every path";
            return unexpected("unexpected content type", detail.to_owned());
        }
        let body: Value = match serde_json::from_slice(&response.body) {
            Ok(body) => body,
            Err(error) => return unexpected("body is not JSON", format!("not JSON: {error}")),
        };
        for (path, expected) in &self.json {
            let found = match path.find(&body) {
                Some(value) if expected.holds(value) => continue,
                Some(value) => quoted(value),
                None => "nothing".to_owned(),
            };
            return unexpected("unexpected value", format!("{path}: expected `{expected}`, found {found}"));
        }
        Outcome::pass()
    }

    fn unexpected_status(&self, status: StatusCode) -> Outcome {
        let patterns: Vec<_> = self.status.iter().map(ToString::to_string).collect();
        let detail = format!("expected {}, found {status}", patterns.join(" or "));
        // The reasons that a machine can act on differently.
        let reason = match status.as_u16() {
            401 | 403 | 407 => Reason::Auth,
            429 => Reason::Exhausted,
            _ => Reason::Unexpected,
        };
        Outcome::fail(reason, format!("unexpected status {}", status.as_u16())).with_detail(detail)
    }
}

/// A status code, or all of a class: `200`, `2xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusPattern {
    /// This one.
    Exact(u16),
    /// All that begin with this digit, 1 to 5.
    Class(u16),
}

impl StatusPattern {
    /// Whether a status is meant.
    pub fn matches(self, status: StatusCode) -> bool {
        match self {
            Self::Exact(code) => status.as_u16() == code,
            Self::Class(digit) => status.as_u16() / 100 == digit,
        }
    }
}

impl std::fmt::Display for StatusPattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(code) => write!(formatter, "{code}"),
            Self::Class(digit) => write!(formatter, "{digit}xx"),
        }
    }
}

impl FromNode for StatusPattern {
    const EXPECTED: &'static str = "a status such as 200, or a class such as 2xx";

    fn from_scalar(text: &str) -> Result<Self, String> {
        let in_range = "from 100 to 599, or from 1xx to 5xx".to_owned();
        let (number, class) = match text.strip_suffix("xx").or_else(|| text.strip_suffix("XX")) {
            Some(digit) => (digit, true),
            None => (text, false),
        };
        match (number.parse::<u16>(), class) {
            (Ok(digit @ 1..=5), true) => Ok(Self::Class(digit)),
            (Ok(code @ 100..=599), false) => Ok(Self::Exact(code)),
            (Ok(_), _) => Err(in_range),
            (Err(_), _) => Err(String::new()),
        }
    }
}

fn unexpected(message: &'static str, detail: String) -> Outcome {
    Outcome::fail(Reason::Unexpected, message).with_detail(detail)
}

fn has_header(response: &Response, name: &str, expected: &str) -> bool {
    response.headers.get_all(name).iter().any(|value| value.as_bytes() == expected.as_bytes())
}

/// Types are compared without case and without parameters (RFC 9110, 8.3.1).
fn is_of_type(response: &Response, expected: &str) -> bool {
    media_type(response).is_some_and(|found| found.eq_ignore_ascii_case(expected))
}

fn media_type(response: &Response) -> Option<&str> {
    let value = response.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split_once(';').map_or(value, |(essence, _)| essence).trim())
}

fn shown_type(response: &Response) -> String {
    media_type(response).map_or_else(|| "none".to_owned(), |found| found.chars().take(MOST_QUOTED).collect())
}

fn holds(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

/// A scalar as far as a detail shows it. Whole objects are not passed on: an answer may hold anything.
fn quoted(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => {
            let cut: String = text.chars().take(MOST_QUOTED).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!("`{cut}{more}`")
        }
        scalar => format!("`{scalar}`"),
    }
}
