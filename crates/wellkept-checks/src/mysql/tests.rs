//! The claims of the check, held against a real MariaDB; `script` has those about what only other servers say.

mod faults;
mod login;
mod script;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wellkept_config::Document;
use wellkept_testkit::{free_port, until};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

type Server = wellkept_testkit::Mysql;

/// Sessions that checks have at the server.
const SESSIONS: &str = "select count(*) from information_schema.processlist where user = 'wellkept'";

fn check(url: impl Into<String>) -> Mysql {
    Mysql::by_url(url.into()).unwrap()
}

fn check_with_query(url: String, query: &str) -> Mysql {
    Mysql::new(Options { query: query.to_owned(), ..Options::new(url) }).unwrap()
}

/// With further keys, as a configuration has them.
fn configured_check(url: &str, keys: &str) -> Mysql {
    let document = Document::parse("test.yaml", &format!("mysql: {{ url: \"{url}\", {keys} }}")).unwrap();
    let options = document.read(|root| root.section("mysql", read_options)).unwrap();
    Mysql::new(options).unwrap()
}

#[tokio::test]
async fn a_mariadb_that_answers_passes_with_its_version_and_connections() {
    let server = Server::start();
    let outcome = run(&check(server.url())).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let metadata = outcome.metadata();
    let version = server.execute("select version()");
    let told = metadata["server_version"].as_str().unwrap();
    assert!(told.ends_with("-MariaDB") && version.starts_with(told), "{told} of {version}");
    assert_eq!((&metadata["read_only"], &metadata["replica"]), (&json!(false), &json!(false)));
    assert_eq!(metadata["connections"], json!({ "active": 1, "idle": 0, "total": 1, "max": 151 }));
    assert_eq!(outcome.remaining(), Some(("connections_left", 150.0)));
    assert_keeps_secrets(&outcome);
}

#[tokio::test]
async fn fifty_runs_take_one_connection_and_one_message_each_of_a_mysql_server() {
    let server = Server::start();
    server.execute("set sql_log_bin = 0; create user logged@'%' identified by 'x'; grant all on *.* to logged@'%'");
    let proxy = Proxy::start(server.port()).await;
    let keys = "role: primary, lag_degraded_above: 1h, transaction_degraded_above: 1h, \
                idle_transaction_degraded_above: 1h, expect: 1";
    let url = format!("mysql://logged:x@127.0.0.1:{}/?ssl-mode=disabled", proxy.port);
    let check = configured_check(&url, keys);
    let logins = "select variable_value from information_schema.global_status where variable_name = 'connections'";
    let before: u64 = server.execute(logins).parse().unwrap();
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    let after: u64 = server.execute(logins).parse().unwrap();
    // The second asking is a connection too.
    assert_eq!(after - before, 2);
    assert_eq!(proxy.counted(), (1, 50));
}

#[tokio::test]
async fn what_a_user_may_not_see_takes_further_messages_in_the_first_run_only() {
    let server = Server::start();
    let url = server.url_of_new_user("plain");
    let proxy = Proxy::start(server.port()).await;
    let check = check(format!("{}?ssl-mode=disabled", url.replace(&server.port().to_string(), &proxy.port)));
    for run_of_all in 1..=10 {
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
        assert_eq!(outcome.metadata()["connections"]["max"], json!(151));
        assert!(!outcome.metadata().contains_key("replica"), "{outcome:?}");
        // One after the refused look at transactions, for what stands behind it; that is refused as well.
        assert_eq!(proxy.counted(), (1, run_of_all + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_on_top_of_each_other_leave_one_connection_to_mysql() {
    let server = Server::start();
    let check = check(server.url());
    for _ in 0..5 {
        tokio::join!(run(&check), run(&check), run(&check));
    }
    until(PATIENCE, "the other connections to close", || server.execute(SESSIONS) == "1");
}

#[tokio::test]
async fn a_check_that_goes_says_so_and_the_server_counts_nobody_who_went_without() {
    let server = Server::start();
    let check = check(server.url());
    assert_eq!(reason(&run(&check).await), "pass");
    drop(check);
    until(PATIENCE, "the connection to close", || server.execute(SESSIONS) == "0");
    let aborted = "select variable_value from information_schema.global_status where variable_name = 'aborted_clients'";
    assert_eq!(server.execute(aborted), "0");
    assert!(!server.log().contains("Aborted connection"), "{}", server.log());
}

#[tokio::test]
async fn a_query_that_mysql_refuses_fails_and_keeps_the_connection() {
    let server = Server::start();
    let check = check_with_query(server.url(), "SELECT 1 FROM no_such_table -- a comment");
    let first = run(&check).await;
    assert_eq!((reason(&first), first.message()), ("error", "query failed"));
    assert!(first.detail().starts_with("1146 42S02: "), "{first:?}");
    let ids = "select group_concat(id) from information_schema.processlist where user = 'wellkept'";
    let before = server.execute(ids);
    run(&check).await;
    assert_eq!(server.execute(ids), before);
    server.execute("create table app.no_such_table (i int)");
    assert_eq!(reason(&run(&check).await), "pass");
}

#[tokio::test]
async fn a_query_of_several_statements_or_none_that_answers_passes() {
    let server = Server::start();
    server.execute("create table app.jobs (state int); create procedure app.two() select 7");
    for (query, expected) in [
        ("SELECT 1;", "1"),
        ("SELECT 5; SELECT 6", "5"),
        ("DO 0; SELECT 6 -- the second", "6"),
        ("INSERT INTO jobs VALUES (1)", "no row"),
        ("CALL two()", "7"),
        ("SELECT count(*), 9 FROM jobs WHERE state = 1 # one", "1"),
    ] {
        let check = configured_check(&server.url(), &format!("query: \"{query}\", expect: \"{expected}\""));
        let outcome = run(&check).await;
        match expected {
            "no row" => assert_eq!(outcome.message(), "query gave no row", "{query}: {outcome:?}"),
            _ => assert_eq!(reason(&outcome), "pass", "{query}: {outcome:?}"),
        }
        assert!(outcome.metadata().contains_key("replica"), "{query}: {outcome:?}");
    }
}

#[tokio::test]
async fn long_values_and_bytes_that_are_no_text_give_an_outcome_in_whole_text() {
    let server = Server::start();
    for (query, detail) in [
        ("SELECT X'FFFE'", "expected x, found `\u{fffd}\u{fffd}`".to_owned()),
        ("SELECT REPEAT('é', 5000000), 1 FROM seq_1_to_3", format!("expected x, found `{}…`", "é".repeat(64))),
    ] {
        let check = configured_check(&server.url(), &format!("query: \"{query}\", expect: x"));
        for _ in 0..2 {
            let outcome = run(&check).await;
            assert_eq!((reason(&outcome), outcome.detail()), ("unexpected", detail.as_str()), "{query}");
            assert!(outcome.message().is_ascii() && outcome.metadata().contains_key("replica"), "{outcome:?}");
        }
    }
}

#[test]
fn what_cannot_be_a_mysql_url_is_reported_without_any_of_it() {
    for url in [
        format!("postgres://u:{PLANTED}@db/x"),
        format!("host=db password={PLANTED}"),
        format!("mysql://u:{PLANTED}@db:port/x"),
        format!("mysql://u:{PLANTED}@db/x?ssl-mode={PLANTED}"),
        format!("mysql://u:{PLANTED}@db/x?ssl_ca=/{PLANTED}"),
        format!("mysql://u:{PLANTED}@db/x?useSSL=true"),
        format!("mysql://u:%00{PLANTED}@db/x"),
        format!("mysql://u:%ff{PLANTED}@db/x"),
        format!("mysql://u:{PLANTED}@/x"),
    ] {
        let reported = configured(&format!("mysql: {{ url: \"{url}\" }}")).unwrap_err();
        assert!(reported.starts_with("test.yaml:1:15: "), "{url}: {reported}");
        assert!(!reported.contains(PLANTED), "{reported}");
    }
    let options = Options::new(format!("mysql://u:{PLANTED}@db/x"));
    assert!(!format!("{options:?}").contains(PLANTED));
    assert!(!format!("{:?}", Mysql::new(options).unwrap()).contains(PLANTED));
}

#[test]
fn a_configuration_names_url_and_query_of_mysql() {
    for url in ["mysql://db", "mariadb://u@[::1]:3307/x", "mysql+pymysql://u@db/x?charset=utf8mb4&ssl_mode=VERIFY_CA"] {
        configured(&format!("mysql: {{ url: '{url}', query: 'SELECT 1 FROM orders LIMIT 1' }}")).unwrap();
    }
    let reported = configured("mysql: { url: 'mysql://db/x', query: ' ' }").unwrap_err();
    assert_eq!(reported, "test.yaml:1:38: write a query such as SELECT 1, of at most 64 KiB");
    assert!(configured("mysql: { query: SELECT 1 }").unwrap_err().contains("missing key `url`"));
    for (keys, reported) in [
        ("connections_unhealthy_above: 80%", "must not be below connections_degraded_above"),
        ("lag_degraded_above: 2s, lag_unhealthy_above: 1s", "must not be below lag_degraded_above"),
        ("role: leader", "expected any, primary or replica, found `leader`"),
    ] {
        let text = configured(&format!("mysql: {{ url: 'mysql://db/x', {keys} }}")).unwrap_err();
        assert!(text.contains(reported), "{text}");
    }
}

/// Stands between check and server and counts the connections, and the messages that the check sends after it has
/// logged in: packets that begin a count anew.
struct Proxy {
    port: String,
    connections: Arc<AtomicUsize>,
    messages: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let proxy = Self { port, connections: Arc::default(), messages: Arc::default() };
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
                    while let Ok(header) = from_client.read_u32_le().await {
                        let mut body = vec![0; (header & 0xff_ffff) as usize];
                        from_client.read_exact(&mut body).await.unwrap();
                        messages.fetch_add(usize::from(header >> 24 == 0), Ordering::SeqCst);
                        to_server.write_all(&[&header.to_le_bytes()[..], &body].concat()).await.unwrap();
                    }
                });
            }
        });
        proxy
    }

    fn counted(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.messages.load(Ordering::SeqCst))
    }
}
