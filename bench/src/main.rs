//! The figures that the design names, beside their peers, in one run: rounds of A and B interleaved, medians.
#![expect(clippy::print_stdout, reason = "the table is the product")]

mod checks;
mod load;
mod probes;
mod reads;
mod rounds;

use std::process::ExitCode;

use crate::rounds::Effort;

const HELP: &str = "\
Examples:
  cargo xtask bench             ten rounds of everything, about two minutes
  cargo xtask bench --quick     three short rounds, to see that it works
  cargo xtask bench probes      one part: probes, reads, checks
";

fn main() -> ExitCode {
    let mut effort = Effort::FULL;
    let mut parts: Vec<String> = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => effort = Effort::QUICK,
            "probes" | "reads" | "checks" => parts.push(argument),
            "--help" | "-h" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            _ => {
                print!("{HELP}");
                return ExitCode::from(64);
            }
        }
    }
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|named| named == part);
    println!("| what | wellkept | peer | ratio | target |");
    println!("|---|---|---|---|---|");
    if wanted("probes") {
        probes::run(effort);
    }
    if wanted("reads") {
        reads::run(effort);
    }
    if wanted("checks") {
        checks::run(effort);
    }
    ExitCode::SUCCESS
}
