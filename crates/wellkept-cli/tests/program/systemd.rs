//! What systemd hears of the program.

use std::os::unix::net::UnixDatagram;

use wellkept_testkit::{Program, Signal, until};

use crate::served::{PATIENCE, wellkept};

#[test]
fn systemd_hears_when_it_is_ready_reloads_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), "service: { name: orders }\nchecks: []\n").unwrap();
    let address = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&address).unwrap();
    systemd.set_nonblocking(true).unwrap();
    let mut command = wellkept(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut program = Program::spawn(command.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "200000"));
    let heard = || {
        let mut buffer = [0; 1000];
        let mut lines = Vec::new();
        while let Ok(length) = systemd.recv(&mut buffer) {
            lines.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
        lines
    };
    let hear = |wanted: &str| {
        let mut all: Vec<String> = Vec::new();
        until(PATIENCE, wanted, || {
            all.extend(heard());
            all.iter().any(|line| line.starts_with(wanted))
        });
        all
    };
    assert!(hear("READY=1").contains(&"STATUS=orders serves".to_owned()));
    hear("WATCHDOG=1");

    // A file that is refused: the old configuration serves on, and systemd must hear that it is not reloading for ever.
    std::fs::write(folder.path().join("wellkept.yaml"), "").unwrap();
    program.signal(Signal::HUP);
    let reloading = hear("RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    if !reloading.contains(&"READY=1".to_owned()) {
        hear("READY=1");
    }

    program.signal(Signal::TERM);
    hear("STOPPING=1");
    assert_eq!(program.wait(PATIENCE).code(), Some(0));
}
