//! What a real server does to versions: instances and processes side by side, an instance that is forgotten, a server
//! that hangs, rows that somebody changed.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use wellkept_config::{OutcomeKind, Trigger};
use wellkept_health::{HistoryStore as _, Sweep, Swept};
use wellkept_testkit::{Postgres, until};

use super::*;
use crate::PostgresStore;

const PATIENCE: Duration = Duration::from_secs(30);

fn options(server: &Postgres, instance: &str) -> PostgresOptions {
    PostgresOptions::new(server.url(), "orders", instance)
}

fn open(server: &Postgres, instance: &str) -> PostgresVersions {
    PostgresVersions::new(options(server, instance)).unwrap()
}

fn add(store: &mut PostgresVersions, second: u64) -> Result<VersionId, StoreFault> {
    let content = Content { parts: vec![Part { name: "wellkept.yaml".into(), text: format!("a: {second}") }] };
    let version = Version {
        id: VersionId(0),
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        trigger: Trigger::Watch,
        author: "ann".into(),
        hash: content.hash(),
        outcome: OutcomeKind::Applied,
        returned_to: None,
        refuses: None,
        summary: vec!["~ a: 1 -> 2".into()],
    };
    store.append(&version, Some(&content), 100)
}

fn ids(store: &mut PostgresVersions) -> Vec<u64> {
    store.versions().unwrap().iter().map(|version| version.id.0).collect()
}

#[test]
fn each_instance_has_versions_of_its_own_which_are_forgotten_with_it() {
    let server = Postgres::start();
    let (mut one, mut other) = (open(&server, "orders-1"), open(&server, "orders-2"));
    assert_eq!(add(&mut one, 1).unwrap(), VersionId(1));
    assert_eq!(add(&mut one, 2).unwrap(), VersionId(2));
    assert_eq!(add(&mut other, 3).unwrap(), VersionId(1));
    assert_eq!((ids(&mut one), ids(&mut other)), (vec![2, 1], vec![1]));
    assert_eq!(open(&server, "orders-3").versions().unwrap(), []);
    let mut foreign = PostgresVersions::new(PostgresOptions::new(server.url(), "stock", "orders-1")).unwrap();
    assert_eq!(foreign.versions().unwrap(), []);

    let mut history = PostgresStore::new(options(&server, "orders-1")).unwrap();
    history.append(&[]).unwrap();
    server.execute("UPDATE wellkept.wellkept_instances SET seen = seen - 40 * 86400");
    let keep = Duration::from_secs(31 * 86_400);
    let sweep = Sweep { live: [].into(), most: 10, now: Timestamp::now(), keep };
    while history.forget(&sweep).unwrap() == Swept::InPart {}
    assert_eq!(ids(&mut one), [2, 1], "whose history is kept is there");
    assert_eq!(server.execute("SELECT count(*) FROM wellkept.wellkept_config_versions"), "2");
    assert_eq!(server.execute("SELECT count(*) FROM wellkept.wellkept_config_files"), "2");
    assert_eq!(add(&mut other, 4).unwrap(), VersionId(1), "one that comes back begins anew");
}

#[test]
fn processes_of_one_name_that_write_at_once_give_no_number_twice() {
    let server = Postgres::start();
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for number in 0..4_u64 {
            let (server, together) = (&server, &together);
            scope.spawn(move || {
                let mut store = open(server, "orders-1");
                together.wait();
                for round in 0..10 {
                    add(&mut store, 1 + number * 10 + round).unwrap();
                }
            });
        }
    });
    assert_eq!(ids(&mut open(&server, "orders-1")), (1..=40).rev().collect::<Vec<_>>());
}

#[test]
fn a_server_that_hangs_or_goes_ends_the_wait_and_takes_the_version_later() {
    let mut server = Postgres::start();
    let mut store = open(&server, "orders-1");
    add(&mut store, 1).unwrap();
    server.pause();
    let clock = Instant::now();
    assert_eq!(add(&mut store, 2).unwrap_err().code, "store.timeout");
    assert!(clock.elapsed() < Duration::from_secs(6), "{:?}", clock.elapsed());
    server.resume();
    until(PATIENCE, "it to be written", || add(&mut store, 2).is_ok());
    assert_eq!(ids(&mut store), [2, 1], "once, whether or not the first attempt came through");
    server.stop();
    let fault = add(&mut store, 3).unwrap_err();
    assert_eq!(fault.code, "store.unreachable");
    assert!(!fault.to_string().contains(Postgres::PASSWORD), "{fault}");
    server.start_again();
    until(PATIENCE, "it to be written", || add(&mut store, 3).is_ok());
}

#[test]
fn a_content_that_somebody_changed_is_not_taken_for_the_one_that_ran() {
    let server = Postgres::start();
    let mut store = open(&server, "orders-1");
    add(&mut store, 1).unwrap();
    server.execute("UPDATE wellkept.wellkept_config_files SET text = 'a: 7'");
    let fault = store.content(VersionId(1)).unwrap_err();
    assert_eq!(fault.code, "store.corrupt");
    assert!(fault.to_string().ends_with("the content of version 1 is not the one that was written"), "{fault}");
    server.execute("UPDATE wellkept.wellkept_config_files SET text = 'a: 1'");
    assert!(store.content(VersionId(1)).unwrap().is_some());
    server.execute("UPDATE wellkept.wellkept_config_versions SET outcome = 'perhaps'");
    assert_eq!(store.versions().unwrap_err().code, "store.database");
}
