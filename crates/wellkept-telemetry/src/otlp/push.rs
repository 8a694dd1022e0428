//! The exporter that pushes metrics: each time a fresh reading. One that does not arrive is not sent again, for the next
//! says all that it said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::delivery::{Delivery, Patience, Verdict, Wait};
use super::exporter::Receiver;
use super::messages::Resource;
use super::metrics::encode;
use super::{PointBooks, SpanLoss};
use crate::metrics::{MetricsExportError, MetricsExporter, Reading};

/// What the exporter's thread shares with those who look at its books.
pub(super) type Books = Arc<Mutex<PointBooks>>;

pub(super) struct Push {
    pub(super) receiver: Receiver,
    pub(super) resource: Resource,
    pub(super) books: Books,
    /// Before this the receiver is left alone, as it asked to be.
    pub(super) not_before: Option<Instant>,
}

impl MetricsExporter for Push {
    fn export(&mut self, reading: &Reading, deadline: Instant) -> Result<(), MetricsExportError> {
        let mut failed = None;
        if self.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            failed = Some("the receiver asked to be left alone".to_owned());
        }
        for (body, points) in encode(reading, &self.resource) {
            // What is left of a reading is not worth the time of a receiver that is away.
            if failed.is_some() {
                self.settle(points, points, SpanLoss::Undelivered);
                continue;
            }
            let mut delivery = Delivery::new(Patience::default(), Instant::now());
            match delivery.judge(self.receiver.post(&body, Some(deadline)), Instant::now(), fastrand::f64()) {
                Verdict::Arrived { rejected, told } => {
                    if rejected > 0 || !told.is_empty() {
                        self.receiver.refused_some(rejected, &told);
                    }
                    self.settle(points, rejected, SpanLoss::Rejected);
                }
                Verdict::Again(wait, told) => {
                    if let Wait::Must(asked) = wait {
                        self.not_before = Some(Instant::now() + asked);
                    }
                    self.settle(points, points, SpanLoss::Undelivered);
                    failed = Some(told);
                }
                Verdict::Lost(reason, told) => {
                    self.settle(points, points, reason);
                    failed = Some(told);
                }
            }
        }
        failed.map_or(Ok(()), |told| Err(told.into()))
    }
}

impl Push {
    /// Enters what became of so many points.
    fn settle(&self, points: u64, lost: u64, reason: SpanLoss) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = lost.min(points);
        books.exported += points - lost;
        match reason {
            SpanLoss::Rejected => books.rejected += lost,
            SpanLoss::Refused => books.refused += lost,
            _ => books.undelivered += lost,
        }
    }
}
