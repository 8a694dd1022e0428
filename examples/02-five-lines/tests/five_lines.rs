//! That five lines are enough, and what they give.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wellkept_testkit::http;
use wellkept_testkit::{Program, Signal, free_address, until};

const PATIENCE: Duration = Duration::from_secs(20);

fn code(source: &str) -> Vec<&str> {
    source.lines().filter(|line| !line.starts_with("//!")).collect()
}

#[test]
fn an_axum_application_is_kept_well_by_five_added_lines() {
    let before = code(include_str!("../src/before.rs"));
    let after = code(include_str!("../src/main.rs"));
    let added: Vec<_> = after.into_iter().filter(|line| !before.contains(line)).collect();
    assert!(added.len() <= 5, "{added:#?}");
}

/// Runs the shop with its list at this path, and waits until it answers.
fn start(stock: &Path) -> (Program, SocketAddr) {
    let address = free_address();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    let program = Program::spawn(command.env("SHOP_LISTEN", address.to_string()).env("SHOP_STOCK", stock));
    until(PATIENCE, "the shop to answer", || std::net::TcpStream::connect(address).is_ok());
    (program, address)
}

#[test]
fn its_stock_is_checked_and_sigterm_ends_it_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let stock = folder.path().join("stock.txt");
    std::fs::write(&stock, "apples\npears\n").unwrap();
    let (mut shop, address) = start(&stock);
    until(PATIENCE, "readiness", || http::get(address, "/readyz").status == 200);
    assert_eq!(http::get(address, "/stock").text(), "2\n");
    assert_eq!(http::get(address, "/health/ready").json()["dependencies"]["stock"], "healthy");
    shop.signal(Signal::TERM);
    assert_eq!(shop.wait(PATIENCE).code(), Some(0));
}

#[test]
fn without_its_stock_it_is_alive_and_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, address) = start(&folder.path().join("nowhere.txt"));
    let dependencies = || http::get(address, "/health/ready").json()["dependencies"]["stock"].clone();
    until(PATIENCE, "the first result", || dependencies() == "unhealthy");
    assert_eq!(http::get(address, "/readyz").status, 503);
    assert_eq!(http::get(address, "/livez").status, 200);
    let line = shop.wait_for_line(|line| line.contains("stock") && line.contains("unhealthy"), PATIENCE);
    assert!(line.contains("WARN") || line.contains("ERROR"), "{line}");
}
