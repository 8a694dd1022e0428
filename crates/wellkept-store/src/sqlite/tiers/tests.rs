//! What the tiers hold, how much of it, and what reading it costs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, StatementStatus};
use tempfile::TempDir;
use wellkept_health::trend::Retention;
use wellkept_health::{HistoryStore as _, Record, RunResult, Status, StatusChange, Verdict};

use super::*;
use crate::sqlite::schema;

/// 2026-01-01T00:00:00Z, in minutes since 1970.
const START: i64 = 1_767_225_600 / 60;
const DAY: i64 = 24 * 60;

fn part(component: &str, minute: i64) -> MinutePart {
    let mut bucket = Bucket::default();
    bucket.add_time(Status::Healthy, 59_000);
    bucket.add_time(Status::Unhealthy, 1_000);
    (0..6).for_each(|run| bucket.add_run(Verdict::Pass, 1.0 + 0.1 * f64::from(run)));
    MinutePart { component: component.into(), minute, bucket }
}

fn open() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("wellkept.db")).unwrap();
    (folder, store)
}

fn sweep(live: &[&str], most: u64, minute: i64, keep: Duration) -> Sweep {
    let live: HashSet<Arc<str>> = live.iter().map(|name| Arc::from(*name)).collect();
    Sweep { live, most, now: Tier::Minute.start(minute), keep }
}

fn all(store: &mut SqliteStore, component: &str, tier: Tier, minute: i64) -> Vec<(i64, Bucket)> {
    let last = tier.slot_of_minute(minute);
    store.buckets(component, tier, last - 10_000..=last).unwrap()
}

fn count(store: &SqliteStore, sql: &str) -> u64 {
    store.connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn size(store: &SqliteStore) -> u64 {
    store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    std::fs::metadata(store.path()).unwrap().len()
}

#[test]
fn what_this_process_has_put_aside_is_its_own_however_often_the_file_is_opened() {
    let (_folder, mut store) = open();
    store.keep_time(&[], &[part("db", START)]).unwrap();
    let mut second = SqliteStore::open(store.path()).unwrap();
    assert_eq!(all(&mut second, "db", Tier::Hour, START), [], "it is not over");
    store.keep_time(&[part("db", START)], &[]).unwrap();
    assert_eq!(all(&mut second, "db", Tier::Hour, START)[0].1.runs(Verdict::Pass), 6, "counted once");
}

#[test]
fn a_row_that_cannot_be_read_is_empty_and_stops_nobody() {
    let (_folder, mut store) = open();
    store.keep_time(&[part("db", START)], &[part("cache", START)]).unwrap();
    store.connection.execute("UPDATE buckets SET bucket = x'ff00ff'", []).unwrap();
    store.connection.execute("UPDATE open_minutes SET bucket = x'ff00ff'", []).unwrap();
    assert_eq!(all(&mut store, "db", Tier::Hour, START), []);
    store.keep_time(&[part("db", START + 1), part("api", START + 1)], &[]).unwrap();
    assert_eq!(all(&mut store, "db", Tier::Hour, START)[0].1.known(), 60_000);
    assert_eq!(all(&mut store, "api", Tier::Hour, START)[0].1.known(), 60_000);
    let path = store.path().to_owned();
    drop(store);
    SqliteStore::open(&path).unwrap();
}

#[test]
fn what_is_too_old_is_dropped_some_at_a_time() {
    let (_folder, mut store) = open();
    let minutes = i64::try_from(DROPPED_AT_ONCE).unwrap() / 100;
    let names: Vec<String> = (0..100).map(|number| format!("pod-{number}")).collect();
    for minute in 0..minutes {
        let parts = names.iter().map(|name| part(name, START + minute));
        store.keep_time(&parts.collect::<Vec<_>>(), &[]).unwrap();
    }
    let live: Vec<&str> = names.iter().map(String::as_str).collect();
    let before = count(&store, "SELECT count(*) FROM buckets");
    let late = sweep(&live, 1000, START + minutes + 65, Duration::from_secs(60));
    let mut left = vec![before];
    while store.forget(&late).unwrap() == Swept::InPart {
        left.push(count(&store, "SELECT count(*) FROM buckets"));
    }
    assert!(left.len() > 1, "{left:?}");
    assert!(left.windows(2).all(|pair| pair[0] - pair[1] <= DROPPED_AT_ONCE as u64 + 100), "{left:?}");
    assert_eq!(count(&store, "SELECT count(*) FROM buckets WHERE tier = 0"), 0);
}

/// A minute of each hour, for so many days.
fn fill(store: &mut SqliteStore, names: &[&str], days: std::ops::Range<i64>) {
    for day in days {
        let hours = (0..24).flat_map(|hour| names.iter().map(move |name| part(name, START + day * DAY + hour * 60)));
        store.keep_time(&hours.collect::<Vec<_>>(), &[]).unwrap();
    }
}

/// The steps that SQLite takes to read all that a trend wants, and how many rows it looks at without a key.
fn cost(store: &mut SqliteStore, minute: i64) -> (i64, i64) {
    let statuses = [StatementStatus::VmStep, StatementStatus::FullscanStep];
    let reset = |store: &SqliteStore| {
        let statement = store.connection.prepare_cached(READ).unwrap();
        statuses.map(|status| i64::from(statement.reset_status(status)))
    };
    reset(store);
    for (tier, slots) in [(Tier::Minute, 60), (Tier::TenMinutes, 144), (Tier::Hour, 720)] {
        let last = tier.slot_of_minute(minute);
        store.buckets("db", tier, last - slots..=last).unwrap();
    }
    let [steps, scanned] = reset(store);
    (steps, scanned)
}

#[test]
fn a_question_costs_the_same_after_a_year_as_after_a_day() {
    let (_folder, mut store) = open();
    let names = ["db", "cache", "api"];
    fill(&mut store, &names, 0..1);
    let (after_a_day, scanned) = cost(&mut store, START + DAY - 1);
    assert_eq!(scanned, 0);
    fill(&mut store, &names, 1..62);
    let (rows, bytes) = (count(&store, "SELECT count(*) FROM buckets"), size(&store));
    fill(&mut store, &names, 62..365);
    let (after_a_year, scanned) = cost(&mut store, START + 365 * DAY - 1);
    assert_eq!(scanned, 0);
    // What is found costs a few steps more than what is not there.
    assert!(after_a_year < after_a_day * 3 / 2, "{after_a_day} steps, and {after_a_year} after a year");
    assert_eq!(count(&store, "SELECT count(*) FROM buckets"), rows, "the rings are full after a month");
    assert_eq!(size(&store), bytes);
    let hours = all(&mut store, "db", Tier::Hour, START + 365 * DAY - 1);
    assert_eq!(hours.len(), 744);
    let plan: String =
        store.connection.query_row(&format!("EXPLAIN QUERY PLAN {READ}"), [0; 4], |row| row.get(3)).unwrap();
    assert!(plan.contains("USING PRIMARY KEY (tier=? AND place=? AND component=?)"), "{plan}");
}

#[test]
fn the_longest_gone_are_forgotten_and_the_file_does_not_grow() {
    let (_folder, mut store) = open();
    let mut sizes = Vec::new();
    for day in 0..60 {
        let names: Vec<String> = (0..20).map(|number| format!("pod-{day}-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        fill(&mut store, &names, day..day + 1);
        store.append(&[Record::Change(change(names[0]))]).unwrap();
        let minute = START + (day + 1) * DAY;
        while store.forget(&sweep(&names, 72, minute, Retention::LONGEST)).unwrap() == Swept::InPart {}
        assert!(count(&store, "SELECT count(*) FROM components") <= 72);
        sizes.push(size(&store));
    }
    assert_eq!(sizes[20], *sizes.last().unwrap());
    let yesterday = all(&mut store, "pod-58-0", Tier::Hour, START + 60 * DAY);
    assert_eq!(yesterday.len(), 24, "who is not gone for long is remembered");
    assert_eq!(store.changes(None, 1000).unwrap().len(), 3);
    for table in ["open_minutes", "results", "changes", "buckets"] {
        let orphans = format!("SELECT count(*) FROM {table} WHERE component NOT IN (SELECT id FROM components)");
        assert_eq!(count(&store, &orphans), 0, "{table}");
    }
}

fn change(component: &str) -> StatusChange {
    StatusChange {
        component: Some(component.into()),
        from: None,
        to: Status::Healthy,
        reason: None,
        message: String::new(),
        caused_by: Some("network".into()),
        detail: None,
        at: Tier::Minute.start(START),
    }
}

#[test]
fn a_file_of_the_first_schema_remembers_its_components_and_takes_tiers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    schema::make_old(&path, 1);
    let connection = Connection::open(&path).unwrap();
    connection.execute("INSERT INTO components (name) VALUES ('db')", []).unwrap();
    let insert = "INSERT INTO results (component, verdict, response_time_ms, at) VALUES (1, 'pass', 1.0, ?1)";
    connection.execute(insert, [START * 60_000_000]).unwrap();
    drop(connection);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.results("db", 10).unwrap().len(), 1);
    assert_eq!(count(&store, "SELECT seen FROM components"), u64::try_from(START).unwrap());
    store.keep_time(&[part("db", START + 1)], &[]).unwrap();
    assert_eq!(all(&mut store, "db", Tier::Hour, START + 1).len(), 1);
    assert_eq!(count(&store, "SELECT seen FROM components"), u64::try_from(START + 1).unwrap());
}

/// The largest bucket that a tier can hold: every number long, every bin in use.
fn largest(component: &str, minute: i64) -> MinutePart {
    let mut bucket = Bucket::default();
    for status in Status::ALL {
        bucket.add_time(status, 12_000);
    }
    for run in 0..64 * 128_u32 {
        bucket.add_run(Verdict::Pass, 0.02 * 1.07_f64.powi(i32::try_from(run % 64 * 2).unwrap()));
    }
    bucket.add_run(Verdict::Fail, 0.0);
    bucket.set_remaining(1e15 / 3.0);
    MinutePart { component: component.into(), minute, bucket }
}

#[test]
fn history_stays_within_the_bytes_that_were_stated_before() {
    let (_folder, mut store) = open();
    let names = ["orders-db", "cache", "payments"];
    let reason = Some("x".repeat(24));
    let long = |name: &str| {
        let result = RunResult {
            component: name.into(),
            verdict: Verdict::Fail,
            reason: reason.clone(),
            response_time_ms: 1.0 / 3.0,
            at: Tier::Minute.start(START),
        };
        let change = StatusChange { message: "x".repeat(512), reason: reason.clone(), ..change(name) };
        [Record::Result(result), Record::Change(change)]
    };
    for _ in 0..Retention::RESULTS + 100 {
        store.append(&names.iter().flat_map(|name| long(name)).collect::<Vec<_>>()).unwrap();
    }
    let template = largest("", START);
    let per_name = |minute| {
        let of = |name: &&str| MinutePart { component: (*name).into(), minute, ..template.clone() };
        names.iter().map(of).collect::<Vec<_>>()
    };
    // Each ring once: the last hours by minutes, the last days by ten minutes, the rest by hours.
    let minutes = (0..744).map(|hour| hour * 60).chain((0..288).map(|ten| 744 * 60 + ten * 10));
    for minute in minutes.chain(744 * 60 + 2880..744 * 60 + 3000) {
        store.keep_time(&per_name(START + minute), &[]).unwrap();
    }
    let footprint = Retention::default().footprint(names.len());
    let stated = footprint.component * names.len() as u64;
    let found = size(&store);
    assert_eq!(count(&store, "SELECT count(*) FROM buckets"), 3 * (120 + 288 + 744));
    assert!(found <= stated, "{found} bytes, {stated} were stated");
    assert!(found * 3 > stated, "{found} bytes: the statement is no bound but a guess");
}
