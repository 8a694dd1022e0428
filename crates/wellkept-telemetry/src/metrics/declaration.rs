//! What is known of a family of metrics before it has a value: name, type, unit, labels, help. Checked once, when it is
//! declared, so that no scrape meets a name that breaks the page.

use std::fmt;
use std::sync::Arc;

use super::names::{self, escaped_help};

/// Most families that one registry takes. They are declared by code, so that more is a fault of a loop.
pub const MAX_FAMILIES: usize = 10_000;
/// Most labels of one family.
pub const MAX_LABELS: usize = 32;
/// Longest name of a family or a label, in bytes.
pub const MAX_NAME: usize = 200;
/// Longest help text, in bytes.
pub const MAX_HELP: usize = 2_000;

/// What a family is: its name, type, unit, labels and help. Made as a constant where the family is filled, which is also
/// where the reference page takes it from.
///
/// ```
/// use wellkept_telemetry::metrics::{Declaration, Kind};
///
/// const ORDERS: Declaration<'_> = Declaration::counter("orders", "Orders taken, by channel.").by(&["channel"]);
/// assert_eq!((ORDERS.kind, ORDERS.labels), (Kind::Counter, &["channel"][..]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declaration<'a> {
    /// The family's name, as OpenMetrics writes it: a counter's without `_total`, which may be there all the same; that
    /// of an [info](Kind::Info) without `_info`.
    pub name: &'a str,
    /// Its type.
    pub kind: Kind,
    /// Its unit, which is then the last part of the name. By itself where the name ends in a base unit of Prometheus'
    /// (`_seconds`, `_bytes`, `_ratio`, …).
    pub unit: Option<&'a str>,
    /// What it says, in a sentence.
    pub help: &'a str,
    /// The names of its labels.
    pub labels: &'a [&'a str],
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by how large they are.
    Histogram,
    /// Says something in its labels; its value is always 1.
    Info,
    /// Of a foreign registry that does not say.
    Unknown,
}

impl Kind {
    /// The word of OpenMetrics, which the JSON has too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
            Self::Unknown => "unknown",
        }
    }

    /// The word of Prometheus' older text.
    pub(super) fn in_prometheus(self) -> &'static str {
        match self {
            Self::Info => "gauge",
            Self::Unknown => "untyped",
            known => known.as_str(),
        }
    }

    /// What a family's name is followed by in the name of its samples, where it is one thing.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram | Self::Unknown => "",
        }
    }

    /// All names that a family takes besides its own (OpenMetrics 1.0, "Suffixes").
    fn taken(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::Info => &["_info"],
            Self::Gauge | Self::Unknown => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl<'a> Declaration<'a> {
    /// A counter without labels.
    pub const fn counter(name: &'a str, help: &'a str) -> Self {
        Self::new(Kind::Counter, name, help)
    }

    /// A gauge without labels.
    pub const fn gauge(name: &'a str, help: &'a str) -> Self {
        Self::new(Kind::Gauge, name, help)
    }

    /// A histogram without labels.
    pub const fn histogram(name: &'a str, help: &'a str) -> Self {
        Self::new(Kind::Histogram, name, help)
    }

    /// An info.
    pub const fn info(name: &'a str, help: &'a str) -> Self {
        Self::new(Kind::Info, name, help)
    }

    const fn new(kind: Kind, name: &'a str, help: &'a str) -> Self {
        Self { name, kind, unit: None, help, labels: &[] }
    }

    /// With these labels.
    #[must_use]
    pub const fn by(self, labels: &'a [&'a str]) -> Self {
        Self { labels, ..self }
    }

    /// With a unit that is none of Prometheus' base units. The name must end in it.
    #[must_use]
    pub const fn unit(self, unit: &'a str) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// What the page will say of it, if it may be said.
    pub(crate) fn checked(&self) -> Result<Meta, MetricError> {
        let name = self.name.strip_suffix(self.kind.suffix()).unwrap_or(self.name);
        if name.is_empty() || !names::is_metric_name(name) || name.len() > MAX_NAME {
            return Err(MetricError::Name(shown(self.name)));
        }
        // A gauge's samples are called as it is, and would be taken for those of another type; promtool objects too.
        let suffix = names::RESERVED_SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix));
        if let Some(suffix) = suffix.filter(|_| self.kind == Kind::Gauge) {
            return Err(MetricError::Suffix { name: shown(self.name), suffix });
        }
        self.named(name)
    }

    /// As [`checked`](Self::checked), of a foreign registry: what the formats forbid is refused, and what is only unwise
    /// is not.
    pub(crate) fn tolerated(&self) -> Result<Meta, MetricError> {
        if !names::is_foreign_metric_name(self.name) || self.name.len() > MAX_NAME {
            return Err(MetricError::Name(shown(self.name)));
        }
        self.named(self.name)
    }

    fn named(&self, name: &str) -> Result<Meta, MetricError> {
        let unit = match self.unit {
            None => names::base_unit(name),
            Some(unit) => {
                let is_suffix = name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
                if !is_suffix || unit.is_empty() {
                    return Err(MetricError::Unit { name: shown(name), unit: shown(unit) });
                }
                Some(unit)
            }
        };
        if self.help.len() > MAX_HELP {
            return Err(MetricError::Help(shown(name)));
        }
        if self.labels.len() > MAX_LABELS {
            return Err(MetricError::Labels(shown(name)));
        }
        for (index, label) in self.labels.iter().enumerate() {
            let is_reserved = self.kind == Kind::Histogram && *label == "le";
            let is_double = self.labels.iter().take(index).any(|other| other == label);
            if !names::is_label_name(label) || label.len() > MAX_NAME || is_reserved || is_double {
                return Err(MetricError::Label { name: shown(name), label: shown(label) });
            }
        }
        Ok(Meta {
            name: name.into(),
            kind: self.kind,
            unit: unit.filter(|_| self.kind != Kind::Info).map(Into::into),
            help: self.help.into(),
            labels: self.labels.iter().map(|label| (*label).into()).collect(),
            heads: Heads::of(name, self),
        })
    }
}

/// A declaration that has been checked, and what the page says before the family's samples, written once.
#[derive(Debug, PartialEq)]
pub(crate) struct Meta {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<Arc<str>>,
    pub(crate) help: Arc<str>,
    pub(crate) labels: Box<[Box<str>]>,
    heads: Heads,
}

#[derive(Debug, PartialEq)]
struct Heads {
    open_metrics: Box<str>,
    prometheus: Box<str>,
}

impl Heads {
    fn of(name: &str, declaration: &Declaration<'_>) -> Self {
        let kind = declaration.kind;
        let unit = declaration.unit.or_else(|| names::base_unit(name)).filter(|_| kind != Kind::Info);
        let mut open_metrics = format!("# TYPE {name} {kind}\n");
        if let Some(unit) = unit {
            open_metrics.extend(["# UNIT ", name, " ", unit, "\n"]);
        }
        let (mut prometheus, suffix) = (String::new(), kind.suffix());
        if !declaration.help.is_empty() {
            let (full, plain) = (escaped_help(declaration.help, true), escaped_help(declaration.help, false));
            open_metrics.extend(["# HELP ", name, " ", &full, "\n"]);
            prometheus.extend(["# HELP ", name, suffix, " ", &plain, "\n"]);
        }
        prometheus.extend(["# TYPE ", name, suffix, " ", kind.in_prometheus(), "\n"]);
        Self { open_metrics: open_metrics.into(), prometheus: prometheus.into() }
    }
}

impl Meta {
    /// The lines before the samples.
    pub(crate) fn head(&self, is_open_metrics: bool) -> &str {
        if is_open_metrics { &self.heads.open_metrics } else { &self.heads.prometheus }
    }

    /// Every name that no other family of the page may have.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        [""].into_iter().chain(self.kind.taken().iter().copied()).map(|suffix| format!("{}{suffix}", self.name))
    }
}

/// Why a metric can't be declared. What was wrong with the code, never with a value: values are always taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// Names are of lower-case and capital letters, digits and `_`, begin with a letter, and are at most [`MAX_NAME`]
    /// long.
    #[error("`{0}` is no name of a metric: letters, digits and `_`, a letter first")]
    Name(String),
    /// A gauge's name ends as the samples of other types do.
    #[error("`{name}` may not end in `{suffix}`: that tells the samples of a counter, a histogram or an info")]
    Suffix {
        /// The name.
        name: String,
        /// How it ends.
        suffix: &'static str,
    },
    /// A label's name is none, is reserved (`__…`, `le` of a histogram), or is there twice.
    #[error(
        "`{label}` can't be a label of `{name}`: letters, digits and `_`, not `__` first, none twice, no `le` of a histogram"
    )]
    Label {
        /// The metric.
        name: String,
        /// The label.
        label: String,
    },
    /// There are too many labels, or not as many as the values.
    #[error("`{0}` is declared with another number of labels than it has values, or with more than 32")]
    Labels(String),
    /// The name does not end in the unit.
    #[error("`{name}` must end in `_{unit}`, which is its unit")]
    Unit {
        /// The name.
        name: String,
        /// The unit.
        unit: String,
    },
    /// The help text is too long.
    #[error("the help of `{0}` is longer than 2,000 bytes")]
    Help(String),
    /// Bounds are finite, not negative, and grow; there are at most 200.
    #[error("the bounds of `{0}` must be finite, not negative, and each above the one before")]
    Bounds(String),
    /// A metric of that name is there already, with another type, unit, label, help, or other bounds.
    #[error("`{0}` is declared already, and otherwise")]
    DeclaredOtherwise(String),
    /// The samples of another family would have the same names.
    #[error("`{name}` would have samples of the same names as `{other}`")]
    Collision {
        /// The metric.
        name: String,
        /// The one that is there already.
        other: String,
    },
    /// The registry is full.
    #[error("there are too many: a registry takes 10,000 families and 16 exporters")]
    TooMany,
    /// A collector or an exporter of that name is there already.
    #[error("there is a collector or an exporter `{0}` already")]
    NameTaken(String),
    /// No thread could be started.
    #[error("no thread could be started for `{0}`")]
    Thread(String),
}

impl MetricError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "metrics.name",
            Self::Suffix { .. } => "metrics.suffix",
            Self::Label { .. } => "metrics.label",
            Self::Labels(_) => "metrics.labels",
            Self::Unit { .. } => "metrics.unit",
            Self::Help(_) => "metrics.help",
            Self::Bounds(_) => "metrics.bounds",
            Self::DeclaredOtherwise(_) => "metrics.declared_otherwise",
            Self::Collision { .. } => "metrics.collision",
            Self::TooMany => "metrics.too_many",
            Self::NameTaken(_) => "metrics.name_taken",
            Self::Thread(_) => "metrics.thread",
        }
    }
}

/// A name for an error's text: of whatever was given, a line's worth.
fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}
