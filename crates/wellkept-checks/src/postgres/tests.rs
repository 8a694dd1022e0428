//! The claims of the check, held against a real server, and against small false ones for what a real one does rarely.

mod state;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant as Clock};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wellkept_testkit::{free_port, until};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

type Server = wellkept_testkit::Postgres;

/// Sessions that checks have at the server.
const SESSIONS: &str = "select count(*) from pg_stat_activity where application_name = 'wellkept'";

fn check(url: impl Into<String>) -> Postgres {
    Postgres::by_url(url.into()).unwrap()
}

fn check_with_query(url: String, query: &str) -> Postgres {
    Postgres::new(Options { query: query.to_owned(), ..Options::new(url) }).unwrap()
}

#[tokio::test]
async fn a_server_that_answers_passes_with_its_version_and_connections() {
    let server = Server::start();
    let check = check(server.url());
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let metadata = outcome.metadata();
    let version = server.execute("show server_version");
    assert_eq!(metadata["server_version"], version.split_whitespace().next().unwrap());
    assert_eq!(metadata["in_recovery"], false);
    let connections = &metadata["connections"];
    assert_eq!(connections["max"], 50);
    assert!(connections["active"].as_u64().unwrap() >= 1, "{connections}");
    assert!(connections["idle"].is_u64() && connections["total"].is_u64(), "{connections}");
    assert_keeps_secrets(&outcome);
}

#[tokio::test]
async fn fifty_runs_take_one_connection_and_one_message_each() {
    let server = Server::start();
    let proxy = Proxy::start(server.port()).await;
    let check = check(format!("{}?sslmode=disable", server.url().replace(&server.port().to_string(), &proxy.port)));
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    assert_eq!(server.execute(SESSIONS), "1");
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1);
    assert_eq!(proxy.messages.load(Ordering::SeqCst), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_on_top_of_each_other_leave_one_connection() {
    let server = Server::start();
    let check = check(server.url());
    for _ in 0..5 {
        tokio::join!(run(&check), run(&check), run(&check));
    }
    until(PATIENCE, "the other connections to close", || server.execute(SESSIONS) == "1");
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let outcome = run(&check(format!("postgres://u:{PLANTED}@127.0.0.1:{}/db", free_port()))).await;
    assert_eq!(reason(&outcome), "refused");
    assert_eq!(outcome.message(), "connection refused");
    assert!(outcome.detail().contains("127.0.0.1"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
}

#[tokio::test]
async fn a_name_that_cannot_be_is_a_dns_failure() {
    let outcome = run(&check(format!("postgres://u:{PLANTED}@{}.example/db", "x".repeat(64)))).await;
    assert_eq!(reason(&outcome), "dns", "{outcome:?}");
    assert_keeps_secrets(&outcome);
}

#[tokio::test]
async fn the_next_host_is_asked_when_the_first_refuses() {
    let server = Server::start();
    let both = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), server.port());
    let check = check(server.url().replace(&format!("127.0.0.1:{}", server.port()), &both));
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_wrong_or_missing_password_is_an_auth_failure_that_does_not_show_it() {
    let server = Server::start();
    let outcome = run(&check(server.url_with_password(PLANTED))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "password not accepted"));
    assert!(outcome.detail().contains("28P01"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    let outcome = run(&check(format!("postgres://wellkept@127.0.0.1:{}/postgres", server.port()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "login failed"));
    assert_eq!(outcome.detail(), "invalid configuration: password missing");
}

#[tokio::test]
async fn a_frozen_server_is_given_up_before_the_deadline_and_passes_once_it_goes_on() {
    let mut server = Server::start();
    let kept = check(server.url());
    let fresh = check(server.url());
    assert_eq!(reason(&run(&kept).await), "pass");
    server.pause();
    assert_eq!(run_into_timeout(&kept).await.detail(), "timed out while querying");
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
    assert_eq!(reason(&run(&check).await), "pass");
    assert_eq!(server.execute(SESSIONS), "1");
}

#[tokio::test]
async fn a_full_server_is_exhausted() {
    let server = Server::start();
    server.execute("create role full_up login password 'x' connection limit 0");
    let outcome = run(&check(format!("postgres://full_up:x@127.0.0.1:{}/postgres", server.port()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("exhausted", "too many connections"), "{outcome:?}");
}

#[tokio::test]
async fn a_query_that_is_refused_fails_and_keeps_the_connection() {
    let server = Server::start();
    let check = check_with_query(server.url(), "SELECT 1 FROM no_such_table -- a comment");
    let first = run(&check).await;
    assert_eq!((reason(&first), first.message()), ("error", "query failed"));
    assert!(first.detail().contains("42P01"), "{first:?}");
    let pid = "select pid from pg_stat_activity where application_name = 'wellkept'";
    let before = server.execute(pid);
    run(&check).await;
    assert_eq!(server.execute(pid), before);
    server.execute("create table no_such_table ()");
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn bytes_that_are_no_text_give_an_outcome_in_whole_text() {
    let server = Server::start();
    // A database without an encoding keeps what it is given, and hands it to who wants no encoding either.
    server.execute("create database raw encoding 'SQL_ASCII' template template0");
    let url = server.url().replace("/postgres", "/raw");
    let as_it_is = "SET client_encoding = SQL_ASCII; ";
    for (before, query, expected, detail) in [
        (as_it_is, r"SELECT E'\xff\xfe'", "pass", ""),
        ("", r"SELECT E'\xff\xfe'", "error", "ERROR 22021: invalid byte sequence for encoding \"UTF8\": 0xff"),
        (
            as_it_is,
            r"DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = E'no \xff\xfe here'; END $$",
            "error",
            "ERROR P0001: no \u{fffd}\u{fffd} here",
        ),
        (
            as_it_is,
            r#"DO $$ BEGIN EXECUTE E'create temp table t ("\xff\xfe" int)'; END $$; SELECT * FROM t"#,
            "protocol",
            "error parsing response from server: invalid utf-8 sequence of 1 bytes from index 0",
        ),
    ] {
        let check = check_with_query(url.clone(), &format!("{before}{query}"));
        for _ in 0..2 {
            let outcome = run(&check).await;
            assert_eq!((reason(&outcome), outcome.detail()), (expected, detail), "{query}: {outcome:?}");
            assert!(outcome.message().is_ascii(), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn without_rights_the_total_is_told_and_nothing_is_guessed() {
    let server = Server::start();
    server.execute("create role plain login password 'x'");
    let other = check(server.url());
    run(&other).await;
    let check = check(format!("postgres://plain:x@127.0.0.1:{}/postgres", server.port()));
    let connections = run(&check).await.metadata()["connections"].clone();
    assert_eq!(connections, serde_json::json!({ "total": 2, "max": 50 }));
    server.execute("grant pg_monitor to plain");
    let connections = run(&check).await.metadata()["connections"].clone();
    assert_eq!((&connections["active"], &connections["idle"]), (&json!(1), &json!(1)), "{connections}");
}

#[tokio::test]
async fn where_connections_cannot_be_counted_the_query_still_decides() {
    let server = Server::start();
    server.execute("revoke select on pg_catalog.pg_stat_activity from public");
    server.execute("create role plain login password 'x'");
    let check = check(format!("postgres://plain:x@127.0.0.1:{}/postgres", server.port()));
    for _ in 0..3 {
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
        assert_eq!(outcome.metadata()["connections"], serde_json::json!({ "max": 50 }));
    }
    assert_eq!(server.execute(SESSIONS), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_outlives_the_run_does_not_live_on_at_the_server() {
    let server = Server::start();
    let check = check_with_query(server.url(), "SELECT pg_sleep(60)");
    run_into_timeout(&check).await;
    let sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    until(PATIENCE, "the server to give the query up", || server.execute(sleeping) == "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_closes_its_connection() {
    let server = Server::start();
    let check = check_with_query(server.url(), "SELECT pg_sleep(60)");
    let running = tokio::spawn(async move { run(&check).await });
    until(PATIENCE, "the query to begin", || server.execute(SESSIONS) == "1");
    let sockets = || std::fs::read_to_string("/proc/net/tcp").unwrap();
    let client_side = format!(":{:04X} 01 ", server.port());
    assert!(sockets().contains(&client_side), "the connection is open");
    running.abort();
    until(PATIENCE, "the connection to close", || !sockets().contains(&client_side));
}

#[tokio::test]
async fn tls_is_used_when_there_is_some_and_verified_when_required() {
    let server = Server::start();
    let outcome = run(&check(format!("{}?sslmode=require", server.url()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "TLS handshake failed"));
    assert!(outcome.detail().contains("server does not support TLS"), "{outcome:?}");

    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = server.execute("show data_directory");
    for (file, content) in [("server.crt", issued.cert.pem()), ("server.key", issued.signing_key.serialize_pem())] {
        let lines = content.trim_end().replace('\n', "|").replace('\r', "");
        server.execute(&format!("copy (select unnest(string_to_array('{lines}', '|'))) to '{folder}/{file}'"));
    }
    // The server refuses a key that others can read.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(format!("{folder}/server.key"), private).unwrap();
    server.execute("alter system set ssl = on");
    server.execute("select pg_reload_conf()");
    until(PATIENCE, "TLS to be on", || server.execute("show ssl") == "on");

    let opportunistic = check(server.url());
    assert_eq!(reason(&run(&opportunistic).await), "pass");
    let encrypted = "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'wellkept'";
    assert_eq!(server.execute(encrypted), "t");
    for mode in ["require", "verify-ca", "verify-full"] {
        let outcome = run(&check(format!("{}?sslmode={mode}", server.url()))).await;
        assert_eq!(reason(&outcome), "tls", "{mode}: {outcome:?}");
        assert!(outcome.detail().contains("invalid peer certificate"), "{outcome:?}");
    }
    assert_eq!(reason(&run(&check(format!("{}?sslmode=disable", server.url()))).await), "pass");
}

#[tokio::test]
async fn a_unix_socket_is_asked_like_any_other_host() {
    let server = Server::start();
    let folder = server.execute("show unix_socket_directories");
    let url = |port| {
        let password = server.url().split(['@', ':']).nth(2).unwrap().to_owned();
        format!("postgres://wellkept:{password}@/postgres?host={folder}&port={port}&sslmode=require")
    };
    let outcome = run(&check(url(server.port()))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let outcome = run(&check(url(1))).await;
    assert_eq!(reason(&outcome), "refused", "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_starts_up_is_not_ready() {
    let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
    let mut message = vec![b'E'];
    message.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
    message.extend(fields);
    let port = false_server(message).await;
    let outcome = run(&check(format!("postgres://u@127.0.0.1:{port}/db?sslmode=disable"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("not_ready", "server is starting up or shutting down"));
}

#[tokio::test]
async fn what_is_no_postgresql_is_a_protocol_or_network_failure() {
    let port = false_server(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    for mode in ["disable", "prefer"] {
        let outcome = run(&check(format!("postgres://u@127.0.0.1:{port}/db?sslmode={mode}"))).await;
        assert_eq!(reason(&outcome), "protocol", "{mode}: {outcome:?}");
    }
    let port = false_server(Vec::new()).await;
    let outcome = run(&check(format!("postgres://u@127.0.0.1:{port}/db"))).await;
    assert_eq!(reason(&outcome), "network", "{outcome:?}");
}

#[test]
fn what_cannot_be_a_url_is_reported_without_any_of_it() {
    for url in [
        format!("mysql://u:{PLANTED}@db/x"),
        format!("host=db password={PLANTED}"),
        format!("postgres://u:{PLANTED}@db:port/x"),
        format!("postgres://u:{PLANTED}@db/x?{PLANTED}=1"),
        format!("postgres://u:%zz{PLANTED}@db/x?sslmode={PLANTED}"),
        format!("postgres://u:{PLANTED}@/x"),
    ] {
        let reported = configured(&format!("postgres: {{ url: \"{url}\" }}")).unwrap_err();
        assert!(reported.starts_with("test.yaml:1:18: "), "{reported}");
        assert!(!reported.contains(PLANTED), "{reported}");
    }
    let options = Options::new(format!("postgres://u:{PLANTED}@db/x"));
    assert!(!format!("{options:?}").contains(PLANTED));
    assert!(!format!("{:?}", Postgres::new(options).unwrap()).contains(PLANTED));
}

#[test]
fn a_configuration_names_url_and_query() {
    configured("postgres: { url: 'postgres://db/x', query: 'SELECT 1 FROM orders LIMIT 1' }").unwrap();
    let reported = configured("postgres: { url: 'postgres://db/x', query: ' ' }").unwrap_err();
    assert_eq!(reported, "test.yaml:1:44: write a query such as SELECT 1");
    assert!(configured("postgres: { query: SELECT 1 }").unwrap_err().contains("missing key `url`"));
}

/// A server that reads the beginning of what a client says and answers with these bytes, each time.
async fn false_server(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut beginning = [0; 8];
            let _ = stream.read_exact(&mut beginning).await;
            let _ = stream.write_all(&answer).await;
            // Closed once the client has, so that no reset overtakes the answer.
            let _ = stream.shutdown().await;
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        }
    });
    port
}

/// Stands between check and server and counts what the check sends after it has logged in.
struct Proxy {
    port: String,
    connections: std::sync::Arc<AtomicUsize>,
    messages: std::sync::Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port().to_string(),
            connections: std::sync::Arc::default(),
            messages: std::sync::Arc::default(),
        };
        let (connections, messages) = (proxy.connections.clone(), proxy.messages.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (mut from_server, mut to_server) =
                    TcpStream::connect(("127.0.0.1", server)).await.unwrap().into_split();
                let (mut from_client, mut to_client) = client.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let messages = messages.clone();
                tokio::spawn(async move {
                    // The first message has no type; after it come a type and a length that counts itself.
                    let mut kind = 0;
                    while let Ok(length) = from_client.read_u32().await {
                        let mut body = vec![0; length as usize - 4];
                        from_client.read_exact(&mut body).await.unwrap();
                        // `p` belongs to the login. Everything else is counted, not only queries.
                        messages.fetch_add(usize::from(kind != 0 && kind != b'p'), Ordering::SeqCst);
                        let mut message = if kind == 0 { Vec::new() } else { vec![kind] };
                        message.extend(length.to_be_bytes());
                        message.extend(body);
                        to_server.write_all(&message).await.unwrap();
                        kind = from_client.read_u8().await.unwrap_or_default();
                    }
                });
            }
        });
        proxy
    }
}

#[tokio::test]
async fn a_run_ends_within_its_timeout_when_a_host_swallows_packets_and_the_next_answers() {
    let mut frozen = Server::start();
    let server = Server::start();
    frozen.pause();
    let both = format!("127.0.0.1:{},127.0.0.1:{}", frozen.port(), server.port());
    let check = check(server.url().replace(&format!("127.0.0.1:{}", server.port()), &both));
    let begun = Clock::now();
    let outcome = check.run(&Context::within(Duration::from_secs(4))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(4));
}
