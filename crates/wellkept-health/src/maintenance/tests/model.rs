//! Maintenance compared with a model that looks at each instant anew.

use jiff::ToSpan;
use jiff::civil::{Date, Time};
use proptest::prelude::*;

use super::*;
use crate::component::Group;

/// What a maintenance is, looked at as simply as can be.
#[derive(Debug, Clone)]
struct Simple {
    id: Arc<str>,
    component: Option<usize>,
    until: Duration,
    until_wall: Option<Timestamp>,
    over: bool,
}

impl Simple {
    /// Once it was over it stays so, wherever the time of day is set.
    fn is_on(&mut self, now: Moment) -> bool {
        self.over |= now.boot >= self.until || self.until_wall.is_some_and(|until| now.wall >= until);
        !self.over
    }
}

#[derive(Debug, Clone)]
struct SimpleWindow {
    component: Option<usize>,
    days: Vec<Weekday>,
    at: Time,
    lasts: Duration,
    zone: TimeZone,
}

impl SimpleWindow {
    /// Tries every day of three weeks, and finds the beginning by trying the offsets before and after it.
    fn is_on(&self, now: Timestamp) -> bool {
        let today = now.to_zoned(self.zone.clone()).date();
        (-10..10).filter_map(|days: i32| today.checked_add(days.days()).ok()).any(|date| {
            self.days.contains(&date.weekday())
                && (self.begin(date) <= now && now < self.begin(date).checked_add(self.lasts).unwrap())
        })
    }

    fn begin(&self, date: Date) -> Timestamp {
        let local = date.to_datetime(self.at);
        let as_utc = local.to_zoned(TimeZone::UTC).unwrap().timestamp();
        let around = [-24, 24].map(|hours| self.zone.to_offset(as_utc + SignedDuration::from_hours(hours)));
        let candidates = around.map(|offset| offset.to_timestamp(local).unwrap());
        let valid = |time: &&Timestamp| self.zone.to_datetime(**time) == local;
        candidates.iter().filter(valid).min().copied().unwrap_or(candidates[0])
    }

    fn real(&self, number: usize) -> MaintenanceWindow {
        let days = Recurrence::Weekly(self.days.clone());
        let window = MaintenanceWindow::new(format!("w{number}"), days, self.at, self.lasts, self.zone.clone());
        match self.component {
            None => window,
            Some(index) => window.components([THREE[index].0]),
        }
    }
}

const THREE: [(&str, Criticality, Verdict); 3] = [
    ("db", Criticality::Required, Verdict::Fail),
    ("cache", Criticality::Optional, Verdict::Fail),
    ("api", Criticality::Required, Verdict::Warn),
];

#[derive(Debug, Clone)]
enum Step {
    /// Time passes, by more than a second and less than a day.
    Pass(u64),
    Set(i64),
    BeginFor(Option<usize>, u64),
    BeginUntil(Option<usize>, u64),
    End(usize),
    Windows(Vec<SimpleWindow>),
    Restart,
}

fn component() -> impl Strategy<Value = Option<usize>> {
    proptest::option::weighted(0.7, 0..THREE.len())
}

fn window() -> impl Strategy<Value = SimpleWindow> {
    let zones = vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
    let days = proptest::sample::subsequence(
        vec![Weekday::Monday, Weekday::Wednesday, Weekday::Saturday, Weekday::Sunday],
        1..=4,
    );
    (component(), days, 0..24_i8, 0..60_i8, 1..20_u64, proptest::sample::select(zones)).prop_map(
        |(component, days, hour, minute, hours, zone)| SimpleWindow {
            component,
            days,
            at: time(hour, minute, 0, 0),
            lasts: Duration::from_secs(hours * 3600),
            zone: TimeZone::get(zone).unwrap(),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (2..40_000_u64).prop_map(Step::Pass),
        1 => (-200_000..200_000_i64).prop_map(Step::Set),
        2 => (component(), 1..100_000_u64).prop_map(|(component, seconds)| Step::BeginFor(component, seconds)),
        1 => (component(), 1..100_000_u64).prop_map(|(component, seconds)| Step::BeginUntil(component, seconds)),
        1 => (0..5_usize).prop_map(Step::End),
        1 => proptest::collection::vec(window(), 0..3).prop_map(Step::Windows),
        1 => Just(Step::Restart),
    ]
}

/// The status by the table of the design, from which components are left out.
fn expected(out: [bool; 3]) -> Status {
    let weigh = |(criticality, verdict): (Criticality, Verdict)| match (criticality, verdict) {
        (Criticality::Required, Verdict::Fail) => Status::Unhealthy,
        (Criticality::Optional, Verdict::Fail) | (_, Verdict::Warn) => Status::Degraded,
        (_, Verdict::Pass) => Status::Healthy,
    };
    let counted = THREE.iter().zip(out).filter(|(_, out)| !out);
    counted.map(|((_, criticality, verdict), _)| weigh((*criticality, *verdict))).fold(Status::Healthy, Status::worse)
}

fn compare(snapshot: &Snapshot, simple: &mut [Simple], windows: &[SimpleWindow], now: Moment) {
    let mut is_out = |component: Option<usize>| {
        // Each is looked at, for each remembers that it was over.
        let on =
            simple.iter_mut().filter(|one| one.component == component).filter_map(|one| one.is_on(now).then_some(()));
        let begun = on.count() > 0;
        begun || windows.iter().any(|one| one.component == component && one.is_on(now.wall))
    };
    let (service, out) = (is_out(None), [0, 1, 2].map(|index| is_out(Some(index))));
    for (index, (name, _, verdict)) in THREE.iter().enumerate() {
        let component = snapshot.component(name).unwrap();
        let status = if out[index] { Status::Maintenance } else { Status::from(*verdict) };
        assert_eq!(snapshot.standing(component).status, status, "{name} at {}", now.wall);
        assert_eq!(snapshot.is_silenced(component), service || out[index]);
    }
    let status = if service { Status::Maintenance } else { expected(out) };
    assert_eq!(snapshot.overall(), status, "the service at {}", now.wall);
    assert_eq!(snapshot.status(&Group::Ready), status);
    assert_eq!(snapshot.status(&Group::Live), Status::Healthy, "liveness looks elsewhere");
    assert_eq!(snapshot.status(&Group::Startup), Status::Healthy);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    /// Whatever is begun, ended, set and restarted: what is in maintenance, and what the service adds up to, is what a
    /// model says that looks at each instant anew.
    #[test]
    fn it_agrees_with_a_model_that_looks_at_each_instant(
        start in 1_767_225_600_i64..1_861_920_000,
        steps in proptest::collection::vec(step(), 1..10),
    ) {
        let mut kept = Tested::new(&Timestamp::from_second(start).unwrap().to_string(), &THREE);
        let mut simple: Vec<Simple> = Vec::new();
        let mut windows: Vec<SimpleWindow> = Vec::new();
        let real = |windows: &[SimpleWindow]| -> Vec<MaintenanceWindow> {
            windows.iter().enumerate().map(|(number, window)| window.real(number)).collect()
        };
        for step in steps {
            let now = Moment::now(&*kept.clock);
            let mut begin = |component: Option<usize>, end| {
                let wanted = match component {
                    None => NewMaintenance::of_the_service(end, "why"),
                    Some(index) => NewMaintenance::of_components([THREE[index].0], end, "why"),
                };
                let begun = kept.begin(wanted).unwrap();
                let (until, until_wall) = match end {
                    End::After(lasts) => (now.boot + lasts, None),
                    End::At(until) => (now.boot + LONGEST, Some(until)),
                    End::Open => (now.boot + LONGEST, None),
                };
                simple.push(Simple { id: Arc::clone(&begun[0].id), component, until, until_wall, over: false });
            };
            match step {
                Step::Pass(seconds) => {
                    // Nobody renews the snapshot, and no engine looks: it is right by the clock alone.
                    let before = kept.snapshot();
                    kept.clock.pass(Duration::from_secs(seconds));
                    compare(&before, &mut simple, &windows, Moment::now(&*kept.clock));
                    kept.table.sweep(&*kept.clock);
                }
                Step::Set(seconds) => {
                    kept.clock.set(SignedDuration::from_secs(seconds));
                    kept.table.sweep(&*kept.clock);
                }
                Step::BeginFor(component, seconds) => begin(component, End::After(Duration::from_secs(seconds))),
                Step::BeginUntil(component, seconds) => begin(component, End::At(now.wall + Duration::from_secs(seconds))),
                Step::End(index) => {
                    if let Some(one) = simple.get_mut(index) && one.is_on(now) {
                        kept.end(&one.id);
                        one.over = true;
                    }
                }
                Step::Windows(new) => {
                    windows = new;
                    kept.table.maintain(|book| book.set_windows(real(&windows), now)).unwrap();
                }
                Step::Restart => {
                    kept.restart(&THREE, real(&windows));
                    let by_time = simple.iter_mut().filter(|one| one.until_wall.is_some());
                    by_time.for_each(|one| one.until = now.boot + LONGEST);
                }
            }
            compare(&kept.snapshot(), &mut simple, &windows, Moment::now(&*kept.clock));
        }
    }
}
