//! The figures that the design names, beside their peers, in one run: rounds of A and B interleaved, medians.
#![expect(clippy::print_stdout, reason = "the table is the product")]

mod celery;
mod checks;
mod config;
mod instance;
mod leave;
mod load;
mod local;
mod log;
mod metrics;
mod peers;
mod polite;
mod probes;
mod reads;
mod requests;
mod rolling;
mod rounds;
mod serve;
mod soak;
mod stop;
mod system;
mod targets;
mod tracking;

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::rounds::Effort;
use crate::soak::Store;

const HELP: &str = "\
Examples:
  cargo xtask bench                     everything but `stop` and `rolling`, about fifteen minutes
  cargo xtask bench --quick             short rounds, to see that it works
  cargo xtask bench probes reads        some parts of it
  cargo xtask bench soak --minutes 20   one part, for longer
  cargo xtask bench stop                half an hour; goes on from bench/results/stop.csv
  cargo xtask bench stop --stops 100 --cells h1-200-0,h2-1000-0.5

Parts:
  probes   the endpoints under load, beside a bare axum handler
  requests an axum handler with all layers of a request, beside the bare one
  reads    reading the status in process, beside a bare atomic load
  config   reading a configuration beside a lock, a watch and a bare atomic load; a change of a thousand checks
  checks   ten thousand checks: processor, memory, adding them up
  local    one run of each check of this machine: the 99th percentile
  celery   how soon a verdict on Celery's workers follows the last of their answers
  targets  a thousand HTTP targets from one process, beside Debian's blackbox exporter
  peers    what a flood of probes does to a dependency, beside health libraries in Rust, Node and Python
  log      what a line costs who logs it, beside tracing-subscriber, slog and structlog
  tracking what it costs to count a request in flight, beside what else would count
  metrics  the page of metrics, counting, finding a counter, beside the other registries of Rust
  system   reading the machine beside sysinfo, scraping it beside Debian's node exporter
  leave    from the last byte, or the end of the announcement, to the end of the process; ten thousand idle connections
  stop     requests lost at 1,008 stops under load, beside axum, axum-server and tokio-graceful-shutdown (only when named)
  rolling  a hundred restarts of two instances behind a real HAProxy under load (only when named)
  soak     the memory of a thousand components over --minutes (default 2), history in --store sqlite (default), memory
";

const PARTS: [&str; 17] = [
    "probes", "requests", "reads", "config", "checks", "local", "celery", "targets", "peers", "tracking", "log",
    "metrics", "system", "leave", "soak", "stop", "rolling",
];
/// Of these, those that take too long to be run unasked.
const ONLY_WHEN_NAMED: [&str; 2] = ["stop", "rolling"];

struct Options {
    parts: Vec<String>,
    effort: Effort,
    minutes: u64,
    store: Store,
    stop: stop::Options,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|one| one == "--help" || one == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let [word, server @ ..] = arguments.as_slice()
        && word == "serve"
    {
        return serve::run(server);
    }
    let Some(options) = read(&arguments) else {
        print!("{HELP}");
        return ExitCode::from(64);
    };
    match options.parts.as_slice() {
        [part] => {
            run(part, &options);
            ExitCode::SUCCESS
        }
        parts => each_alone(parts, &arguments),
    }
}

fn read(arguments: &[String]) -> Option<Options> {
    let mut options = Options {
        parts: Vec::new(),
        effort: Effort::FULL,
        minutes: 2,
        store: Store::Sqlite,
        stop: stop::Options::default(),
    };
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--quick" => options.effort = Effort::QUICK,
            "--minutes" => options.minutes = words.next()?.parse().ok().filter(|minutes| *minutes > 0)?,
            "--store" => {
                options.store = match words.next()? {
                    "sqlite" => Store::Sqlite,
                    "memory" => Store::Memory,
                    _ => return None,
                }
            }
            "--stops" => options.stop.stops = Some(words.next()?.parse().ok().filter(|stops| *stops > 0)?),
            "--cells" => options.stop.cells = words.next()?.split(',').map(ToOwned::to_owned).collect(),
            part if PARTS.contains(&part) => options.parts.push(part.to_owned()),
            _ => return None,
        }
    }
    if options.parts.is_empty() {
        options.parts =
            PARTS.into_iter().filter(|part| !ONLY_WHEN_NAMED.contains(part)).map(ToOwned::to_owned).collect();
    }
    Some(options).filter(|options| options.stop.are_known())
}

/// Each part in a process of its own: what one leaves behind in memory is not the next one's.
fn each_alone(parts: &[String], arguments: &[String]) -> ExitCode {
    let settings = arguments.iter().filter(|argument| !PARTS.contains(&argument.as_str()));
    for part in parts {
        let program = std::env::current_exe().expect("a running program has a path");
        let status = Command::new(program).args(settings.clone()).arg(part).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("\nNOT MEASURED: {part} failed");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(part: &str, options: &Options) {
    println!("\n## {part}\n");
    if !["peers", "stop", "tracking", "log", "metrics", "leave", "rolling"].contains(&part) {
        println!("| what | wellkept | peer | ratio | target |");
        println!("|---|---|---|---|---|");
    }
    match part {
        "probes" => probes::run(options.effort),
        "requests" => requests::run(options.effort),
        "reads" => reads::run(options.effort),
        "config" => config::run(options.effort),
        "checks" => checks::run(options.effort),
        "local" => local::run(options.effort),
        "celery" => celery::run(options.effort),
        "targets" => targets::run(options.effort),
        "peers" => peers::run(options.effort),
        "tracking" => tracking::run(options.effort),
        "log" => log::run(options.effort),
        "metrics" => metrics::run(options.effort),
        "system" => system::run(options.effort),
        "leave" => leave::run(options.effort),
        "stop" => stop::run(&options.stop, options.effort),
        "rolling" => rolling::run(options.effort),
        _ => soak::run(Duration::from_secs(options.minutes * 60), options.store),
    }
}
