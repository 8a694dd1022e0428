//! The thread that pushes metrics: now and then a fresh reading. One that does not arrive is not sent again, for the next
//! says all that it said.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::delivery::{Delivery, Patience, Verdict, Wait};
use super::exporter::Receiver;
use super::messages::Resource;
use super::metrics::encode;
use super::queue::LONGEST;
use super::{PointBooks, SpanLoss};
use crate::metrics::{Audience, Metrics};

/// Between those who ask for a push and the one thread that pushes.
#[derive(Debug, Default)]
pub(super) struct Pushing {
    state: Mutex<State>,
    asked: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Pushes that somebody asked for, and how many of these have been tried.
    wanted: u64,
    tried: u64,
    /// Whether the latest push arrived.
    has_arrived: bool,
    books: PointBooks,
    is_closed: bool,
}

impl Pushing {
    /// Has a fresh reading pushed now. Gives what to wait for.
    pub(super) fn ask(&self) -> u64 {
        let mut state = self.lock();
        state.wanted += 1;
        self.asked.notify_all();
        state.wanted
    }

    /// Waits for what was asked for, until then at the latest. Tells whether it has arrived.
    pub(super) fn wait(&self, wanted: u64, end: Instant) -> bool {
        let mut state = self.lock();
        while state.tried < wanted {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.is_closed {
                return false;
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.has_arrived
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.asked.notify_all();
    }

    pub(super) fn books(&self) -> PointBooks {
        self.lock().books
    }

    /// Waits for the next push. Tells how many have been asked for; `None` at the end.
    fn next(&self, wait: Wait) -> Option<u64> {
        let (Wait::May(pause) | Wait::Must(pause)) = wait;
        let until = Instant::now() + pause.min(LONGEST);
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            let left = until.saturating_duration_since(Instant::now());
            let is_asked = state.wanted > state.tried && matches!(wait, Wait::May(_));
            if left.is_zero() || is_asked {
                return Some(state.wanted);
            }
            state = self.asked.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn tried(&self, wanted: u64, has_arrived: bool) {
        let mut state = self.lock();
        state.tried = wanted;
        state.has_arrived = has_arrived;
        drop(state);
        self.done.notify_all();
    }

    /// Enters what became of so many points.
    fn settle(&self, points: u64, lost: u64, reason: SpanLoss) {
        let books = &mut self.lock().books;
        let lost = lost.min(points);
        books.exported += points - lost;
        match reason {
            SpanLoss::Rejected => books.rejected += lost,
            SpanLoss::Refused => books.refused += lost,
            _ => books.undelivered += lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pushes every `interval`, and when asked to, until the end.
pub(super) fn run(
    pushing: &Pushing,
    (metrics, audience): (&Metrics, Audience),
    mut receiver: Receiver,
    resource: &Resource,
    interval: Duration,
) {
    let mut wait = Wait::May(interval);
    while let Some(wanted) = pushing.next(wait) {
        let reading = metrics.read(audience);
        let mut has_arrived = true;
        wait = Wait::May(interval);
        for (body, points) in encode(&reading, resource) {
            // What is left of a reading is not worth the time of a receiver that is away.
            if !has_arrived {
                pushing.settle(points, points, SpanLoss::Undelivered);
                continue;
            }
            let mut delivery = Delivery::new(Patience::default(), Instant::now());
            match delivery.judge(receiver.post(&body), Instant::now(), fastrand::f64()) {
                Verdict::Arrived { rejected, told } => {
                    receiver.took();
                    if rejected > 0 || !told.is_empty() {
                        receiver.refused_some(rejected, &told);
                    }
                    pushing.settle(points, rejected, SpanLoss::Rejected);
                }
                Verdict::Again(asked, told) => {
                    receiver.failed(&told);
                    has_arrived = false;
                    pushing.settle(points, points, SpanLoss::Undelivered);
                    if let Wait::Must(asked) = asked {
                        wait = if asked > interval { Wait::Must(asked) } else { wait };
                    }
                }
                Verdict::Lost(reason, told) => {
                    receiver.failed(&told);
                    has_arrived = false;
                    pushing.settle(points, points, reason);
                }
            }
        }
        pushing.tried(wanted, has_arrived);
    }
}
