//! What the check says of a server that answers: its role, its lag, its connections and transactions.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use wellkept_health::Verdict;

use super::*;

/// Runs until the outcome has this reason, as what a server says of itself takes a moment to change.
async fn becomes(check: &Mysql, wanted: &str) -> Outcome {
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
async fn session(url: &str) -> Conn {
    Conn::new(Opts::from_url(&format!("{url}?prefer_socket=false")).unwrap()).await.unwrap()
}

#[tokio::test]
async fn the_value_that_mysql_gives_is_compared_and_kept_from_the_public() {
    let server = Server::start();
    for (query, expected, reason_of, detail) in [
        ("SELECT 99", "< 100", "pass", ""),
        ("SELECT 100.0", "< 100", "unexpected", "expected < 100, found `100.0`"),
        ("SELECT 'done', 'failed'", "!= failed", "pass", ""),
        ("SELECT true", "1", "pass", ""),
        ("SELECT NULL", "1", "unexpected", "expected 1, found null"),
        ("SELECT NULL", "null", "pass", ""),
        ("SELECT 1 FROM DUAL WHERE false", "1", "unexpected", "expected 1, found no row"),
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
async fn a_mysql_that_refuses_writes_is_no_primary_and_a_query_that_writes_says_so() {
    let mut server = Server::start();
    let primary = configured_check(&server.url(), "role: primary");
    let outcome = run(&primary).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["read_only"]), ("pass", &json!(false)), "{outcome:?}");
    let replica = run(&configured_check(&server.url(), "role: replica")).await;
    assert_eq!((reason(&replica), replica.verdict()), ("not_ready", Verdict::Fail));
    assert_eq!(replica.message(), "server copies no other, a replica is expected");

    server.execute("create table app.written (i int); set global read_only = on");
    let outcome = run(&primary).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Fail));
    assert_eq!(outcome.message(), "server is read-only, a primary is expected");
    assert_eq!(reason(&run(&super::check(server.url())).await), "pass");
    let plain = server.url_of_new_user("plain");
    server.execute("grant all on app.* to plain@'%'");
    let writing = check_with_query(plain, "INSERT INTO app.written VALUES (1)");
    let outcome = run(&writing).await;
    assert_eq!((reason(&outcome), outcome.message()), ("not_ready", "server does not accept writes"), "{outcome:?}");
    server.execute("set global read_only = off");
    assert_eq!(reason(&run(&primary).await), "pass");

    server.start_again_with(&["--innodb-read-only"]);
    assert_eq!(server.execute("select @@global.read_only, @@global.innodb_read_only"), "0\t1");
    let outcome = run(&primary).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["read_only"]), ("not_ready", &json!(true)), "{outcome:?}");
    assert_eq!(outcome.message(), "server is read-only, a primary is expected");
}

#[tokio::test]
async fn a_mysql_replica_is_told_from_its_primary_and_tells_its_lag() {
    let primary = Server::start();
    let replica = primary.start_replica();
    primary.execute("create table app.written (i int)");

    let outcome = run(&configured_check(&replica.url(), "role: primary")).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Fail));
    assert_eq!(outcome.message(), "server is a replica, a primary is expected");
    assert_eq!(reason(&run(&configured_check(&primary.url(), "role: primary, lag_degraded_above: 1h")).await), "pass");

    let check = configured_check(&replica.url(), "role: replica, lag_degraded_above: 1h");
    let metadata = becomes(&check, "pass").await.metadata().clone();
    let told = ["read_only", "replica", "receiving", "applying"].map(|name| &metadata[name]);
    assert_eq!(told, [&json!(true); 4], "{metadata:?}");
    // What it copies is a while ago by now, and nothing is late.
    assert_eq!(metadata["lag_s"], json!(0.0));

    replica.execute("set global read_only = off");
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.message()), ("not_ready", "replica accepts writes"));
    assert_eq!(outcome.verdict(), Verdict::Warn);
}

#[tokio::test]
async fn a_mysql_replica_that_is_late_degrades_and_catches_up() {
    let primary = Server::start();
    primary.execute("create table app.written (i int)");
    let replica = primary.start_replica();
    let late = configured_check(&replica.url(), "role: replica, lag_degraded_above: 500ms");
    becomes(&late, "pass").await;
    // What holds the table holds what is to be applied to it.
    let mut holder = session(&replica.url()).await;
    holder.query_drop("LOCK TABLES app.written READ").await.unwrap();
    primary.execute("insert into app.written values (1)");
    let outcome = becomes(&late, "threshold").await;
    assert_eq!((outcome.verdict(), outcome.metadata()["applying"].clone()), (Verdict::Warn, json!(true)));
    assert!(outcome.message().starts_with("replication is ") && outcome.message().ends_with(" s behind"), "{outcome:?}");
    assert!(outcome.metadata()["lag_s"].as_f64().unwrap() >= 1.0, "{outcome:?}");
    holder.query_drop("UNLOCK TABLES").await.unwrap();
    becomes(&late, "pass").await;
}

#[tokio::test]
async fn replication_that_stopped_is_told_and_its_lag_grows_from_what_it_was() {
    let primary = Server::start();
    primary.execute("create table app.written (i int primary key)");
    let replica = primary.start_replica();
    let expected = configured_check(&replica.url(), "role: replica");
    let late = configured_check(&replica.url(), "lag_degraded_above: 1h");
    let unhealthy = configured_check(&replica.url(), "lag_degraded_above: 100ms, lag_unhealthy_above: 200ms");
    for check in [&expected, &late, &unhealthy] {
        becomes(check, "pass").await;
    }
    // What the replica has already can't be applied.
    replica.execute("insert into app.written values (1)");
    primary.execute("insert into app.written values (1)");
    for check in [&expected, &late] {
        let outcome = becomes(check, "not_ready").await;
        assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "replication has stopped"));
        assert!(outcome.detail().contains("Duplicate entry"), "{outcome:?}");
        assert_eq!((&outcome.metadata()["applying"], &outcome.metadata()["receiving"]), (&json!(false), &json!(true)));
    }
    let outcome = becomes(&unhealthy, "threshold").await;
    assert!(outcome.message().starts_with("replication is 0."), "{outcome:?}");
    // A check that never knew a lag does not take the limit for kept.
    let fresh = configured_check(&replica.url(), "lag_unhealthy_above: 1h");
    let outcome = run(&fresh).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Warn), "{outcome:?}");
    assert!(!outcome.metadata().contains_key("lag_s"), "{outcome:?}");
    // Whoever asks for no replica and sets no limit hears of it in the metadata.
    let outcome = run(&super::check(replica.url())).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["applying"]), ("pass", &json!(false)));

    replica.execute("delete from app.written; start slave");
    for check in [&expected, &late, &unhealthy, &fresh] {
        becomes(check, "pass").await;
    }
}

#[tokio::test]
async fn a_mysql_replica_whose_primary_is_gone_says_so_and_one_that_was_promoted_is_a_primary() {
    let mut primary = Server::start();
    let replica = primary.start_replica();
    let expected = configured_check(&replica.url(), "role: replica");
    let late = configured_check(&replica.url(), "lag_degraded_above: 100ms, lag_unhealthy_above: 200ms");
    becomes(&expected, "pass").await;
    becomes(&late, "pass").await;
    primary.stop();
    let outcome = becomes(&expected, "not_ready").await;
    assert_eq!((outcome.verdict(), &outcome.metadata()["receiving"]), (Verdict::Warn, &json!(false)));
    assert_eq!(outcome.message(), "replica is not connected to the server that it copies");
    assert!(!outcome.detail().is_empty());
    becomes(&late, "threshold").await;
    primary.start_again();
    becomes(&expected, "pass").await;
    becomes(&late, "pass").await;

    let promoted = configured_check(&replica.url(), "role: primary");
    assert_eq!(run(&promoted).await.message(), "server is a replica, a primary is expected");
    replica.execute("stop slave; set global read_only = off");
    assert_eq!(reason(&run(&promoted).await), "pass");
}

#[tokio::test]
async fn connections_near_max_connections_degrade_and_a_full_mysql_is_exhausted() {
    let server = Server::start_with(&["--max-connections=20"]);
    let url = server.url_of_new_user("plain");
    let check = configured_check(&url, "connections_unhealthy_above: 99%");
    assert_eq!(reason(&run(&check).await), "pass");
    // One is the check's own.
    let mut others = Vec::new();
    for _ in 0..18 {
        others.push(session(&url).await);
    }
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.verdict(), outcome.message()), (
        "threshold",
        Verdict::Warn,
        "95.0% of connections used",
    ));
    assert_eq!(outcome.remaining(), Some(("connections_left", 1.0)));
    others.push(session(&url).await);
    let outcome = run(&check).await;
    assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Fail, "100.0% of connections used"));
    let outcome = run(&super::check(url)).await;
    assert_eq!((reason(&outcome), outcome.message()), ("exhausted", "too many connections"), "{outcome:?}");
    assert!(outcome.detail().starts_with("1040"), "{outcome:?}");
}

#[tokio::test]
async fn a_user_who_has_all_connections_that_are_theirs_is_exhausted() {
    let server = Server::start();
    let url = server.url_of_new_user("few");
    server.execute("alter user few@'%' with max_user_connections 1");
    let _held = session(&url).await;
    let outcome = run(&check(url)).await;
    assert_eq!(reason(&outcome), "exhausted", "{outcome:?}");
}

#[tokio::test]
async fn transactions_that_are_old_idle_or_left_prepared_degrade_a_mysql_server() {
    let server = Server::start_with(&["--default-time-zone=+05:00"]);
    server.execute("create table app.held (i int)");
    // What InnoDB tells of transactions stays as it is for as long as somebody looks every tenth of a second.
    let now_and_then = "query: SELECT SLEEP(0.15)";
    let old = configured_check(&server.url(), &format!("{now_and_then}, transaction_degraded_above: 500ms"));
    let idle = configured_check(&server.url(), &format!("{now_and_then}, idle_transaction_degraded_above: 50ms"));
    assert_eq!(reason(&run(&old).await), "pass");
    assert_eq!(reason(&run(&idle).await), "pass");
    let mut other = session(&server.url()).await;
    other.query_drop("BEGIN").await.unwrap();
    other.query_drop("INSERT INTO app.held VALUES (1)").await.unwrap();
    let outcome = becomes(&idle, "threshold").await;
    assert!(outcome.message().starts_with("a transaction has been idle for 0."), "{outcome:?}");
    assert_eq!((outcome.verdict(), &outcome.metadata()["idle_in_transaction"]), (Verdict::Warn, &json!(1)));
    let outcome = becomes(&old, "threshold").await;
    assert_eq!((outcome.verdict(), outcome.message()), (Verdict::Warn, "oldest transaction is 1.0 s old"));
    other.query_drop("COMMIT").await.unwrap();
    becomes(&old, "pass").await;
    becomes(&idle, "pass").await;

    for statement in ["XA START 'left'", "INSERT INTO app.held VALUES (2)", "XA END 'left'", "XA PREPARE 'left'"] {
        other.query_drop(statement).await.unwrap();
    }
    other.disconnect().await.unwrap();
    becomes(&old, "threshold").await;
    assert_eq!(reason(&run(&idle).await), "pass");
    server.execute("xa rollback 'left'");
    becomes(&old, "pass").await;
}

#[tokio::test]
async fn a_role_or_limit_on_what_the_mysql_user_may_not_see_is_not_taken_for_kept() {
    let server = Server::start();
    let plain = server.url_of_new_user("plain");
    for (keys, right) in [
        ("transaction_degraded_above: 1h", "process"),
        ("idle_transaction_degraded_above: 1h", "process"),
        ("lag_degraded_above: 1h", "slave monitor"),
        ("role: primary", "slave monitor"),
    ] {
        let check = configured_check(&plain, keys);
        for _ in 0..2 {
            let outcome = run(&check).await;
            assert_eq!((reason(&outcome), outcome.verdict()), ("auth", Verdict::Warn), "{keys}: {outcome:?}");
            assert_eq!(outcome.message(), "user may not see what a role or limit is set on");
        }
        // It counts at once, and then the connection is kept.
        server.execute(&format!("grant {right} on *.* to plain@'%'"));
        assert_eq!(reason(&run(&check).await), "pass", "{keys}");
        server.execute(&format!("revoke {right} on *.* from plain@'%'"));
        assert_eq!(reason(&run(&check).await), "pass", "{keys}");
    }
    // A server that is read-only is no primary, whatever else may be seen.
    server.execute("set global read_only = on");
    let outcome = run(&configured_check(&plain, "role: primary")).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Fail));
}
