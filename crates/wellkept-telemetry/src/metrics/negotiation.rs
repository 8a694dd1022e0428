//! Which format a scraper gets, by its `Accept` header.

/// The formats of a metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextFormat {
    /// Prometheus text 0.0.4, which everything reads.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.0, with the name escaping that the scraper offered, which it expects to be repeated. All names
    /// here are plain, so that every scheme leaves them as they are.
    OpenMetrics(Option<Escaping>),
    /// OpenMetrics by the name of its draft, for old scrapers; the same text.
    OpenMetricsDraft,
}

/// How a scraper wants names beyond `[a-zA-Z0-9_:]` to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// Not escaped.
    AllowUtf8,
    /// As underscores.
    Underscores,
    /// Dots as `_dot_`, the rest by code.
    Dots,
    /// By code.
    Values,
}

impl TextFormat {
    /// Chooses by an `Accept` header (RFC 9110, section 12.5.1): the highest weight, among equals the first one. When
    /// there is no header, or nothing in it is known, it is Prometheus text: a scraper is served rather than refused.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut best = (Self::default(), 0);
        for range in accept.unwrap_or_default().split(',') {
            let Some((format, weight)) = parse_range(range) else { continue };
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics(None) => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::OpenMetrics(Some(Escaping::AllowUtf8)) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
            }
            Self::OpenMetrics(Some(Escaping::Underscores)) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
            Self::OpenMetrics(Some(Escaping::Dots)) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=dots"
            }
            Self::OpenMetrics(Some(Escaping::Values)) => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values"
            }
            Self::OpenMetricsDraft => "application/openmetrics-text; version=0.0.1; charset=utf-8",
        }
    }
}

/// One media range with its weight in thousandths, if it is one that can be served.
fn parse_range(range: &str) -> Option<(TextFormat, u32)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let (mut weight, mut version, mut escaping) = (1000, None, None);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = parse_weight(value)?,
            "version" => version = Some(value),
            "escaping" => escaping = parse_escaping(value),
            _ => {}
        }
    }
    let format = match (media.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => TextFormat::OpenMetrics(escaping),
        ("application/openmetrics-text", Some("0.0.1")) => TextFormat::OpenMetricsDraft,
        ("application/*", None) => TextFormat::OpenMetrics(None),
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", None) => TextFormat::Prometheus,
        _ => return None,
    };
    Some((format, weight))
}

/// `0.25` is 250: at most three digits after the point.
fn parse_weight(value: &str) -> Option<u32> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u32 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn parse_escaping(value: &str) -> Option<Escaping> {
    match value {
        "allow-utf-8" => Some(Escaping::AllowUtf8),
        "underscores" => Some(Escaping::Underscores),
        "dots" => Some(Escaping::Dots),
        "values" => Some(Escaping::Values),
        _ => None,
    }
}
