//! What components add up to, for the service and for each group, and until when that holds.

use std::time::Duration;

use super::ComponentHealth;
use crate::component::Group;
use crate::status::Status;

/// Groups whose totals are kept. What more there are is added up when someone asks; tests are to come there, too.
const KEPT_GROUPS: usize = if cfg!(test) { 4 } else { 32 };

/// What some components add up to. It holds until the first of them changes what it counts by time alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Total {
    pub(crate) status: Status,
    pub(crate) valid_until: Duration,
}

impl Total {
    /// What no components add up to: healthy, for nothing that is waited for is missing.
    pub(crate) const NOTHING: Self = Self { status: Status::Healthy, valid_until: Duration::MAX };

    /// What components add up to for a group, or for the service as a whole, looked at one by one.
    pub(crate) fn of<'c>(
        components: impl Iterator<Item = &'c ComponentHealth>,
        group: Option<&Group>,
        now: Duration,
    ) -> Self {
        let seen = components.filter(|one| one.counted && group.is_none_or(|group| one.groups.contains(group)));
        seen.fold(Self::NOTHING, |total, one| total.and(one.counts(one.lasting_status(now), group)))
    }

    /// What two sets of components add up to together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { status: self.status.worse(other.status), valid_until: self.valid_until.min(other.valid_until) }
    }
}

/// The totals of a set of components: of all, and of each group that sees one of them.
#[derive(Debug, Clone)]
pub(crate) struct Totals {
    overall: Total,
    groups: Vec<(Group, Total)>,
    /// Whether groups were left out, there being too many. A group is kept with all that counts for it or not at all.
    incomplete: bool,
}

impl Totals {
    /// The totals of no components.
    pub(crate) const fn nothing() -> Self {
        Self { overall: Total::NOTHING, groups: Vec::new(), incomplete: false }
    }

    pub(crate) fn of<'c>(components: impl Iterator<Item = &'c ComponentHealth>, now: Duration) -> Self {
        let mut totals = Self::nothing();
        for component in components.filter(|one| one.counted) {
            let status = component.lasting_status(now);
            totals.overall = totals.overall.and(component.counts(status, None));
            for group in &*component.groups {
                totals.add_to(group, component.counts(status, Some(group)));
            }
        }
        totals
    }

    /// Adds the totals of other components.
    pub(crate) fn add(&mut self, others: &Self) {
        self.overall = self.overall.and(others.overall);
        for (group, total) in &others.groups {
            self.add_to(group, *total);
        }
        if others.incomplete {
            // What the others left out is missing in the sum.
            self.groups.retain(|(group, _)| others.groups.iter().any(|(other, _)| other == group));
            self.incomplete = true;
        }
    }

    /// The total of a group, or of all; `None` when it is not kept.
    pub(crate) fn kept(&self, group: Option<&Group>) -> Option<Total> {
        let Some(group) = group else { return Some(self.overall) };
        let kept = self.groups.iter().find(|(kept, _)| kept == group).map(|(_, total)| *total);
        kept.or((!self.incomplete).then_some(Total::NOTHING))
    }

    /// Until when all of it holds: no group has a component that the service as a whole has not.
    pub(crate) fn valid_until(&self) -> Duration {
        self.overall.valid_until
    }

    fn add_to(&mut self, group: &Group, total: Total) {
        if let Some((_, kept)) = self.groups.iter_mut().find(|(kept, _)| kept == group) {
            *kept = kept.and(total);
        } else if self.groups.len() < KEPT_GROUPS && !self.incomplete {
            self.groups.push((group.clone(), total));
        } else {
            self.incomplete = true;
        }
    }
}
