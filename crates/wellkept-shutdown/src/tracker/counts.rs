//! The counts behind a tracker. The orderings are what matters here: a model checker goes through them
//! (`cargo xtask deep model`).

use super::Refused;
use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Bell, Ordering};

#[derive(Debug)]
pub(super) struct Counts {
    requests: AtomicUsize,
    connections: AtomicUsize,
    limit: AtomicUsize,
    refused: AtomicU64,
    accepting: AtomicBool,
    cut: AtomicBool,
    /// Set by the first waiter and never cleared: a tracker is drained at the end of its life.
    waited_for: AtomicBool,
    changed: Bell,
}

impl Counts {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            refused: AtomicU64::new(0),
            accepting: AtomicBool::new(true),
            cut: AtomicBool::new(false),
            waited_for: AtomicBool::new(false),
            changed: Bell::new(),
        }
    }

    pub(super) fn begin(&self) -> Result<(), Refused> {
        // Counted first and looked at afterwards: whoever stops and then waits sees either this request or its refusal.
        let before = self.requests.fetch_add(1, Ordering::SeqCst);
        let refused = if !self.accepting.load(Ordering::SeqCst) {
            Refused::Draining
        } else if before >= self.limit.load(Ordering::Relaxed) {
            Refused::TooManyInFlight
        } else {
            return Ok(());
        };
        self.end();
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    pub(super) fn begin_exempt(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        if self.requests.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell();
        }
    }

    pub(super) fn connect(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn disconnect(&self) {
        if self.connections.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell();
        }
    }

    pub(super) fn stop(&self) {
        self.accepting.store(false, Ordering::SeqCst);
    }

    pub(super) fn cut(&self) {
        self.stop();
        self.cut.store(true, Ordering::SeqCst);
        self.tell();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.accepting.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(super) async fn until_cut(&self) {
        self.until(Self::is_cut).await;
    }

    /// Ends when the condition holds; it must be about a count that is zero, or about the cut.
    pub(super) async fn until(&self, reached: impl Fn(&Self) -> bool) {
        self.waited_for.store(true, Ordering::SeqCst);
        loop {
            let mut rung = std::pin::pin!(self.changed.rung());
            // Enlisted before looking, so that no end in between is missed.
            Bell::enlist(rung.as_mut());
            if reached(self) {
                return;
            }
            rung.await;
        }
    }

    fn tell(&self) {
        if self.waited_for.load(Ordering::SeqCst) {
            self.changed.ring();
        }
    }
}
