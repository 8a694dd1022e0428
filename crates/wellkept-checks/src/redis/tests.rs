//! The claims of the check, held against a real server, and against small false ones for what a real one does rarely.

mod states;

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wellkept_health::Verdict;
use wellkept_testkit::{Fault, FaultProxy, RedisOptions, free_port, until};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout, untrusted_tls_server};

type Server = wellkept_testkit::Redis;

fn check(url: impl Into<String>) -> Redis {
    Redis::by_url(url.into()).unwrap()
}

fn with_password() -> Server {
    Server::start_with(RedisOptions { password: Some("p@ss:w/rd".to_owned()), ..RedisOptions::default() })
}

/// Connections that checks have at the server.
fn sessions(server: &Server) -> usize {
    server.execute(&["CLIENT", "LIST"]).lines().filter(|line| !line.contains("cmd=client|list")).count()
}

#[tokio::test]
async fn a_server_that_answers_passes_with_its_readings() {
    let server =
        Server::start_with(RedisOptions { maxmemory: Some("100mb".to_owned()), ..RedisOptions::default() });
    server.execute(&["SET", "key", "value"]);
    for _ in 0..19 {
        server.execute(&["GET", "key"]);
    }
    server.execute(&["GET", "missing"]);
    let outcome = run(&check(server.url())).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let metadata = outcome.metadata();
    assert_eq!(metadata["role"], "primary");
    assert_eq!(metadata["hit_rate"], 0.95);
    assert_eq!(metadata["maxmemory_bytes"], 100 * 1024 * 1024);
    let usage = metadata["memory_usage"].as_f64().unwrap();
    assert!(usage > 0.0 && usage < 0.5, "{metadata:?}");
    assert!(metadata["server_version"].as_str().unwrap().contains('.'), "{metadata:?}");
    assert!(metadata["connected_clients"].as_u64().unwrap() >= 1, "{metadata:?}");
}

#[tokio::test]
async fn a_server_without_a_limit_tells_its_share_of_the_machines_memory() {
    let server = Server::start();
    let outcome = run(&check(server.url())).await;
    let usage = outcome.metadata()["memory_usage"].as_f64().unwrap();
    assert!((0.0..0.1).contains(&usage), "{outcome:?}");
    assert!(!outcome.metadata().contains_key("maxmemory_bytes"), "{outcome:?}");
}

#[tokio::test]
async fn fifty_runs_take_one_connection_and_one_ping_each() {
    let server = with_password();
    let check = check(server.url());
    for _ in 0..50 {
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    assert_eq!(sessions(&server), 1);
    let statistics = server.execute(&["INFO", "commandstats"]);
    // One more PING is the one by which the test saw that the server was there.
    assert!(statistics.contains("cmdstat_ping:calls=51,"), "{statistics}");
    assert!(statistics.contains("cmdstat_auth:calls="), "{statistics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_on_top_of_each_other_leave_one_connection() {
    let server = Server::start();
    let check = check(server.url());
    for _ in 0..5 {
        tokio::join!(run(&check), run(&check), run(&check));
    }
    until(PATIENCE, "the other connections to close", || sessions(&server) == 1);
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let outcome = run(&check(format!("redis://u:{PLANTED}@127.0.0.1:{}/0", free_port()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"));
    assert_keeps_secrets(&outcome);
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_an_auth_failure_that_does_not_show_it() {
    let server = with_password();
    for user in ["", "nobody"] {
        let url = format!("redis://{user}:{PLANTED}@127.0.0.1:{}/3", server.port());
        let outcome = run(&check(url)).await;
        assert_eq!((reason(&outcome), outcome.message()), ("auth", "password not accepted"), "{outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    let outcome = run(&check(format!("redis://127.0.0.1:{}", server.port()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "password is required"), "{outcome:?}");
}

#[tokio::test]
async fn a_user_who_may_not_run_info_gets_a_verdict_without_readings() {
    let server = Server::start();
    server.execute(&["ACL", "SETUSER", "prober", "on", ">secret", "+ping"]);
    let outcome = run(&check(format!("redis://prober:secret@127.0.0.1:{}", server.port()))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert!(outcome.metadata().is_empty(), "{outcome:?}");
    server.execute(&["ACL", "SETUSER", "prober", "-ping"]);
    let outcome = run(&check(format!("redis://prober:secret@127.0.0.1:{}", server.port()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "user is not permitted"), "{outcome:?}");
}

#[tokio::test]
async fn a_frozen_server_is_given_up_before_the_deadline_and_passes_once_it_goes_on() {
    let mut server = with_password();
    let kept = check(server.url());
    let fresh = check(server.url());
    assert_eq!(reason(&run(&kept).await), "pass");
    server.pause();
    assert_eq!(run_into_timeout(&kept).await.detail(), "timed out while waiting for the answer to PING");
    assert_eq!(run_into_timeout(&fresh).await.detail(), "timed out while logging in");
    server.resume();
    assert_eq!(reason(&run(&kept).await), "pass");
    assert_eq!(reason(&run(&fresh).await), "pass");
}

#[tokio::test]
async fn a_restarted_server_passes_with_the_same_check_at_once() {
    let mut server = Server::start();
    let check = check(server.url());
    assert_eq!(reason(&run(&check).await), "pass");
    server.stop();
    assert_eq!(reason(&run(&check).await), "refused");
    server.start_again();
    assert_eq!(reason(&run(&check).await), "pass");
    // The kept connection is broken, and nobody has noticed yet.
    server.stop();
    server.start_again();
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(sessions(&server), 1);
}

#[tokio::test]
async fn a_full_server_is_exhausted() {
    let server = Server::start();
    let first = check(server.url());
    run(&first).await;
    // The one that sets the limit is gone by the time it holds for others.
    server.execute(&["CONFIG", "SET", "maxclients", "1"]);
    let outcome = run(&check(server.url())).await;
    assert_eq!((reason(&outcome), outcome.message()), ("exhausted", "too many connections"), "{outcome:?}");
    let outcome = run(&check(server.url().replace("://", "://:password@"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("exhausted", "too many connections"), "{outcome:?}");
}

#[tokio::test]
async fn a_replica_without_its_primary_is_degraded() {
    let server = Server::start();
    server.execute(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let check = check(server.url());
    let outcome = run(&check).await;
    assert_eq!(outcome.verdict(), Verdict::Warn);
    assert_eq!((reason(&outcome), outcome.message()), ("not_ready", "replica has lost its primary"));
    assert_eq!(outcome.metadata()["role"], "replica");
    server.execute(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    let outcome = run(&check).await;
    assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Fail, "not_ready"), "{outcome:?}");
    assert!(outcome.detail().starts_with("MASTERDOWN"), "{outcome:?}");
}

#[tokio::test]
async fn memory_that_is_full_and_may_not_be_freed_is_degraded() {
    let server = Server::start();
    server.execute(&["CONFIG", "SET", "maxmemory", "100kb"]);
    let outcome = run(&check(server.url())).await;
    assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Warn, "exhausted"), "{outcome:?}");
    server.execute(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert_eq!(reason(&run(&check(server.url())).await), "pass");
}

#[tokio::test]
async fn answers_that_refuse_are_told_apart() {
    for (answer, verdict, expected) in [
        ("LOADING Redis is loading the dataset in memory", Verdict::Fail, "not_ready"),
        ("MISCONF Redis is configured to save RDB snapshots", Verdict::Warn, "not_ready"),
        ("READONLY You can't write against a read only replica.", Verdict::Warn, "not_ready"),
        ("OOM command not allowed", Verdict::Warn, "exhausted"),
        ("NOAUTH Authentication required.", Verdict::Fail, "auth"),
        ("BUSY Redis is busy running a script", Verdict::Fail, "not_ready"),
        ("CLUSTERDOWN The cluster is down", Verdict::Fail, "not_ready"),
        ("ERR unknown command", Verdict::Fail, "error"),
    ] {
        let (port, _connections) = false_server(format!("-{answer}\r\n")).await;
        let outcome = run(&check(format!("redis://127.0.0.1:{port}"))).await;
        assert_eq!((outcome.verdict(), reason(&outcome)), (verdict, expected), "{answer}: {outcome:?}");
        assert_eq!(outcome.detail(), answer);
    }
}

#[tokio::test]
async fn what_is_no_redis_is_a_protocol_failure() {
    let (port, _connections) = false_server("HTTP/1.1 400 Bad Request\r\n".to_owned()).await;
    let outcome = run(&check(format!("redis://127.0.0.1:{port}"))).await;
    assert_eq!(reason(&outcome), "protocol", "{outcome:?}");
    let (port, _connections) = false_server("+SMTP\r\n".to_owned()).await;
    let outcome = run(&check(format!("redis://127.0.0.1:{port}"))).await;
    assert_eq!(reason(&outcome), "protocol", "{outcome:?}");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_tried_once_more_and_then_a_network_failure() {
    let (port, connections) = false_server(String::new()).await;
    let outcome = run(&check(format!("redis://127.0.0.1:{port}"))).await;
    assert_eq!(reason(&outcome), "network", "{outcome:?}");
    assert!(connections.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn the_faults_of_a_network_are_told_apart() {
    let server = Server::start_with(RedisOptions { password: Some(PLANTED.to_owned()), ..RedisOptions::default() });
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(([127, 0, 0, 1], server.port()).into(), fault);
        let check = check(format!("redis://:{PLANTED}@{}", proxy.address()));
        (proxy, check)
    };
    for (fault, expected) in [
        (Fault::Drip(Duration::from_micros(10)), "pass"),
        (Fault::ResetAfter(0), "network"),
        (Fault::ResetAfter(300), "network"),
        (Fault::HalfCloseAfter(0), "network"),
        (Fault::HalfCloseAfter(300), "network"),
    ] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), expected, "{fault:?}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    for fault in [Fault::BlackHole, Fault::SilentAfter(300), Fault::Drip(Duration::from_secs(1))] {
        let (_proxy, check) = through(fault);
        assert_keeps_secrets(&run_into_timeout(&check).await);
    }
}

#[tokio::test]
async fn without_a_trusted_certificate_there_is_no_encrypted_connection() {
    let port = untrusted_tls_server().await;
    let outcome = run(&check(format!("rediss://:{PLANTED}@127.0.0.1:{port}"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    // Redis itself waits for the end of a line that never comes.
    let server = Server::start();
    let outcome = run_into_timeout(&check(format!("rediss://127.0.0.1:{}", server.port()))).await;
    assert_eq!(outcome.detail(), "timed out while shaking hands for TLS");
}

#[test]
fn what_cannot_be_a_url_is_reported_without_any_of_it() {
    for url in [
        format!("http://:{PLANTED}@cache"),
        format!("redis://:{PLANTED}@"),
        format!("redis://:{PLANTED}@cache:port"),
        format!("redis://:{PLANTED}@cache/{PLANTED}"),
        format!("redis://:{PLANTED}%ff@cache"),
        format!("{PLANTED}@cache"),
    ] {
        let reported = configured(&format!("redis: {{ url: \"{url}\" }}")).unwrap_err();
        assert!(reported.starts_with("test.yaml:1:15: "), "{reported}");
        assert!(!reported.contains(PLANTED), "{reported}");
    }
    let options = Options::new(format!("redis://:{PLANTED}@cache"));
    assert!(!format!("{options:?}").contains(PLANTED));
    assert!(!format!("{:?}", Redis::new(options).unwrap()).contains(PLANTED));
}

#[test]
fn a_url_says_where_and_who() {
    let parsed = check("valkeys://us%20er:p%40ss@[::1]/7");
    assert_eq!(parsed.server.target.to_string(), "[::1]:6379");
    assert!(parsed.server.encrypted);
    assert_eq!((parsed.server.login.username(), parsed.server.login.password()), (Some("us er"), Some("p@ss")));
    assert_eq!(parsed.server.login.db(), 7);
    configured("redis: { url: 'redis://127.0.0.1:6379/0' }").unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_text_give_an_outcome_in_whole_text() {
    let server = Server::start();
    // The first word of an error that a script makes stands in INFO from then on.
    server.execute(&["EVAL", r"return redis.error_reply('\255\254 boom')", "0"]);
    let told = server.execute(&["INFO"]);
    assert!(told.contains("errorstat_\u{fffd}\u{fffd}:count=1"), "{told}");
    let outcome = run(&check(server.url())).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert_eq!(outcome.metadata()["role"], "primary");
    assert_eq!(outcome.metadata().len(), run(&check(Server::start().url())).await.metadata().len(), "{outcome:?}");

    // What a script says is no answer to PING: for that it takes a server of another make.
    for answer in [&b"-ERR \xff\xfe boom\r\n"[..], b"-\xff\xfe\r\n", b"+\xff\xfe\r\n"] {
        let (port, _connections) = false_server(answer).await;
        let outcome = run(&check(format!("redis://127.0.0.1:{port}"))).await;
        assert_eq!((reason(&outcome), outcome.message()), ("protocol", "not an answer that Redis gives"), "{outcome:?}");
        assert!(outcome.detail().contains("invalid utf-8 sequence"), "{outcome:?}");
    }
}

/// A server that answers every read with this text, and closes when it has none.
async fn false_server(answer: impl Into<Vec<u8>>) -> (u16, std::sync::Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = std::sync::Arc::<AtomicUsize>::default();
    let (answer, count) = (answer.into(), connections.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            // CLIENT SETINFO twice, then PING and INFO.
            let mut left = 4;
            let mut buffer = vec![0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                let commands = String::from_utf8_lossy(&buffer[..read]).matches('*').count();
                let answers = answer.repeat(commands.min(left));
                left -= commands.min(left);
                if answers.is_empty() || stream.write_all(&answers).await.is_err() {
                    break;
                }
            }
        }
    });
    (port, connections)
}
