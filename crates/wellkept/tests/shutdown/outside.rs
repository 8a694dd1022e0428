//! What the process stands on fails: systemd does not listen, children go on, descriptors are short.

use std::os::unix::net::UnixDatagram;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use wellkept_testkit::http;

use crate::driven::{Driven, PATIENCE};

#[test]
fn a_systemd_that_is_not_there_or_does_not_listen_holds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (file, deaf) = (folder.path().join("file"), folder.path().join("deaf"));
    std::fs::write(&file, "").unwrap();
    // Nothing is ever read from it, so its queue is full soon.
    let _systemd = UnixDatagram::bind(&deaf).unwrap();
    let names = ["".as_ref(), "nowhere".as_ref(), "@nobody".as_ref(), folder.path(), &file, &deaf];
    for name in names {
        let mut driven = Driven::start_with("plain", |command| {
            command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "200");
        });
        driven.terminate();
        driven.end().is_clean();
    }
}

#[test]
fn a_child_that_does_not_listen_to_sigterm_holds_nobody() {
    let mut driven = Driven::start("children");
    let child = http::get(driven.address, "/child").text();
    let child = Pid::from_raw(child.parse().unwrap()).unwrap();
    driven.terminate();
    driven.end().is_clean();
    test_kill_process(child).expect("it is left alone: whoever started it has not asked for its end");
    kill_process(child, Signal::KILL).unwrap();
}

#[test]
fn where_descriptors_are_short_those_that_were_accepted_are_answered() {
    let mut driven = Driven::start("few descriptors");
    let mut clients: Vec<_> =
        (0..100).map(|_| driven.connect_and_write(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    driven.program.wait_for_line(|line| line.contains("connections cannot be accepted"), PATIENCE);
    driven.signal(Signal::TERM);
    let answered = clients.iter_mut().filter_map(|client| client.read_response(PATIENCE).ok());
    let answered = answered.inspect(|answer| assert_eq!(answer.text(), "slow")).count();
    let ended = driven.end();
    ended.is_clean();
    let arrived = ended.output.matches("arrived GET /slow ").count();
    assert_eq!(answered, arrived, "{}", ended.output);
    assert!(arrived > 10, "{arrived}");
}
