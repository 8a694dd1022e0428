//! What the engine does once results are in: a new snapshot, the start's end, the service's own changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use crate::announce::Announcement;
use crate::checker::pack;
use crate::component::Group;
use crate::history::StatusChange;
use crate::maintenance::Maintenance;
use crate::outcome::Reason;
use crate::snapshot::{Activity, Causes, ComponentHealth, IN_MAINTENANCE, Snapshot};
use crate::status::Status;

/// A snapshot is published at most this often; the first change after a pause is published at once.
const PUBLISH_EVERY: Duration = Duration::from_millis(10);

/// What was last told of the service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) status: Option<Status>,
    /// Which components made it what it was.
    causes: String,
    /// The maintenance that it was in, for the end of it.
    maintenance: Option<Arc<Maintenance>>,
}

impl Engine {
    pub(super) fn publish(&mut self) {
        let began = std::time::Instant::now();
        self.unpublished = false;
        let shared = Arc::clone(&self.checker.shared);
        let clock = &shared.settings.clock;
        let snapshot = Arc::new(self.checker.table().snapshot(clock));
        // All that the start waits for: what else there is counts from its first result on.
        let all_sampled = snapshot.all_sampled();
        let (status, valid_until) = snapshot.overall_total();
        let valid_until = clock.coarse().saturating_add(valid_until.saturating_sub(clock.boot()));
        let startup = snapshot.status(&Group::Startup);
        shared.snapshot.store(Arc::clone(&snapshot));
        shared.quick.store(pack(status, valid_until), Ordering::Release);
        if all_sampled && startup.is_ready() && shared.holds.load(Ordering::Acquire) == 0 {
            let was_started = shared.started.swap(true, Ordering::AcqRel);
            if !was_started {
                // What was for the start only is left out from now on.
                self.unpublished = self.checker.table().complete_start();
                tracing::info!(target: "wellkept::health", status = %status, "start is complete");
            }
        }
        if all_sampled && self.service.status != Some(status) && !self.knows_nothing(&snapshot) {
            let announcement = self.service_change(&snapshot, status);
            self.checker.announce(announcement);
        }
        self.checker.announce_readiness();
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        shared.counters.publishing_nanos.fetch_add(took, Ordering::Relaxed);
        shared.counters.published.fetch_add(1, Ordering::Relaxed);
        shared.published.send_modify(|number| *number += 1);
        self.publish_after = Instant::now() + PUBLISH_EVERY;
        for (answer, health) in self.answers.drain(..) {
            answer.send_replace(Some(health));
        }
    }

    /// Whether there are components and none of them has had a result: there is nothing to tell yet of a service whose
    /// start waits for none of them.
    fn knows_nothing(&self, snapshot: &Snapshot) -> bool {
        let awaits = |one: &ComponentHealth| one.activity == Activity::Enabled && one.served.is_none();
        self.service.status.is_none() && snapshot.oldest_result().is_none() && snapshot.components().any(awaits)
    }

    /// The service's own change of status, with the components behind it.
    fn service_change(&mut self, snapshot: &Snapshot, status: Status) -> Announcement {
        let from = self.service.status.replace(status);
        let maintenance = snapshot.maintenance().cloned();
        let left = std::mem::replace(&mut self.service.maintenance, maintenance);
        let detail = self.checker.table().maintenance().cause(left.as_deref(), self.service.maintenance.as_deref());
        let Causes { root, reason, text } = snapshot.causes(None);
        let before = std::mem::replace(&mut self.service.causes, text);
        let (reason, message) = match status {
            Status::Maintenance => (Some(Reason::Maintenance), IN_MAINTENANCE.to_owned()),
            Status::Healthy if !before.is_empty() => (None, format!("over: {before}")),
            _ => (reason, self.service.causes.clone()),
        };
        let change = StatusChange {
            component: None,
            from,
            to: status,
            reason: reason.as_ref().map(ToString::to_string),
            message,
            caused_by: root,
            detail,
            at: snapshot.taken(),
        };
        Announcement { change, reason, detail: Arc::default() }
    }
}
