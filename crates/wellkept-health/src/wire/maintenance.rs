//! Maintenance on the wire: for operators only.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rfc3339;

/// One maintenance, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maintenance {
    /// Names it; `window:` and a name for one of the configuration's windows.
    pub id: String,
    /// The component that is in it; `null` for the whole service.
    pub component: Option<String>,
    /// Why. Empty for a window without a reason.
    pub reason: String,
    /// Who began it. Empty for a window.
    pub author: String,
    /// When it began, or begins.
    pub since: String,
    /// When it ends.
    pub until: String,
    /// What its end is measured by: `duration`, `time` or `window`.
    pub origin: String,
    /// Whether it is on now; otherwise it is the next occurrence of a window.
    pub active: bool,
}

impl Maintenance {
    /// For people: `until 2026-01-15T12:00:00.000Z by ann: new disks`.
    pub fn sentence(&self) -> String {
        let Self { until, author, reason, .. } = self;
        let author = if author.is_empty() { String::new() } else { format!(" by {author}") };
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        format!("until {until}{author}{reason}")
    }

    /// One of them, looked at now.
    pub fn of(maintenance: &crate::Maintenance, now: Timestamp) -> Self {
        Self {
            id: maintenance.id.to_string(),
            component: maintenance.component.as_deref().map(ToOwned::to_owned),
            reason: maintenance.reason.to_string(),
            author: maintenance.author.to_string(),
            since: rfc3339(maintenance.since),
            until: rfc3339(maintenance.until),
            origin: maintenance.origin.as_str().to_owned(),
            active: maintenance.origin != crate::MaintenanceOrigin::Window || maintenance.since <= now,
        }
    }
}
