//! What a check brings along, and what becomes of it when it goes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::check::AnyCheck;
use crate::{End, Memory, NewMaintenance, TokioClock};

/// Does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn component(name: &str, held: impl Send + Sync + 'static) -> Component {
    let check = AnyCheck::blocking(move || {
        let _held = &held;
    });
    Component::new(name, check)
}

#[test]
fn what_a_check_does_when_it_is_dropped_may_ask_the_checker() {
    let (done, waited) = mpsc::channel();
    std::thread::spawn(move || {
        let (checker, _engine) = Checker::new(Settings::new("tested"));
        let curious = |name: &str| {
            let (checker, done) = (checker.clone(), done.clone());
            component(name, OnDrop(move || done.send(checker.stats().components).expect("the test listens")))
        };
        checker.register(curious("removed")).unwrap();
        checker.unregister("removed");
        checker.register(curious("replaced")).unwrap();
        checker.register(curious("replaced")).unwrap_err();
        checker.replace(vec![curious("kept"), curious("kept")]).unwrap_err();
        checker.replace(vec![curious("other")]).unwrap();
    });
    let seen: Vec<usize> =
        (0..5).map(|_| waited.recv_timeout(Duration::from_secs(20)).expect("the lock is free")).collect();
    assert_eq!(seen, [0, 1, 1, 1, 1]);
}

#[test]
fn a_check_that_panics_when_it_is_dropped_costs_no_other_component() {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    for name in ["a", "bad", "z"] {
        let panics = name == "bad";
        checker.register(component(name, OnDrop(move || assert!(!panics, "dropped")))).unwrap();
    }
    let kept = || ["b", "c", "d"].map(|name| component(name, ())).into();
    assert!(catch_unwind(AssertUnwindSafe(|| checker.replace(kept()))).is_err());
    assert_eq!(checker.stats().components, 3);
    for name in ["b", "c", "d"] {
        assert!(checker.unregister(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn settings_that_nobody_can_keep_are_taken_as_the_nearest() {
    let odd = Settings {
        clock: TokioClock::start(),
        max_concurrent: 0,
        longest_maintenance: Duration::MAX,
        ..Settings::new("tested")
    };
    let (checker, engine) = Checker::new(odd);
    checker.register(Component::new("db", AnyCheck::from_fn(async || ()))).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(checker.readiness().ready, "there is a place to run in");
    let open = NewMaintenance::of_components(["db"], End::Open, "repair");
    let begun = checker.begin_maintenance(open).unwrap();
    assert_eq!(begun[0].until.duration_since(begun[0].since).as_hours(), 366 * 24);
    assert!(checker.flush_exports(Duration::MAX));
    checker.set_history(History::start(Memory::default()).unwrap());
    assert!(checker.history().unwrap().flush(Duration::MAX));
}

fn make(name: &str, fingerprint: u64) -> Component {
    Component::new(name, AnyCheck::from_fn(async || ())).fingerprint(fingerprint)
}

fn names(checker: &Checker) -> Vec<String> {
    let snapshot = checker.shared.table.lock().unwrap().snapshot(&checker.shared.settings.clock);
    let mut names: Vec<_> = snapshot.components().map(|one| one.name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_set_that_is_prepared_changes_nothing_until_it_is_committed() {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    checker.replace(vec![make("old", 1), make("same", 1)]).unwrap();
    let given_up = checker.prepare_replace(vec![make("new", 1)]).unwrap();
    assert_eq!(names(&checker), ["old", "same"]);
    drop(given_up);
    assert_eq!(names(&checker), ["old", "same"]);
    let (replaced, _retired) = checker.prepare_replace(vec![make("new", 1), make("same", 1)]).unwrap().commit();
    assert_eq!((replaced.added, replaced.removed, replaced.kept), (vec!["new".into()], vec!["old".into()], 1));
    assert_eq!(names(&checker), ["new", "same"]);
}

#[test]
fn what_comes_between_preparing_and_committing_stays_or_is_refused() {
    let limit = Settings { max_components: 3, ..Settings::new("tested") };
    let (checker, _engine) = Checker::new(limit);
    let prepared = checker.prepare_replace(vec![make("db", 1).depends_on(["late"])]).unwrap();
    let limit = Duration::from_secs(1);
    assert!(matches!(checker.heartbeat("db", limit), Err(RegisterError::Duplicate { .. })));
    assert!(matches!(checker.add(make("db", 2)), Err(RegisterError::Duplicate { .. })));
    let circle = make("late", 2).depends_on(["db"]);
    assert!(matches!(checker.add(circle), Err(RegisterError::Cycle { .. })));
    let _loop = checker.heartbeat("loop", limit).unwrap();
    checker.add(make("by-hand", 2)).unwrap();
    assert!(matches!(checker.add(make("one-too-many", 2)), Err(RegisterError::TooMany { .. })));
    let (replaced, _retired) = prepared.commit();
    assert_eq!((replaced.kept, names(&checker)), (2, vec!["by-hand".into(), "db".into(), "loop".into()]));
    checker.replace(vec![]).unwrap();
    checker.add(make("db", 2)).unwrap();
}

#[test]
fn what_was_added_at_run_time_stays_until_a_set_has_its_name() {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    checker.replace(vec![make("db", 1)]).unwrap();
    checker.add(make("cache", 1).depends_on(["db"])).unwrap();
    let errors = checker.replace(vec![make("db", 2).depends_on(["cache"])]).unwrap_err();
    assert!(matches!(errors[..], [RegisterError::Cycle { .. }]), "{errors:?}");
    checker.replace(vec![make("db", 2)]).unwrap();
    assert_eq!(names(&checker), ["cache", "db"]);
    let replaced = checker.replace(vec![make("db", 2), make("cache", 1)]).unwrap();
    assert_eq!((replaced.taken_over, replaced.kept), (vec!["cache".into()], 2));
    assert!(matches!(checker.remove_added("cache"), Err(crate::ControlError::NotAdded { .. })));
    checker.replace(vec![make("db", 2)]).unwrap();
    assert_eq!(names(&checker), ["db"], "it is one of the set");
    checker.add(make("cache", 3)).unwrap();
    checker.remove_added("cache").unwrap();
    assert!(matches!(checker.remove_added("cache"), Err(crate::ControlError::Unknown { .. })));
    assert_eq!(names(&checker), ["db"]);
}
