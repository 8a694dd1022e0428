//! What keeps the program from starting, and what it says then.

use std::net::TcpListener;
use std::process::Command;

use wellkept_testkit::wait_within;

use crate::served::{PATIENCE, run, text, wellkept};

fn serve(configuration: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), configuration).unwrap();
    let output = wait_within(PATIENCE, wellkept(folder.path()).arg("serve").args(arguments)).unwrap();
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_port_that_is_taken_is_named_and_ends_with_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = serve("checks: []\n", &["--listen", &address]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.starts_with("wellkept: ") && said.contains(&address), "{said}");
}

#[test]
fn an_open_admin_door_without_a_token_does_not_start() {
    let (code, said) = serve("admin: { listen: '0.0.0.0:0' }\n", &[]);
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @"wellkept: ./wellkept.yaml:1:18: the admin door on 0.0.0.0:0 would be open to everyone: name a `token_file`, or listen on 127.0.0.1");
}

#[test]
fn a_token_that_is_missing_or_too_short_does_not_start() {
    for (file, says) in
        [("/nowhere/token", "can't be read"), ("/etc/hostname", "too short"), ("/dev/null", "not a regular file")]
    {
        let (code, said) = serve(&format!("admin: {{ listen: '0.0.0.0:0', token_file: {file} }}\n"), &[]);
        assert_eq!(code, Some(78));
        assert!(said.contains("wellkept.yaml:1:43: ") && said.contains(file) && said.contains(says), "{said}");
    }
}

#[test]
fn wrong_usage_ends_with_64_and_help_begins_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [&["serv"][..], &["check", "--jsn"], &[]] {
        assert_eq!(run(folder.path(), wrong).status.code(), Some(64), "{wrong:?}");
    }
    for help in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["status", "--help"],
        &["maintenance", "--help"],
        &["maintenance", "start", "--help"],
        &["maintenance", "end", "--help"],
        &["maintenance", "list", "--help"],
        &["log", "--help"],
        &["log", "level", "--help"],
        &["log", "status", "--help"],
    ] {
        let output = run(folder.path(), help);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).starts_with("Examples:\n"), "{help:?}");
    }
}

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_holds_nobody() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    for arguments in [&["serve", "--config", "pipe"][..], &["check", "--config", "pipe"], &["config", "check", "pipe"]]
    {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(text(&output.stderr).contains("not a regular file"), "{}", text(&output.stderr));
    }
}

#[test]
fn both_doors_on_one_port_are_told_before_the_start() {
    let (code, said) = serve("http: { listen: '0.0.0.0:18081' }\nadmin: { listen: '127.0.0.1:18081' }\n", &[]);
    assert_eq!(code, Some(78));
    assert!(said.contains("admin and http can't both listen on port 18081"), "{said}");
}
