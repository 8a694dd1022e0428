//! What the start waits for.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use tokio::time::sleep;

use super::{SECOND, checker, status, switched};
use crate::{
    AnyCheck, Checker, Component, Group, History, Memory, Outcome, Reason, Schedule, Scope, Settings, Status,
    TokioClock,
};

#[tokio::test(start_paused = true)]
async fn the_start_waits_only_for_what_readiness_and_startup_require() {
    let delayed = |name: &str| {
        let late = Schedule { initial_delay: 300 * SECOND, ..Schedule::default() };
        Component::new(name, AnyCheck::from_fn(async || Outcome::fail(Reason::Refused, "refused"))).schedule(late)
    };
    let groups = ["orders", "live"].map(Group::from);
    let others = [
        delayed("optional").optional(),
        delayed("shared").shared(true),
        delayed("grouped").groups([groups[0].clone()]),
        delayed("loop").scope(Scope::Process).groups(groups),
        delayed("disk").scope(Scope::Machine),
    ];
    let checker_of = |extra: Option<Component>| {
        let good = switched("db", &Arc::new(AtomicU8::new(0)));
        checker(others.iter().cloned().chain([good]).chain(extra))
    };
    let checker = checker_of(None);
    sleep(SECOND).await;
    assert!(checker.is_started() && checker.readiness().ready);
    assert_eq!((checker.status(), checker.readiness().status), (Status::Healthy, Status::Healthy), "left out");
    assert_eq!(status(&checker, "optional"), (Status::Unknown, Some(Reason::Pending)), "and shown");
    sleep(300 * SECOND).await;
    assert_eq!(checker.readiness().status, Status::Degraded, "each counts from its first result on");
    assert_eq!(checker.status(), Status::Unhealthy);
    for awaited in [delayed("awaited"), delayed("awaited").groups([Group::Startup])] {
        let checker = checker_of(Some(awaited));
        sleep(299 * SECOND).await;
        assert!(!checker.is_started() && !checker.readiness().ready);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_of_which_nothing_is_known_yet_tells_of_no_change() {
    let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
    checker.set_history(History::start(Memory::default()).unwrap());
    let slow = AnyCheck::from_fn(async || {
        sleep(SECOND).await;
        Outcome::fail(Reason::Threshold, "nearly full")
    });
    checker.register(Component::new("disk", slow).scope(Scope::Machine)).unwrap();
    tokio::spawn(engine.run(pending()));
    sleep(2 * SECOND).await;
    let changes = checker.history().unwrap().changes(None, 10, 5 * SECOND).unwrap();
    let service: Vec<_> = changes.iter().filter(|one| one.component.is_none()).map(|one| (one.from, one.to)).collect();
    assert_eq!(service, [(None, Status::Unhealthy)]);
}
