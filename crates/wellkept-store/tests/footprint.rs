//! What the engine with its history takes in memory: a test program of its own, so that nothing else is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wellkept_health::trend::{Bucket, MinutePart, Tier};
use wellkept_health::{
    AnyCheck, Checker, Clock as _, Component, History, HistoryStore as _, Outcome, Settings, Status, TokioClock,
    Verdict,
};
use wellkept_store::SqliteStore;

const COMPONENTS: usize = 1000;
/// What a thousand components with their history may take.
const MOST: u64 = 10 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process of itself");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS is always there");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kibibytes * 1024
}

fn name(number: usize) -> Arc<str> {
    format!("component-{number:04}").into()
}

/// A day of history by one minute an hour, up to now.
fn fill(store: &mut SqliteStore, now: jiff::Timestamp) {
    let mut bucket = Bucket::default();
    bucket.add_time(Status::Healthy, 60_000);
    for run in 0..6 {
        bucket.add_run(Verdict::Pass, 2.0 + 0.3 * f64::from(run));
    }
    for hour in (1..=24).rev() {
        let minute = Tier::Minute.slot(now) - hour * 60;
        let of = |number| MinutePart { component: name(number), minute, bucket: bucket.clone() };
        store.keep_time(&(0..COMPONENTS).map(of).collect::<Vec<_>>(), &[]).expect("there is room");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_components_with_their_history_take_less_than_ten_mebibytes() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("wellkept.db");
    let clock = TokioClock::start();
    {
        let mut store = SqliteStore::open(&path).expect("the store opens");
        fill(&mut store, clock.wall());
    }
    let before = resident();

    let store = SqliteStore::open(&path).expect("the store opens");
    let (checker, engine) = Checker::new(Settings { clock, ..Settings::new("orders") });
    let history = History::start(store).expect("a thread can be started");
    checker.set_history(history.clone());
    for number in 0..COMPONENTS {
        let check = AnyCheck::from_fn(async || {
            tokio::time::sleep(Duration::from_millis(3)).await;
            Outcome::pass().with_remaining("free_bytes", 1 << 40).with("total_bytes", 1_u64 << 41)
        });
        checker.register(Component::new(name(number), check)).expect("it can be kept");
    }
    let engine = tokio::spawn(engine.run(std::future::pending()));
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(60)).await; // pace: on paused time
        assert!(history.flush(PATIENCE), "{:?}", history.failure());
    }
    let taken = resident().saturating_sub(before);

    let asked = Instant::now();
    let trend = history.trend(&name(500), PATIENCE).expect("there is an answer");
    println!("{COMPONENTS} components take {} KiB; a trend takes {:?}", taken / 1024, asked.elapsed());
    println!("their file has {} bytes each", std::fs::metadata(&path).expect("it is there").len() / 1000);
    let day = trend.windows.day;
    assert!(day.seconds.healthy > 24.0 * 60.0 + 170.0, "{day:?}");
    assert!(day.runs.passed > 24 * 6 + 15, "{day:?}");
    assert!(taken < MOST, "{COMPONENTS} components take {taken} bytes");
    engine.abort();
}
