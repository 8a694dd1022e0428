//! What became of spans and of points of metrics, and the metrics that tell it.

use std::sync::Weak;

use super::{Inner, Otlp};
use crate::metrics::{Collector, Declaration, Readings};

/// What became of the spans that were recorded: `accepted = exported + dropped + pending`, at every instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanBooks {
    /// Spans that ended.
    pub accepted: u64,
    /// Spans that the receiver took.
    pub exported: u64,
    /// Spans that were lost, by reason.
    pub dropped: [(SpanLoss, u64); SpanLoss::ALL.len()],
    /// Spans that wait, or are on their way.
    pub pending: u64,
}

impl SpanBooks {
    /// All spans that were lost.
    pub fn lost(&self) -> u64 {
        self.dropped.iter().map(|(_, lost)| lost).sum()
    }

    /// Those that were lost for this reason.
    pub fn lost_to(&self, reason: SpanLoss) -> u64 {
        self.dropped[reason as usize].1
    }
}

/// Why a span was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanLoss {
    /// There was no room for it: the receiver is slow or away, or more is recorded than it takes.
    QueueFull,
    /// The receiver took the message without it.
    Rejected,
    /// The receiver refused the message, and would again.
    Refused,
    /// The receiver was away for too long.
    Undelivered,
    /// The export had ended.
    Closed,
}

impl SpanLoss {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::QueueFull, Self::Rejected, Self::Refused, Self::Undelivered, Self::Closed];

    /// The stable word: `queue_full`, `rejected`, `refused`, `undelivered`, `closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Undelivered => "undelivered",
            Self::Closed => "closed",
        }
    }
}

/// What became of the points of the metrics that were pushed: each is in one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PointBooks {
    /// Points that the receiver took.
    pub exported: u64,
    /// Points that it left out of a message that it took.
    pub rejected: u64,
    /// Points of messages that it refused.
    pub refused: u64,
    /// Points that did not reach it. The next push says what they said.
    pub undelivered: u64,
}

const ACCEPTED: Declaration<'static> =
    Declaration::counter("wellkept_otlp_spans_accepted", "Recorded spans that ended.");
const EXPORTED: Declaration<'static> =
    Declaration::counter("wellkept_otlp_spans_exported", "Spans that the receiver of OTLP took.");
const DROPPED: Declaration<'static> =
    Declaration::counter("wellkept_otlp_spans_dropped", "Spans that were lost, by reason.").by(&["reason"]);
const PENDING: Declaration<'static> =
    Declaration::gauge("wellkept_otlp_spans_pending", "Spans that wait to be exported, or are on their way.");
const POINTS: Declaration<'static> =
    Declaration::counter("wellkept_otlp_points", "Points of metrics that were pushed, by what became of them.")
        .by(&["fate"]);

/// The books as metrics. What it tells of is not kept running by it: the exporter reads the metrics itself.
pub(super) struct OtlpCollector(pub(super) Weak<Inner>);

impl Collector for OtlpCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        vec![ACCEPTED, EXPORTED, DROPPED, PENDING, POINTS]
    }

    fn collect(&self, readings: &mut Readings) {
        let Some(otlp) = self.0.upgrade().map(Otlp) else { return };
        let (books, points) = (otlp.books(), otlp.points());
        readings.value(&ACCEPTED, books.accepted);
        readings.value(&EXPORTED, books.exported);
        readings.family(&DROPPED).samples(books.dropped.map(|(reason, lost)| ([reason.as_str()], lost)));
        readings.value(&PENDING, books.pending);
        readings.family(&POINTS).samples([
            (["exported"], points.exported),
            (["rejected"], points.rejected),
            (["refused"], points.refused),
            (["undelivered"], points.undelivered),
        ]);
    }
}
