//! What it costs to read a configuration that may change at any moment, and how long a change of a thousand checks takes.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use wellkept::config::{
    Effects, FlagBoard, Live, LiveOptions, Outcome, Prepared, Refusal, Request, Section, Settings, Sources, Trigger,
};
use wellkept::health::{self, Checker};
use wellkept::program::Configuration;

use crate::rounds::{Effort, interleaved, median};

const READS: u32 = 2_000_000;
const CHECKS: usize = 1_000;

struct Limits {
    rows: u64,
}

impl Settings for Limits {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        Some(Self { rows: section.or("rows", 100) })
    }
}

pub(crate) fn run(effort: Effort) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    reads(effort);
    flags(effort);
    let folder = std::env::temp_dir().join(format!("wellkept-bench-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let mut took = reloads(&runtime, &folder.join("wellkept.yaml"), effort.rounds.max(3));
    let (middle, longest) = (median(&mut took), took.iter().copied().fold(0.0, f64::max));
    println!(
        "| SIGHUP to the commit of {CHECKS} checks, one of them changed | median {middle:.1} ms, longest {longest:.1} ms | | | < 100 ms |"
    );
    runtime.shutdown_background();
    std::fs::remove_dir_all(folder).expect("the folder can be removed");
}

/// A handle beside what else could hold a value that is replaced now and then.
fn reads(effort: Effort) {
    let live = Live::<Limits>::load(Sources::new().text("app.yaml", "rows: 7"), LiveOptions::default())
        .expect("the text is right");
    let rows = live.handle(|limits| &limits.rows);
    let mut cached = rows.cached();
    let swap = ArcSwap::from_pointee(7_u64);
    let lock = RwLock::new(7_u64);
    let (_sender, watched) = watch::channel(7_u64);
    let row = |what: &str, peer: &str, target: &str, read: &mut dyn FnMut() -> f64, other: &dyn Fn() -> f64| {
        let compared = interleaved(effort.rounds, read, other);
        println!("| {what}, ns | {:.1} | {peer}: {:.1} | {:.2} | {target} |", compared.a, compared.b, compared.ratio);
    };
    let handle = &mut || nanoseconds(|| *rows.read());
    let of_swap = || nanoseconds(|| **swap.load());
    row("`handle.read()`", "`ArcSwap::load`", "< 15", handle, &of_swap);
    let of_lock = || nanoseconds(|| *lock.read().unwrap_or_else(PoisonError::into_inner));
    row("`handle.read()`", "`RwLock::read`", "", handle, &of_lock);
    row("`handle.read()`", "`watch::Receiver::borrow`", "", handle, &|| nanoseconds(|| *watched.borrow()));
    row("`cached.read()`", "`ArcSwap::load`", "< 15", &mut || nanoseconds(|| *cached.read()), &of_swap);
}

wellkept::config::flags! {
    /// One flag, as a rollout has it.
    struct Switches {
        /// On for a part and for some by name.
        checkout("new-checkout"): bool = false,
    }
}

/// A flag's answer, found and counted, beside the hash alone of a map that holds the same keys.
fn flags(effort: Effort) {
    let keys: Vec<_> = (0..1_000).map(|number| format!("tenant-{number}")).collect();
    let text = format!("new-checkout: {{ percentage: 25%, keys: [{}] }}", keys.join(", "));
    let live = Live::<Switches>::load(Sources::new().text("shop.yaml", text), LiveOptions::default())
        .expect("the text is right");
    let board = FlagBoard::new();
    let _following = board.follow(&live, |switches| switches);
    let (switches, hasher) = (live.handle(|switches| switches), RandomState::new());
    let compared = interleaved(
        effort.rounds,
        &mut || nanoseconds(|| switches.read().checkout.is_on(black_box("8f14e45f-ceea-467f-a8d4-0d4c2b0f8b1e"))),
        &|| nanoseconds(|| hasher.hash_one(black_box("8f14e45f-ceea-467f-a8d4-0d4c2b0f8b1e"))),
    );
    println!(
        "| a flag's answer for a key of 36 bytes, 1,000 keys by name, ns | {:.1} | `RandomState::hash_one`: {:.1} | {:.2} | < 50 |",
        compared.a, compared.b, compared.ratio
    );
}

fn nanoseconds<T>(mut read: impl FnMut() -> T) -> f64 {
    let began = Instant::now();
    for _ in 0..READS {
        black_box(read());
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(READS)
}

/// Milliseconds from the signal to the commit of each, the file having changed before: it is read, checked, compared and
/// put to use in between.
fn reloads(runtime: &Runtime, file: &Path, rounds: usize) -> Vec<f64> {
    write(file, 0);
    let live = Live::<Configuration>::load(Sources::new().file(file), LiveOptions::default())
        .expect("the configuration is right");
    runtime.block_on(async {
        let (checker, engine) = Checker::new(health::Settings::new("orders"));
        tokio::spawn(engine.run(std::future::pending()));
        checker.replace(components(&live.current())).expect("the names are new");
        let (tell, mut committed) = mpsc::channel(1);
        let replacing = checker.clone();
        let _checks = live.subscribe("checks", move |_, new: Arc<Configuration>| {
            let (checker, tell) = (replacing.clone(), tell.clone());
            async move {
                let prepared = checker
                    .prepare_replace(components(&new))
                    .map_err(|errors| Refusal::new(format!("{} errors", errors.len())))?;
                let gone = Arc::new(Mutex::new(None));
                let ending = Arc::clone(&gone);
                let commit = move || {
                    let (_, retired) = prepared.commit();
                    *gone.lock().unwrap_or_else(PoisonError::into_inner) = Some(retired);
                    // Nobody listens any more where the rounds are over.
                    let _ = tell.try_send(Instant::now());
                    Effects::new()
                };
                Ok(Prepared::new(commit).retire(move || async move { drop(ending) }))
            }
        });
        let mut hangups = signal(SignalKind::hangup()).expect("a handler can be installed");
        let mut took = Vec::new();
        for round in 1..=rounds {
            write(file, round);
            // pace: what the one before left behind has its time.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let began = Instant::now();
            kill_process(getpid(), Signal::HUP).expect("this process can be signalled");
            hangups.recv().await;
            let report = live.reload(Request::new(Trigger::Signal)).await;
            assert_eq!(report.outcome, Outcome::Applied);
            let at = committed.recv().await.expect("it is committed");
            took.push((at - began).as_secs_f64() * 1e3);
        }
        took
    })
}

fn components(configuration: &Configuration) -> Vec<health::Component> {
    configuration.checks.iter().map(|check| check.component.clone()).collect()
}

/// A thousand checks, of which the first differs from round to round. They run once an hour: what they do is no part of
/// the figure.
fn write(file: &Path, round: usize) {
    let mut text = String::from("service: { name: orders }\nchecks:\n");
    for number in 0..CHECKS {
        let port = if number == 0 { 1_000 + round } else { 9 };
        writeln!(text, "  - name: check-{number}\n    interval: 1h\n    tcp: {{ address: '127.0.0.1:{port}' }}")
            .expect("a text can be written to");
    }
    std::fs::write(file, text).expect("the file can be written");
}
