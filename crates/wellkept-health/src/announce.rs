//! One event for each change of status or readiness: a line in the log and a count; of a status also the exporters and
//! a record in the history.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::changes::Changes;
use crate::checker::{Checker, Lifecycle, Readiness};
use crate::component::Group;
use crate::history::{Record, StatusChange};
use crate::outcome::Reason;
use crate::snapshot::Causes;
use crate::status::Status;

/// What changed by a result or by time, to be told once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Announcement {
    pub(crate) change: StatusChange,
    pub(crate) reason: Option<Reason>,
    /// A component's private detail.
    pub(crate) detail: Arc<str>,
}

/// What was told of the service as a whole.
#[derive(Debug, Default)]
pub(crate) struct Told {
    service: Changes,
    readiness: Changes,
    /// Why there was no readiness when it was last told, or `READY`; `None` before that.
    why: Option<&'static str>,
}

/// In place of a reason why not.
const READY: &str = "none";

impl Checker {
    /// How often the service's status changed, by what it changed to and the reason of the first component behind it.
    /// The first status counts too.
    pub fn status_changes(&self) -> Changes {
        self.told().service.clone()
    }

    /// How often readiness changed, to `ready` or `not_ready`, and why: `starting`, `draining`, `maintenance` or
    /// `components`. That one reason follows another counts too.
    pub fn readiness_changes(&self) -> Changes {
        self.told().readiness.clone()
    }

    pub(crate) fn announce(&self, announcement: Announcement) {
        self.shared.counters.changes.fetch_add(1, Ordering::Relaxed);
        if announcement.change.component.is_none() {
            self.told().service.add(announcement.change.to.as_str(), announcement.reason.as_ref());
        }
        log(&announcement);
        self.shared.exports.tell(&announcement.change);
        self.remember(Record::Change(announcement.change));
    }

    /// Tells of readiness when it, or why there is none, is not what was told last.
    pub(crate) fn announce_readiness(&self) {
        let (readiness, why) = {
            // Under the lock, so that two who notice the same change tell of it once.
            let mut told = self.told();
            let readiness = self.readiness();
            let why = why_not(readiness);
            if told.why.replace(why) == Some(why) {
                return;
            }
            told.readiness.add_word(word(readiness), why);
            (readiness, why)
        };
        let (to, status) = (word(readiness), readiness.status.as_str());
        if readiness.ready {
            tracing::info!(target: "wellkept::health", to, status, "readiness changed");
        } else if readiness.lifecycle == Lifecycle::Running && readiness.status != Status::Maintenance {
            let Causes { text, root, .. } = self.snapshot().causes(Some(&Group::Ready));
            let caused_by = root.as_deref();
            tracing::warn!(
                target: "wellkept::health", to, reason = why, status, cause = text, caused_by, "readiness changed"
            );
        } else {
            tracing::info!(target: "wellkept::health", to, reason = why, status, "readiness changed");
        }
    }

    pub(crate) fn remember(&self, record: Record) {
        if let Some(history) = self.shared.history.load().as_ref() {
            history.record(record);
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.shared.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(readiness: Readiness) -> &'static str {
    if readiness.ready { "ready" } else { "not_ready" }
}

fn why_not(readiness: Readiness) -> &'static str {
    match (readiness.lifecycle, readiness.status) {
        (Lifecycle::Starting | Lifecycle::Draining, _) => readiness.lifecycle.as_str(),
        (Lifecycle::Running, _) if readiness.ready => READY,
        (Lifecycle::Running, Status::Maintenance) => "maintenance",
        (Lifecycle::Running, _) => "components",
    }
}

fn log(announcement: &Announcement) {
    let StatusChange { component, from, to, reason, message, caused_by, detail: maintenance, .. } =
        &announcement.change;
    let (component, reason, maintenance) = (component.as_deref(), reason.as_deref(), maintenance.as_deref());
    let (from, quiet) = (from.map_or("none", Status::as_str), matches!(to, Status::Healthy | Status::Maintenance));
    let detail = Some(&*announcement.detail).filter(|detail| !detail.is_empty() && !quiet);
    // Of the service also what is over is told.
    let cause = Some(message.as_str()).filter(|message| !message.is_empty() && (!quiet || component.is_none()));
    let (to, caused_by) = (to.as_str(), caused_by.as_deref());
    match (component, quiet) {
        (None, true) => {
            tracing::info!(
                target: "wellkept::health", from, to, reason, cause, maintenance, "service status changed"
            );
        }
        (None, false) => {
            tracing::warn!(
                target: "wellkept::health", from, to, reason, cause, caused_by, maintenance,
                "service status changed"
            );
        }
        (Some(component), true) => {
            tracing::info!(target: "wellkept::health", component, from, to, maintenance, "component status changed");
        }
        (Some(component), false) => {
            tracing::warn!(
                target: "wellkept::health", component, from, to, reason, cause, caused_by, detail, maintenance,
                "component status changed"
            );
        }
    }
}
