//! What probes cost those who are asked, and the dependency behind them: Wellkept beside its peers.

use std::time::Duration;

use tokio::runtime::Builder;

use crate::load::{CONNECTIONS, Steady, steady};
use crate::peers::dependency::{Dependency, THINKS};
use crate::peers::systems::{CHECKS, INTERVAL, Running, SYSTEMS};
use crate::rounds::{Effort, median};

mod dependency;
mod systems;

/// Probes per second: a few probers, and a flood.
const LOADS: [f64; 2] = [10.0, 500.0];
/// What is still under way after a round does not fall into the next one.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) fn run(effort: Effort) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let mut contenders = Vec::new();
    for (name, start) in SYSTEMS {
        let dependency = Dependency::start(runtime.handle());
        match start(dependency.address) {
            Ok(running) => contenders.push(Contender { name, running, dependency, measured: Default::default() }),
            Err(why) => println!("\nNOT MEASURED: {name} could not be had: {why}"),
        }
    }
    for contender in &contenders {
        // Warms it up, and lets those with a schedule have their first results.
        steady(contender.running.address, contender.running.path, LOADS[0], 2 * INTERVAL);
    }
    for round in 0..effort.rounds.div_ceil(2) {
        for turn in 0..contenders.len() {
            let count = contenders.len();
            let contender = &mut contenders[(turn + round) % count];
            for (load, per_second) in LOADS.into_iter().enumerate() {
                contender.measure(load, per_second, effort.round * 2);
            }
        }
    }
    for (load, per_second) in LOADS.into_iter().enumerate() {
        println!(
            "\n{CHECKS} checks of {} ms each, {per_second:.0} probes per second on {CONNECTIONS} connections:\n",
            THINKS.as_millis()
        );
        println!("| system | answered per second | failed | median | p99 | questions to the dependency per second |");
        println!("|---|---|---|---|---|---|");
        for contender in &mut contenders {
            contender.print(load);
        }
    }
    drop(contenders);
    runtime.shutdown_background();
}

struct Contender {
    name: &'static str,
    running: Running,
    dependency: Dependency,
    measured: [Vec<Measured>; LOADS.len()],
}

struct Measured {
    steady: Steady,
    hits: f64,
}

impl Contender {
    fn measure(&mut self, load: usize, per_second: f64, time: Duration) {
        let before = self.dependency.hits();
        let began = std::time::Instant::now();
        let steady = steady(self.running.address, self.running.path, per_second, time);
        let hits = (self.dependency.hits() - before) as f64 / began.elapsed().as_secs_f64();
        self.measured[load].push(Measured { steady, hits });
        std::thread::sleep(SETTLE);
    }

    fn print(&mut self, load: usize) {
        let measured = &self.measured[load];
        let of = |value: fn(&Measured) -> f64| median(&mut measured.iter().map(value).collect::<Vec<_>>());
        println!(
            "| {} | {:.0} | {} | {} | {} | {:.0} |",
            self.name,
            of(|one| one.steady.answered),
            measured.iter().map(|one| one.steady.failed).sum::<usize>(),
            time(of(|one| one.steady.median.as_secs_f64())),
            time(of(|one| one.steady.slow.as_secs_f64())),
            of(|one| one.hits),
        );
    }
}

fn time(seconds: f64) -> String {
    if seconds < 0.001 { format!("{:.0} µs", seconds * 1e6) } else { format!("{:.1} ms", seconds * 1e3) }
}
