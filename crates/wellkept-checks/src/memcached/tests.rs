//! The claims of the check, held against a real server, and against small false ones for what a real one does rarely.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use wellkept_health::Verdict;
use wellkept_testkit::{Fault, FaultProxy, Memcached as RealServer, free_port};

use super::*;
use crate::testing::{PATIENCE, PLANTED, assert_keeps_secrets, configured, reason, run, run_into_timeout};

fn check(url: impl Into<String>) -> Memcached {
    Memcached::by_url(url.into()).unwrap()
}

fn told(outcome: &Outcome) -> (Verdict, &str, &str) {
    (outcome.verdict(), reason(outcome), outcome.message())
}

/// A connection of somebody else's.
struct Other(TcpStream);

impl Other {
    fn to(server: &RealServer) -> Self {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Sends it, and reads until the answer ends like this.
    fn ask(&mut self, question: &str, end: &str) -> String {
        self.0.write_all(question.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.0.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.extend(byte);
        }
        String::from_utf8(answer).unwrap()
    }

    fn stat(&mut self, name: &str) -> u64 {
        let stats = self.ask("stats\r\n", "END\r\n");
        let found = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        found.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {stats}"))
    }
}

#[tokio::test]
async fn a_server_that_answers_passes_with_its_readings() {
    let server = RealServer::with(&["-m", "64", "-c", "100"]);
    let mut other = Other::to(&server);
    other.ask("set key 0 0 5\r\nvalue\r\n", "STORED\r\n");
    for _ in 0..19 {
        other.ask("get key\r\n", "END\r\n");
    }
    other.ask("get missing\r\n", "END\r\n");
    let outcome = run(&check(server.url())).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let metadata = outcome.metadata();
    assert_eq!((&metadata["hit_rate"], &metadata["items"], &metadata["evictions"]), (&0.95.into(), &1.into(), &0.into()));
    assert_eq!((&metadata["limit_bytes"], &metadata["connections"]["max"]), (&(64 << 20).into(), &100.into()));
    assert!(metadata["used_bytes"].as_u64().unwrap() > 5, "{metadata:?}");
    assert!(metadata["server_version"].as_str().unwrap().contains('.'), "{metadata:?}");
    let total = metadata["connections"]["total"].as_u64().unwrap();
    assert!(total >= 2 && metadata["connections_left"] == 100 - total, "{metadata:?}");
}

#[tokio::test]
async fn fifty_runs_take_one_connection_and_write_and_read_no_item() {
    let server = RealServer::with(&[]);
    let check = check(server.url());
    let mut other = Other::to(&server);
    assert_eq!(reason(&run(&check).await), "pass");
    let (connections, bytes) = (other.stat("total_connections"), other.stat("bytes_read"));
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    assert_eq!(other.stat("total_connections"), connections);
    // Of each run nothing but `stats`, and of the two by which the test looks, one.
    assert_eq!(other.stat("bytes_read") - bytes, "stats\r\n".len() as u64 * 52);
    assert_eq!((other.stat("cmd_set"), other.stat("cmd_get")), (0, 0));
}

#[tokio::test]
async fn connections_near_the_limit_are_degraded_and_those_that_are_refused_are_told() {
    let server = RealServer::with(&["-c", "40"]);
    let url = server.url();
    let first = check(&*url);
    let limit = |degraded: f64, unhealthy: Option<f64>| {
        Memcached::new(Options {
            connections_degraded_above: Ratio::new(degraded).unwrap(),
            connections_unhealthy_above: unhealthy.map(|limit| Ratio::new(limit).unwrap()),
            ..Options::new(&*url)
        })
        .unwrap()
    };
    let (strict, stricter) = (limit(0.1, None), limit(0.1, Some(0.1)));
    let mut others: Vec<_> = (0..8).map(|_| Other::to(&server)).collect();
    for other in &mut others {
        other.ask("version\r\n", "\r\n");
    }
    assert_eq!(reason(&run(&first).await), "pass");
    let outcome = run(&strict).await;
    assert_eq!((outcome.verdict(), reason(&outcome)), (Verdict::Warn, "threshold"), "{outcome:?}");
    assert!(outcome.message().ends_with("% of connections used"), "{outcome:?}");
    assert_eq!(run(&stricter).await.verdict(), Verdict::Fail);

    let refused = loop {
        let mut other = Other::to(&server);
        let answer = other.ask("version\r\n", "\r\n");
        if answer.starts_with("ERROR") {
            break answer;
        }
        others.push(other);
    };
    assert_eq!(refused, "ERROR Too many open connections\r\n");
    let outcome = run(&check(&*url)).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "exhausted", "too many connections"), "{outcome:?}");
    let outcome = run(&first).await;
    assert_eq!(told(&outcome), (Verdict::Warn, "exhausted", "connections were refused since the last run"));
    assert_eq!(reason(&run(&first).await), "pass", "none was refused since then");
}

#[tokio::test]
async fn a_server_that_asks_for_a_login_gets_one_and_another_gets_none() {
    let server = RealServer::with_login("prober", "hunter:2");
    let with = |login: &str| check(server.url().replace("://", &format!("://{login}")));
    assert_eq!(reason(&run(&with("prober:hunter%3a2@")).await), "pass");
    let outcome = run(&with(&format!("prober:{PLANTED}@"))).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user or password not accepted"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    let outcome = run(&with("")).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "auth", "user and password are required"), "{outcome:?}");

    let open = RealServer::with(&[]);
    let url = open.url().replace("://", &format!("://prober:{PLANTED}@"));
    assert_eq!(reason(&run(&check(url)).await), "pass");
    assert_eq!(Other::to(&open).stat("cmd_set"), 0);
}

#[tokio::test]
async fn a_unix_socket_is_asked_and_a_missing_one_is_refused() {
    let mut server = RealServer::on_a_socket();
    let check = check(format!("memcached://{}", server.socket().display()));
    assert_eq!(reason(&run(&check).await), "pass");
    server.stop();
    let outcome = run(&check).await;
    assert_eq!(told(&outcome), (Verdict::Fail, "refused", "connection refused"));
}

#[tokio::test]
async fn a_frozen_server_is_given_up_in_time_and_a_restarted_one_passes_at_once() {
    let mut server = RealServer::with(&[]);
    let (kept, fresh) = (check(server.url()), check(server.url()));
    assert_eq!(reason(&run(&kept).await), "pass");
    server.pause();
    assert_eq!(run_into_timeout(&kept).await.detail(), "timed out while waiting for the answer to stats");
    assert_eq!(run_into_timeout(&fresh).await.detail(), "timed out while logging in");
    server.resume();
    for check in [&kept, &fresh] {
        assert_eq!(reason(&run(check).await), "pass");
    }
    server.stop();
    server.start_again();
    // The kept connection was closed, and nobody has noticed yet.
    let outcome = run(&kept).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    server.stop();
    assert_eq!(reason(&run(&kept).await), "refused");
}

#[tokio::test]
async fn the_faults_of_a_network_are_told_apart() {
    let server = RealServer::with_login("prober", PLANTED);
    let through = |fault| {
        let proxy = FaultProxy::in_front_of(server.address(), fault);
        let check = check(format!("memcached://prober:{PLANTED}@{}", proxy.address()));
        assert!(!format!("{check:?}").contains(PLANTED));
        (proxy, check)
    };
    for (fault, expected) in [
        (Fault::Drip(Duration::from_micros(10)), "pass"),
        (Fault::ResetAfter(0), "network"),
        (Fault::ResetAfter(40), "network"),
        (Fault::HalfCloseAfter(0), "network"),
        (Fault::HalfCloseAfter(9), "protocol"),
    ] {
        let (_proxy, check) = through(fault);
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), expected, "{fault:?}: {outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    for fault in [Fault::BlackHole, Fault::SilentAfter(9), Fault::Drip(Duration::from_secs(1))] {
        let (_proxy, check) = through(fault);
        assert_keeps_secrets(&run_into_timeout(&check).await);
    }
    let outcome = run(&check(format!("memcached://u:{PLANTED}@127.0.0.1:{}", free_port()))).await;
    assert_eq!(reason(&outcome), "refused");
    assert_keeps_secrets(&outcome);
}

/// A server that says this to each, and then nothing more.
async fn false_server(says: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(says.as_bytes()).await.unwrap();
            held.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn answers_that_a_real_server_gives_rarely_are_told_apart() {
    for (says, expected) in [
        // A proxy, which knows of no settings.
        ("ERROR\r\nSTAT version p\r\nEND\r\n", (Verdict::Pass, "pass")),
        ("STAT maxconns 9\r\nEND\r\nSTAT accepting_conns 0\r\nEND\r\n", (Verdict::Warn, "exhausted")),
        ("SERVER_ERROR out of memory writing stats\r\n", (Verdict::Fail, "exhausted")),
        ("CLIENT_ERROR bad command\r\n", (Verdict::Fail, "error")),
        ("220 mail.example\r\n", (Verdict::Fail, "protocol")),
    ] {
        let outcome = run(&check(format!("memcached://{}", false_server(says).await))).await;
        assert_eq!((outcome.verdict(), reason(&outcome)), expected, "{says}: {outcome:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_client_panic(answer in prop::collection::vec(prop_oneof![
        Just(b"STAT a 1\r\n".to_vec()), Just(b"END\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..20),
    ], 0..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(1024);
            far.write_all(&answer.concat()).await.unwrap();
            drop(far);
            let _ = Stats::read(&mut Lines::new(Box::new(near))).await;
        });
    }
}

#[tokio::test]
async fn statistics_without_end_are_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = check(format!("memcached://{}", listener.local_addr().unwrap()));
    let endless = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(b"STAT again 1\r\n").await.is_ok() {}
    });
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.detail()), ("protocol", "statistics without end"));
    endless.await.unwrap();
}

#[test]
fn a_configuration_is_read_and_what_is_wrong_in_it_is_reported() {
    configured("memcached: { url: 'memcached://u:p@[::1]', connections_unhealthy_above: 95% }").unwrap();
    configured("memcached: { url: 'memcached:///run/memcached.sock' }").unwrap();
    for url in ["http://host", "memcached://", "memcached://user@host", "memcached://us%20er:p@host", "memcached://u:p%0a@h"] {
        let reported = configured(&format!("memcached: {{ url: \"{url}\" }}")).unwrap_err();
        assert!(reported.starts_with("test.yaml:1:19: "), "{url}: {reported}");
    }
    let reported = configured("memcached: { url: 'memcached://h', connections_unhealthy_above: 10% }").unwrap_err();
    assert!(reported.ends_with("must not be below connections_degraded_above"), "{reported}");
}
