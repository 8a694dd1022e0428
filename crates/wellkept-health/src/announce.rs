//! One event for each change of status: a line in the log, a count, the exporters, a record in the history.

use std::sync::atomic::Ordering;

use crate::checker::Checker;
use crate::history::{Record, StatusChange};
use crate::status::Status;
use crate::table::Announcement;

impl Checker {
    pub(crate) fn announce(&self, announcement: Announcement) {
        self.shared.counters.changes.fetch_add(1, Ordering::Relaxed);
        log(&announcement);
        self.shared.exports.tell(&announcement.change);
        self.remember(Record::Change(announcement.change));
    }

    pub(crate) fn remember(&self, record: Record) {
        if let Some(history) = self.shared.history.load().as_ref() {
            history.record(record);
        }
    }
}

fn log(announcement: &Announcement) {
    let StatusChange { component, from, to, reason, message, detail: maintenance, .. } = &announcement.change;
    let (component, reason, maintenance) = (component.as_deref(), reason.as_deref(), maintenance.as_deref());
    let (from, quiet) = (from.map_or("none", Status::as_str), matches!(to, Status::Healthy | Status::Maintenance));
    let detail = Some(&*announcement.detail).filter(|detail| !detail.is_empty() && !quiet);
    let cause = Some(message.as_str()).filter(|message| !message.is_empty() && !quiet);
    let to = to.as_str();
    match (component, quiet) {
        (None, true) => {
            tracing::info!(target: "wellkept::health", from, to, maintenance, "service status changed");
        }
        (None, false) => {
            tracing::warn!(target: "wellkept::health", from, to, maintenance, "service status changed");
        }
        (Some(component), true) => {
            tracing::info!(target: "wellkept::health", component, from, to, maintenance, "component status changed");
        }
        (Some(component), false) => {
            tracing::warn!(
                target: "wellkept::health", component, from, to, reason, cause, detail, maintenance,
                "component status changed"
            );
        }
    }
}
