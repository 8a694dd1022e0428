//! What it costs to count a request in flight, from its begin to its end, beside what else would count: processor time, so
//! that what else runs on the machine counts little.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use wellkept::shutdown::{Tracker, Work};

use crate::rounds::{Effort, median};

const PAIRS: u32 = 1_000_000;
/// More than are ever in flight.
const LIMIT: usize = 1_000_000;

type Pair = Box<dyn Fn(u32) + Send + Sync>;

pub(crate) fn run(effort: Effort) {
    let subjects = subjects();
    let mut figures: Vec<[Vec<f64>; 2]> = subjects.iter().map(|_| [Vec::new(), Vec::new()]).collect();
    for _ in 0..effort.rounds {
        for ((_, _, pairs), [one, two]) in subjects.iter().zip(&mut figures) {
            one.push(nanoseconds(pairs, 1));
            two.push(nanoseconds(pairs, 2));
        }
    }
    println!("| begin and end, ns | one thread | two threads at once | target |");
    println!("|---|---|---|---|");
    for ((what, target, _), [mut one, mut two]) in subjects.into_iter().zip(figures) {
        println!("| {what} | {:.1} | {:.1} | {target} |", median(&mut one), median(&mut two));
    }
}

/// What it is called, its target, and what does it so many times.
fn subjects() -> Vec<(&'static str, &'static str, Pair)> {
    let tracker = Tracker::new(LIMIT);
    let (counted, guarded, named) = (tracker.clone(), tracker.clone(), tracker);
    let tasks = TaskTracker::new();
    let semaphore = Arc::new(Semaphore::new(LIMIT));
    let shared = AtomicUsize::new(0);
    vec![
        (
            "wellkept: `begin_request`, `end_request`",
            "< 15",
            repeated(move || {
                if counted.begin_request().is_ok() {
                    counted.end_request();
                }
            }),
        ),
        ("wellkept: `start_request`, a guard", "", repeated(move || drop(black_box(guarded.start_request())))),
        (
            "wellkept: `start_work`, with name and age",
            "< 60",
            repeated(move || drop(black_box(named.start_work(Work::new("request", "GET /orders"))))),
        ),
        ("`tokio_util::task::TaskTracker::token`", "", repeated(move || drop(black_box(tasks.token())))),
        (
            "`tokio::sync::Semaphore::try_acquire_owned`",
            "",
            repeated(move || drop(black_box(Arc::clone(&semaphore).try_acquire_owned()))),
        ),
        (
            "a bare `AtomicUsize`",
            "",
            repeated(move || {
                black_box(shared.fetch_add(1, Ordering::SeqCst));
                black_box(shared.fetch_sub(1, Ordering::SeqCst));
            }),
        ),
        (
            "nothing",
            "",
            repeated(|| {
                black_box(());
            }),
        ),
    ]
}

/// The loop is compiled for each subject, so that no call through a pointer is measured.
fn repeated(pair: impl Fn() + Send + Sync + 'static) -> Pair {
    Box::new(move |times| {
        for _ in 0..times {
            pair();
        }
    })
}

fn nanoseconds(pairs: &Pair, threads: usize) -> f64 {
    let together = Barrier::new(threads);
    let each: Vec<f64> = thread::scope(|scope| {
        let measure = || {
            // Warms it up.
            pairs(PAIRS / 100);
            together.wait();
            let began = processor_time();
            pairs(PAIRS);
            processor_time().saturating_sub(began).as_secs_f64() * 1e9 / f64::from(PAIRS)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
        running.into_iter().map(|one| one.join().expect("it does not panic")).collect()
    });
    each.iter().sum::<f64>() / threads as f64
}

/// What this thread has taken so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().expect("a thread takes no negative time")
}
