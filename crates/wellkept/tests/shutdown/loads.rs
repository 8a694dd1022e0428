//! Many connections at the end: hot, idle, waiting to be accepted, or coming faster than they can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wellkept_testkit::until;

use crate::driven::{Driven, PATIENCE};
use crate::scenarios::GATES;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

#[derive(Default)]
struct Counts {
    answered: AtomicUsize,
    /// On a connection that had been answered on before.
    lost: AtomicUsize,
    /// On a new one, which may have been in the system's queue when the listener closed; the benchmark tells these apart by
    /// what the server has accepted.
    unheard: AtomicUsize,
}

/// Asks without a pause on one connection, as pools do: looks for its end before each request, and opens another when it
/// is told that this one closes. Returns when nobody listens any more.
async fn ask_for_ever(address: SocketAddr, counts: Arc<Counts>) {
    while let Ok(mut socket) = TcpStream::connect(address).await {
        let mut without_answer = &counts.unheard;
        while let Some(answer) = ask(&mut socket, &counts.answered, without_answer).await {
            if answer.contains("connection: close") {
                break;
            }
            without_answer = &counts.lost;
        }
    }
}

/// The answer, or none if the connection has ended before the request.
async fn ask(socket: &mut TcpStream, answered: &AtomicUsize, without_answer: &AtomicUsize) -> Option<String> {
    let mut bytes = [0; 1024];
    // The system itself is asked: the runtime may not have heard of the end yet.
    let seen = recv(&*socket, &mut bytes[..1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    if seen.is_ok() || socket.write_all(REQUEST).await.is_err() {
        return None;
    }
    let mut answer = String::new();
    // A refusal is an answer too.
    while !answer.ends_with("hello") && !answer.contains("shutdown.draining") {
        let Ok(read @ 1..) = socket.read(&mut bytes).await else {
            without_answer.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        answer += &String::from_utf8_lossy(&bytes[..read]);
    }
    answered.fetch_add(1, Ordering::Relaxed);
    Some(answer)
}

#[test]
fn two_hundred_hot_connections_lose_no_request() {
    let mut driven = Driven::start("hot");
    let counts = Arc::new(Counts::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clients: Vec<_> = (0..200).map(|_| runtime.spawn(ask_for_ever(driven.address, Arc::clone(&counts)))).collect();
    until(PATIENCE, "the load", || counts.answered.load(Ordering::Relaxed) > 2_000);
    driven.terminate();
    let ended = driven.end();
    ended.is_clean();
    runtime.block_on(async {
        for client in clients {
            tokio::time::timeout(PATIENCE, client).await.expect("each ends").unwrap();
        }
    });
    assert_eq!(counts.lost.load(Ordering::Relaxed), 0, "of {}", counts.answered.load(Ordering::Relaxed));
}

#[test]
fn ten_thousand_idle_connections_hold_nobody() {
    let count = 10_000;
    raise_descriptors(count);
    let mut driven = Driven::start("plain");
    let mut idle: Vec<_> = (0..count).map(|_| driven.connect_and_write(REQUEST)).collect();
    for connection in &mut idle {
        assert_eq!(connection.read_response(PATIENCE).unwrap().status, 200);
    }
    driven.terminate();
    driven.end().is_clean();
    for connection in &mut idle {
        assert!(connection.is_closed_within(PATIENCE));
    }
}

/// Lets this process, and what it starts, open that many connections and some files more.
fn raise_descriptors(connections: u64) {
    let (limit, wanted) = (getrlimit(Resource::Nofile), connections + 500);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    raised.unwrap_or_else(|error| panic!("this test needs `ulimit -Hn` of {wanted} at least: {error}"));
}

#[test]
fn a_hundred_connections_that_nobody_has_accepted_yet_are_answered() {
    let gates = tempfile::tempdir().unwrap();
    let mut driven = Driven::start_with("one thread", |command| {
        command.env(GATES, gates.path());
    });
    let mut busy = driven.connect_and_ask("GET", "/busy");
    let mut waiting: Vec<_> = (0..100).map(|_| driven.connect_and_write(REQUEST)).collect();
    driven.signal(Signal::TERM);
    std::fs::write(gates.path().join("busy"), "").unwrap();
    assert_eq!(busy.read_response(PATIENCE).unwrap().status, 200);
    for connection in &mut waiting {
        assert_eq!(connection.read_response(PATIENCE).unwrap().text(), "hello");
    }
    driven.end().is_clean();
}

#[test]
fn a_flood_of_new_connections_drowns_no_signal() {
    let mut driven = Driven::start("plain");
    let (counts, over) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let address = driven.address;
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let (counts, over) = (Arc::clone(&counts), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) && std::net::TcpStream::connect(address).is_ok() {
                    counts.answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    until(PATIENCE, "the flood", || counts.answered.load(Ordering::Relaxed) > 1_000);
    driven.terminate();
    let ended = driven.end();
    over.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
    ended.is_clean();
}
