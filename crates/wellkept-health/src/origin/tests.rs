//! Claims about origins: how they are written, and that services which look at each other recover together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::check::AnyCheck;
use crate::checker::{Checker, Settings};
use crate::clock::TokioClock;
use crate::component::Component;
use crate::hysteresis::Thresholds;
use crate::outcome::{Outcome, Reason, Verdict};

fn identity(number: u64) -> Identity {
    Identity(number)
}

#[test]
fn origins_are_written_and_read_back() {
    let hop = |number, name: Option<&str>| Hop { identity: identity(number), component: name.map(Into::into) };
    let origins = Origins::bounded(vec![
        StatusPath { status: Status::Healthy, path: vec![hop(1, None)] },
        StatusPath {
            status: Status::Unhealthy, path: vec![hop(1, None), hop(2, Some("stock; 2>1: ü")), hop(3, None)]
        },
    ]);
    let text = origins.to_string();
    insta::assert_snapshot!(text, @"unhealthy 000000000001>stock%3B%202%3E1%3A%20%C3%BC:000000000002>000000000003; healthy 000000000001");
    assert_eq!(text.parse(), Ok(origins.clone()));
    let hidden = origins.for_everyone(false).to_string();
    assert_eq!(hidden, "unhealthy 000000000001>000000000002>000000000003; healthy 000000000001");
}

#[test]
fn what_is_not_a_list_of_origins_is_refused() {
    for text in
        ["", "healthy", "healthy ", "well 000000000001", "healthy 1", "healthy +00000000001", "healthy 000000000001;"]
    {
        assert_eq!(text.parse::<Origins>(), Err(InvalidOrigins), "{text}");
    }
    let long = vec!["healthy 000000000001"; 200].join("; ");
    assert_eq!(long.parse::<Origins>(), Err(InvalidOrigins));
}

#[test]
fn a_name_gives_the_same_identity_everywhere_and_chance_never_the_same() {
    assert_eq!(Identity::named("orders").to_string(), "00125d9250be");
    assert_ne!(Identity::random(), Identity::random());
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_is_bounded(text in "(healthy|unhealthy| |>|:|;|%|[0-9a-f]{12}|.){0,40}") {
        if let Ok(origins) = text.parse::<Origins>() {
            prop_assert!(origins.to_string().len() <= Origins::MOST_BYTES && origins.iter().len() <= Origins::MOST);
        }
    }
}

/// Services that look at each other, each with one component of its own.
struct Mesh {
    services: Vec<(Checker, Arc<AtomicBool>)>,
}

impl Mesh {
    /// Service `from` looks at service `to` for each pair.
    fn start(count: usize, looks: &[(usize, usize)]) -> Self {
        let clock = TokioClock::start();
        let mut engines = Vec::new();
        let services: Vec<_> = (0..count)
            .map(|number| {
                let identity = identity(number as u64);
                let (checker, engine) =
                    Checker::new(Settings { identity, clock: clock.clone(), ..Settings::new(number.to_string()) });
                engines.push(engine);
                (checker, Arc::new(AtomicBool::new(true)))
            })
            .collect();
        let often = |name: String, check| {
            Component::new(name, check).interval(Duration::from_secs(1)).thresholds(Thresholds::new(2, 2))
        };
        for (checker, works) in &services {
            let works = Arc::clone(works);
            let own = AnyCheck::from_fn(move || {
                let works = works.load(Ordering::Relaxed);
                async move { if works { Outcome::pass() } else { Outcome::fail(Reason::Error, "down") } }
            });
            checker.register(often("own".into(), own)).unwrap();
        }
        for (from, to) in looks {
            let (other, me) = (services[*to].0.clone(), identity(*from as u64));
            let look = AnyCheck::from_fn(move || {
                let said = other.snapshot().overall();
                let outcome = judge(said, &other.origins(&Subject::Service).unwrap().to_string(), me);
                async move { outcome }
            });
            services[*from].0.register(often(format!("to {to}"), look)).unwrap();
        }
        for engine in engines {
            tokio::spawn(engine.run(std::future::pending()));
        }
        Self { services }
    }

    fn break_or_mend(&self, number: usize, works: bool) {
        self.services[number].1.store(works, Ordering::Relaxed);
    }

    fn statuses(&self) -> Vec<Status> {
        self.services.iter().map(|(checker, _)| checker.snapshot().overall()).collect()
    }
}

/// What one service makes of what another one says and tells.
fn judge(said: Status, told: &str, me: Identity) -> Outcome {
    let origins: Origins = told.parse().unwrap();
    let all = origins.status();
    // Trouble that no origin explains is the other one's own.
    if !said.is_ready() && all.is_ready() {
        let teller = origins.iter().next().unwrap().path[0].identity;
        return Outcome::fail(Reason::Upstream, "unexplained").with_origins(Origins::own(teller, Status::Unhealthy));
    }
    let (rest, back) = origins.clone().around(me);
    let outcome = match (rest.status(), back.status()) {
        (Status::Healthy, Status::Healthy) => Outcome::pass(),
        (Status::Healthy, _) => Outcome::warn(Reason::Loop, "only because of this one"),
        (Status::Degraded, _) => Outcome::warn(Reason::Upstream, "degraded"),
        _ => Outcome::fail(Reason::Upstream, "unhealthy"),
    };
    // Starting is not healthy, as with the check on real services.
    outcome.with_origins(origins.map(|status| if status == Status::Unknown { Status::Unhealthy } else { status }))
}

async fn settle(mesh: &Mesh) {
    // Two results, at each service on the longest way without a circle.
    let rounds = 2 * mesh.services.len() as u64 + 2;
    tokio::time::sleep(Duration::from_secs(rounds)).await; // pace: on paused time
}

/// Which services a failure of this one reaches: all that look at it, directly or not.
fn reached(count: usize, looks: &[(usize, usize)], failed: usize) -> Vec<bool> {
    let mut reached = vec![false; count];
    reached[failed] = true;
    for _ in 0..count {
        for (from, to) in looks {
            reached[*from] |= reached[*to];
        }
    }
    reached
}

fn check_mesh(count: usize, looks: &[(usize, usize)], failures: &[usize]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mesh = Mesh::start(count, looks);
        settle(&mesh).await;
        assert!(mesh.statuses().iter().all(|status| *status == Status::Healthy), "{:?}", mesh.statuses());
        for failed in failures {
            mesh.break_or_mend(*failed, false);
            settle(&mesh).await;
            let unhealthy: Vec<_> = mesh.statuses().iter().map(|status| *status == Status::Unhealthy).collect();
            assert_eq!(unhealthy, reached(count, looks, *failed), "{failed} failed, {looks:?}");
            mesh.break_or_mend(*failed, true);
            settle(&mesh).await;
            assert!(
                mesh.statuses().iter().all(|status| *status == Status::Healthy),
                "{:?}, {looks:?}",
                mesh.statuses()
            );
        }
    });
}

#[test]
fn two_services_and_a_ring_of_three_recover_when_the_root_does() {
    check_mesh(2, &[(0, 1), (1, 0)], &[0, 1]);
    check_mesh(3, &[(0, 1), (1, 2), (2, 0)], &[0, 1, 2]);
    check_mesh(4, &[(0, 1), (1, 2), (2, 0), (2, 3)], &[3, 0]);
}

#[test]
fn a_failure_reaches_services_farther_than_what_is_well_is_told_and_leaves_none_behind_in_a_ring() {
    let line: Vec<_> = (0..11).map(|number| (number, number + 1)).collect();
    check_mesh(12, &line, &[11]);
    let ring: Vec<_> = (0..12).map(|number| (number, (number + 1) % 12)).collect();
    check_mesh(12, &ring, &[0, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_group_of_the_users_tells_what_its_components_add_up_to_while_the_process_starts() {
    let (checker, engine) = Checker::new(Settings { identity: identity(1), ..Settings::new("orders") });
    let hold = checker.hold_startup();
    let group = Group::from("payments");
    let well = AnyCheck::from_fn(|| async { Outcome::pass() });
    checker.register(Component::new("bank", well).groups([group.clone()])).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(3)).await; // pace: on paused time
    let told = |subject| checker.origins(&subject).unwrap().status();
    assert_eq!(checker.lifecycle(), Lifecycle::Starting);
    assert_eq!((told(Subject::Named(group)), told(Subject::Ready)), (Status::Healthy, Status::Unhealthy));
    drop(hold);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn however_services_look_at_each_other_a_failure_reaches_all_above_it_and_leaves_none_behind(
        count in 2_usize..6,
        looks in prop::collection::hash_set((0_usize..6, 0_usize..6), 1..14),
        failed in 0_usize..6,
    ) {
        let looks: Vec<_> = looks.into_iter().filter(|(from, to)| from != to && *from < count && *to < count).collect();
        check_mesh(count, &looks, &[failed % count]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_in_a_loop_says_so_and_adds_nothing_by_it() {
    let mesh = Mesh::start(2, &[(0, 1), (1, 0)]);
    mesh.break_or_mend(0, false);
    settle(&mesh).await;
    let snapshot = mesh.services[0].0.snapshot();
    let looking = snapshot.component("to 1").unwrap();
    assert_eq!((looking.raw, &looking.raw_reason), (Some(Verdict::Warn), &Some(Reason::Loop)));
    assert_eq!(
        mesh.services[0].0.origins(&Subject::Service).unwrap().to_string(),
        "unhealthy 000000000000; healthy 000000000000>to%201:000000000001"
    );
    assert_eq!(
        mesh.services[1].0.origins(&Subject::Service).unwrap().to_string(),
        "unhealthy 000000000001>to%200:000000000000; healthy 000000000001"
    );
}
