//! What only other servers say, by a small false one that speaks MySQL's protocol from a script.

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use wellkept_health::Verdict;

use super::super::wire::{Packet, packet};
use super::*;

const NONCE: &[u8] = b"abcdefghijklmnopqrst";

/// What a false server does with who logs in.
#[derive(Debug, Clone, Copy)]
enum Login {
    /// Takes everyone.
    Open,
    /// Knows the password `x` already, and takes its proof by `caching_sha2_password`.
    Cached,
    /// Wants the password itself.
    Full,
    /// Refuses with these words, before it says anything else.
    Refused(&'static [u8]),
}

/// A server of this version that answers each message of a connection with the next of these, the last of them from
/// then on, and tells what it was sent.
async fn scripted(
    version: &'static str,
    login: Login,
    scripts: &'static [&'static [Scripted]],
) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                if let Login::Refused(words) = login {
                    stream.write_all(&packet(0, words)).await?;
                    return stream.read_to_end(&mut Vec::new()).await.map(drop);
                }
                stream.write_all(&packet(0, &greeting(version))).await?;
                let response = Packet::read(&mut stream, 1 << 16).await?;
                match login {
                    Login::Cached if response.payload.windows(32).any(|bytes| is_proof_of("x", bytes)) => {
                        stream.write_all(&[packet(2, &[1, 3]), packet(3, OK)].concat()).await?;
                    }
                    Login::Cached => stream.write_all(&packet(2, b"\xff\x15\x04#28000Access denied")).await?,
                    Login::Full => stream.write_all(&packet(2, &[1, 4])).await?,
                    Login::Open | Login::Refused(_) => stream.write_all(&packet(2, OK)).await?,
                }
                let mut left = scripts.iter();
                let mut answers: &[Scripted] = &[];
                while let Ok(asked) = Packet::read(&mut stream, 1 << 16).await {
                    if asked.first() == Some(1) {
                        return Ok(());
                    }
                    let _ = tell.send(String::from_utf8_lossy(&asked.payload).into_owned()).await;
                    let mut bytes = Vec::new();
                    answers = left.next().copied().unwrap_or(answers);
                    for (index, answer) in answers.iter().enumerate() {
                        answer.write(&mut bytes, index + 1 < answers.len());
                    }
                    stream.write_all(&bytes).await?;
                }
                Ok(())
            });
        }
    });
    (port, told)
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

fn greeting(version: &str) -> Vec<u8> {
    // All but TLS.
    let capabilities = !super::super::wire::capability::TLS;
    let [low, high] = [capabilities & 0xffff, capabilities >> 16].map(|half| u16::try_from(half).unwrap().to_le_bytes());
    let (first, rest) = NONCE.split_at(8);
    let parts: [&[u8]; 11] = [
        &[10],
        version.as_bytes(),
        &[0, 7, 0, 0, 0],
        first,
        &[0],
        &low,
        &[45, 2, 0],
        &high,
        &[21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        rest,
        b"\0caching_sha2_password\0",
    ];
    parts.concat()
}

/// As a server checks it that has only what the password was hashed to, twice.
fn is_proof_of(password: &str, proof: &[u8]) -> bool {
    let stored = Sha256::digest(Sha256::digest(password));
    let mixed = Sha256::digest([stored.as_slice(), NONCE].concat());
    let hashed: Vec<u8> = proof.iter().zip(mixed).map(|(one, other)| one ^ other).collect();
    Sha256::digest(hashed) == stored
}

/// One answer of a script.
#[derive(Debug, Clone, Copy)]
enum Scripted {
    Done,
    Rows(&'static [&'static str], &'static [&'static [&'static str]]),
    Error(&'static [u8]),
}

impl Scripted {
    fn write(self, bytes: &mut Vec<u8>, more_follow: bool) {
        let status = if more_follow { 10 } else { 2 };
        let end = [0xfe, 0, 0, status, 0];
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        match self {
            Self::Done => bytes.extend(packet(1, &[0, 0, 0, status, 0, 0, 0])),
            Self::Error(error) => bytes.extend(packet(1, error)),
            Self::Rows(columns, rows) => {
                bytes.extend(packet(1, &[u8::try_from(columns.len()).unwrap()]));
                for column in columns {
                    bytes.extend(packet(2, &[&text("def"), &[0, 0, 0][..], &text(column), &[0; 14]].concat()));
                }
                bytes.extend(packet(3, &end));
                for row in rows {
                    bytes.extend(packet(4, &row.iter().map(|value| text(value)).collect::<Vec<_>>().concat()));
                }
                bytes.extend(packet(5, &end));
            }
        }
    }
}

const BEGIN: [Scripted; 3] = [
    Scripted::Done,
    Scripted::Rows(&["1"], &[&["1"]]),
    Scripted::Rows(&["wellkept_readings"], &[&["1"]]),
];
const WRITABLE: Scripted = Scripted::Rows(&["r", "i", "m"], &[&["0", "0", "100"]]);
const READ_ONLY: Scripted = Scripted::Rows(&["r", "i", "m"], &[&["1", "0", "100"]]);
/// What the readers of a cluster say that share its storage.
const SHARING: Scripted = Scripted::Rows(&["r", "i", "m"], &[&["0", "1", "100"]]);
const THREADS: Scripted =
    Scripted::Rows(&["Variable_name", "Value"], &[&["Threads_connected", "5"], &["Threads_running", "2"]]);
const TRANSACTIONS: Scripted = Scripted::Rows(&["oldest"], &[&["3"]]);
const REPLICA: &[&str] =
    &["Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source", "Last_IO_Error", "Last_SQL_Error", "Channel_Name"];

fn url(port: u16) -> String {
    format!("mysql://u:x@127.0.0.1:{port}")
}

#[tokio::test]
async fn a_mysql_of_oracles_is_asked_in_its_own_words() {
    const ANSWERS: &[Scripted] = &[
        BEGIN[0],
        BEGIN[1],
        BEGIN[2],
        READ_ONLY,
        THREADS,
        TRANSACTIONS,
        Scripted::Rows(REPLICA, &[
            &["Yes", "Yes", "4", "", "", "one"],
            &["Yes", "Yes", "7", "", "", "two"],
            &["No", "No", "", "", "", "group_replication_recovery"],
        ]),
    ];
    let (port, mut told) = scripted("8.4.3", Login::Open, &[ANSWERS]).await;
    let check = configured_check(&url(port), "role: replica, lag_degraded_above: 5s");
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.message()), ("threshold", "replication is 7.0 s behind"), "{outcome:?}");
    let metadata = outcome.metadata();
    assert_eq!((&metadata["server_version"], &metadata["applying"]), (&json!("8.4.3"), &json!(true)));
    assert_eq!(metadata["connections"], json!({ "active": 2, "idle": 3, "total": 5, "max": 100 }));
    assert_eq!(metadata["oldest_transaction_s"], json!(3.0));
    let asked = told.recv().await.unwrap();
    assert!(asked.contains("SET max_execution_time = ") && asked.ends_with("; SHOW REPLICA STATUS"), "{asked}");
    let (port, mut told) = scripted("5.7.44-log", Login::Open, &[ANSWERS]).await;
    assert_eq!(run(&self::check(url(port))).await.metadata()["server_version"], "5.7.44");
    assert!(told.recv().await.unwrap().ends_with("; SHOW SLAVE STATUS"));
}

#[tokio::test]
async fn a_reader_that_shares_its_primarys_storage_is_a_replica_and_no_primary() {
    const ANSWERS: &[Scripted] =
        &[BEGIN[0], BEGIN[1], BEGIN[2], SHARING, THREADS, TRANSACTIONS, Scripted::Rows(REPLICA, &[])];
    let (port, _told) = scripted("8.0.28", Login::Open, &[ANSWERS]).await;
    assert_eq!(reason(&run(&configured_check(&url(port), "role: replica")).await), "pass");
    let outcome = run(&configured_check(&url(port), "role: primary")).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Fail));
}

#[tokio::test]
async fn a_server_that_only_speaks_like_mysql_is_asked_for_less() {
    const NO_STATUS: &[Scripted] = &[
        BEGIN[0],
        BEGIN[1],
        BEGIN[2],
        WRITABLE,
        Scripted::Error(b"\xff\x28\x04#42000no such statement"),
    ];
    const REST: &[Scripted] = &[BEGIN[2], TRANSACTIONS, Scripted::Rows(REPLICA, &[])];
    const NO_LIMIT: &[Scripted] = &[Scripted::Error(b"\xff\xa9\x04#HY000Unknown system variable")];
    let (port, mut told) = scripted("5.5.62", Login::Open, &[NO_LIMIT]).await;
    // Asked again without the limit, it refuses the query, which then is what failed.
    assert_eq!(run(&check(url(port))).await.message(), "query failed");
    assert!(told.recv().await.unwrap().contains("SET max_execution_time"));
    assert!(!told.recv().await.unwrap().contains("SET max_execution_time"));

    let (port, _told) = scripted("8.0.11-TiDB-v7.5", Login::Open, &[NO_STATUS, REST]).await;
    let outcome = run(&configured_check(&url(port), "connections_unhealthy_above: 99%")).await;
    assert_eq!((reason(&outcome), outcome.verdict()), ("auth", Verdict::Warn), "{outcome:?}");
    assert_eq!(outcome.metadata()["server_version"], "8.0.11-TiDB");
    assert_eq!((&outcome.metadata()["replica"], &outcome.metadata()["oldest_transaction_s"]), (&json!(false), &json!(3.0)));
    // More than was asked for is no reason to fall.
    let (port, _told) = scripted("8.0.11-TiDB-v7.5", Login::Open, &[NO_STATUS]).await;
    assert_eq!(reason(&run(&check(url(port))).await), "error");
}

#[tokio::test]
async fn the_password_goes_over_the_wire_as_a_proof_only() {
    const ANSWERS: &[Scripted] = &BEGIN;
    let (port, _told) = scripted("8.0.36", Login::Cached, &[ANSWERS]).await;
    let outcome = run(&check(url(port))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let outcome = run(&check(format!("mysql://u:{PLANTED}@127.0.0.1:{port}"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "password not accepted"));
    let (port, mut told) = scripted("8.0.36", Login::Full, &[ANSWERS]).await;
    let outcome = run(&check(format!("mysql://u:{PLANTED}@127.0.0.1:{port}"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "login failed"));
    assert!(outcome.detail().contains("sent over TLS only"), "{outcome:?}");
    assert_keeps_secrets(&outcome);
    assert!(told.try_recv().is_err(), "nothing more was sent");
}

#[tokio::test]
async fn what_a_mysql_refuses_everyone_with_is_told_in_an_operators_words() {
    const NOT_PREPARED: &[Scripted] = &[BEGIN[0], Scripted::Error(b"\xff\x17\x04#08S01WSREP has not yet prepared node")];
    for (words, expected, message) in [
        (&b"\xff\x10\x04Too many connections"[..], "exhausted", "too many connections"),
        (b"\xff\x69\x04Host '127.0.0.1' is blocked", "auth", "server does not let this host in"),
        (b"\xff\x1d\x04#08S01Server shutdown in progress", "not_ready", "server is shutting down"),
        (b"\xff\x57\x0c#HY000Connections using insecure transport", "tls", "server lets nobody in without TLS"),
    ] {
        let (port, _told) = scripted("", Login::Refused(words), &[]).await;
        let outcome = run(&check(url(port))).await;
        assert_eq!((reason(&outcome), outcome.message()), (expected, message), "{outcome:?}");
    }
    let (port, _told) = scripted("5.5.5-10.11.6-MariaDB-log", Login::Open, &[NOT_PREPARED]).await;
    let outcome = run(&check(url(port))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("not_ready", "server is not ready for queries"), "{outcome:?}");
}

#[tokio::test]
async fn a_connection_that_was_idle_for_too_long_is_replaced_when_the_server_says_so() {
    // What a server of Oracle's leaves in a connection that it closes after `wait_timeout`.
    const TIMED_OUT: &[Scripted] = &[Scripted::Error(b"\xff\xbf\x0f#HY000The client was disconnected by the server")];
    let (port, mut told) = scripted("8.0.36", Login::Open, &[&BEGIN, TIMED_OUT]).await;
    let check = check(url(port));
    for _ in 0..4 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    let mut asked = 0;
    while told.try_recv().is_ok_and(|message| message.contains("SELECT 1")) {
        asked += 1;
    }
    // The first run asked once, each other one was told off first.
    assert_eq!(asked, 7);
}
