//! Claims about what is published: whatever was kept from earlier, it is what a look at every component would give.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Generation, Id, Table};
use crate::run::Finished;
use crate::snapshot::{Belonging, CHUNK};
use crate::{
    AnyCheck, Clock, Component, ComponentHealth, Criticality, Group, Outcome, Part, Reason, Scope, Snapshot, Status,
    Thresholds,
};

/// A clock that stands where it was put, in seconds.
#[derive(Debug, Default)]
struct StandingClock(AtomicU64);

impl Clock for StandingClock {
    fn boot(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_second(i64::try_from(self.0.load(Ordering::Relaxed)).unwrap()).unwrap()
    }
}

/// What may happen between two readings.
#[derive(Debug, Clone)]
enum Step {
    Insert {
        name: u8,
        groups: Vec<u8>,
        optional: bool,
        shared: bool,
        max_age: u64,
    },
    Remove {
        name: u8,
    },
    Result {
        which: usize,
        verdict: u8,
    },
    Missed {
        which: usize,
    },
    Sweep,
    Start,
    /// Some components are replaced by others, the rest is kept.
    Replace {
        keep: u8,
    },
    Pass {
        seconds: u64,
    },
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    let groups = prop::collection::vec(0_u8..12, 0..4);
    let insert = (0_u8..24, groups, any::<bool>(), any::<bool>(), 1_u64..8);
    prop_oneof![
        8 => insert.prop_map(|(name, groups, optional, shared, max_age)|
            Step::Insert { name, groups, optional, shared, max_age }),
        2 => (0_u8..24).prop_map(|name| Step::Remove { name }),
        12 => (any::<usize>(), 0_u8..3).prop_map(|(which, verdict)| Step::Result { which, verdict }),
        1 => any::<usize>().prop_map(|which| Step::Missed { which }),
        2 => Just(Step::Sweep),
        1 => Just(Step::Start),
        1 => any::<u8>().prop_map(|keep| Step::Replace { keep }),
        4 => (0_u64..5).prop_map(|seconds| Step::Pass { seconds }),
        6 => Just(Step::Publish),
    ]
}

fn group(number: u8) -> Group {
    match number {
        0 => Group::Startup,
        1..4 => Group::Ready,
        number => Group::Named(format!("group-{number}").into()),
    }
}

fn component(name: u8, groups: &[u8], optional: bool, shared: bool, max_age: u64) -> Component {
    Component::new(format!("c{name}"), AnyCheck::from_fn(async || ()))
        .scope(Scope::Process)
        .groups(groups.iter().map(|number| group(*number)))
        .criticality(if optional { Criticality::Optional } else { Criticality::Required })
        .shared(shared)
        .thresholds(Thresholds::new(1, 1))
        .max_age(Duration::from_secs(max_age))
        .fingerprint(u64::from(name))
}

/// The sum over all components, each looked at now: the design's table of aggregation in the plainest words.
fn naive(snapshot: &Snapshot, group: Option<&Group>) -> Status {
    let mut worst = Status::Healthy;
    let sees = |one: &&ComponentHealth| group.is_none_or(|group| one.groups.contains(group));
    for one in snapshot.components().filter(|one| one.counted).filter(sees) {
        let optional = one.criticality == Criticality::Optional || (one.shared && group.is_some());
        let counts = match snapshot.standing(one).status {
            Status::Unhealthy | Status::Unknown if optional => Status::Degraded,
            status => status,
        };
        worst = worst.worse(counts);
    }
    worst
}

fn holds(snapshot: &Snapshot, expected: &[String]) {
    let names: Vec<_> = snapshot.components().map(|one| one.name.to_string()).collect();
    assert_eq!(names, expected, "all components, in their order");
    for name in expected {
        assert_eq!(&*snapshot.component(name).unwrap().name, name);
    }
    assert!(snapshot.component("nobody").is_none());
    assert_eq!(snapshot.overall(), naive(snapshot, None));
    for number in 0..12 {
        let group = group(number);
        assert_eq!(snapshot.status(&group), naive(snapshot, Some(&group)), "group {group}");
    }
    let counted = || snapshot.components().filter(|one| one.counted);
    assert_eq!(snapshot.oldest_result(), counted().filter_map(|one| Some(one.checked?.wall)).min());
    assert_eq!(snapshot.all_sampled(), counted().all(|one| one.served.is_some()));
}

#[test]
fn many_removals_leave_no_crowd_of_chunks_that_are_nearly_empty() {
    let standing = Arc::new(StandingClock::default());
    let clock: Arc<dyn Clock> = Arc::<StandingClock>::clone(&standing);
    let mut table = Table::new(1000, Duration::from_secs(1));
    for number in 0..200 {
        table.insert(component(number, &[], false, false, 5), Belonging::Set, &*clock).unwrap();
    }
    let stays = |number: &u8| number.is_multiple_of(CHUNK.try_into().unwrap());
    for number in (0..200).filter(|number| !stays(number)) {
        assert!(table.remove(&format!("c{number}")).is_some());
    }
    let names: Vec<_> = (0..200).filter(stays).map(|number| format!("c{number}")).collect();
    assert!(table.entries.chunks() < names.len(), "{} chunks for {} components", table.entries.chunks(), names.len());
    holds(&table.snapshot(&clock), &names);
}

#[test]
fn what_is_registered_while_the_start_becomes_complete_counts_from_its_first_result() {
    let clock: Arc<dyn Clock> = Arc::new(StandingClock::default());
    let mut table = Table::new(10, Duration::from_secs(1));
    table.insert(component(0, &[], false, false, 5), Belonging::Set, &*clock).unwrap();
    let first = table.take_fresh()[0];
    let finished = || Finished { outcome: Outcome::pass(), elapsed: Duration::ZERO };
    table.apply(first, Generation::default(), finished(), &*clock).unwrap();
    assert!(table.snapshot(&clock).all_sampled());
    table.insert(component(1, &[1], false, false, 5), Belonging::Set, &*clock).unwrap();
    assert!(table.complete_start(), "that is to be published");
    assert_eq!(table.snapshot(&clock).overall(), Status::Healthy);
    table.apply(table.names["c1"], Generation::default(), finished(), &*clock).unwrap();
    assert!(table.snapshot(&clock).components().all(|one| one.counted));
}

#[test]
fn what_was_known_of_a_disabled_component_is_gone_when_it_is_enabled() {
    let clock: Arc<dyn Clock> = Arc::new(StandingClock::default());
    let mut table = Table::new(10, Duration::from_secs(1));
    table.insert(component(0, &[], false, false, 5), Belonging::Set, &*clock).unwrap();
    let id = table.take_fresh()[0];
    let part = Part::new("inner", Status::Healthy);
    let outcome = Outcome::pass().with_parts(vec![part]).with_remaining("left", 3);
    table.apply(id, Generation::default(), Finished { outcome, elapsed: Duration::ZERO }, &*clock).unwrap();
    let known = |table: &mut Table| {
        let snapshot = table.snapshot(&clock);
        let one = snapshot.component("c0").unwrap();
        (one.parts.is_some(), one.remaining.is_some())
    };
    assert_eq!(known(&mut table), (true, true));
    table.disable("c0", &*clock).unwrap();
    table.enable("c0").unwrap();
    assert_eq!(known(&mut table), (false, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn totals_that_are_kept_are_those_of_a_look_at_every_component(steps in prop::collection::vec(step(), 1..40)) {
        let standing = Arc::new(StandingClock::default());
        let clock: Arc<dyn Clock> = Arc::<StandingClock>::clone(&standing);
        let mut table = Table::new(100, std::time::Duration::MAX);
        // Name, definition and id of what is there, in the order of registration.
        let mut there: Vec<(String, Component, Id)> = Vec::new();
        let mut published: Option<(Snapshot, Vec<String>)> = None;
        for step in steps {
            let reads = matches!(step, Step::Publish | Step::Pass { .. });
            match step {
                Step::Insert { name, groups, optional, shared, max_age } => {
                    let component = component(name, &groups, optional, shared, max_age);
                    if table.insert(component.clone(), Belonging::Set, &*clock).is_ok() {
                        let id = table.take_fresh().pop().expect("it was just registered");
                        there.push((component.name.to_string(), component, id));
                    }
                }
                Step::Remove { name } => {
                    let name = format!("c{name}");
                    prop_assert_eq!(table.remove(&name).is_some(), there.iter().any(|(one, _, _)| *one == name));
                    there.retain(|(one, _, _)| *one != name);
                }
                Step::Result { which, verdict } if !there.is_empty() => {
                    let outcome = match verdict {
                        0 => Outcome::pass(),
                        1 => Outcome::warn(Reason::Threshold, "nearly full"),
                        _ => Outcome::fail(Reason::Refused, "refused"),
                    };
                    let finished = Finished { outcome, elapsed: Duration::from_millis(1) };
                    prop_assert!(table.apply(there[which % there.len()].2, Generation::default(), finished, &*clock).is_some());
                }
                Step::Missed { which } if !there.is_empty() => table.missed(there[which % there.len()].2, 1),
                Step::Result { .. } | Step::Missed { .. } => {}
                Step::Sweep => drop(table.sweep(&*clock)),
                Step::Start => {
                    table.complete_start();
                }
                Step::Replace { keep } => {
                    there.retain(|(name, _, _)| name.len() + usize::from(keep) % 3 != 3);
                    // In whatever order they are given, they stay in that of their registration.
                    let mut kept: Vec<_> = there.iter().map(|(_, component, _)| component.clone()).collect();
                    let by = usize::from(keep) % kept.len().max(1);
                    kept.rotate_left(by);
                    let kept: Vec<_> = kept.into_iter().map(Arc::new).collect();
                    let prepared = table.prepare(kept.clone()).unwrap();
                    let (replaced, _) = table.commit(&prepared, &*clock);
                    prop_assert_eq!(replaced.kept, there.len());
                }
                Step::Pass { seconds } => drop(standing.0.fetch_add(seconds, Ordering::Relaxed)),
                Step::Publish => {
                    let names = there.iter().map(|(name, _, _)| name.clone()).collect();
                    let snapshot = table.snapshot(&clock);
                    for ((name, _, id), shown) in there.iter().zip(snapshot.components()) {
                        let latest = &table.entries.get(*id).expect("it is registered").health;
                        prop_assert!(std::ptr::eq(&raw const **latest, shown), "{} as it was earlier", name);
                    }
                    prop_assert!(snapshot.overall_total().1 > clock.boot(), "what is published holds for a while");
                    published = Some((snapshot, names));
                }
            }
            // Also what was published some time ago is read by the clock of now.
            if reads && let Some((snapshot, names)) = &published {
                holds(snapshot, names);
            }
        }
    }
}
