//! Claims about exporters: one that writes a real file, and others that block, fail and panic.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicU8;
use std::sync::mpsc;

use serde_json::Value;
use wellkept_testkit::until;

use super::*;
use crate::{AnyCheck, Component, Outcome, Reason, Settings, Thresholds};

const PATIENCE: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(10);

/// A checker with one component that is down while `down` is not zero.
fn checker(down: &Arc<AtomicU8>) -> Checker {
    let down = Arc::clone(down);
    let check = AnyCheck::from_fn(move || {
        let down = down.load(Ordering::Relaxed) != 0;
        async move { if down { Outcome::fail(Reason::Refused, "connection refused") } else { Outcome::pass() } }
    });
    let (checker, engine) = Checker::new(Settings::new("tested"));
    let thresholds = Thresholds { fall: 1, rise: 1, ..Thresholds::default() };
    checker.register(Component::new("db", check).interval(MOMENT).thresholds(thresholds)).unwrap();
    tokio::spawn(engine.run(std::future::pending()));
    checker
}

/// Turns the component until it has changed `times` more.
async fn turn(checker: &Checker, down: &AtomicU8, times: u64) {
    let so_far = || checker.snapshot().component("db").map_or(0, |one| one.totals.changes);
    let mut published = checker.subscribe();
    for _ in 0..times {
        let before = so_far();
        down.fetch_xor(1, Ordering::Relaxed);
        let turned = published.wait_for(|_| so_far() > before);
        tokio::time::timeout(PATIENCE, turned).await.unwrap().unwrap();
    }
}

/// One line of JSON for each change, and one for each snapshot.
struct JsonLines(BufWriter<File>);

impl JsonLines {
    fn create(path: &Path) -> Self {
        Self(BufWriter::new(File::create(path).unwrap()))
    }

    fn line(&mut self, value: &impl serde::Serialize) -> Result<(), ExporterError> {
        serde_json::to_writer(&mut self.0, value)?;
        self.0.write_all(b"\n")?;
        Ok(self.0.flush()?)
    }
}

impl Exporter for JsonLines {
    fn change(&mut self, change: &StatusChange) -> Result<(), ExporterError> {
        self.line(change)
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), ExporterError> {
        self.line(&serde_json::json!({ "overall": snapshot.overall() }))
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_exporter_writes_every_change_into_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.jsonl");
    let down = Arc::new(AtomicU8::new(0));
    let checker = checker(&down);
    let settings = ExportSettings { every: None, ..ExportSettings::default() };
    checker.export("file", JsonLines::create(&path), settings).unwrap();
    until_first(&checker).await;
    turn(&checker, &down, 4).await;
    assert!(checker.flush_exports(PATIENCE));
    let of_db: Vec<_> = lines(&path).into_iter().filter(|line| line["component"] == "db").collect();
    let told: Vec<_> = of_db.iter().map(|line| line["to"].as_str().unwrap()).collect();
    assert_eq!(told, ["healthy", "unhealthy", "healthy", "unhealthy", "healthy"]);
    assert_eq!(of_db[1]["reason"], "refused");
    assert!(lines(&path).iter().any(|line| line["component"].is_null()), "the service's own changes too");
    let stats = &checker.exports()[0];
    assert_eq!((stats.dropped_total, stats.failed_total, stats.queued), (0, 0, 0));
}

async fn until_first(checker: &Checker) {
    let first = checker.clone();
    let mut published = checker.subscribe();
    let sampled = published.wait_for(|_| first.is_started());
    tokio::time::timeout(PATIENCE, sampled).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_exporter_gets_snapshots_at_its_interval() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("health.jsonl");
    let checker = checker(&Arc::default());
    until_first(&checker).await;
    let settings = ExportSettings { every: Some(MOMENT), ..ExportSettings::default() };
    checker.export("file", JsonLines::create(&path), settings).unwrap();
    until(PATIENCE, "three snapshots", || checker.exports()[0].taken_total >= 3);
    assert_eq!(lines(&path)[0]["overall"], "healthy");
}

/// Blocks at its first change until it is released.
struct Blocks(mpsc::Receiver<()>);

impl Exporter for Blocks {
    fn change(&mut self, _: &StatusChange) -> Result<(), ExporterError> {
        Ok(self.0.recv()?)
    }
}

#[tokio::test]
async fn an_exporter_that_blocks_loses_changes_and_delays_nobody() {
    let (release, held) = mpsc::channel();
    let (seen, changes) = mpsc::channel();
    let down = Arc::new(AtomicU8::new(0));
    let checker = checker(&down);
    checker.export("blocks", Blocks(held), ExportSettings { queue: 2, every: None }).unwrap();
    checker.export("punctual", Tells(seen), ExportSettings::default()).unwrap();
    until_first(&checker).await;
    turn(&checker, &down, 10).await;
    until(PATIENCE, "the other exporter to have all", || checker.exports()[1].taken_total >= 10);
    assert!(changes.try_iter().count() >= 10);
    let stats = &checker.exports()[0];
    assert_eq!((stats.queued, stats.taken_total), (2, 0));
    assert!(stats.dropped_total >= 8, "{stats:?}");
    assert!(!checker.flush_exports(MOMENT), "it still blocks");
    drop(release);
    assert!(checker.flush_exports(PATIENCE));
    assert!(checker.exports()[0].failed_total >= 3, "an error for each change that waited");
}

/// Tells each change, as a string of its status.
struct Tells(mpsc::Sender<String>);

impl Exporter for Tells {
    fn change(&mut self, change: &StatusChange) -> Result<(), ExporterError> {
        Ok(self.0.send(change.to.to_string())?)
    }
}

struct Panics;

impl Exporter for Panics {
    fn change(&mut self, change: &StatusChange) -> Result<(), ExporterError> {
        panic!("on purpose: {}", change.to)
    }
}

#[tokio::test]
async fn an_exporter_that_panics_is_counted_and_called_again() {
    let down = Arc::new(AtomicU8::new(0));
    let checker = checker(&down);
    checker.export("panics", Panics, ExportSettings::default()).unwrap();
    until_first(&checker).await;
    turn(&checker, &down, 3).await;
    assert!(checker.flush_exports(PATIENCE));
    let stats = &checker.exports()[0];
    assert!(stats.failed_total >= 4 && stats.taken_total == 0, "{stats:?}");
}

/// Takes nothing before it is let go, and then tells each change.
struct Waits {
    release: mpsc::Receiver<()>,
    told: mpsc::Sender<String>,
}

impl Exporter for Waits {
    fn change(&mut self, change: &StatusChange) -> Result<(), ExporterError> {
        self.release.recv_timeout(PATIENCE).ok();
        Ok(self.told.send(change.to.to_string())?)
    }
}

#[test]
fn an_exporter_that_is_behind_gets_what_waits_for_it_though_the_checker_is_gone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let down = Arc::new(AtomicU8::new(0));
    let checker = runtime.block_on(async { checker(&down) });
    let ((release, held), (told, changes)) = (mpsc::channel(), mpsc::channel());
    // A snapshot is due all the time.
    let settings = ExportSettings { every: Some(SHORTEST), ..ExportSettings::default() };
    checker.export("behind", Waits { release: held, told }, settings).unwrap();
    runtime.block_on(async {
        until_first(&checker).await;
        turn(&checker, &down, 3).await;
    });
    let queued = checker.exports()[0].queued;
    assert!(queued >= 2, "{queued}");
    drop((checker, runtime));
    drop(release);
    let taken = std::iter::from_fn(|| changes.recv_timeout(PATIENCE).ok()).count() as u64;
    assert!(taken > queued, "{taken} of {queued}, and the one in hand");
}

/// Tells when it is dropped.
struct Ends(mpsc::Sender<&'static str>);

impl Exporter for Ends {
    fn change(&mut self, _: &StatusChange) -> Result<(), ExporterError> {
        Ok(())
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.send("ended").ok();
    }
}

#[test]
fn an_exporter_ends_when_it_is_stopped_and_with_its_checker() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (checker, engine) = runtime.block_on(async { Checker::new(Settings::new("tested")) });
    let (end, ended) = mpsc::channel();
    checker.export("first", Ends(end.clone()), ExportSettings::default()).unwrap();
    assert!(checker.stop_export("first"));
    assert!(!checker.stop_export("first"));
    assert_eq!(ended.recv_timeout(PATIENCE), Ok("ended"));
    checker.export("second", Ends(end), ExportSettings::default()).unwrap();
    drop((checker, engine));
    assert_eq!(ended.recv_timeout(PATIENCE), Ok("ended"));
}

#[tokio::test]
async fn exporters_are_bounded_in_number_name_and_queue() {
    let (checker, _engine) = Checker::new(Settings::new("tested"));
    let usual = ExportSettings::default();
    let refused = |name: &str, settings| checker.export(name, Panics, settings).unwrap_err().code();
    assert_eq!(refused("", usual), "export.name");
    assert_eq!(refused("a", ExportSettings { queue: 0, ..usual }), "export.setting");
    assert_eq!(refused("a", ExportSettings { queue: 1 << 20, ..usual }), "export.setting");
    for every in [Duration::ZERO, Duration::MAX] {
        assert_eq!(refused("a", ExportSettings { every: Some(every), ..usual }), "export.setting");
    }
    for number in 0..MOST {
        checker.export(number.to_string(), Panics, usual).unwrap();
        assert_eq!(refused("0", usual), "export.duplicate");
    }
    assert_eq!(refused("a", usual), "export.too_many");
}
