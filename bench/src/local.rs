//! What one run of each check of this machine takes, as `wellkept check` and the engine run it: with its thread, where
//! it has one.

use std::time::Duration;

use tokio::runtime::Builder;
use wellkept::Component;
use wellkept::checks::kinds;
use wellkept::config::Document;
use wellkept::health::run_once;

use crate::rounds::Effort;

/// Each kind by its section. Those that compare two samples run at the pace at which they need not wait for the second.
const KINDS: [(&str, &str, bool); 7] = [
    ("cpu", "{}", true),
    ("disk", "{ path: / }", false),
    ("files", "{}", false),
    ("memory", "{}", false),
    ("pressure", "{}", false),
    ("processes", "{ name: init, cmdline: 'no such*line', minimum: 0 }", false),
    ("system", "{}", true),
];
/// A little more than what two samples need between them.
const PACE: Duration = Duration::from_millis(220);

pub(crate) fn run(effort: Effort) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    for (name, section, paced) in KINDS {
        let component = component(name, section);
        let runs = effort.rounds * if paced { 10 } else { 200 };
        // The first run takes its first sample, and what is first read is not in the cache.
        runtime.block_on(run_once(&component));
        let mut times: Vec<f64> = (0..runs)
            .map(|_| {
                if paced {
                    std::thread::sleep(PACE);
                }
                let finished = runtime.block_on(run_once(&component));
                assert!(!finished.outcome.metadata().is_empty(), "{name}: {}", finished.outcome.message());
                finished.elapsed.as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times.get(times.len() * percent / 100).or(times.last()).copied().unwrap_or(f64::NAN);
        println!(
            "| `{name}`, {runs} runs | median {:.2} ms, p99 {:.2} ms, most {:.2} ms | | | p99 < 5 ms |",
            at(50),
            at(99),
            at(100)
        );
    }
}

/// A component of this kind, as a configuration would make it.
pub(crate) fn component(name: &'static str, section: &str) -> Component {
    let kind = kinds().iter().find(|kind| kind.name == name).expect("it is a kind of every build");
    let document = Document::parse("local", &format!("{name}: {section}")).expect("the text above is YAML");
    let check = document.read(|root| root.open(name, kind.read)).expect("the text above can be read");
    Component::new(name, check)
}
