//! What the check says of a server that answers: its role, its lag, its connections and transactions.

use serde_json::json;
use tokio_postgres::{Client, NoTls};
use wellkept_config::Document;
use wellkept_health::Verdict;
use wellkept_testkit::{Fault, FaultProxy};

use super::*;

/// With further keys, as a configuration has them.
fn configured_check(url: &str, keys: &str) -> Postgres {
    let document = Document::parse("test.yaml", &format!("postgres: {{ url: \"{url}\", {keys} }}")).unwrap();
    let options = document.read(|root| root.section("postgres", read_options)).unwrap();
    Postgres::new(options).unwrap()
}

/// Runs until the outcome has this reason, as what a server says of itself takes a moment to change.
async fn becomes(check: &Postgres, wanted: &str) -> Outcome {
    let mut latest = None;
    let runs = async {
        loop {
            let outcome = run(check).await;
            if reason(&outcome) == wanted {
                return outcome;
            }
            latest = Some(outcome);
        }
    };
    let became = tokio::time::timeout(PATIENCE, runs).await.ok();
    became.unwrap_or_else(|| panic!("never became {wanted}, latest {latest:?}"))
}

/// A session of somebody else's.
async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn the_value_that_a_query_gives_is_compared_and_kept_from_the_public() {
    let server = Server::start();
    for (query, expected, reason_of, detail) in [
        ("SELECT 99", "< 100", "pass", ""),
        ("SELECT 100.0", "< 100", "unexpected", "expected < 100, found `100.0`"),
        ("SELECT 'done', 'failed'", "!= failed", "pass", ""),
        ("SELECT true", "t", "pass", ""),
        ("SELECT NULL", "1", "unexpected", "expected 1, found null"),
        ("SELECT NULL", "null", "pass", ""),
        ("SELECT 1 WHERE false", "1", "unexpected", "expected 1, found no row"),
        ("SELECT 1 UNION ALL SELECT 2 ORDER BY 1 -- the first", "1", "pass", ""),
        ("SELECT 'hunter2-planted'", "x", "unexpected", "expected x, found `hunter2-planted`"),
    ] {
        let check = configured_check(&server.url(), &format!("query: \"{query}\", expect: \"{expected}\""));
        let outcome = run(&check).await;
        assert_eq!((reason(&outcome), outcome.detail()), (reason_of, detail), "{query}: {outcome:?}");
        assert!(!outcome.message().contains(PLANTED), "{outcome:?}");
        assert!(!format!("{:?}", outcome.metadata()).contains(PLANTED), "{outcome:?}");
    }
    let check = configured_check(&server.url(), "query: SELECT 99, expect: '< 100'");
    assert_eq!(run(&check).await.metadata()["value"], json!(99.0));
}

#[tokio::test]
async fn a_server_that_refuses_writes_by_a_setting_is_no_primary() {
    let server = Server::start();
    let check = configured_check(&server.url(), "role: primary");
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["read_only"]), ("pass", &json!(false)), "{outcome:?}");
    server.execute("alter system set default_transaction_read_only = on");
    server.execute("select pg_reload_conf()");
    let outcome = becomes(&check, "not_ready").await;
    assert_eq!(outcome.message(), "server is read-only, a primary is expected");
    assert_eq!(reason(&run(&super::check(server.url())).await), "pass");
}

#[tokio::test]
async fn a_replica_is_told_from_its_primary_and_each_tells_the_lag() {
    let primary = Server::start();
    let replica = primary.start_replica();
    primary.execute("create table written ()");

    let outcome = run(&configured_check(&replica.url(), "role: primary")).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Fail));
    assert_eq!(outcome.message(), "server is a replica, a primary is expected");
    let outcome = run(&configured_check(&primary.url(), "role: replica")).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Fail));

    let limits = "lag_degraded_above: 1h, lag_bytes_degraded_above: 1B, lag_bytes_unhealthy_above: 1GiB";
    let of_replica = configured_check(&replica.url(), &format!("role: replica, {limits}"));
    let of_primary = configured_check(&primary.url(), &format!("role: primary, {limits}"));
    let outcome = becomes(&of_replica, "pass").await;
    assert_eq!(outcome.metadata()["receiving"], json!(true), "{outcome:?}");
    // The last write is a while ago by now, and nothing is late.
    assert_eq!((&outcome.metadata()["lag_s"], &outcome.metadata()["lag_bytes"]), (&json!(0.0), &json!(0)));
    assert_eq!(becomes(&of_primary, "pass").await.metadata()["replicas"], json!(1));

    replica.execute("select pg_wal_replay_pause()");
    primary.execute("create table written_too ()");
    for check in [&of_replica, &of_primary] {
        let outcome = becomes(check, "threshold").await;
        assert_eq!(outcome.verdict(), Verdict::Warn, "{outcome:?}");
        assert!(outcome.message().starts_with("replication is ") && outcome.message().ends_with(" bytes behind"));
        assert!(outcome.metadata()["lag_bytes"].as_u64().unwrap() > 1, "{outcome:?}");
    }
    replica.execute("select pg_wal_replay_resume()");
    becomes(&of_replica, "pass").await;
    becomes(&of_primary, "pass").await;
}

#[tokio::test]
async fn a_replica_whose_primary_is_gone_says_so_and_its_lag_grows() {
    let mut primary = Server::start();
    let replica = primary.start_replica();
    primary.execute("create table written ()");
    let expected = configured_check(&replica.url(), "role: replica");
    let late = configured_check(&replica.url(), "lag_degraded_above: 100ms, lag_unhealthy_above: 200ms");
    becomes(&expected, "pass").await;
    becomes(&late, "pass").await;
    primary.stop();
    let outcome = becomes(&expected, "not_ready").await;
    assert_eq!((outcome.verdict(), &outcome.metadata()["receiving"]), (Verdict::Warn, &json!(false)));
    assert_eq!(outcome.message(), "replica is not connected to the server that it copies");
    let outcome = becomes(&late, "threshold").await;
    assert!(outcome.message().starts_with("replication is 0."), "{outcome:?}");
    primary.start_again();
    becomes(&expected, "pass").await;
}

#[tokio::test]
async fn connections_near_the_limit_degrade_and_a_full_server_is_exhausted() {
    let server = Server::start();
    server.execute("create role plain login password 'x'");
    let plain = format!("postgres://plain:x@127.0.0.1:{}/postgres", server.port());
    let check = configured_check(&plain, "connections_unhealthy_above: 98%");
    assert_eq!(reason(&run(&check).await), "pass");
    // Of 50, three are for superusers only, and one is the check's own.
    let mut others = Vec::new();
    for _ in 0..43 {
        others.push(session(&plain).await);
    }
    let outcome = becomes(&check, "threshold").await;
    assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "93.6% of connections used"));
    assert_eq!(outcome.remaining(), Some(("connections_left", 3.0)));
    for _ in 0..3 {
        others.push(session(&plain).await);
    }
    let outcome = run(&check).await;
    assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Fail, "100.0% of connections used"));
    let outcome = run(&super::check(plain)).await;
    assert_eq!((reason(&outcome), outcome.message()), ("exhausted", "too many connections"), "{outcome:?}");
}

#[tokio::test]
async fn transactions_that_are_old_idle_or_left_prepared_degrade_the_server() {
    let mut server = Server::start();
    let old = configured_check(&server.url(), "transaction_degraded_above: 50ms");
    let idle = configured_check(&server.url(), "idle_transaction_degraded_above: 50ms");
    assert_eq!(reason(&run(&old).await), "pass");
    let other = session(&server.url()).await;
    other.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let outcome = becomes(&old, "threshold").await;
    assert_eq!(outcome.verdict(), Verdict::Warn);
    assert!(outcome.message().starts_with("oldest transaction is 0."), "{outcome:?}");
    let outcome = becomes(&idle, "threshold").await;
    assert!(outcome.message().starts_with("a transaction has been idle for 0."), "{outcome:?}");
    other.batch_execute("COMMIT").await.unwrap();
    becomes(&old, "pass").await;
    becomes(&idle, "pass").await;

    server.execute("alter system set max_prepared_transactions = 2");
    server.stop();
    server.start_again();
    let other = session(&server.url()).await;
    other.batch_execute("BEGIN; CREATE TABLE held (); PREPARE TRANSACTION 'left behind'").await.unwrap();
    becomes(&old, "threshold").await;
    assert_eq!(reason(&run(&idle).await), "pass");
    other.batch_execute("ROLLBACK PREPARED 'left behind'").await.unwrap();
    becomes(&old, "pass").await;
}

#[tokio::test]
async fn a_limit_on_what_the_user_may_not_see_is_not_taken_for_kept() {
    let primary = Server::start();
    let _replica = primary.start_replica();
    primary.execute("create role plain login password 'x'");
    let plain = format!("postgres://plain:x@127.0.0.1:{}/postgres", primary.port());
    let _other = session(&primary.url()).await;
    for limit in ["transaction_degraded_above: 1h", "idle_transaction_degraded_above: 1h", "lag_degraded_above: 1h"] {
        let check = configured_check(&plain, limit);
        let outcome = run(&check).await;
        assert_eq!((reason(&outcome), outcome.verdict()), ("auth", Verdict::Warn), "{limit}: {outcome:?}");
        assert_eq!(outcome.message(), "user may not see what a limit is set on");
        primary.execute("grant pg_read_all_stats to plain");
        becomes(&check, "pass").await;
        primary.execute("revoke pg_read_all_stats from plain");
    }
    assert_eq!(reason(&run(&configured_check(&plain, "role: primary")).await), "pass");
}

#[tokio::test]
async fn a_server_that_answers_one_byte_a_second_is_given_up_in_time() {
    let server = Server::start();
    let address = ([127, 0, 0, 1], server.port()).into();
    let slow = FaultProxy::in_front_of(address, Fault::Drip(Duration::from_secs(1)));
    let url = server.url().replace(&server.port().to_string(), &slow.address().port().to_string());
    let outcome = run_into_timeout(&check(format!("{url}?sslmode=disable"))).await;
    assert_eq!(outcome.detail(), "timed out while logging in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_in_the_middle_of_a_query_is_given_up_in_time() {
    let mut server = Server::start();
    let check = check_with_query(server.url(), "SELECT pg_sleep(60)");
    let running = tokio::spawn(async move { check.run(&Context::within(Duration::from_secs(3))).await });
    until(PATIENCE, "the query to begin", || server.execute(SESSIONS) == "1");
    server.pause();
    let outcome = tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    assert_eq!((reason(&outcome), outcome.detail()), ("timeout", "timed out while querying"), "{outcome:?}");
}

#[test]
fn limits_in_the_wrong_order_are_reported_where_they_stand() {
    for (keys, reported) in [
        ("connections_unhealthy_above: 80%", "must not be below connections_degraded_above"),
        ("lag_degraded_above: 2s, lag_unhealthy_above: 1s", "must not be below lag_degraded_above"),
        ("lag_bytes_degraded_above: 2B, lag_bytes_unhealthy_above: 1B", "must not be below lag_bytes_degraded_above"),
        ("role: leader", "expected any, primary or replica, found `leader`"),
        ("expect: '< many'", "expected a value, or a comparison such as < 100 or != failed"),
    ] {
        let text = configured(&format!("postgres: {{ url: 'postgres://db/x', {keys} }}")).unwrap_err();
        assert!(text.contains(reported), "{text}");
    }
}
