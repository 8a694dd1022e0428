//! What ten thousand checks cost: processor time, memory, and the time that it takes to add them up.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use wellkept::health::{AnyCheck, Checker, Component, Schedule, Settings, Status};
use wellkept::telemetry::system::{Process, SystemRoot};

use crate::rounds::{Effort, median};

const CHECKS: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn run(effort: Effort) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let before = resident();
    let checker = runtime.block_on(async {
        let (checker, engine) = Checker::new(Settings::new("orders"));
        for number in 0..CHECKS {
            checker.register(component(number)).expect("the name is new");
        }
        tokio::spawn(engine.run(std::future::pending()));
        checker
    });
    // The first runs begin at once; from the second on each has its own phase.
    std::thread::sleep(2 * INTERVAL);
    let warm = process();
    let runs = checker.stats().runs_total;
    std::thread::sleep(effort.round.mul_f64(20.0));
    let (after, stats) = (process(), checker.stats());
    let busy = after.cpu.saturating_sub(warm.cpu).as_secs_f64();
    let time = effort.round.mul_f64(20.0).as_secs_f64();
    println!(
        "| {CHECKS} checks, one run per {} s each: share of a core ({:.0} runs per second) | {:.1} % | | | < 5 % |",
        INTERVAL.as_secs(),
        (stats.runs_total - runs) as f64 / time,
        busy / time * 100.0
    );
    let memory = resident().saturating_sub(before) as f64 / CHECKS as f64;
    println!("| {CHECKS} checks: resident memory each | {memory:.0} bytes | | | < 2048 bytes |");
    runtime.shutdown_background();
    looking_at_all(effort);
    adding_up(effort);
}

/// What it takes to add up all components when nothing that was kept holds any more: all results have grown too old.
fn looking_at_all(effort: Effort) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let (checker, engine) = Checker::new(Settings::new("orders"));
    let age = Duration::from_secs(5);
    for number in 0..CHECKS {
        checker.register(component(number).interval(HOUR).max_age(age)).expect("the name is new");
    }
    runtime.spawn(engine.run(std::future::pending()));
    std::thread::sleep(age / 2);
    let snapshot = checker.snapshot();
    assert_eq!(snapshot.overall(), Status::Healthy, "all checks have run");
    runtime.shutdown_background();
    std::thread::sleep(age);
    let mut times: Vec<f64> = (0..effort.rounds * 10).map(|_| microseconds(|| snapshot.overall())).collect();
    assert_eq!(snapshot.overall(), Status::Unknown, "all results are too old");
    println!("| {CHECKS} checks: a full aggregation, nothing kept | {:.0} µs | | | < 1 ms |", median(&mut times));
}

/// What it takes to publish when nothing that was kept can be used, and when little changed.
fn adding_up(effort: Effort) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let (checker, engine) = Checker::new(Settings::new("orders"));
    // None of them runs unless it is asked to.
    let idle =
        |number| component(number).schedule(Schedule { initial_delay: HOUR, interval: HOUR, ..Schedule::default() });
    let all = || (0..CHECKS).map(idle).collect::<Vec<_>>();
    checker.replace(all()).expect("they are sound");
    runtime.spawn(engine.run(std::future::pending()));
    let anew = published(&checker, effort, |_| drop(checker.replace(all())));
    println!("| {CHECKS} checks: published after all were replaced | {anew:.0} µs | | | |");
    let one = published(&checker, effort, |round| {
        let name = format!("check-{}", CHECKS - 1 - round);
        runtime.block_on(checker.check_component(&name)).expect("it is registered and runs");
    });
    println!("| {CHECKS} checks: published after one result | {one:.0} µs | | | |");
    let fewer = published(&checker, effort, |round| {
        checker.unregister(&format!("check-{round}"));
    });
    println!("| {CHECKS} checks: published after one has gone | {fewer:.0} µs | | | |");
    runtime.shutdown_background();
}

/// The median time of one publication, in microseconds.
fn published(checker: &Checker, effort: Effort, cause: impl Fn(usize)) -> f64 {
    let times = (0..effort.rounds * 4).map(|round| {
        // Taking down what was published before is not a part of it.
        let held = checker.snapshot();
        let before = checker.stats();
        cause(round);
        std::thread::sleep(Duration::from_millis(50));
        let after = checker.stats();
        drop(held);
        let count = after.published_total.saturating_sub(before.published_total).max(1) as f64;
        after.publishing_total.saturating_sub(before.publishing_total).as_secs_f64() * 1e6 / count
    });
    median(&mut times.collect::<Vec<_>>())
}

fn component(number: usize) -> Component {
    let check = AnyCheck::from_fn(async || ());
    Component::new(format!("check-{number}"), check).interval(INTERVAL)
}

fn microseconds<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    black_box(work());
    began.elapsed().as_secs_f64() * 1e6
}

/// Bytes of memory in RAM that this process has filled itself: not its code, nor files.
pub(crate) fn resident() -> u64 {
    resident_of("self")
}

/// The same of another process, by its id.
pub(crate) fn resident_of(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.expect("Linux tells it since 4.5") * 1024
}

pub(crate) fn process() -> Process {
    Process::read(&SystemRoot::default()).expect("a process can read its own figures")
}
