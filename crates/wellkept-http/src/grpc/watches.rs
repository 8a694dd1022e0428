//! Watch calls: how many there are, and the one task that tells all of them what has changed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::watch;
use wellkept_health::Checker;
use wellkept_shutdown::{Phase, Shutdown};
use wellkept_telemetry::metrics::{Collector, Declaration, Readings};

use super::call::{self, Code, Deadline, Failure};
use super::messages::CheckResponse;
use super::services::{ServingStatus, Table};
use crate::collect::families;
use crate::doors::groups::{Groups, Look};

/// How often the statuses are looked at when nobody says that they changed: results grow stale, and a runtime stalls,
/// without a word.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after one look the next one is taken at the earliest, however often snapshots are published.
const PAUSE: Duration = Duration::from_millis(20);

/// The open Watch calls of one [`Doors`](crate::Doors), and what they are told.
#[derive(Debug)]
pub(crate) struct Watches {
    checker: Checker,
    shutdown: Shutdown,
    /// What watchers are told; `None` before anyone looked.
    table: watch::Sender<Option<Table>>,
    groups: Arc<Groups>,
    /// Held while the statuses are looked at and told, so that an earlier look never replaces a later one.
    looking: Mutex<()>,
    /// Whether the task that looks is running.
    followed: AtomicBool,
    open: AtomicUsize,
    limit: AtomicUsize,
    refused: AtomicU64,
}

impl Watches {
    pub(crate) fn new(checker: Checker, shutdown: Shutdown, groups: Arc<Groups>) -> Arc<Self> {
        Arc::new(Self {
            checker,
            shutdown,
            table: watch::Sender::new(None),
            groups,
            looking: Mutex::new(()),
            followed: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// How many may watch; nobody before it is said.
    pub(super) fn limit_to(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes a place, or says that there is none.
    fn enter(self: &Arc<Self>) -> Result<Place, Failure> {
        let limit = self.limit.load(Ordering::Relaxed);
        let entered =
            self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| (open < limit).then_some(open + 1));
        if entered.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::new(Code::ResourceExhausted, "too many watch already"));
        }
        Ok(Place(Arc::clone(self)))
    }

    /// What is said of one service; `None` when there is none of that name.
    pub(super) fn serving(&self, service: &str) -> Option<ServingStatus> {
        ServingStatus::of(&self.checker, &self.groups, service)
    }

    /// What is said of all services.
    pub(super) fn table(&self) -> Table {
        Table::of(&self.checker, &self.groups.recent(&self.checker))
    }

    /// Looks at the statuses and tells the watchers if one has changed.
    fn look(&self, at_groups: impl FnOnce(&Groups, &Checker) -> Arc<Look>) {
        // Nothing that panics leaves anything half-done under this lock.
        let _turn = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Some(Table::of(&self.checker, &at_groups(&self.groups, &self.checker)));
        self.table.send_if_modified(|told| {
            let changed = *told != table;
            *told = table;
            changed
        });
    }

    /// Starts the task that looks, unless it runs.
    fn follow(self: &Arc<Self>) {
        if !self.followed.swap(true, Ordering::SeqCst) {
            tokio::spawn(Follower { watches: Arc::clone(self), ended: false }.run());
        }
    }
}

/// The task that looks at the statuses while somebody watches.
struct Follower {
    watches: Arc<Watches>,
    ended: bool,
}

impl Follower {
    async fn run(mut self) {
        let mut published = self.watches.checker.subscribe();
        let mut phases = self.watches.shutdown.subscribe();
        while self.is_needed() {
            // First, for what has changed since the watcher looked for itself.
            self.watches.look(Groups::now);
            tokio::time::sleep(PAUSE).await;
            tokio::select! {
                // Neither ends before its sender, which the books hold.
                _ = published.changed() => {}
                _ = phases.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Whether somebody watches. If nobody does, another task may take over from here on.
    fn is_needed(&mut self) -> bool {
        let somebody = || self.watches.open.load(Ordering::SeqCst) > 0;
        if somebody() {
            return true;
        }
        self.watches.followed.store(false, Ordering::SeqCst);
        // One that came in between has found this task running.
        self.ended = !somebody() || self.watches.followed.swap(true, Ordering::SeqCst);
        !self.ended
    }
}

impl Drop for Follower {
    /// When its runtime ends before it does: the next watcher starts another one.
    fn drop(&mut self) {
        if !self.ended {
            self.watches.followed.store(false, Ordering::SeqCst);
        }
    }
}

/// A place among the watchers, given back when dropped.
struct Place(Arc<Watches>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Watches {
    /// The open calls, and those refused.
    pub(super) fn counts(&self) -> (usize, u64) {
        (self.open.load(Ordering::SeqCst), self.refused.load(Ordering::SeqCst))
    }

    pub(super) fn is_followed(&self) -> bool {
        self.followed.load(Ordering::SeqCst)
    }
}

/// One Watch call. What it says next is decided when the message before has left, so that a slow reader hears the latest
/// status only, and one message at most waits for it in memory.
pub(super) struct Watching {
    service: String,
    told: Option<ServingStatus>,
    table: watch::Receiver<Option<Table>>,
    deadline: Deadline,
    stage: Stage,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// To be ended once the latest status is told.
    Ending(Failure),
    Ended,
}

impl Watching {
    /// Takes a place among the watchers.
    pub(super) fn begin(watches: &Arc<Watches>, service: String, deadline: Deadline) -> Result<Self, Failure> {
        let place = watches.enter()?;
        let table = watches.table.subscribe();
        watches.look(Groups::recent);
        Ok(Self { service, told: None, table, deadline, stage: Stage::Open, place })
    }

    /// The next frame, as soon as there is something to say; `None` after the last one.
    pub(super) async fn next(mut self) -> Option<(Frame<Bytes>, Self)> {
        loop {
            let serving = self.table.borrow_and_update().as_ref().map(|table| table.get(&self.service));
            if let Some(serving) = serving
                && self.told != Some(serving)
                && self.stage != Stage::Ended
            {
                self.told = Some(serving);
                return Some((Frame::data(call::encode(&CheckResponse::from(serving))), self));
            }
            match self.stage {
                Stage::Ended => return None,
                Stage::Ending(failure) => {
                    self.stage = Stage::Ended;
                    return Some((failure.into_frame(), self));
                }
                Stage::Open => self.wait().await,
            }
        }
    }

    /// Waits for a change or an end.
    async fn wait(&mut self) {
        let watches = &self.place.0;
        // A follower whose runtime has ended is replaced by the next who waits.
        watches.follow();
        tokio::select! {
            // Held by the place, the sender does not end.
            _ = self.table.changed() => {}
            // From here on nothing changes any more, and the door closes soon.
            () = watches.shutdown.reached(Phase::ClosingResources) => {
                watches.look(Groups::recent);
                self.stage = Stage::Ending(Failure::new(Code::Unavailable, "the service is shutting down"));
            }
            () = self.deadline.passed() => self.stage = Stage::Ending(Failure::deadline_exceeded()),
        }
    }
}

/// The Watch calls as metrics.
#[derive(Debug)]
pub(crate) struct WatchesCollector(pub(crate) Arc<Watches>);

families! { FAMILIES:
    WATCHES = gauge "wellkept_grpc_watches", "Open Watch calls.";
    WATCHES_LIMIT = gauge "wellkept_grpc_watches_limit", "Most Watch calls that may be open.";
    WATCHES_REFUSED = counter "wellkept_grpc_watches_refused", "Watch calls refused at the limit.";
}

impl Collector for WatchesCollector {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        FAMILIES.to_vec()
    }

    fn collect(&self, out: &mut Readings) {
        let watches = &self.0;
        let limit = watches.limit.load(Ordering::Relaxed);
        if limit == 0 {
            // There is no such door.
            return;
        }
        out.value(&WATCHES, watches.open.load(Ordering::Relaxed) as f64);
        out.value(&WATCHES_LIMIT, limit as f64);
        out.value(&WATCHES_REFUSED, watches.refused.load(Ordering::Relaxed) as f64);
    }
}
