//! The user's own groups: what there are, and what each adds up to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Activity, ComponentHealth, Snapshot};
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
        let whole = self.maintenance().map(|_| Status::Maintenance);
        groups.into_iter().map(|(name, tally)| (Arc::clone(name), whole.unwrap_or(tally.status()))).collect()
    }

    /// One of them, by the same rule.
    pub(crate) fn named_status(&self, group: &Group) -> Status {
        let now = self.clock.boot();
        let mut tally = Tally::default();
        self.group(group).for_each(|component| tally.add(component, group, now));
        self.maintenance().map_or_else(|| tally.status(), |_| Status::Maintenance)
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
        self.waits |= component.served.is_none() && component.activity == Activity::Enabled;
        if component.counted {
            let status = component.counts(component.lasting_status(now), Some(group)).status;
            self.counted = Some(self.counted.map_or(status, |counted| counted.worse(status)));
        }
    }

    fn status(&self) -> Status {
        self.counted.unwrap_or(if self.waits { Status::Unknown } else { Status::Healthy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnyCheck, Checker, Component, End, NewMaintenance, Outcome, Reason, Scope, Settings, TokioClock};

    fn component(name: &str, outcome: Outcome, groups: &[&str]) -> Component {
        let check = AnyCheck::from_fn(move || std::future::ready(outcome.clone()));
        Component::new(name, check).groups(groups.iter().map(|group| Group::from(*group)))
    }

    #[tokio::test(start_paused = true)]
    async fn the_users_groups_add_up_as_the_built_in_ones_do() {
        let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
        assert!(checker.snapshot().named_groups().is_empty());
        let fail = || Outcome::fail(Reason::Refused, "refused");
        for component in [
            component("db", Outcome::pass(), &["ready", "orders", "all"]),
            component("cache", fail(), &["orders", "all"]).optional(),
            component("psp", fail(), &["payments", "all"]),
            component("queue", fail(), &["shared"]).shared(true),
            component("loop", Outcome::pass(), &["live", "startup"]).scope(Scope::Process),
        ] {
            checker.register(component).unwrap();
        }
        let engine = tokio::spawn(engine.run(std::future::pending()));
        tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
        let snapshot = checker.snapshot();
        let groups: Vec<_> = snapshot.named_groups().into_iter().collect();
        let expected = [
            ("all", Status::Unhealthy),
            ("orders", Status::Degraded),
            ("payments", Status::Unhealthy),
            ("shared", Status::Degraded),
        ];
        assert_eq!(groups, expected.map(|(name, status)| (Arc::from(name), status)));
        for (name, status) in groups {
            assert_eq!(snapshot.status(&Group::Named(name)), status);
        }

        // One that has no result yet counts for no group, and is all that its own group has.
        let silent = AnyCheck::from_fn(std::future::pending::<Outcome>);
        let groups = ["orders", "new"].map(Group::from);
        checker.register(Component::new("late", silent).groups(groups)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
        let groups = checker.snapshot().named_groups();
        assert_eq!((groups["orders"], groups["new"]), (Status::Degraded, Status::Unknown));

        checker.disable("late").unwrap();
        checker.begin_maintenance(NewMaintenance::of_components(["psp"], End::Open, "test")).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
        let groups = checker.snapshot().named_groups();
        assert_eq!((groups["payments"], groups["new"]), (Status::Healthy, Status::Healthy), "left out");
        assert_eq!(groups["all"], Status::Degraded);
        let whole = checker.begin_maintenance(NewMaintenance::of_the_service(End::Open, "test")).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time
        let groups = checker.snapshot().named_groups();
        assert!(groups.values().all(|status| *status == Status::Maintenance), "{groups:?}");
        checker.end_maintenance(&whole[0].id, "test").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await; // pace: on paused time

        engine.abort();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(checker.snapshot().named_groups()["orders"], Status::Unknown);
    }
}
