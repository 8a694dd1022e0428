//! What a real server does to a store: several that start at once, a commit that nobody heard of, a server that hangs
//! or goes in the middle.

use std::sync::Barrier;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use wellkept_config::VersionStore as _;
use wellkept_health::{
    EndedMaintenance, History, JobEnd, JobRecord, JobStore as _, Maintenance, MaintenanceBooks, MaintenanceOrigin,
    SharedMaintenanceStore as _, Verdict,
};
use wellkept_testkit::{Postgres, until};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn options(server: &Postgres, instance: &str) -> PostgresOptions {
    PostgresOptions::new(server.url(), "orders", instance)
}

fn store(server: &Postgres, instance: &str) -> PostgresStore {
    PostgresStore::new(options(server, instance)).unwrap()
}

fn result(number: i64) -> Record {
    Record::Result(RunResult {
        component: "db".into(),
        verdict: Verdict::Pass,
        reason: None,
        response_time_ms: 1.0,
        at: Timestamp::from_second(number).unwrap(),
    })
}

fn results(numbers: std::ops::Range<i64>) -> Vec<Record> {
    numbers.map(result).collect()
}

/// The numbers that are kept, oldest first.
fn kept(store: &mut PostgresStore) -> Vec<i64> {
    store.results("db", 5000).unwrap().iter().rev().map(|result| result.at.as_second()).collect()
}

fn part(minute: i64) -> MinutePart {
    let mut bucket = Bucket::default();
    bucket.add_run(Verdict::Pass, 1.0);
    MinutePart { component: "db".into(), minute, bucket }
}

#[test]
fn instances_that_start_at_once_on_an_empty_database_make_its_tables_once() {
    let server = Postgres::start();
    let together = Barrier::new(9);
    std::thread::scope(|scope| {
        // Nobody can make a schema for a moment, so that all are there when the first one can.
        let held = "BEGIN; LOCK TABLE pg_namespace IN SHARE MODE; SELECT pg_sleep(0.7); COMMIT";
        scope.spawn(|| server.execute(held));
        until(PATIENCE, "the moment to begin", || {
            let locked =
                "SELECT count(*) FROM pg_locks WHERE relation = 'pg_namespace'::regclass AND mode = 'ShareLock'";
            server.execute(locked) == "1"
        });
        for number in 0..8 {
            let (server, together) = (&server, &together);
            scope.spawn(move || {
                let mut store = store(server, &format!("orders-{number}"));
                let mut maintenances = PostgresMaintenances::new(options(server, "any")).unwrap();
                together.wait();
                store.append(&results(number..number + 1)).unwrap();
                maintenances.exchange(&MaintenanceBooks::default()).unwrap();
                assert_eq!(kept(&mut store), [number]);
            });
        }
        together.wait();
    });
    assert_eq!(server.execute("SELECT version FROM wellkept.wellkept_schema"), schema::known().to_string());
    assert_eq!(server.execute("SELECT count(*) FROM wellkept.wellkept_instances"), "8");
}

#[test]
fn tables_of_a_newer_release_are_refused_to_readers_and_writers_and_left_as_they_are() {
    let server = Postgres::start();
    assert_eq!(store(&server, "orders-1").changes(None, 1).unwrap_err().code, "store.missing", "a reader makes none");
    store(&server, "orders-1").append(&results(0..1)).unwrap();
    server.execute("UPDATE wellkept.wellkept_schema SET version = 99");
    let error = store(&server, "orders-1").append(&results(1..2)).unwrap_err();
    assert_eq!(error.code, "store.newer_schema");
    let told = format!("\"wellkept\" have version 99, this release knows up to {}", schema::known());
    assert!(error.message.contains(&told), "{error}");
    assert_eq!(store(&server, "orders-1").changes(None, 1).unwrap_err().code, "store.newer_schema");
    assert_eq!(server.execute("SELECT count(*) FROM wellkept.wellkept_results"), "1");
}

#[test]
fn tables_of_each_earlier_release_are_brought_up_to_date_with_what_is_in_them() {
    let server = Postgres::start();
    for version in 1..schema::known() {
        let name = format!("version_{version}");
        let steps = schema::steps_to(usize::try_from(version).unwrap());
        server.execute(&format!(
            "CREATE SCHEMA {name}; SET search_path TO {name}; {steps}; \
             INSERT INTO wellkept_instances (service, instance, seen) VALUES ('orders', 'orders-1', 1); \
             INSERT INTO wellkept_components (instance, name, seen) VALUES (1, 'db', 1); \
             INSERT INTO wellkept_changes (instance, component, to_status, message, at) VALUES (1, 1, 'healthy', 'm', 7); \
             INSERT INTO wellkept_results (component, verdict, response_time_ms, at) VALUES (1, 'pass', 1, 7000000); \
             INSERT INTO wellkept_maintenances (service, id, reason, author, since, until, origin) \
                VALUES ('orders', 'm1', 'why', 'ann', 0, 9000000000000000, 'duration')"
        ));
        let options = PostgresOptions { schema: name.clone(), ..options(&server, "orders-1") };
        let mut store = PostgresStore::new(options.clone()).unwrap();
        assert_eq!(store.changes(None, 9).unwrap_err().code, "store.older_schema", "who only reads can't do it");
        drop(store);
        let mut store = PostgresStore::new(options.clone()).unwrap();
        store.append(&results(8..9)).unwrap();
        assert_eq!(kept(&mut store), [7, 8], "of version {version}");
        let change = store.changes(Some("db"), 9).unwrap().remove(0);
        assert_eq!((change.at.as_microsecond(), change.caused_by), (7, None));
        let caused = StatusChange { caused_by: Some("network".into()), ..store.changes(None, 9).unwrap().remove(0) };
        store.append(&[Record::Change(caused.clone())]).unwrap();
        assert_eq!(store.changes(None, 9).unwrap()[0], caused);
        let begun = PostgresMaintenances::new(options.clone()).unwrap().exchange(&MaintenanceBooks::default()).unwrap();
        assert_eq!(begun.begun.len(), 1);
        let job = job("backup", 1);
        assert_eq!(PostgresJobs::new(options.clone()).unwrap().exchange(std::slice::from_ref(&job)).unwrap(), [job]);
        assert_eq!(PostgresVersions::new(options).unwrap().versions().unwrap(), []);
        let version = server.execute(&format!("SELECT version FROM {name}.wellkept_schema"));
        assert_eq!(version, schema::known().to_string());
    }
}

fn job(name: &str, reports: u64) -> JobRecord {
    let from = Timestamp::from_second(i64::try_from(reports).unwrap()).unwrap();
    JobRecord { name: name.into(), reports, from, end: Some(JobEnd::Well), took: None, began: None }
}

#[test]
fn instances_that_tell_of_the_same_jobs_at_once_come_to_agree_and_each_service_has_its_own() {
    let server = Postgres::start();
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for number in 0..4_u64 {
            let (server, together) = (&server, &together);
            scope.spawn(move || {
                let mut jobs = PostgresJobs::new(options(server, "any")).unwrap();
                together.wait();
                for round in 0..20 {
                    let mut ours: Vec<_> = (0..50).map(|name| job(&name.to_string(), round * 4 + number)).collect();
                    if number % 2 == 0 {
                        ours.reverse();
                    }
                    jobs.exchange(&ours).unwrap();
                }
            });
        }
    });
    let known = server.execute("SELECT count(*), min(reports), max(reports) FROM wellkept.wellkept_jobs");
    assert_eq!(known, "50|79|79");
    let mut stock = PostgresJobs::new(PostgresOptions::new(server.url(), "stock", "stock-1")).unwrap();
    assert_eq!(stock.exchange(&[job("1", 3)]).unwrap(), [job("1", 3)]);
}

#[test]
fn a_job_that_no_instance_has_any_more_is_forgotten_after_a_month() {
    let server = Postgres::start();
    let told = |names: &[&str]| {
        let ours: Vec<_> = names.iter().map(|name| job(name, 1)).collect();
        PostgresJobs::new(options(&server, "any")).unwrap().exchange(&ours).unwrap();
        server.execute("SELECT string_agg(name, ' ' ORDER BY name) FROM wellkept.wellkept_jobs")
    };
    assert_eq!(told(&["gone", "kept"]), "gone kept");
    server.execute("UPDATE wellkept.wellkept_jobs SET seen = seen - 30 * 86400000000");
    assert_eq!(told(&["kept"]), "gone kept");
    server.execute("UPDATE wellkept.wellkept_jobs SET seen = seen - 2 * 86400000000");
    assert_eq!(told(&["kept"]), "kept");
}

#[test]
fn a_batch_that_was_committed_unheard_is_not_written_again_and_one_that_was_not_is() {
    let server = Postgres::start();
    let mut store = store(&server, "orders-1");
    store.append(&results(0..5)).unwrap();
    store.keep_time(&[part(1), part(2)], &[]).unwrap();
    let of = |table: &str| server.execute(&format!("SELECT xmin FROM wellkept.{table} ORDER BY ctid DESC LIMIT 1"));
    store.records = Some(Doubt { transaction: of("wellkept_results"), last: result(4) });
    store.minutes = Some(Doubt { transaction: of("wellkept_buckets"), last: part(2) });
    // The oldest were given up meanwhile, and there are new ones.
    store.append(&results(2..7)).unwrap();
    assert_eq!(kept(&mut store), [0, 1, 2, 3, 4, 5, 6]);
    store.keep_time(&[part(1), part(2), part(3)], &[]).unwrap();
    let hour = store.buckets("db", Tier::Hour, 0..=0).unwrap();
    assert_eq!(hour[0].1.runs(Verdict::Pass), 3, "each once");

    let rolled_back = server.execute("BEGIN; SELECT pg_current_xact_id(); ROLLBACK");
    store.records = Some(Doubt { transaction: rolled_back, last: result(8) });
    store.append(&results(7..9)).unwrap();
    store.records = Some(Doubt { transaction: "99999999".into(), last: result(10) });
    store.append(&results(9..11)).unwrap();
    assert_eq!(kept(&mut store).len(), 11, "what a server does not know was not written there");
}

#[test]
fn a_server_that_stops_and_hangs_in_the_middle_of_writing_loses_nothing_and_doubles_nothing() {
    const COUNT: i64 = 1500;
    let mut server = Postgres::start();
    let history = History::start(store(&server, "orders-1")).unwrap();
    let stage = |from: i64, to: i64| {
        for number in from..to {
            history.record(result(number));
            // A few batches, not one.
            if number % 50 == 0 {
                history.flush(Duration::from_millis(20));
            }
        }
    };
    stage(0, 300);
    server.pause();
    stage(300, 600);
    until(PATIENCE, "the history to say so", || history.failure().is_some());
    server.resume();
    stage(600, 900);
    server.stop();
    stage(900, 1200);
    server.start_again();
    stage(1200, COUNT);
    until(PATIENCE, "all to be written", || history.flush(Duration::from_secs(5)));
    assert_eq!((history.stats().dropped_total, history.stats().backlog), (0, 0));
    drop(history);
    let mut again = store(&server, "orders-1");
    assert_eq!(kept(&mut again), (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn a_server_that_does_not_answer_costs_a_call_a_few_seconds_and_the_next_one_nothing() {
    let mut server = Postgres::start();
    let mut store = store(&server, "orders-1");
    store.append(&results(0..1)).unwrap();
    server.pause();
    let clock = Instant::now();
    assert_eq!(store.append(&results(1..2)).unwrap_err().code, "store.timeout");
    assert!(clock.elapsed() < Duration::from_secs(6), "{:?}", clock.elapsed());
    let clock = Instant::now();
    assert_eq!(store.results("db", 1).unwrap_err().code, "store.timeout");
    assert!(clock.elapsed() < Duration::from_millis(500), "{:?}", clock.elapsed());
    server.resume();
    until(PATIENCE, "it to be written", || store.append(&results(1..2)).is_ok());
    assert_eq!(kept(&mut store), [0, 1]);
}

#[test]
fn an_instance_that_is_gone_for_long_is_forgotten_and_one_that_is_there_is_not() {
    let server = Postgres::start();
    let mut gone = store(&server, "gone");
    gone.append(&results(0..10)).unwrap();
    gone.keep_time(&[part(1)], &[part(2)]).unwrap();
    drop(gone);
    let (mut quiet, mut own) = (store(&server, "quiet"), store(&server, "own"));
    quiet.append(&results(0..1)).unwrap();
    own.append(&results(0..1)).unwrap();
    server.execute("UPDATE wellkept.wellkept_instances SET seen = seen - 40 * 86400");
    let sweep = Sweep {
        live: [Arc::from("db")].into(),
        most: 10,
        now: Timestamp::now(),
        keep: Duration::from_secs(31 * 86_400),
    };
    while own.forget(&sweep).unwrap() == Swept::InPart {}
    let left = server.execute("SELECT string_agg(instance, ' ' ORDER BY instance) FROM wellkept.wellkept_instances");
    assert_eq!(left, "own quiet");
    assert_eq!(server.execute("SELECT count(*) FROM wellkept.wellkept_results"), "2");
    assert_eq!(server.execute("SELECT count(*) FROM wellkept.wellkept_buckets"), "0");
}

#[test]
fn a_database_that_can_not_keep_every_text_is_refused() {
    let server = Postgres::start();
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    let url = server.url().replace("/postgres", "/latin");
    let mut store = PostgresStore::new(PostgresOptions::new(url, "orders", "orders-1")).unwrap();
    let error = store.append(&results(0..1)).unwrap_err();
    assert_eq!(error.code, "store.encoding");
    assert!(error.message.contains("encoding is LATIN1; use one with UTF8"), "{error}");
}

fn maintenance(id: &str, until: Timestamp) -> Maintenance {
    Maintenance {
        id: id.into(),
        component: Some("a\\0\0'b\n".into()),
        reason: "new disks".into(),
        author: "ann".into(),
        since: Timestamp::from_second(until.as_second() - 3600).unwrap(),
        until,
        origin: MaintenanceOrigin::Duration,
    }
}

fn books(begun: &[&Maintenance], ended: &[&str]) -> MaintenanceBooks {
    let ended = ended.iter().map(|id| EndedMaintenance { id: (*id).into(), author: "bob".into() });
    MaintenanceBooks { begun: begun.iter().map(|what| (*what).clone()).collect(), ended: ended.collect() }
}

#[test]
fn an_end_stands_above_a_beginning_and_what_is_missing_was_not_ended() {
    let server = Postgres::start();
    let open = |instance| PostgresMaintenances::new(options(&server, instance)).unwrap();
    let (mut one, mut other) = (open("orders-1"), open("orders-2"));
    let end = Timestamp::from_second((Timestamp::now() + SignedDuration::from_hours(1)).as_second()).unwrap();
    let (first, second) = (maintenance("m1", end), maintenance("m2", end));
    assert_eq!(one.exchange(&books(&[&first], &[])).unwrap(), books(&[&first], &[]));
    assert_eq!(other.exchange(&books(&[&second], &[])).unwrap(), books(&[&first, &second], &[]));
    assert_eq!(other.exchange(&books(&[&second], &["m1"])).unwrap(), books(&[&second], &[]));
    // The first one has not heard of it yet, and tells of it again.
    assert_eq!(one.exchange(&books(&[&first], &[])).unwrap(), books(&[&second], &["m1"]));
    drop(one);
    assert_eq!(open("orders-1").exchange(&books(&[&first], &[])).unwrap(), books(&[&second], &["m1"]));
    server.execute("TRUNCATE wellkept.wellkept_maintenances");
    assert_eq!(other.exchange(&books(&[&second], &[])).unwrap(), books(&[], &[]), "nothing is said to be ended");
    assert_eq!(other.exchange(&books(&[&second], &[])).unwrap(), books(&[&second], &[]), "and it is written again");
    let mut foreign = PostgresMaintenances::new(PostgresOptions::new(server.url(), "stock", "stock-1")).unwrap();
    assert_eq!(foreign.exchange(&MaintenanceBooks::default()).unwrap(), MaintenanceBooks::default());
}
