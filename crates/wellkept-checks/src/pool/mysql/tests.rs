//! The check on a real pool of connections to a real MariaDB.

use std::time::{Duration, Instant};

use mysql_async::{OptsBuilder, PoolConstraints, PoolOpts};
use serde_json::json;
use wellkept_health::{Check as _, Context, Verdict};
use wellkept_testkit::Mysql;

use super::*;
use crate::pool::{Options, Pool as PoolCheck};
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, reason, run, run_into_timeout};

fn pool(url: &str, max: usize) -> (Pool, MysqlPool) {
    // Of those that come back, the pool keeps as many as the first number says.
    let constraints = PoolConstraints::new(max, max).expect("neither is above the other");
    let options = OptsBuilder::from_opts(Opts::from_url(url).expect("the URL can be read"))
        .prefer_socket(false)
        .pool_opts(PoolOpts::default().with_constraints(constraints));
    let options = Opts::from(options);
    let pool = Pool::new(options.clone());
    (pool.clone(), MysqlPool::new(pool, &options))
}

fn check(pool: &MysqlPool) -> PoolCheck<MysqlPool> {
    PoolCheck::new(pool.clone(), Options::default())
}

/// A connection that is given back is reset first, by a task of the pool's.
async fn settled(pool: &MysqlPool, expected: PoolStats) {
    let settled = async {
        while pool.stats() != expected {
            tokio::task::yield_now().await;
        }
    };
    let settled = tokio::time::timeout(PATIENCE, settled).await;
    assert!(settled.is_ok(), "{:?} did not become {expected:?}", pool.stats());
}

fn stats(active: usize, idle: usize, max: usize) -> PoolStats {
    PoolStats { active, idle, max, waiting: Some(0) }
}

#[tokio::test]
async fn a_pool_of_mysql_that_gives_a_connection_passes_with_its_figures() {
    let server = Mysql::start();
    let (pool, seen) = pool(&server.url(), 4);
    let check = check(&seen);
    let first = run(&check).await;
    assert_eq!(first.metadata()["pool"], json!({ "active": 0, "idle": 0, "max": 4, "waiting": 0 }), "{first:?}");
    settled(&seen, stats(0, 1, 4)).await;
    let held = pool.get_conn().await.unwrap();
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(outcome.metadata()["pool"], json!({ "active": 1, "idle": 0, "max": 4, "waiting": 0 }));
    drop(held);
    settled(&seen, stats(0, 2, 4)).await;
    for _ in 0..10 {
        assert_eq!(reason(&run(&check).await), "pass");
        settled(&seen, stats(0, 2, 4)).await;
    }
}

#[tokio::test]
async fn a_pool_of_mysql_in_full_use_is_exhausted_and_passes_when_a_connection_comes_back() {
    let server = Mysql::start();
    let (pool, seen) = pool(&server.url(), 2);
    let held = [pool.get_conn().await.unwrap(), pool.get_conn().await.unwrap()];
    let begun = Instant::now();
    let outcome = run(&check(&seen)).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("exhausted", Verdict::Fail), "{outcome:?}");
    assert_eq!(outcome.message(), "all connections of the pool are in use");
    assert!(begun.elapsed() < Duration::from_secs(10), "far sooner than the run's timeout");
    // It has left the queue.
    assert_eq!(seen.stats(), stats(2, 0, 2));
    drop(held);
    settled(&seen, stats(0, 2, 2)).await;
    assert_eq!(reason(&run(&check(&seen)).await), "pass");
}

#[tokio::test]
async fn where_callers_wait_for_mysql_already_the_check_does_not_join_them() {
    let server = Mysql::start();
    let (pool, seen) = pool(&server.url(), 1);
    let held = pool.get_conn().await.unwrap();
    let waiting = tokio::spawn(async move { pool.get_conn().await.unwrap() });
    settled(&seen, PoolStats { waiting: Some(1), ..stats(1, 0, 1) }).await;
    let options = Options { acquire_timeout: Duration::from_secs(3600), ..Options::default() };
    let begun = Instant::now();
    let outcome = PoolCheck::new(seen.clone(), options).run(&Context::within(Duration::from_secs(60))).await;
    assert_eq!((reason(&outcome), outcome.detail()), ("exhausted", "also: 1 callers wait for a connection"));
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for {:?}", begun.elapsed());
    drop(held);
    drop(waiting.await.unwrap());
}

#[tokio::test]
async fn a_mysql_that_freezes_is_a_timeout_and_its_connection_is_not_given_back() {
    let mut server = Mysql::start();
    let (_pool, seen) = pool(&server.url(), 1);
    let check = check(&seen);
    assert_eq!(reason(&run(&check).await), "pass");
    settled(&seen, stats(0, 1, 1)).await;
    server.pause();
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while asking on a connection of the pool");
    settled(&seen, stats(0, 0, 1)).await;
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while waiting for a connection of the pool");
    server.resume();
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_mysql_that_is_gone_or_refuses_is_told_from_a_pool_that_is_used_up() {
    let mut server = Mysql::start();
    let (_pool, refused) = pool(&server.url_with_password(PLANTED), 2);
    let outcome = run(&check(&refused)).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "password not accepted"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    assert!(!format!("{refused:?}").contains(PLANTED));
    let (pool, seen) = pool(&server.url(), 2);
    assert_eq!(reason(&run(&check(&seen)).await), "pass");
    server.stop();
    let outcome = run(&check(&seen)).await;
    assert_eq!(reason(&outcome), "refused", "{outcome:?}");
    assert!(!outcome.message().contains("127.0.0.1"));
    pool.disconnect().await.unwrap();
    assert_eq!((reason(&run(&check(&seen)).await)), "not_ready");
}
