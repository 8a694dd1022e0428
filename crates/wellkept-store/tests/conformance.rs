//! What every store does alike: each claim is held against SQLite, and against a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tempfile::TempDir;
use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{
    HistoryStore, JobEnd, JobRecord, JobStore, Record, RunResult, Status, StatusChange, Sweep, Swept, Verdict,
};
use wellkept_store::{Limits, SqliteStore};

/// 2026-01-01T00:00:00Z, in minutes since 1970.
const START: i64 = 1_767_225_600 / 60;
const DAY: i64 = 24 * 60;

/// A place for a store, which can be opened, closed and opened again.
trait Backend {
    fn open_with(&self, limits: Limits) -> Box<dyn HistoryStore>;

    fn open(&self) -> Box<dyn HistoryStore> {
        self.open_with(Limits::default())
    }

    fn open_jobs(&self) -> Box<dyn JobStore>;
}

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Backend for Sqlite {
    fn open_with(&self, limits: Limits) -> Box<dyn HistoryStore> {
        Box::new(SqliteStore::open_with(&self.0.path().join("deep/er/wellkept.db"), limits).unwrap())
    }

    fn open_jobs(&self) -> Box<dyn JobStore> {
        Box::new(SqliteStore::open(&self.0.path().join("deep/er/wellkept.db")).unwrap())
    }
}

#[cfg(feature = "postgres")]
mod shared {
    use std::sync::atomic::{AtomicU32, Ordering};

    use wellkept_store::{PostgresJobs, PostgresOptions, PostgresStore};
    use wellkept_testkit::{Postgres, SharedPostgres};

    use super::{Backend, HistoryStore, JobStore, Limits};

    /// A schema of the test's own, which is removed with it.
    pub(crate) struct Schema {
        server: SharedPostgres,
        schema: String,
    }

    impl Schema {
        pub(crate) fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            Self { server: Postgres::shared(), schema: format!("conformance_{}_{number}", std::process::id()) }
        }

        fn options(&self, limits: Limits) -> PostgresOptions {
            let options = PostgresOptions::new(self.server.url(), "orders", "orders-1");
            PostgresOptions { schema: self.schema.clone(), limits, ..options }
        }
    }

    impl Backend for Schema {
        fn open_with(&self, limits: Limits) -> Box<dyn HistoryStore> {
            Box::new(PostgresStore::new(self.options(limits)).unwrap())
        }

        fn open_jobs(&self) -> Box<dyn JobStore> {
            Box::new(PostgresJobs::new(self.options(Limits::default())).unwrap())
        }
    }

    impl Drop for Schema {
        fn drop(&mut self) {
            self.server
                .execute(&format!("SET client_min_messages = error; DROP SCHEMA IF EXISTS {} CASCADE", self.schema));
        }
    }
}

/// Holds each claim against each backend.
macro_rules! claims {
    ($($claim:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $claim() { super::$claim(&super::Sqlite::new()); })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[test] fn $claim() { super::$claim(&super::shared::Schema::new()); })*
        }
    };
}

claims! {
    records_survive_a_restart_newest_first,
    strange_names_and_values_come_back_as_they_were,
    the_oldest_goes_when_the_bound_is_reached,
    a_lowered_bound_takes_effect_in_small_steps,
    minutes_add_up_in_every_tier,
    an_open_minute_is_in_no_tier_until_the_store_is_opened_again,
    the_rest_of_a_minute_is_joined_with_its_beginning,
    what_stood_in_a_place_before_is_not_taken_for_what_does_now,
    who_is_gone_for_longer_than_is_kept_is_forgotten_and_what_is_older_dropped,
    the_longest_gone_are_forgotten_some_at_a_time,
    a_store_that_nobody_wrote_to_is_empty,
    what_jobs_have_reported_comes_back_as_it_was_and_the_latest_report_holds,
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 123_456_000).unwrap()
}

fn result(component: &str, second: i64) -> RunResult {
    RunResult {
        component: component.into(),
        verdict: Verdict::Warn,
        reason: Some("slow".into()),
        response_time_ms: 1.5,
        at: at(second),
    }
}

fn change(component: Option<&str>, second: i64) -> StatusChange {
    StatusChange {
        component: component.map(Arc::from),
        from: (second > 0).then_some(Status::Healthy),
        to: Status::Unhealthy,
        reason: Some("refused".into()),
        message: "connection refused".into(),
        caused_by: component.map(|_| "network".into()),
        detail: Some("ended by ann".into()),
        at: at(second),
    }
}

fn results(component: &str, seconds: Range<i64>) -> Vec<Record> {
    seconds.map(|second| Record::Result(result(component, second))).collect()
}

fn changes(component: Option<&str>, seconds: Range<i64>) -> Vec<Record> {
    seconds.map(|second| Record::Change(change(component, second))).collect()
}

fn part(component: &str, minute: i64) -> MinutePart {
    let mut bucket = Bucket::default();
    bucket.add_time(Status::Healthy, 59_000);
    bucket.add_time(Status::Unhealthy, 1_000);
    (0..6).for_each(|run| bucket.add_run(Verdict::Pass, 1.0 + 0.1 * f64::from(run)));
    MinutePart { component: component.into(), minute, bucket }
}

/// A minute of each hour, for so many days.
fn fill(store: &mut dyn HistoryStore, names: &[&str], days: Range<i64>) {
    for day in days {
        let hours = (0..24).flat_map(|hour| names.iter().map(move |name| part(name, START + day * DAY + hour * 60)));
        store.keep_time(&hours.collect::<Vec<_>>(), &[]).unwrap();
    }
}

fn all(store: &mut dyn HistoryStore, component: &str, tier: Tier, minute: i64) -> Vec<(i64, Bucket)> {
    let last = tier.slot_of_minute(minute);
    store.buckets(component, tier, last - 10_000..=last).unwrap()
}

fn sweep(live: &[&str], most: u64, minute: i64, keep: Duration) -> Sweep {
    let live: HashSet<Arc<str>> = live.iter().map(|name| Arc::from(*name)).collect();
    Sweep { live, most, now: Tier::Minute.start(minute), keep }
}

fn records_survive_a_restart_newest_first(backend: &dyn Backend) {
    let mut store = backend.open();
    store.append(&results("db", 0..3)).unwrap();
    store.append(&changes(Some("db"), 0..2)).unwrap();
    store.append(&changes(None, 2..3)).unwrap();
    store.append(&results("cache", 3..4)).unwrap();
    store.append(&[]).unwrap();
    drop(store);

    let mut store = backend.open();
    assert_eq!(store.results("db", 2).unwrap(), [result("db", 2), result("db", 1)]);
    assert_eq!(store.results("cache", 10).unwrap(), [result("cache", 3)]);
    assert_eq!(store.results("nobody", 10).unwrap(), []);
    assert_eq!(store.changes(Some("db"), usize::MAX).unwrap(), [change(Some("db"), 1), change(Some("db"), 0)]);
    assert_eq!(store.changes(Some("nobody"), 10).unwrap(), []);
    let everything = [change(None, 2), change(Some("db"), 1), change(Some("db"), 0)];
    assert_eq!(store.changes(None, 10).unwrap(), everything);
    assert_eq!(store.changes(None, 0).unwrap(), []);
}

fn strange_names_and_values_come_back_as_they_were(backend: &dyn Backend) {
    let mut store = backend.open();
    for name in ["'; DROP TABLE results; -- ü\0", "\\0", "\\", "two\nlines", "{a,\"b\"}", "NULL", "", "$1"] {
        let odd = RunResult { response_time_ms: f64::NAN, at: Timestamp::MIN, reason: None, ..result(name, 0) };
        let told = StatusChange {
            message: name.into(),
            caused_by: Some(name.into()),
            detail: Some(name.into()),
            ..change(Some(name), 1)
        };
        store.append(&[Record::Result(odd.clone()), Record::Change(told.clone())]).unwrap();
        store.keep_time(&[part(name, START)], &[part(name, START + 1)]).unwrap();
        assert_eq!(store.results(name, 1).unwrap(), [RunResult { response_time_ms: 0.0, ..odd }]);
        assert_eq!(store.changes(Some(name), 1).unwrap(), std::slice::from_ref(&told));
        assert_eq!(store.changes(None, 1).unwrap(), [told]);
        assert_eq!(all(&mut *store, name, Tier::Hour, START).len(), 1, "{name:?}");
    }
}

fn the_oldest_goes_when_the_bound_is_reached(backend: &dyn Backend) {
    let mut store = backend.open_with(Limits { results: 10, changes: 3 });
    for second in 0..30 {
        store.append(&results("db", second..second + 1)).unwrap();
        store.append(&changes(None, second..second + 1)).unwrap();
        assert!(store.results("db", 1000).unwrap().len() <= 10 && store.changes(None, 1000).unwrap().len() <= 3);
    }
    store.append(&results("db", 50..150)).unwrap();
    store.append(&results("cache", 0..5)).unwrap();
    store.append(&changes(Some("db"), 0..5)).unwrap();
    let kept = store.results("db", 100).unwrap();
    assert_eq!((kept.len(), &kept[0]), (10, &result("db", 149)), "the latest stay");
    assert_eq!(store.results("cache", 100).unwrap().len(), 5);
    assert_eq!(store.changes(None, 100).unwrap().len(), 6, "of the service and of each component as many");
}

fn a_lowered_bound_takes_effect_in_small_steps(backend: &dyn Backend) {
    let mut store = backend.open();
    store.append(&results("db", 0..1200)).unwrap();
    drop(store);
    let mut store = backend.open_with(Limits { results: 10, ..Limits::default() });
    let mut left = Vec::new();
    for second in 1200..1204 {
        store.append(&results("db", second..second + 1)).unwrap();
        left.push(store.results("db", 5000).unwrap().len());
    }
    assert_eq!(left, [701, 202, 10, 10]);
}

fn minutes_add_up_in_every_tier(backend: &dyn Backend) {
    let mut store = backend.open();
    let minutes: Vec<_> = (0..70).map(|minute| part("db", START + minute)).collect();
    store.keep_time(&minutes, &[]).unwrap();
    let end = START + 69;
    assert_eq!(all(&mut *store, "db", Tier::Minute, end).len(), 70);
    let tens = all(&mut *store, "db", Tier::TenMinutes, end);
    assert_eq!(tens.len(), 7);
    assert!(tens.iter().all(|(_, bucket)| bucket.known() == 600_000 && bucket.runs(Verdict::Pass) == 60));
    let hours = all(&mut *store, "db", Tier::Hour, end);
    assert_eq!(hours.iter().map(|(_, bucket)| bucket.time(Status::Healthy)).collect::<Vec<_>>(), [3_540_000, 590_000]);
    assert_eq!(all(&mut *store, "nobody", Tier::Hour, end), []);
    let two = Tier::Hour.slot_of_minute(START);
    assert_eq!(store.buckets("db", Tier::Hour, two..=two).unwrap().len(), 1, "what was asked for and no more");
    assert_eq!(store.slots(Tier::Hour), 744);
}

fn an_open_minute_is_in_no_tier_until_the_store_is_opened_again(backend: &dyn Backend) {
    let mut store = backend.open();
    store.keep_time(&[part("db", START)], &[part("db", START + 1), part("cache", START + 1)]).unwrap();
    store.keep_time(&[], &[part("db", START + 1)]).unwrap();
    assert_eq!(all(&mut *store, "db", Tier::Minute, START + 1).len(), 1);
    drop(store);
    let mut again = backend.open();
    again.keep_time(&[], &[]).unwrap();
    let minutes = all(&mut *again, "db", Tier::Minute, START + 1);
    assert_eq!(minutes.iter().map(|(_, bucket)| bucket.known()).collect::<Vec<_>>(), [60_000, 60_000]);
    assert_eq!(all(&mut *again, "cache", Tier::Hour, START + 1)[0].1.known(), 60_000);
    drop(again);
    let mut third = backend.open();
    third.keep_time(&[], &[]).unwrap();
    assert_eq!(all(&mut *third, "db", Tier::Hour, START + 1)[0].1.known(), 120_000, "and only once");
}

fn the_rest_of_a_minute_is_joined_with_its_beginning(backend: &dyn Backend) {
    let mut store = backend.open();
    let mut half = part("db", START);
    half.bucket = Bucket::default();
    half.bucket.add_time(Status::Healthy, 30_000);
    store.keep_time(std::slice::from_ref(&half), &[]).unwrap();
    store.keep_time(&[half], &[]).unwrap();
    assert_eq!(all(&mut *store, "db", Tier::Minute, START)[0].1.known(), 60_000);
    store.keep_time(&[part("db", START)], &[]).unwrap();
    let minute = &all(&mut *store, "db", Tier::Minute, START)[0].1;
    assert_eq!(minute.known(), 60_000, "a minute that is lived twice counts once");
}

fn what_stood_in_a_place_before_is_not_taken_for_what_does_now(backend: &dyn Backend) {
    let mut store = backend.open();
    fill(&mut *store, &["db"], 0..1);
    // A whole turn of the ring later the same places are meant by other slots.
    let turn = START + 31 * DAY;
    assert_eq!(all(&mut *store, "db", Tier::Hour, turn + DAY - 1), []);
    store.keep_time(&[part("db", turn)], &[]).unwrap();
    let hours = all(&mut *store, "db", Tier::Hour, turn + DAY - 1);
    assert_eq!(hours.iter().map(|(_, bucket)| bucket.known()).collect::<Vec<_>>(), [60_000]);
}

fn who_is_gone_for_longer_than_is_kept_is_forgotten_and_what_is_older_dropped(backend: &dyn Backend) {
    let mut store = backend.open();
    let week = Duration::from_secs(7 * 86_400);
    fill(&mut *store, &["gone", "db"], 0..1);
    fill(&mut *store, &["db"], 1..20);
    assert_eq!(store.forget(&sweep(&["db"], 1000, START + 20 * DAY, week)).unwrap(), Swept::Whole);
    assert_eq!(all(&mut *store, "gone", Tier::Hour, START + 20 * DAY), []);
    let hours = all(&mut *store, "db", Tier::Hour, START + 20 * DAY);
    assert_eq!(hours.first().map(|(slot, _)| *slot), Some(Tier::Hour.slot_of_minute(START + 13 * DAY)));
    // An id that is used again is not taken for the one that had it.
    fill(&mut *store, &["new", "gone"], 20..21);
    assert_eq!(all(&mut *store, "new", Tier::Hour, START + 21 * DAY).len(), 24);
    assert_eq!(all(&mut *store, "gone", Tier::Hour, START + 21 * DAY).len(), 24);
}

fn the_longest_gone_are_forgotten_some_at_a_time(backend: &dyn Backend) {
    let mut store = backend.open();
    let names: Vec<String> = (0..100).map(|number| format!("pod-{number:02}")).collect();
    for (minute, name) in (START..).zip(&names) {
        store.keep_time(&[part(name, minute)], &[part(name, minute + 1)]).unwrap();
        store.append(&changes(Some(name), 0..1)).unwrap();
    }
    let late = sweep(&["pod-00"], 10, START + 200, Duration::from_secs(31 * 86_400));
    let mut rounds = 0;
    while store.forget(&late).unwrap() == Swept::InPart {
        rounds += 1;
    }
    assert_eq!(rounds, 2, "32 at a time");
    let kept = names.iter().filter(|name| !all(&mut *store, name, Tier::Hour, START + 200).is_empty());
    let kept: Vec<_> = kept.cloned().collect();
    assert_eq!(kept.len(), 10, "{kept:?}");
    assert_eq!((kept[0].as_str(), kept[1].as_str()), ("pod-00", "pod-91"), "who is there, and the latest gone");
    assert_eq!(store.changes(None, 1000).unwrap().len(), 10);
    store.append(&results("pod-01", 0..1)).unwrap();
    assert_eq!(store.results("pod-01", 10).unwrap().len(), 1, "who comes back is remembered again");
}

fn a_store_that_nobody_wrote_to_is_empty(backend: &dyn Backend) {
    let mut store = backend.open();
    store.append(&[]).unwrap();
    assert_eq!(store.changes(None, 10).unwrap(), []);
    assert_eq!(store.results("db", 10).unwrap(), []);
    assert_eq!(all(&mut *store, "db", Tier::Minute, START), []);
}

fn job(name: &str, reports: u64, second: i64) -> JobRecord {
    JobRecord { name: name.into(), reports, from: at(second), end: None, took: None, began: None }
}

fn what_jobs_have_reported_comes_back_as_it_was_and_the_latest_report_holds(backend: &impl Backend) {
    fn exchange(store: &mut Box<dyn JobStore>, ours: &[JobRecord]) -> Vec<JobRecord> {
        let mut known = store.exchange(ours).unwrap();
        known.sort_by(|one, other| one.name.cmp(&other.name));
        known
    }
    let all = [
        job("a\\0\0'b\n", 0, 7),
        JobRecord { end: Some(JobEnd::Failed(Some(-1))), took: Some(Duration::from_micros(1)), ..job("b", 1, 7) },
        JobRecord { end: Some(JobEnd::Failed(None)), began: Some(at(9)), ..job("c", 2, 7) },
        JobRecord { end: Some(JobEnd::Well), took: Some(Duration::from_secs(86_400)), ..job("d", 3, -7) },
        JobRecord { began: Some(at(8)), ..job("e", 1, 7) },
    ];
    let (mut one, mut other) = (backend.open_jobs(), backend.open_jobs());
    assert_eq!(exchange(&mut one, &all), all);
    let unheard = all.clone().map(|known| job(&known.name, 0, 8));
    assert_eq!(exchange(&mut other, &unheard), all, "who has heard nothing is told");
    assert_eq!(exchange(&mut other, &[job("new", 0, 1)]), [job("new", 0, 1)], "and of those that are named only");
    drop((one, other));

    let (mut one, mut other) = (backend.open_jobs(), backend.open_jobs());
    for (theirs, ours, holds) in [
        (job("f", 0, 7), job("f", 0, 6), job("f", 0, 6)),
        (job("g", 0, 7), job("g", 1, 6), job("g", 1, 6)),
        (job("h", 2, 7), job("h", 1, 8), job("h", 2, 7)),
        (job("i", 2, 7), job("i", 2, 8), job("i", 2, 8)),
        (
            job("j", 2, 7),
            JobRecord { began: Some(at(8)), ..job("j", 2, 6) },
            JobRecord { began: Some(at(8)), ..job("j", 2, 6) },
        ),
        (
            JobRecord { began: Some(at(8)), ..job("k", 2, 6) },
            job("k", 2, 7),
            JobRecord { began: Some(at(8)), ..job("k", 2, 6) },
        ),
    ] {
        exchange(&mut one, std::slice::from_ref(&theirs));
        assert_eq!(exchange(&mut other, std::slice::from_ref(&ours)), std::slice::from_ref(&holds));
        assert_eq!(exchange(&mut one, std::slice::from_ref(&theirs)), [holds], "{theirs:?} and {ours:?}");
    }
}
