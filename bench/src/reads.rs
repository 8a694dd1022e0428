//! What reading health in process costs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use wellkept::health::wire::Health;
use wellkept::health::{AnyCheck, Checker, Component, Group, Settings};

use crate::rounds::{Effort, interleaved};

const READS: u32 = 2_000_000;

pub(crate) fn run(effort: Effort) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let checker = runtime.block_on(async {
        let (checker, engine) = Checker::new(Settings::new("orders"));
        for number in 0..100 {
            let component = Component::new(format!("check-{number}"), AnyCheck::from_fn(async || ()));
            checker.register(component.interval(Duration::from_secs(3600))).expect("the name is new");
        }
        tokio::spawn(engine.run(std::future::pending()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        checker
    });
    let swap = ArcSwap::from_pointee(1_u64);
    let bare = || nanoseconds(|| **swap.load());
    let row = |what: &str, target: &str, read: &dyn Fn() -> f64| {
        let compared = interleaved(effort.rounds, read, bare);
        println!(
            "| {what}, ns | {:.1} | `ArcSwap::load`: {:.1} | {:.2} | {target} |",
            compared.a, compared.b, compared.ratio
        );
    };
    row("`checker.status()`, 100 components", "< 20", &|| nanoseconds(|| checker.status()));
    row("`checker.readiness()`, 100 components", "", &|| nanoseconds(|| checker.readiness()));
    row("`checker.snapshot().status(group)`", "", &|| nanoseconds(|| checker.snapshot().status(&Group::Ready)));
    let snapshot = checker.snapshot();
    row("`snapshot.overall()` on a held snapshot", "", &|| nanoseconds(|| Arc::clone(&snapshot).overall()));
    row("the body of `/health`", "", &|| nanoseconds(|| serde_json::to_vec(&Health::of(&checker))));
    runtime.shutdown_background();
}

fn nanoseconds<T>(mut read: impl FnMut() -> T) -> f64 {
    let began = Instant::now();
    for _ in 0..READS {
        black_box(read());
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(READS)
}
