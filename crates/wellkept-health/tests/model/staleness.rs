//! When a result counts no more: the clock that goes on through suspend decides, and the one on the wall decides nothing.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wellkept_health::{Clock, Reason, Status, Thresholds, Verdict};

use crate::bench::{self, Running, set};

/// What happens in a case, one after the other.
#[derive(Debug, Clone)]
enum Event {
    /// A check comes to a result.
    Result(usize, Verdict),
    /// Time passes.
    Pass(u64),
    /// The machine sleeps.
    Sleep(u64),
    /// Somebody sets the clock on the wall.
    SetWall(i64),
}

/// How many components there are, and after how many seconds their results are too old.
const MAX_AGES: [u64; 3] = [5, 30, 3600];

fn event() -> impl Strategy<Value = Event> {
    // Seconds at which something grows old, and their neighbours, are drawn more often than others.
    let seconds = || prop_oneof![select(vec![0_u64, 1, 4, 5, 6, 25, 29, 30, 3599, 3600, 3601]), 0_u64..4000];
    let verdict = select(vec![Verdict::Pass, Verdict::Warn, Verdict::Fail]);
    prop_oneof![
        4 => (0..MAX_AGES.len(), verdict).prop_map(|(component, verdict)| Event::Result(component, verdict)),
        3 => seconds().prop_map(Event::Pass),
        1 => seconds().prop_map(Event::Sleep),
        1 => select(vec![-3600_i64, 3600, -86_400, 86_400]).prop_map(Event::SetWall),
    ]
}

/// What a component's readers are told: its latest result, unless that is too old.
fn model(latest: Option<(Verdict, Duration)>, max_age: u64, now: Duration) -> (Status, Option<Reason>) {
    match latest {
        None => (Status::Unknown, Some(Reason::Pending)),
        Some((_, at)) if at + Duration::from_secs(max_age) <= now => (Status::Unknown, Some(Reason::Stale)),
        Some((Verdict::Pass, _)) => (Status::Healthy, None),
        Some((Verdict::Warn, _)) => (Status::Degraded, Some(Reason::Threshold)),
        Some((Verdict::Fail, _)) => (Status::Unhealthy, Some(Reason::Refused)),
    }
}

#[test]
fn results_grow_old_by_the_clock_of_ages_alone() {
    bench::check(&vec(event(), 1..12), async |events| {
        let running = Running::start();
        let mut findings = Vec::new();
        for (number, max_age) in MAX_AGES.into_iter().enumerate() {
            let (component, finding) = set(&number.to_string());
            let each_decides = Thresholds { fall: 1, rise: 1, ..Thresholds::default() };
            let component = component.thresholds(each_decides).max_age(Duration::from_secs(max_age));
            running.checker.register(component).unwrap();
            findings.push(finding);
        }
        running.settle().await;
        let mut latest = [None; MAX_AGES.len()];
        let mut has_slept = false;
        for event in events {
            match event {
                Event::Result(number, verdict) => {
                    running.find(&findings[number], verdict).await;
                    latest[number] = Some((verdict, running.clock.boot()));
                    has_slept = false;
                }
                Event::Pass(seconds) => running.clock.pass(seconds),
                Event::Sleep(seconds) => {
                    running.clock.sleep(seconds);
                    has_slept = true;
                }
                Event::SetWall(seconds) => running.clock.set_wall(seconds),
            }
            // Read at once, from a snapshot that nobody has renewed since.
            let (snapshot, now) = (running.checker.snapshot(), running.clock.boot());
            let mut worst = Status::Healthy;
            for (number, latest) in latest.iter().enumerate() {
                let component = snapshot.component(&number.to_string()).unwrap();
                let standing = snapshot.standing(component);
                let expected = model(*latest, MAX_AGES[number], now);
                prop_assert_eq!((standing.status, standing.reason), expected.clone(), "component {}", number);
                let age = latest.map(|(_, at)| now.saturating_sub(at));
                prop_assert_eq!(snapshot.age(component), age, "age of component {}", number);
                worst = worst.worse(expected.0);
            }
            prop_assert_eq!(snapshot.overall(), worst);
            prop_assert_eq!(running.checker.readiness().status, worst);
            // The quick reading stands still with the machine, until the engine looks again.
            if !has_slept {
                prop_assert_eq!(running.checker.status(), worst);
            }
        }
        Ok(())
    });
}
