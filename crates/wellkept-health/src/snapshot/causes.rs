//! Which components make the service, or a group, what it is: the roots of the trouble, in one line.

use std::collections::HashSet;
use std::sync::Arc;

use super::{ComponentHealth, Snapshot, Standing};
use crate::component::Group;
use crate::outcome::Reason;
use crate::status::Status;

/// Roots that are named; of what more there are, the number is told.
const MOST_NAMED: usize = 5;

/// What makes the service, or a group, what it is. Empty when that is healthy.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Causes {
    /// The first root's name.
    pub(crate) root: Option<Arc<str>>,
    /// The first root's reason.
    pub(crate) reason: Option<Reason>,
    /// `network (refused), cache (timeout) and 2 more`.
    pub(crate) text: String,
}

impl Snapshot {
    /// Why the service, or a group, is what it is now. Components that name the same root stand behind that one.
    pub(crate) fn causes(&self, group: Option<&Group>) -> Causes {
        let (now, total) = (self.clock.boot(), self.total(group, self.clock.boot()));
        if matches!(total, Status::Healthy | Status::Maintenance) {
            return Causes::default();
        }
        let seen = self.components().filter(|one| group.is_none_or(|group| one.groups.contains(group)));
        let causing = seen.filter(|one| one.counted && one.weigh(one.status(now), group) == Some(total));
        let (mut named, mut roots): (HashSet<&str>, Vec<&ComponentHealth>) = (HashSet::new(), Vec::new());
        for root in causing.map(|one| self.root_cause(one).unwrap_or(one)) {
            if named.insert(&root.name) && roots.len() < MOST_NAMED {
                roots.push(root);
            }
        }
        let line = |root: &ComponentHealth| {
            let Standing { status, reason, .. } = root.standing(now);
            format!("{} ({})", root.name, reason.as_ref().map_or(status.as_str(), Reason::as_str))
        };
        let mut text = roots.iter().map(|root| line(root)).collect::<Vec<_>>().join(", ");
        if named.len() > roots.len() {
            text = format!("{text} and {} more", named.len() - roots.len());
        }
        let first = roots.first();
        let reason = first.and_then(|root| root.standing(now).reason);
        Causes { root: first.map(|root| Arc::clone(&root.name)), reason, text }
    }
}
