//! What components add up to, for each group and for the service, against the design's table read aloud.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use wellkept_health::{Criticality, End, Group, NewMaintenance, Scope, Status, Verdict};

use crate::bench::{self, Running, set};

const MINUTE: u64 = 60;

/// A component as a case draws it.
#[derive(Debug, Clone)]
struct Drawn {
    criticality: Criticality,
    shared: bool,
    scope: Scope,
    groups: Option<Vec<Group>>,
    /// What its one run finds; `None` when it has not come to anything yet.
    found: Option<Verdict>,
    state: State,
}

/// How the component stands when the totals are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Registered at the beginning.
    Early,
    /// Registered when those had their results.
    Late,
    /// Its result has grown too old.
    Old,
    /// An operator left it out.
    Disabled,
    /// It is in maintenance.
    Maintained,
}

fn nightly() -> Group {
    Group::Named("nightly".into())
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let criticality = select(vec![Criticality::Required, Criticality::Optional]);
    let found = prop_oneof![
        1 => Just(None),
        9 => select(vec![Verdict::Pass, Verdict::Pass, Verdict::Warn, Verdict::Fail]).prop_map(Some),
    ];
    let state = prop_oneof![
        6 => Just(State::Early),
        2 => Just(State::Late),
        1 => Just(State::Old),
        1 => Just(State::Disabled),
        1 => Just(State::Maintained),
    ];
    let scope = select(vec![Scope::Remote, Scope::Machine, Scope::Process]);
    let groups = subsequence(vec![Group::Live, Group::Ready, Group::Startup, nightly()], 0..=4);
    let groups = prop_oneof![1 => Just(None), 2 => groups.prop_map(Some)];
    (criticality, any::<bool>(), scope, groups, found, state).prop_map(
        |(criticality, shared, scope, groups, found, state)| {
            // Liveness refuses what looks beyond this process.
            let groups = groups.map(|groups| {
                let allowed = |group: &Group| scope == Scope::Process || *group != Group::Live;
                groups.into_iter().filter(allowed).collect()
            });
            Drawn { criticality, shared, scope, groups, found, state }
        },
    )
}

impl Drawn {
    fn is_in(&self, group: &Group) -> bool {
        match &self.groups {
            Some(groups) => groups.contains(group),
            None => self.scope == Scope::Remote && *group == Group::Ready,
        }
    }

    /// Whether no probe sees it but the one of the start, after which it counts no more and never grows old.
    fn is_for_start_only(&self) -> bool {
        self.groups.as_deref() == Some(&[Group::Startup])
    }

    /// Whether the start waits for it: whether what is not known of it would make readiness or startup fail.
    fn holds_start(&self) -> bool {
        let is_required = self.criticality == Criticality::Required && !self.shared;
        is_required && (self.is_in(&Group::Ready) || self.is_in(&Group::Startup))
    }

    /// The component's own status.
    fn status(&self, start: Start) -> Status {
        let kept = start.complete && self.is_for_start_only();
        match (self.state, self.found) {
            (State::Maintained, _) => Status::Maintenance,
            (State::Disabled, _) | (_, None) => Status::Unknown,
            (State::Old, _) if !kept => Status::Unknown,
            (_, Some(Verdict::Pass)) => Status::Healthy,
            (_, Some(Verdict::Warn)) => Status::Degraded,
            (_, Some(Verdict::Fail)) => Status::Unhealthy,
        }
    }

    /// What it counts as, by the rows of the table; `None` when it is left out.
    fn counts_as(&self, in_group: bool, start: Start) -> Option<Status> {
        let awaited = self.holds_start() && !(start.before_late && self.state == State::Late);
        let pending = self.found.is_none() && !awaited;
        let left_out = matches!(self.state, State::Disabled | State::Maintained);
        if pending || left_out || (start.complete && self.is_for_start_only()) {
            return None;
        }
        // All replicas share it: no group may lose all of them at once for its sake. The service is told the truth.
        let required = self.criticality == Criticality::Required && !(self.shared && in_group);
        Some(match (required, self.status(start)) {
            (true, Status::Unhealthy) => Status::Unhealthy,
            (true, Status::Unknown) => Status::Unknown,
            (_, Status::Healthy) => Status::Healthy,
            _ => Status::Degraded,
        })
    }
}

/// Whether the start was complete when the late components came, and whether it is in the end.
#[derive(Debug, Clone, Copy, Default)]
struct Start {
    before_late: bool,
    complete: bool,
}

impl Start {
    fn of(components: &[Drawn]) -> Self {
        let early = components.iter().filter(|one| one.state != State::Late);
        // Nothing is left out by then.
        let before_late = Self::completes(early.map(|one| Drawn { state: State::Early, ..one.clone() }));
        // What is disabled holds it no more, and what is in maintenance does so without a result only.
        let enabled = components.iter().filter(|one| one.state != State::Disabled);
        let fresh = enabled.map(|one| match one.state {
            State::Old => Drawn { state: State::Early, ..one.clone() },
            _ => one.clone(),
        });
        Self { before_late, complete: before_late || Self::completes(fresh) }
    }

    /// All that it waits for have a result, and the group of the startup probe is ready.
    fn completes(components: impl Iterator<Item = Drawn>) -> bool {
        let components: Vec<_> = components.collect();
        let startup = model(&components, Some(&Group::Startup), Self::default());
        components.iter().all(|one| one.found.is_some() || !one.holds_start()) && startup.is_ready()
    }
}

/// The worst of what counts.
fn model(components: &[Drawn], group: Option<&Group>, start: Start) -> Status {
    let order = [Status::Healthy, Status::Degraded, Status::Unknown, Status::Unhealthy];
    let seen = components.iter().filter(|one| group.is_none_or(|group| one.is_in(group)));
    let counted: Vec<_> = seen.filter_map(|one| one.counts_as(group.is_some(), start)).collect();
    order.into_iter().rev().find(|status| counted.contains(status)).unwrap_or(Status::Healthy)
}

/// Registers a component under its number, and has it come to its result.
async fn register(running: &Running, number: usize, drawn: &Drawn) {
    let (component, finding) = set(&number.to_string());
    let max_age = if drawn.state == State::Old { MINUTE } else { 2 * MINUTE };
    let component = component
        .criticality(drawn.criticality)
        .shared(drawn.shared)
        .scope(drawn.scope)
        .max_age(Duration::from_secs(max_age));
    let component = match &drawn.groups {
        Some(groups) => component.groups(groups.clone()),
        None => component,
    };
    running.checker.register(component).expect("what is drawn is allowed");
    if let Some(found) = drawn.found {
        running.find(&finding, found).await;
    }
}

#[test]
fn totals_agree_with_the_table() {
    bench::check(&(vec(drawn(), 0..8), prop::bool::weighted(0.1)), async |(components, in_maintenance)| {
        let running = Running::start();
        // The early ones are registered as one, lest the first of them completes the start.
        let hold = running.checker.hold_startup();
        let numbered = || components.iter().enumerate();
        for (number, drawn) in numbered().filter(|(_, one)| one.state != State::Late) {
            register(&running, number, drawn).await;
        }
        drop(hold);
        running.settle().await;
        let start = Start::of(&components);
        prop_assert_eq!(running.checker.is_started(), start.before_late);
        for (number, drawn) in numbered().filter(|(_, one)| one.state == State::Late) {
            register(&running, number, drawn).await;
        }
        for (number, _) in numbered().filter(|(_, one)| one.state == State::Disabled) {
            running.checker.disable(&number.to_string()).unwrap();
        }
        let begin = |maintenance| running.checker.begin_maintenance(maintenance).expect("it makes sense");
        for (number, _) in numbered().filter(|(_, one)| one.state == State::Maintained) {
            begin(NewMaintenance::of_components([number.to_string()], End::Open, "repair"));
        }
        if in_maintenance {
            begin(NewMaintenance::of_the_service(End::Open, "repair"));
        }
        running.settle().await;
        prop_assert_eq!(running.checker.is_started(), start.complete);
        running.clock.pass(MINUTE);

        let snapshot = running.checker.snapshot();
        for (number, drawn) in numbered() {
            let component = snapshot.component(&number.to_string()).unwrap();
            prop_assert_eq!(snapshot.standing(component).status, drawn.status(start), "component {}", number);
        }
        // Maintenance of the whole service overrides all but what the process itself is asked.
        let expected = |group: Option<&Group>| match group {
            Some(Group::Live | Group::Startup) => model(&components, group, start),
            _ if in_maintenance => Status::Maintenance,
            _ => model(&components, group, start),
        };
        for group in [Group::Live, Group::Ready, Group::Startup, nightly()] {
            prop_assert_eq!(snapshot.status(&group), expected(Some(&group)), "{}", group);
        }
        prop_assert_eq!(snapshot.overall(), expected(None), "overall");
        prop_assert_eq!(running.checker.status(), expected(None), "the quick reading");
        prop_assert_eq!(running.checker.readiness().status, expected(Some(&Group::Ready)));
        Ok(())
    });
}
