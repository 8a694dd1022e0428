//! Where a secret may stand, and that no message ever shows one.

use std::fs;
use std::path::Path;

use secrecy::ExposeSecret as _;

use crate::Sources;

/// A folder with secrets, good and bad ones.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let long = "x".repeat(super::MAX_SECRET_BYTES + 1);
    let files: [(&str, &[u8]); 6] = [
        ("good", b"hunter2\n"),
        ("windows", b"hunter2\r\n"),
        ("two", b"hunter2\n\n"),
        ("empty", b"\n"),
        ("binary", b"\xff\xfe"),
        ("long", long.as_bytes()),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    folder
}

/// What `password` is read as, or what is wrong with it, `FOLDER` standing for the folder.
fn read(folder: &Path, text: &str) -> String {
    let shown = folder.display().to_string();
    let credentials = shown.clone();
    let sources = Sources::new()
        .variables(move |name| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.clone()))
        .text("app.yaml", text.replace("FOLDER", &shown));
    let document = sources.document(&sources.content().expect("read")).expect("parsed");
    let secret = document.read(|section| {
        let secret = section.secret("password");
        section.complete();
        Some(secret.map_or_else(|| "none".to_owned(), |secret| secret.expose_secret().to_owned()))
    });
    secret.unwrap_or_else(|error| error.to_string()).replace(&shown, "FOLDER")
}

#[test]
fn a_secret_is_a_value_a_file_or_a_credential() {
    let folder = folder();
    for (text, expected) in [
        ("password: hunter2", "hunter2"),
        ("password_file: FOLDER/good", "hunter2"),
        ("password_file: FOLDER/windows", "hunter2"),
        ("password_file: FOLDER/two", "hunter2\n"),
        ("password_file: 'credential:good'", "hunter2"),
        ("password_credential: good", "hunter2"),
        ("password: '${file:FOLDER/good}'", "hunter2"),
        ("password: 'x${credential:good}y'", "xhunter2y"),
        ("password: '${file:FOLDER/none:-other}'", "other"),
        ("password: '${credential:empty:-other}'", "other"),
        ("{}", "none"),
    ] {
        assert_eq!(read(folder.path(), text), expected, "{text}");
    }
}

#[test]
fn a_secret_that_can_not_be_read_is_explained_and_not_shown() {
    let folder = folder();
    let wrong = |text: &str| read(folder.path(), text);
    insta::assert_snapshot!(wrong("password: hunter2\npassword_file: FOLDER/good"), @"app.yaml:2:16: `password` is there already: take one of the two");
    insta::assert_snapshot!(wrong("password_file: FOLDER/good\npassword_credential: good"), @"app.yaml:2:22: `password_file` is there already: take one of the two");
    insta::assert_snapshot!(wrong("password_file: FOLDER/none"), @"app.yaml:1:16: the file `FOLDER/none` can't be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(wrong("password_file: FOLDER"), @"app.yaml:1:16: the file `FOLDER` can't be read: it is not a regular file");
    insta::assert_snapshot!(wrong("password_file: FOLDER/empty"), @"app.yaml:1:16: the file of the secret is empty");
    insta::assert_snapshot!(wrong("password_file: FOLDER/binary"), @"app.yaml:1:16: the file `FOLDER/binary` is not UTF-8");
    insta::assert_snapshot!(wrong("password_file: FOLDER/long"), @"app.yaml:1:16: too large: the file `FOLDER/long` holds more than 65536 bytes");
    insta::assert_snapshot!(wrong("password_credential: ../good"), @"app.yaml:1:22: `../good` is no name of a credential");
    insta::assert_snapshot!(wrong("password: '${credential:..}'"), @"app.yaml:1:11: `..` is no name of a credential");
    insta::assert_snapshot!(wrong("password: '${file:FOLDER/none}'"), @"app.yaml:1:11: the file `FOLDER/none` can't be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(wrong("password: '${file:FOLDER/binary:-other}'"), @"app.yaml:1:11: the file `FOLDER/binary` is not UTF-8");
    insta::assert_snapshot!(wrong("password: '${file:}'"), @"app.yaml:1:11: expected ${file:/path/of/it} or ${credential:NAME}, found `${file:}`");
    insta::assert_snapshot!(wrong("password: [hunter2]"), @"app.yaml:1:11: expected text that is kept secret, found a list");
}

#[test]
fn a_file_may_be_a_credential() {
    let sources = Sources::new().variables(|name| (name == "CREDENTIALS_DIRECTORY").then(|| "/run/c".to_owned()));
    let file = |value: &str| {
        let sources = sources.clone().text("app.yaml", format!("ca_file: {value}"));
        let document = sources.document(&sources.content().expect("read")).expect("parsed");
        document.read(|section| section.file("ca_file")).map_err(|wrong| wrong.to_string())
    };
    assert_eq!(file("/etc/ca.pem"), Ok("/etc/ca.pem".into()));
    assert_eq!(file("credential:ca"), Ok("/run/c/ca".into()));
    assert_eq!(file("credential:../ca"), Err("app.yaml:1:10: `../ca` is no name of a credential".to_owned()));
}

#[test]
fn a_credential_needs_a_folder() {
    let sources = Sources::new().variables(|_| None).text("app.yaml", "password_credential: good");
    let document = sources.document(&sources.content().expect("read")).expect("parsed");
    let wrong = document.read(|section| section.secret("password")).expect_err("nowhere to be read from");
    insta::assert_snapshot!(wrong, @"app.yaml:1:22: no credential `good`: $CREDENTIALS_DIRECTORY is not set");
}
