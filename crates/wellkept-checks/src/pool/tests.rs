//! The check on a real pool of connections to a real PostgreSQL.

use deadpool_postgres::{Config, Runtime};
use serde_json::json;
use tokio_postgres::NoTls;
use wellkept_health::Verdict;
use wellkept_testkit::Postgres;

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, reason, run, run_into_timeout};

fn pool(url: String, max_size: usize) -> deadpool_postgres::Pool {
    let config = Config { url: Some(url), ..Config::default() };
    let builder = config.builder(NoTls).expect("the URL can be read");
    builder.max_size(max_size).runtime(Runtime::Tokio1).build().expect("there is a runtime")
}

fn check(pool: &deadpool_postgres::Pool) -> Pool<deadpool_postgres::Pool> {
    Pool::new(pool.clone(), Options::default())
}

#[tokio::test]
async fn a_pool_that_gives_a_connection_passes_with_its_figures() {
    let server = Postgres::start();
    let pool = pool(server.url(), 4);
    let check = check(&pool);
    assert_eq!(run(&check).await.metadata()["pool"], json!({ "active": 0, "idle": 0, "max": 4, "waiting": 0 }));
    let held = pool.get().await.unwrap();
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    // The first run has left a connection, which is held now, and the second one opens its own.
    assert_eq!(outcome.metadata()["pool"], json!({ "active": 1, "idle": 0, "max": 4, "waiting": 0 }));
    drop(held);
    for _ in 0..10 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    assert_eq!(pool.status().size, 2);
}

#[tokio::test]
async fn a_pool_in_full_use_is_exhausted_and_passes_when_a_connection_comes_back() {
    let server = Postgres::start();
    let pool = pool(server.url(), 2);
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let check = check(&pool);
    let begun = std::time::Instant::now();
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("exhausted", Verdict::Fail), "{outcome:?}");
    assert_eq!(outcome.message(), "all connections of the pool are in use");
    assert_eq!(outcome.metadata()["pool"], json!({ "active": 2, "idle": 0, "max": 2, "waiting": 0 }));
    assert!(begun.elapsed() < Duration::from_secs(10), "far sooner than the run's timeout");
    // It has left the queue.
    assert_eq!(pool.status().waiting, 0);
    drop(held);
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn where_callers_wait_already_the_check_does_not_join_them() {
    let server = Postgres::start();
    let pool = pool(server.url(), 1);
    let held = pool.get().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.unwrap() }
    });
    while pool.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let slow = Pool::new(pool.clone(), Options { acquire_timeout: Duration::from_secs(3600), ..Options::default() });
    let begun = std::time::Instant::now();
    let outcome = run(&slow).await;
    assert!(begun.elapsed() < PATIENCE / 2, "it has waited with them, for {:?}", begun.elapsed());
    assert_eq!((reason(&outcome), outcome.verdict()), ("exhausted", Verdict::Fail));
    assert_eq!(outcome.detail(), "also: 1 callers wait for a connection");
    assert_eq!(outcome.metadata()["pool"]["waiting"], json!(1));
    drop(held);
    drop(waiting.await.unwrap());
    assert_eq!(reason(&run(&slow).await), "pass");
}

#[tokio::test]
async fn a_limit_degrades_a_pool_that_still_gives_connections() {
    let server = Postgres::start();
    let pool = pool(server.url(), 4);
    let check = Pool::new(pool.clone(), Options { degraded_above: Ratio::new(0.5), ..Options::default() });
    let mut held = vec![pool.get().await.unwrap(), pool.get().await.unwrap()];
    assert_eq!(reason(&run(&check).await), "pass");
    held.push(pool.get().await.unwrap());
    let outcome = run(&check).await;
    assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "75.0% of the pool's connections used"));
}

#[tokio::test]
async fn a_server_that_freezes_is_a_timeout_and_its_connection_is_not_given_back() {
    let mut server = Postgres::start();
    let pool = pool(server.url(), 1);
    let check = check(&pool);
    assert_eq!(reason(&run(&check).await), "pass");
    server.pause();
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while asking on a connection of the pool");
    assert_eq!(pool.status().size, 0);
    assert_eq!(run_into_timeout(&check).await.detail(), "timed out while waiting for a connection of the pool");
    server.resume();
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_server_that_is_gone_or_refuses_is_told_from_a_pool_that_is_used_up() {
    let mut server = Postgres::start();
    let outcome = run(&check(&pool(server.url_with_password(PLANTED), 2))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "password not accepted"));
    assert_keeps_secrets(&outcome);
    let pool = pool(server.url(), 2);
    let check = check(&pool);
    server.stop();
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "refused", "{outcome:?}");
    assert!(!outcome.message().contains("127.0.0.1"));
    pool.close();
    assert_eq!((reason(&run(&check).await)), "not_ready");
}
