//! How soon a process is gone that has nothing more to do, and how it takes leave of ten thousand idle connections.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use wellkept_testkit::http;

use crate::instance::{Instance, Times};
use crate::load::on_own_runtime;
use crate::rounds::{Effort, median};
use crate::serve::System;

const STOPS: usize = 100;
/// Shorter than the default, for there are many stops: what comes after it is measured.
const ANNOUNCE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);
const FEW: usize = 10;
const MANY: usize = 10_000;
const MANY_STOPS: usize = 5;

/// What is there when the signal comes.
#[derive(Debug, Clone, Copy)]
enum Scene {
    Nobody,
    Idle,
    Request,
}

pub(crate) fn run(effort: Effort) {
    let quick = effort.rounds < Effort::FULL.rounds;
    let stops = if quick { 5 } else { STOPS };
    println!("| what | wellkept | axum | target |");
    println!("|---|---|---|---|");
    for (scene, what) in [
        (Scene::Nobody, "nobody is connected: from the signal to the end"),
        (Scene::Idle, "10 idle connections: from the end of the announcement, with axum from the signal"),
        (Scene::Request, "a request outlasts the announcement: from the last byte that its client read"),
    ] {
        let (mut ours, mut axums) = (Vec::new(), Vec::new());
        for _ in 0..stops {
            ours.push(milliseconds(leave(System::Service, scene)));
            axums.push(milliseconds(leave(System::Axum, scene)));
        }
        println!("| {what}, {stops} stops | {} | {} | < 5 ms |", spread(&mut ours), spread(&mut axums));
    }
    raise_descriptors();
    let (mut ours, mut axums) = (Vec::new(), Vec::new());
    for _ in 0..if quick { 1 } else { MANY_STOPS } {
        ours.push(milliseconds(leave_many(System::Service)));
        axums.push(milliseconds(leave_many(System::Axum)));
    }
    println!(
        "| {MANY} idle connections, announced (300 ms, axum: not) and closed: from the signal to the end, {} stops \
         | {} | {} | < 1,000 ms |",
        ours.len(),
        spread(&mut ours),
        spread(&mut axums)
    );
}

/// One stop: the time that it took after there was nothing more to wait for.
fn leave(system: System, scene: Scene) -> Duration {
    let times = Times { announce: ANNOUNCE, ..Times::default() };
    let instance = Instance::start(system, 0, times);
    let address = instance.address();
    let asked = http::get(address, "/");
    assert_eq!(asked.status, 200);
    let (told, last) = match scene {
        Scene::Nobody => {
            let told = instance.terminate();
            (told, told)
        }
        Scene::Idle => {
            let mut idle: Vec<_> = (0..FEW).map(|_| http::Connection::open(address).expect("it is taken")).collect();
            for connection in &mut idle {
                assert_eq!(connection.get("/").expect("it is answered").status, 200);
            }
            let told = instance.terminate();
            let announced = if system == System::Axum { told } else { told + ANNOUNCE };
            let ended = instance.ended(PATIENCE);
            assert!(ended.cleanly, "{} leaves", system.name());
            return ended.at.saturating_duration_since(announced);
        }
        Scene::Request => {
            let (tell, read) = mpsc::channel();
            let client = thread::spawn(move || {
                let mut connection = http::Connection::open(address).expect("it is taken");
                connection.send("GET", "/slow", &[], b"").expect("it is there");
                tell.send(Instant::now()).expect("somebody waits");
                let answer = connection.read_response(PATIENCE).expect("it is answered");
                assert_eq!(answer.status, 200);
                Instant::now()
            });
            read.recv().expect("it is sent");
            // pace: the request is to be there, which nobody tells.
            thread::sleep(Duration::from_millis(20));
            let told = instance.terminate();
            (told, client.join().expect("it is answered"))
        }
    };
    let ended = instance.ended(PATIENCE);
    assert!(ended.cleanly, "{} leaves", system.name());
    ended.at.saturating_duration_since(last.max(told))
}

/// One stop with ten thousand connections that have had an answer each.
fn leave_many(system: System) -> Duration {
    let instance = Instance::start(system, 0, Times::default());
    let address = instance.address();
    on_own_runtime(async {
        let mut idle = Vec::with_capacity(MANY);
        while idle.len() < MANY {
            let mut opening = JoinSet::new();
            for _ in 0..100 {
                opening.spawn(async move {
                    let mut stream = TcpStream::connect(address).await.expect("it is taken");
                    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.expect("it is there");
                    let mut answer = [0; 512];
                    assert!(stream.read(&mut answer).await.expect("it answers") > 0);
                    stream
                });
            }
            idle.extend(opening.join_all().await);
        }
        let told = instance.terminate();
        let ended = tokio::task::spawn_blocking(move || instance.ended(PATIENCE)).await.expect("it does not panic");
        assert!(ended.cleanly, "{} leaves", system.name());
        let mut rest = [0; 64];
        for stream in &mut idle {
            assert_eq!(stream.read(&mut rest).await.expect("it is closed, not reset"), 0);
        }
        ended.at - told
    })
}

/// As many as this process and those that it starts may have.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("one may have what one may");
    let enough = limit.maximum.is_none_or(|most| most > MANY as u64 + 100);
    assert!(enough, "{MANY} connections need as many descriptors (ulimit -n)");
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn spread(values: &mut [f64]) -> String {
    let middle = median(values);
    // Sorted now.
    let worst = values.last().copied().unwrap_or(f64::NAN);
    let slow = values.get((values.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN);
    if values.len() < 100 {
        format!("median {middle:.1} ms, worst {worst:.1} ms")
    } else {
        format!("median {middle:.1} ms, p99 {slow:.1} ms, worst {worst:.1} ms")
    }
}
