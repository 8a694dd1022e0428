//! The figures that the design names, beside their peers, in one run: rounds of A and B interleaved, medians.
#![expect(clippy::print_stdout, reason = "the table is the product")]

mod celery;
mod checks;
mod load;
mod local;
mod peers;
mod probes;
mod reads;
mod rounds;
mod soak;
mod targets;

use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::rounds::Effort;
use crate::soak::Store;

const HELP: &str = "\
Examples:
  cargo xtask bench                     everything, about fifteen minutes
  cargo xtask bench --quick             short rounds, to see that it works
  cargo xtask bench probes reads        some parts of it
  cargo xtask bench soak --minutes 20   one part, for longer

Parts:
  probes   the endpoints under load, beside a bare axum handler
  reads    reading the status in process, beside a bare atomic load
  checks   ten thousand checks: processor, memory, adding them up
  local    one run of each check of this machine: the 99th percentile
  celery   how soon a verdict on Celery's workers follows the last of their answers
  targets  a thousand HTTP targets from one process, beside Debian's blackbox exporter
  peers    what a flood of probes does to a dependency, beside health libraries in Rust, Node and Python
  soak     the memory of a thousand components over --minutes (default 2), history in --store sqlite (default), memory
";

const PARTS: [&str; 8] = ["probes", "reads", "checks", "local", "celery", "targets", "peers", "soak"];

struct Options {
    parts: Vec<String>,
    effort: Effort,
    minutes: u64,
    store: Store,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|one| one == "--help" || one == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
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
    let mut options = Options { parts: Vec::new(), effort: Effort::FULL, minutes: 2, store: Store::Sqlite };
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
            part if PARTS.contains(&part) => options.parts.push(part.to_owned()),
            _ => return None,
        }
    }
    if options.parts.is_empty() {
        options.parts = PARTS.map(ToOwned::to_owned).to_vec();
    }
    Some(options)
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
    if part != "peers" {
        println!("| what | wellkept | peer | ratio | target |");
        println!("|---|---|---|---|---|");
    }
    match part {
        "probes" => probes::run(options.effort),
        "reads" => reads::run(options.effort),
        "checks" => checks::run(options.effort),
        "local" => local::run(options.effort),
        "celery" => celery::run(options.effort),
        "targets" => targets::run(options.effort),
        "peers" => peers::run(options.effort),
        _ => soak::run(Duration::from_secs(options.minutes * 60), options.store),
    }
}
