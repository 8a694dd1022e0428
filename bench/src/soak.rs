//! Memory over time: a thousand components that run every second and change now and then, whose history is full from
//! the start where a file holds it: two hours by minutes each, more than is kept in memory of the file.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use wellkept::health::trend::{Bucket, MinutePart, Tier};
use wellkept::health::{
    AnyCheck, Checker, Clock as _, Component, History, HistoryStore as _, Memory, Outcome, Reason, Settings, Status,
    SystemClock, Verdict,
};
use wellkept::store::SqliteStore;

use crate::checks::{process, resident};

const COMPONENTS: usize = 1000;
/// Minutes of history that there are before.
const MINUTES: i64 = 120;
const INTERVAL: Duration = Duration::from_secs(1);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Where history is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Store {
    Sqlite,
    Memory,
}

pub(crate) fn run(time: Duration, store: Store) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let folder = std::env::temp_dir().join(format!("wellkept-soak-{}", std::process::id()));
    prepare(&folder, store);
    let before = resident();
    let checker = runtime.block_on(async {
        let (checker, engine) = Checker::new(Settings::new("orders"));
        checker.set_history(history(&folder, store));
        for number in 0..COMPONENTS {
            checker.register(component(number)).expect("the name is new");
        }
        tokio::spawn(engine.run(std::future::pending()));
        checker
    });
    let samples = sample(time);
    let stats = checker.stats();
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let peak = samples.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default();
    // The first third fills queues, caches and the history itself.
    let slope = slope(&samples[samples.len() / 3..]);
    let megabytes = |bytes: u64| bytes.saturating_sub(before) as f64 / 1e6;
    println!(
        "| {COMPONENTS} components at one run per second for {} min, history in {store:?}: memory of the engine | \
         first {:.1} MB, last {:.1} MB, peak {:.1} MB, slope {:.1} KB per minute | | | < 10 MB, flat |",
        time.as_secs() / 60,
        megabytes(first.1),
        megabytes(last.1),
        megabytes(peak),
        slope * 60.0 / 1e3
    );
    println!(
        "| the same: runs, changes of status, the whole process, code and files included | {}, {}, {:.1} MB | | | |",
        stats.runs_total,
        stats.changes_total,
        process().resident_bytes as f64 / 1e6
    );
    runtime.shutdown_background();
    drop(std::fs::remove_dir_all(&folder));
}

/// Resident bytes over time, in seconds.
fn sample(time: Duration) -> Vec<(f64, u64)> {
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < time {
        std::thread::sleep(SAMPLE_EVERY);
        samples.push((began.elapsed().as_secs_f64(), resident()));
    }
    samples
}

fn prepare(folder: &Path, store: Store) {
    if let Store::Sqlite = store {
        std::fs::create_dir_all(folder).expect("there is a folder for temporary files");
        fill(&mut SqliteStore::open(&file(folder)).expect("a new store can be made"));
    }
}

fn history(folder: &Path, store: Store) -> History {
    let started = match store {
        Store::Memory => History::start(Memory::default()),
        Store::Sqlite => History::start(SqliteStore::open(&file(folder)).expect("the store can be opened")),
    };
    started.expect("a thread can be had")
}

fn file(folder: &Path) -> PathBuf {
    folder.join("history.db")
}

/// The minutes before this one, as if all had been well.
fn fill(store: &mut SqliteStore) {
    let mut bucket = Bucket::default();
    bucket.add_time(Status::Healthy, 60_000);
    for run in 0..60 {
        bucket.add_run(Verdict::Pass, 2.0 + 0.1 * f64::from(run));
    }
    let now = Tier::Minute.slot(SystemClock.wall());
    for minute in now - MINUTES..now {
        let of = |number| MinutePart { component: name(number).into(), minute, bucket: bucket.clone() };
        store.keep_time(&(0..COMPONENTS).map(of).collect::<Vec<_>>(), &[]).expect("there is room");
    }
}

fn name(number: usize) -> String {
    format!("component-{number}")
}

/// Fails for six of sixty runs, each component at a time of its own, and tells a few readings.
fn component(number: usize) -> Component {
    let runs = AtomicU64::new(number as u64);
    let check = AnyCheck::from_fn(move || {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        let outcome = if run % 60 < 6 {
            Outcome::fail(Reason::Refused, "connection refused").with_detail(format!("127.0.0.1:{run}"))
        } else {
            Outcome::pass()
        };
        let outcome = outcome.with("active", run % 7).with("idle", 3).with("max", 20);
        async move { outcome }
    });
    Component::new(name(number), check).interval(INTERVAL)
}

/// The straight line through the samples by least squares: bytes per second.
fn slope(samples: &[(f64, u64)]) -> f64 {
    let count = samples.len() as f64;
    let mean_time = samples.iter().map(|(at, _)| at).sum::<f64>() / count;
    let mean_bytes = samples.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / count;
    let covariance: f64 = samples.iter().map(|(at, bytes)| (at - mean_time) * (*bytes as f64 - mean_bytes)).sum();
    let variance: f64 = samples.iter().map(|(at, _)| (at - mean_time).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}
