//! Whether all time is counted once, and what counts as not looked at.

use proptest::prelude::*;

use super::*;
use crate::outcome::Verdict;

/// A machine whose two clocks can be moved, and one component on it.
struct Machine {
    ledger: Ledger,
    name: Arc<str>,
    boot: Duration,
    wall: i64,
    status: Status,
    since: Duration,
}

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

impl Machine {
    fn start() -> Self {
        let boot = Duration::from_secs(1000);
        let ledger = Ledger::default();
        let mut machine = Self { ledger, name: "db".into(), boot, wall: START, status: Status::Healthy, since: boot };
        machine.look();
        machine
    }

    fn look(&mut self) {
        let now = Moment { boot: self.boot, wall: Timestamp::from_millisecond(self.wall).unwrap() };
        let seen = Seen { name: &self.name, status: self.status, since: self.since, remaining: None };
        self.ledger.look(now, std::iter::once(seen));
    }

    fn pass(&mut self, milliseconds: u64) {
        self.boot += Duration::from_millis(milliseconds);
        self.wall += i64::try_from(milliseconds).unwrap();
    }

    /// So many seconds, with a look at each.
    fn run(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.pass(1000);
            self.look();
        }
    }

    fn turn(&mut self, status: Status) {
        (self.status, self.since) = (status, self.boot);
    }

    /// All minutes so far, the open one included.
    fn minutes(&mut self) -> Vec<MinutePart> {
        self.ledger.finish_all();
        self.ledger.take_finished().into()
    }

    fn time(&mut self, status: Status) -> u64 {
        self.minutes().iter().map(|part| part.bucket.time(status)).sum()
    }

    fn known(&mut self) -> u64 {
        self.minutes().iter().map(|part| part.bucket.known()).sum()
    }
}

#[test]
fn time_is_counted_by_the_served_status_and_split_where_it_changed() {
    let mut machine = Machine::start();
    machine.run(90);
    machine.pass(400);
    machine.turn(Status::Unhealthy);
    machine.pass(600);
    machine.look();
    machine.run(29);
    let minutes = machine.minutes();
    let times = |part: &MinutePart| [Status::Healthy, Status::Unhealthy].map(|status| part.bucket.time(status));
    assert_eq!(minutes.iter().map(|part| part.minute - START / 60_000).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(minutes.iter().map(times).collect::<Vec<_>>(), [[60_000, 0], [30_400, 29_600]]);
}

#[test]
fn unknown_and_maintenance_have_times_of_their_own() {
    let mut machine = Machine::start();
    for status in [Status::Unknown, Status::Maintenance, Status::Degraded] {
        machine.turn(status);
        machine.run(10);
    }
    let minutes = machine.minutes();
    for status in [Status::Unknown, Status::Maintenance, Status::Degraded] {
        assert_eq!(minutes.iter().map(|part| part.bucket.time(status)).sum::<u64>(), 10_000, "{status}");
    }
}

#[test]
fn while_nobody_looks_no_time_is_counted() {
    let mut machine = Machine::start();
    machine.run(10);
    machine.pass(3_600_000);
    machine.look();
    machine.run(10);
    assert_eq!(machine.known(), 20_000, "the hour in between is a gap");
    machine.pass(4_900);
    machine.look();
    assert_eq!(machine.known(), 4_900, "a look that is a little late is none");
}

#[test]
fn a_clock_that_is_set_back_counts_no_minute_twice() {
    let mut machine = Machine::start();
    machine.run(120);
    machine.wall -= 60_000;
    machine.run(120);
    assert_eq!(machine.time(Status::Healthy), 180_000, "two minutes, and the one after them");
    // Far back: a clock that was wrong is right again, and nobody waits years for it.
    machine.wall -= 30 * 86_400_000;
    machine.look();
    machine.run(60);
    assert_eq!(machine.known(), 60_000);
}

#[test]
fn a_clock_that_is_set_forward_makes_no_time() {
    let mut machine = Machine::start();
    machine.run(60);
    machine.wall += 3_600_000;
    machine.run(60);
    assert_eq!(machine.known(), 120_000);
}

#[test]
fn what_is_gone_counts_no_further_and_what_returns_goes_on() {
    let mut machine = Machine::start();
    machine.run(30);
    machine.pass(1000);
    let now = Moment { boot: machine.boot, wall: Timestamp::from_millisecond(machine.wall).unwrap() };
    machine.ledger.look(now, std::iter::empty());
    assert_eq!(machine.ledger.names(), [] as [Arc<str>; 0]);
    machine.pass(1000);
    machine.turn(Status::Healthy);
    machine.run(5);
    assert_eq!(machine.time(Status::Healthy), 35_000);
}

#[test]
fn runs_count_in_the_minute_that_is_open() {
    let mut machine = Machine::start();
    machine.run(5);
    let at = Timestamp::from_millisecond(machine.wall).unwrap();
    let result = |verdict| RunResult { component: "db".into(), verdict, reason: None, response_time_ms: 5.0, at };
    machine.ledger.count(&result(Verdict::Pass));
    machine.ledger.count(&result(Verdict::Fail));
    let open = machine.ledger.open_of("db").unwrap();
    assert_eq!((open.bucket.runs(Verdict::Pass), open.bucket.runs(Verdict::Fail)), (1, 1));
    assert_eq!(open.bucket.known(), 5_000);
}

#[test]
fn what_a_store_never_takes_is_bounded() {
    let mut machine = Machine::start();
    for _ in 0..MOST_PARTS + 10 {
        machine.wall += 60_000;
        machine.boot += Duration::from_secs(1);
        machine.look();
    }
    assert_eq!(machine.ledger.finished.len(), MOST_PARTS);
    assert!(machine.ledger.take_given_up() > 0);
}

/// What may happen between two looks.
#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Turn(Status),
    Set(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0_u64..4_000).prop_map(Event::Pass),
        1 => (5_000_u64..200_000).prop_map(Event::Pass),
        2 => (0_usize..5).prop_map(|place| Event::Turn(Status::ALL[place])),
        1 => (-7_200_000_i64..7_200_000).prop_map(Event::Set),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    #[test]
    fn all_time_is_counted_once_or_is_a_gap_whatever_the_clocks_do(events in events()) {
        let mut machine = Machine::start();
        let mut looked_at = 0;
        for event in events {
            match event {
                Event::Pass(milliseconds) => {
                    machine.pass(milliseconds);
                    looked_at += if milliseconds <= 5_000 { milliseconds } else { 0 };
                }
                Event::Turn(status) => machine.turn(status),
                Event::Set(by) => machine.wall += by,
            }
            machine.look();
        }
        let mut joined: std::collections::BTreeMap<i64, Bucket> = std::collections::BTreeMap::new();
        for part in machine.minutes() {
            prop_assert!(part.bucket.known() <= 60_000, "{:?}", part);
            joined.entry(part.minute).or_default().join(&part.bucket, Tier::Minute);
        }
        let counted: u64 = joined.values().map(Bucket::known).sum();
        // A step of the clock by less than a second can't be told from time.
        prop_assert!(counted <= looked_at + 200_000, "{} of {}", counted, looked_at);
    }

    #[test]
    fn with_clocks_that_agree_all_time_looked_at_is_counted_to_the_millisecond(
        steps in prop::collection::vec((1_u64..5_000, 0_usize..5), 1..300),
    ) {
        let mut machine = Machine::start();
        let mut expected = [0; 5];
        for (milliseconds, place) in steps {
            machine.pass(milliseconds);
            let before = Status::ALL.iter().position(|status| *status == machine.status).unwrap();
            expected[before] += milliseconds;
            machine.turn(Status::ALL[place]);
            machine.look();
        }
        let minutes = machine.minutes();
        let counted = Status::ALL.map(|status| minutes.iter().map(|part| part.bucket.time(status)).sum::<u64>());
        prop_assert_eq!(counted, expected);
    }
}
