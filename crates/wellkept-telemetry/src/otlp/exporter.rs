//! The thread that exports spans: one message at a time, each until it has arrived or is given up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tracing::subscriber::{NoSubscriber, with_default};

use super::SpanLoss;
use super::attributes::safe;
use super::delivery::{Delivery, Patience, Verdict};
use super::messages::{Resource, ResourceSpans, Scope, ScopeSpans, Traces};
use super::queue::{Queue, Turn};
use super::transport::{Answer, Message, Signal, Transport, Unreachable};
use crate::logging::redact::Redactor;

/// Posts to one receiver, and tells the log when it goes and when it is back.
pub(super) struct Receiver {
    transport: Arc<dyn Transport>,
    signal: Signal,
    timeout: Duration,
    is_away: bool,
}

impl Receiver {
    pub(super) fn new(transport: Arc<dyn Transport>, signal: Signal, timeout: Duration) -> Self {
        Self { transport, signal, timeout, is_away: false }
    }

    /// Posts once, until then at the latest. What the transport itself says on the way goes nowhere: its spans would be exported with the next
    /// message, and so on for ever.
    pub(super) fn post(&self, body: &[u8], until: Option<Instant>) -> Result<Answer, Unreachable> {
        let own = Instant::now() + self.timeout;
        let message = Message { signal: self.signal, body, deadline: until.map_or(own, |until| until.min(own)) };
        let post = || with_default(NoSubscriber::default(), || self.transport.post(message));
        catch_unwind(AssertUnwindSafe(post)).unwrap_or_else(|_| Err(Unreachable("the transport panicked".to_owned())))
    }

    /// Notes that something was taken.
    pub(super) fn took(&mut self) {
        if std::mem::take(&mut self.is_away) {
            tracing::info!(target: "wellkept::otlp", signal = self.signal.as_str(), "the receiver takes messages again");
        }
    }

    /// Notes that something was not. Said once, until something is taken again.
    pub(super) fn failed(&mut self, told: &str) {
        if !std::mem::replace(&mut self.is_away, true) {
            let signal = self.signal.as_str();
            tracing::warn!(target: "wellkept::otlp", signal, error = told, "the receiver does not take messages");
        }
    }

    /// Notes that some of it was refused.
    pub(super) fn refused_some(&self, rejected: u64, told: &str) {
        let (signal, error) = (self.signal.as_str(), safe(told, &Redactor::default()));
        tracing::warn!(target: "wellkept::otlp", signal, rejected, error, "the receiver refuses a part of a message");
    }
}

/// Exports what comes into the queue, until that is closed.
pub(super) fn run(queue: &Queue, mut receiver: Receiver, resource: &Resource, patience: Patience) {
    while let Turn::Export(spans) = queue.take() {
        let lost = deliver(queue, &mut receiver, &encode(resource, spans), patience);
        queue.settle(lost);
    }
}

/// Posts a message until it has arrived or is given up. Tells how many of its spans are lost.
fn deliver(queue: &Queue, receiver: &mut Receiver, body: &[u8], patience: Patience) -> (SpanLoss, u64) {
    let mut delivery = Delivery::new(patience, Instant::now());
    loop {
        let flushes = queue.flushes();
        let answer = receiver.post(body, None);
        match delivery.judge(answer, Instant::now(), fastrand::f64()) {
            Verdict::Arrived { rejected, told } => {
                receiver.took();
                if rejected > 0 || !told.is_empty() {
                    receiver.refused_some(rejected, &told);
                }
                return (SpanLoss::Rejected, rejected);
            }
            Verdict::Again(wait, told) => {
                receiver.failed(&told);
                if queue.is_closed() {
                    return (SpanLoss::Closed, u64::MAX);
                }
                queue.pause(wait, flushes);
            }
            Verdict::Lost(loss, told) => {
                receiver.failed(&told);
                return (loss, u64::MAX);
            }
        }
    }
}

fn encode(resource: &Resource, spans: Vec<Vec<u8>>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }];
    Traces { resource_spans }.encode_to_vec()
}

/// Who has recorded it.
pub(super) fn scope() -> Scope {
    Scope { name: "wellkept".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}
