//! How soon a ping's verdict on Celery's workers follows the last of their answers: real workers on a real Redis, which says
//! itself when each answer came in.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Builder;
use wellkept::health::{Verdict, run_once};
use wellkept_testkit::{CeleryOptions, CeleryWorker, Redis, until};

use crate::local::component;
use crate::rounds::Effort;

const WORKERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(effort: Effort) {
    let redis = Redis::start();
    let _workers: Vec<_> = (0..WORKERS)
        .map(|number| CeleryWorker::start(&redis.url(), &format!("w{number}"), CeleryOptions::default()))
        .collect();
    let section = format!("{{ broker: '{}', mode: active, workers: {{ minimum: {WORKERS} }} }}", redis.url());
    let check = component("celery", &section);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let ask = || runtime.block_on(run_once(&check)).outcome;
    until(PATIENCE, "all workers to answer", || ask().verdict() == Verdict::Pass);

    let answers = watch(redis.port());
    let mut after: Vec<f64> = (0..effort.rounds * 50)
        .map(|_| {
            let began = now();
            let outcome = ask();
            let ended = now();
            assert_eq!(outcome.verdict(), Verdict::Pass, "{}", outcome.message());
            // Redis tells of a command when it is done, which may be a moment after the verdict.
            let of_this_run = || {
                let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.iter().copied().filter(|at| *at > began && *at < ended).collect::<Vec<_>>()
            };
            until(PATIENCE, "Redis to have told of each answer", || of_this_run().len() >= WORKERS);
            let last = of_this_run().into_iter().fold(began, f64::max);
            (ended - last) * 1000.0
        })
        .collect();
    after.sort_by(f64::total_cmp);
    let at = |percent: usize| after.get(after.len() * percent / 100).or(after.last()).copied().unwrap_or(f64::NAN);
    println!(
        "| `celery`, {} pings of {WORKERS} workers: from the last answer to the verdict | median {:.2} ms, p99 {:.2} ms, most \
         {:.2} ms | | | < 5 ms |",
        after.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// Seconds on the clock that Redis has too.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Notes when workers push answers.
fn watch(port: u16) -> Arc<Mutex<Vec<f64>>> {
    let answers = Arc::<Mutex<Vec<f64>>>::default();
    let noted = Arc::clone(&answers);
    let mut monitor = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Redis is there");
    monitor.write_all(b"MONITOR\r\n").expect("it takes a command");
    let mut lines = BufReader::new(monitor).lines();
    let taken = lines.next().and_then(Result::ok);
    assert_eq!(taken.as_deref(), Some("+OK"));
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let is_answer = line.contains("PUSH\" ") && line.contains("wellkept.reply.");
            let at = line.trim_start_matches('+').split(' ').next().and_then(|at| at.parse::<f64>().ok());
            if let (true, Some(at)) = (is_answer, at) {
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(at);
            }
        }
    });
    answers
}
