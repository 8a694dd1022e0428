//! An answer taken apart: which format it has, and what it says in it.

use serde_json::{Map, Value};
use wellkept_health::Part;

use super::Format;
use super::fresh::Times;
use super::said::Said;
use super::shape;
use crate::fetch::{Response, header};

/// What a service says of itself.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) format: Format,
    pub(super) said: Said,
    /// Whether a good status code goes with a good state only: details are answered with 200 in any.
    pub(super) code_counts: bool,
    pub(super) parts: Vec<Part>,
    pub(super) service: Option<String>,
    pub(super) version: Option<String>,
    pub(super) times: Times,
}

impl Answer {
    pub(super) fn new(format: Format, said: Said) -> Self {
        Self {
            format,
            said,
            code_counts: true,
            parts: Vec::new(),
            service: None,
            version: None,
            times: Times::default(),
        }
    }
}

/// What an answer is when it does not say how the service is.
#[derive(Debug)]
pub(super) enum Unsaid {
    /// It holds nothing that could say so: the status code is all there is.
    Nothing,
    /// It can't be understood. The message is for everyone, the detail for operators.
    Wrong { message: &'static str, detail: String },
}

impl Unsaid {
    fn wrong(message: &'static str, detail: impl Into<String>) -> Self {
        Self::Wrong { message, detail: detail.into() }
    }
}

/// Reads an answer in this format, or in the one that it has.
pub(super) fn read(response: &Response, format: Format) -> Result<Answer, Unsaid> {
    let body = response.body.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(&response.body).trim_ascii();
    let media_type = response.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_ascii_lowercase();
    if format == Format::Status {
        return Err(Unsaid::Nothing);
    }
    if is_page(&media_type, body) {
        return Err(Unsaid::wrong("a web page, not a health answer", "the body is HTML"));
    }
    if response.truncated {
        return Err(Unsaid::wrong("a health answer that is too long", "the body is longer than 1 MiB"));
    }
    let is_json = media_type.contains("json") || body.starts_with(b"{") || body.starts_with(b"[");
    if is_json && !body.is_empty() {
        let value = serde_json::from_slice(body);
        let value = value.map_err(|error| Unsaid::wrong("not JSON", format!("not JSON: {error}")))?;
        return object(value, &media_type, format);
    }
    text(body, format)
}

/// Whether this is a page for a browser (WHATWG, "MIME Sniffing", of which the two signs that a whole page has).
fn is_page(media_type: &str, body: &[u8]) -> bool {
    let begins = |sign: &str| body.get(..sign.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(sign.as_bytes()));
    media_type.starts_with("text/html")
        || media_type.starts_with("application/xhtml")
        || begins("<!doctype html")
        || begins("<html")
}

/// A word, as ASP.NET Core's default writer and many others write it.
fn text(body: &[u8], format: Format) -> Result<Answer, Unsaid> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Err(Unsaid::wrong("not a health answer", "the body is neither text nor JSON"));
    };
    match (Said::of(text), format) {
        (Some(said), Format::Auto | Format::AspNet) => Ok(Answer::new(Format::AspNet, said)),
        (Some(said), Format::Wellkept) => Ok(Answer::new(Format::Wellkept, said)),
        (_, Format::Auto) => Err(Unsaid::Nothing),
        _ => Err(not_as_told(format)),
    }
}

fn object(value: Value, media_type: &str, format: Format) -> Result<Answer, Unsaid> {
    let object = match value {
        Value::Object(object) => object,
        _ if format != Format::Auto => return Err(not_as_told(format)),
        Value::Array(values) => {
            let list = shape::list(&values).ok_or(Unsaid::Nothing)?;
            let (said, parts) = list.map_err(|word| unknown(&word))?;
            return Ok(Answer { parts, ..Answer::new(Format::HealthJson, said) });
        }
        _ => return Err(Unsaid::Nothing),
    };
    let found = shape::of(&object, media_type);
    match (found, format) {
        (None, Format::Auto) => Err(Unsaid::Nothing),
        (None, _) => Err(not_as_told(format)),
        // Several formats share their simplest answers: what is told is told by the configuration.
        (Some(found), Format::Auto) => said(&object, found),
        (Some(_), format) => said(&object, format),
    }
}

fn said(object: &Map<String, Value>, format: Format) -> Result<Answer, Unsaid> {
    let said = shape::said(object).ok_or_else(|| not_as_told(format))?.map_err(|word| unknown(&word))?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(Answer {
        code_counts: !object.contains_key("lifecycle"),
        parts: shape::parts(object),
        service: text("service").or_else(|| text("serviceId")),
        version: text("version"),
        times: Times::of(object, format),
        ..Answer::new(format, said)
    })
}

fn unknown(word: &str) -> Unsaid {
    let shown: String = word.chars().take(64).flat_map(char::escape_debug).collect();
    Unsaid::wrong("an unknown status word", format!("`{shown}` is no status word"))
}

fn not_as_told(format: Format) -> Unsaid {
    let detail = format!("the body is not in the format `{}`", format.as_str());
    Unsaid::wrong("not a health answer of the configured format", detail)
}
