//! The user's own groups: what there are, and what each adds up to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{ComponentHealth, Snapshot};
use crate::component::Group;
use crate::status::Status;

impl Snapshot {
    /// The user's groups that have components, each with what they add up to now, in one pass over all components.
    ///
    /// As [`Snapshot::status`], but for a group whose components all wait for their first result: it is unknown. A
    /// built-in group goes on with what counted before; one that has just come has nothing to go on with.
    pub fn named_groups(&self) -> BTreeMap<Arc<str>, Status> {
        let now = self.clock.boot();
        let mut groups: BTreeMap<&Arc<str>, Tally> = BTreeMap::new();
        for component in self.components() {
            for group in &*component.groups {
                if let Group::Named(name) = group {
                    groups.entry(name).or_default().add(component, group, now);
                }
            }
        }
        groups.into_iter().map(|(name, tally)| (Arc::clone(name), tally.status())).collect()
    }
}

/// A group while its components are gone through.
#[derive(Default)]
struct Tally {
    /// What those that count add up to.
    counted: Option<Status>,
    /// Whether one has had no result yet.
    waits: bool,
}

impl Tally {
    fn add(&mut self, component: &ComponentHealth, group: &Group, now: Duration) {
        self.waits |= component.served.is_none();
        if component.counted {
            let status = component.counts(Some(group), now).status;
            self.counted = Some(self.counted.map_or(status, |counted| counted.worse(status)));
        }
    }

    fn status(&self) -> Status {
        self.counted.unwrap_or(if self.waits { Status::Unknown } else { Status::Healthy })
    }
}
