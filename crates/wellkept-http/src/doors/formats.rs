//! Which format an answer has: the one that `?format=` names, or a media type of `Accept`; and what it looks like then.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CACHE_CONTROL, VARY};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use wellkept_health::Origins;
use wellkept_health::wire::foreign::{AspNet, MicroProfile, SPRING_MEDIA_TYPE, Spring, Terminus};
use wellkept_health::wire::health_json::{self, HealthJson};
use wellkept_health::wire::{Subject, V1, View, nagios};

use super::asked::Asked;
use super::routes::Operation;
use super::{CODES, TEXT, answer, json_of, so_or_503};
use crate::error::ApiError;

/// Longest that a health+json answer may be kept, in seconds. Checks run every 10 s by default; whoever keeps an answer
/// is to see a change before the next.
const MAX_FRESH: u64 = 5;

/// A format that an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// The endpoint's own.
    Native,
    HealthJson,
    Spring,
    MicroProfile,
    AspNet,
    AspNetPlain,
    Terminus,
    V1,
    Nagios,
    Plain,
}

/// What `?format=` may say. [`ApiError::UnknownFormat`] lists them, which a test compares.
const FORMATS: [(&str, Format); 9] = [
    ("health+json", Format::HealthJson),
    ("spring", Format::Spring),
    ("microprofile", Format::MicroProfile),
    ("aspnet", Format::AspNet),
    ("aspnet-plain", Format::AspNetPlain),
    ("terminus", Format::Terminus),
    ("v1", Format::V1),
    ("nagios", Format::Nagios),
    ("plain", Format::Plain),
];

impl Format {
    /// The format that a request wishes for. What `Accept: */*` gets is what no `Accept` gets: probes send either
    /// (Kubernetes' kubelet does the former).
    pub(super) fn wished(request: &Parts) -> Result<Self, ApiError> {
        let named = request.uri.query().and_then(|query| pairs(query).find(|(key, _)| key == "format"));
        if let Some((_, named)) = named {
            // A plus sign that is not escaped is a space in a query.
            let named = named.replace(' ', "+");
            return Self::named(&named).ok_or(ApiError::UnknownFormat);
        }
        let accept = request.headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        Ok(accepted(accept.flat_map(|accept| accept.split(','))))
    }

    fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    fn of_media_type(kind: &str) -> Option<(Self, Precision)> {
        let is = |known: &str| kind.eq_ignore_ascii_case(known);
        match kind {
            _ if is(health_json::MEDIA_TYPE) => Some((Self::HealthJson, Precision::Exact)),
            _ if is(SPRING_MEDIA_TYPE) => Some((Self::Spring, Precision::Exact)),
            _ if is("application/json") => Some((Self::Native, Precision::Exact)),
            "*/*" | "application/*" => Some((Self::Native, Precision::Range)),
            _ => None,
        }
    }
}

/// How closely a part of `Accept` names a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Range,
    Exact,
}

/// The best of what is accepted (RFC 9110, section 12.5.1): by weight, then by precision, then the first. What names
/// none of these gets the endpoint's own: an answer that is not asked for is better than none.
fn accepted<'a>(ranges: impl Iterator<Item = &'a str>) -> Format {
    let mut best: Option<(u16, Precision, Format)> = None;
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let Some((format, precision)) = parts.next().and_then(Format::of_media_type) else { continue };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |weight| weight.parse::<f32>().unwrap_or(0.0)).clamp(0.0, 1.0);
        // Weights have three digits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
        let weight = (weight * 1000.0) as u16;
        if weight > 0 && best.is_none_or(|(kept, precise, _)| (weight, precision) > (kept, precise)) {
            best = Some((weight, precision, format));
        }
    }
    best.map_or(Format::Native, |(_, _, format)| format)
}

/// The pairs of a query, decoded.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.as_bytes())
}

/// Describes a probe that knows the formats: any `format` is taken, for an unknown one is passed over.
pub(super) fn of_probe(operation: Operation) -> Operation {
    described(operation).query::<String>("format", "One of those of `/health`.")
}

/// Describes another operation that knows the formats, and refuses an unknown one.
pub(super) fn of_others(operation: Operation) -> Operation {
    let operation = operation.query::<Named>("format", "Another format. The first two also by `Accept`.");
    described(operation).error(ApiError::UnknownFormat)
}

fn described(operation: Operation) -> Operation {
    operation
        .answers::<HealthJson>(health_json::MEDIA_TYPE, &CODES)
        .answers::<Spring>(SPRING_MEDIA_TYPE, &CODES)
        .json::<MicroProfile>(&CODES)
        .json::<AspNet>(&CODES)
        .json::<Terminus>(&CODES)
        .json::<V1>(&CODES)
        .text(TEXT, &CODES)
}

/// A format's name, for the description.
struct Named;

impl JsonSchema for Named {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": FORMATS.map(|(name, _)| name) })
    }
}

/// The answer in the format that the request wishes for; `native` when that is the endpoint's own. Of a probe an unknown
/// format is passed over: its code must tell of the service and not of a typing error in a manifest.
pub(super) fn negotiated<'c>(
    asked: &Asked,
    subject: &Subject,
    view: impl FnOnce() -> View<'c>,
    native: impl FnOnce() -> Response,
) -> Response {
    let is_probe = matches!(subject, Subject::Live | Subject::Ready | Subject::Startup);
    let response = match asked.format() {
        Ok(Format::Native) => native(),
        Ok(format) => written(asked, &view(), format),
        Err(_) if is_probe => native(),
        Err(error) => error.into_response(),
    };
    varying(response)
}

/// An answer in the endpoint's own format, of which there are others: that to `*/*` differs from that to
/// `application/health+json`.
pub(super) fn varying(mut response: Response) -> Response {
    response.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    response
}

/// A view in one of the formats. All have the probe's status code, but for health+json, where the body's status rules it
/// (section 3.1 of the draft): in maintenance the service as a whole is a `warn` with 200.
pub(super) fn written(asked: &Asked, view: &View<'_>, format: Format) -> Response {
    let code = so_or_503(view.is_good());
    let text = |text: String| answer(code, TEXT, text);
    match format {
        Format::HealthJson => health_json(asked, view),
        Format::Spring => json_of(code, SPRING_MEDIA_TYPE, &Spring::of(view)),
        Format::MicroProfile => super::json(code, &MicroProfile::of(view)),
        Format::AspNet => super::json(code, &AspNet::of(view)),
        Format::AspNetPlain => text(AspNet::word(view).to_owned()),
        Format::Terminus => super::json(code, &Terminus::of(view)),
        Format::V1 => super::json(code, &V1::of(view)),
        Format::Nagios => text(nagios::line_of(view)),
        Format::Native | Format::Plain => text(view.word().to_owned()),
    }
}

/// Of the service as a whole it may be kept as long as it is fresh, and not when it fails (section 6 of the draft wishes
/// for a lifetime). A probe's answer is never kept, nor one that tells another service where it comes from.
fn health_json(asked: &Asked, view: &View<'_>) -> Response {
    let body = HealthJson::of(view);
    let code = if body.is_acceptable() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = json_of(code, health_json::MEDIA_TYPE, &body);
    let fresh = view.fresh_for().map_or(MAX_FRESH, |fresh| fresh.as_secs()).min(MAX_FRESH);
    let may_be_kept = *view.subject() == Subject::Service && !asked.is_of_a_service();
    if may_be_kept && body.is_acceptable() && fresh > 0 {
        response.headers_mut().append(VARY, HeaderValue::from_static(Origins::ASKER));
        // Details are for the caller alone.
        let scope = if view.has_details() { "private" } else { "public" };
        if let Ok(value) = HeaderValue::try_from(format!("{scope}, max-age={fresh}")) {
            response.headers_mut().insert(CACHE_CONTROL, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_accept(accept: &str) -> Format {
        accepted(accept.split(','))
    }

    #[test]
    fn a_media_type_is_taken_only_when_it_is_named_and_wanted_most() {
        for (accept, format) in [
            ("*/*", Format::Native),
            ("", Format::Native),
            ("text/html", Format::Native),
            ("application/json", Format::Native),
            ("application/health+json", Format::HealthJson),
            ("Application/Health+JSON; q=0.5", Format::HealthJson),
            ("application/health+json, */*", Format::HealthJson),
            ("*/*, application/health+json", Format::HealthJson),
            ("application/health+json;q=0.4, */*;q=0.5", Format::Native),
            ("application/json, application/health+json", Format::Native),
            ("application/health+json;q=0, */*", Format::Native),
            ("application/health+json;q=nonsense", Format::Native),
            ("application/vnd.spring-boot.actuator.v3+json, application/json", Format::Spring),
        ] {
            assert_eq!(of_accept(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_error_lists_every_format() {
        let listed = FORMATS.map(|(name, _)| name).join(", ");
        assert!(ApiError::UnknownFormat.to_string().ends_with(&listed), "{listed}");
    }
}
