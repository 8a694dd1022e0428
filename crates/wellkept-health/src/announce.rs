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
    let StatusChange { component, from, to, reason, message, .. } = &announcement.change;
    let component = component.as_deref().unwrap_or("");
    let from = from.map_or("none", Status::as_str);
    let reason = reason.as_deref().unwrap_or("");
    let detail = &*announcement.detail;
    match (component.is_empty(), to) {
        (true, Status::Healthy | Status::Maintenance) => {
            tracing::info!(target: "wellkept::health", from, to = to.as_str(), reason, detail, "service status changed");
        }
        (true, _) => {
            tracing::warn!(target: "wellkept::health", from, to = to.as_str(), detail, "service status changed");
        }
        (false, Status::Healthy | Status::Maintenance) => {
            tracing::info!(
                target: "wellkept::health", component, from, to = to.as_str(), reason, detail,
                "component status changed"
            );
        }
        (false, _) => {
            tracing::warn!(
                target: "wellkept::health", component, from, to = to.as_str(), reason, cause = message, detail,
                "component status changed"
            );
        }
    }
}
