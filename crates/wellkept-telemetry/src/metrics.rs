//! The metrics page: a registry as OpenMetrics 1.0 or as Prometheus text 0.0.4, whichever the scraper asks for.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

/// The body of a metrics page and the content type that it must be sent with.
///
/// Help texts must be single lines: the encoder writes them as they are.
///
/// ```
/// use prometheus_client::metrics::counter::Counter;
/// use prometheus_client::registry::Registry;
/// use wellkept_telemetry::metrics::Exposition;
///
/// let mut registry = Registry::default();
/// registry.register("orders", "Orders taken", Counter::<u64>::default());
///
/// let page = Exposition::encode(&registry, None)?;
/// assert_eq!(page.content_type, "text/plain; version=0.0.4; charset=utf-8");
/// assert_eq!(page.body, "# HELP orders_total Orders taken.\n# TYPE orders_total counter\norders_total 0\n");
///
/// let page = Exposition::encode(&registry, Some("application/openmetrics-text"))?;
/// assert!(page.body.ends_with("# EOF\n"));
/// # Ok::<(), std::fmt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposition {
    /// For the `Content-Type` header. Prometheus 3 refuses a page without one.
    pub content_type: &'static str,
    /// The page.
    pub body: String,
}

impl Exposition {
    /// Encodes what is in the registry now, in the format that fits the request's `Accept` header best.
    ///
    /// # Errors
    /// When a collector in the registry reports one.
    pub fn encode(registry: &Registry, accept: Option<&str>) -> Result<Self, fmt::Error> {
        Self::encode_all([registry], accept)
    }

    /// As [`encode`](Self::encode), several registries as one page. No two may have a family of the same name.
    ///
    /// # Errors
    /// When a collector in one of them reports one.
    pub fn encode_all<'r>(
        registries: impl IntoIterator<Item = &'r Registry>,
        accept: Option<&str>,
    ) -> Result<Self, fmt::Error> {
        let format = TextFormat::negotiate(accept);
        let mut body = String::new();
        for registry in registries {
            encode_registry(&mut body, registry)?;
        }
        encode_eof(&mut body)?;
        canonical_infinities(&mut body);
        if format == TextFormat::Prometheus {
            body = to_prometheus_text(&body);
        }
        Ok(Self { content_type: format.content_type(), body })
    }
}

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

/// The encoder writes `inf`, both formats want `+Inf`.
fn canonical_infinities(body: &mut String) {
    for (written, canonical) in [(" inf\n", " +Inf\n"), (" -inf\n", " -Inf\n")] {
        // Nearly every page has none, and is then not copied.
        if body.contains(written) {
            let lines = body.split_inclusive('\n').map(|line| match line.strip_suffix(written) {
                Some(sample) if !line.starts_with('#') => format!("{sample}{canonical}"),
                _ => line.to_owned(),
            });
            *body = lines.collect();
        }
    }
}

/// Rewrites OpenMetrics as Prometheus text 0.0.4: families are named as their samples are, and what the older format
/// does not know (units, exemplars, the end mark) is left out.
fn to_prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The name of a family depends on its type, which comes after its help.
    let mut help = None;
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(without_exemplar(line));
            text.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), words) => help = Some(words.unwrap_or_default()),
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    "gaugehistogram" => ("", "histogram"),
                    kind => ("", kind),
                };
                if let Some(help) = help.take() {
                    text.push_str("# HELP ");
                    text.extend([name, suffix, " ", help, "\n"]);
                }
                text.push_str("# TYPE ");
                text.extend([name, suffix, " ", kind, "\n"]);
            }
            _ => {}
        }
    }
    text
}

/// A sample without its exemplar. A `#` within a label's quotes is no exemplar.
fn without_exemplar(sample: &str) -> &str {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (index, byte) in sample.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'#' if !is_quoted => return sample[..index].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests;
