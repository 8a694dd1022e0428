//! The example as a real process, told to end in the middle of an entry.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use wellkept_testkit::{Program, Signal};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_it_has_taken_is_entered_and_answered_and_no_client_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledger"));
    let (mut ledger, address) = Program::listening(command.arg(&journal).env("LEDGER_LISTEN", "127.0.0.1:0"), PATIENCE);
    let connect = || {
        let client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(client)
    };
    let (mut busy, mut idle) = (connect(), connect());
    for client in [&mut busy, &mut idle] {
        client.get_mut().write_all(b"first\n").unwrap();
    }
    let next = |client: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        line
    };
    assert_eq!((next(&mut busy), next(&mut idle)), ("entered first\n".into(), "entered first\n".into()));
    // Both on the way before the signal: the one that is entered, and one that waits behind it.
    busy.get_mut().write_all(b"second\nthird\n").unwrap();
    ledger.signal(Signal::TERM);
    assert_eq!(next(&mut idle), "goodbye\n");
    assert_eq!(next(&mut busy), "entered second\n");
    assert_eq!(ledger.wait(PATIENCE).code(), Some(0), "{}", ledger.output());
    let entered = std::fs::read_to_string(&journal).unwrap();
    assert!(entered.starts_with("first\nfirst\nsecond\n"), "{entered}");
    let mut rest = String::new();
    while busy.read_line(&mut rest).unwrap() > 0 {}
    assert_eq!(rest.contains("entered third"), entered.contains("third"), "what is answered is entered: {rest}");
    assert!(rest.ends_with("goodbye\n"), "{rest}");
}
