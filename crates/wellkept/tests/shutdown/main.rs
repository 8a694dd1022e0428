//! Real processes that are told to end while something is wrong: with a client, a handler, a closer, a runtime, or with
//! what the process stands on. Each must be gone in time, with the right exit code, and name who was cut; a client that
//! behaves loses nothing beside one that does not. `docs/shutdown-faults.md` lists them all.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a child tells it what it does"
)]

mod child;
mod clients;
mod closers;
mod driven;
mod frames;
mod handlers;
mod http2;
mod loads;
mod long_lived;
mod outside;
mod parts;
mod runtimes;
mod scenarios;
mod signals;

/// The child's `main`. It claims nothing when no test has started it.
#[test]
fn child() {
    if let Ok(scenario) = std::env::var(driven::SCENARIO) {
        std::process::exit(child::run(&scenario));
    }
}
