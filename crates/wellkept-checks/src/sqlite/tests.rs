//! The check on real files, and on what becomes of them.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};

use serde_json::json;
use tempfile::TempDir;
use wellkept_config::FromNode as _;
use wellkept_health::Verdict;

use super::*;
use crate::testing::{PATIENCE, configured, reason};

/// A folder with a database of some hundred pages, and the connection that made it.
fn database(journal_mode: &str) -> (TempDir, PathBuf, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("with ? and # and %20.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
                INSERT INTO jobs SELECT i, hex(randomblob(100)) FROM n";
    connection.execute_batch("CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT)").unwrap();
    connection.execute_batch(rows).unwrap();
    (folder, path, connection)
}

fn check(path: &Path) -> Sqlite {
    Sqlite::new(Options::new(path)).unwrap()
}

fn asking(path: &Path, query: &str, expected: &str) -> Sqlite {
    let expect = Comparison::from_scalar(expected).ok();
    Sqlite::new(Options { query: Some(query.to_owned()), expect, ..Options::new(path) }).unwrap()
}

fn run(check: &Sqlite) -> Outcome {
    check.run(&Context::within(PATIENCE))
}

/// Names of the files in a folder.
fn files(folder: &TempDir) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_database_that_nobody_has_open_passes_and_no_file_is_created() {
    for mode in ["delete", "truncate", "wal"] {
        let (folder, path, connection) = database(mode);
        drop(connection);
        let before = files(&folder);
        let outcome = run(&asking(&path, "SELECT count(*) FROM jobs", "2000"));
        assert_eq!((reason(&outcome), outcome.detail()), ("pass", ""), "{mode}");
        assert_eq!(outcome.metadata()["value"], json!(2000.0));
        assert_eq!(outcome.metadata()["size_bytes"], json!(fs::metadata(&path).unwrap().len()));
        assert_eq!(files(&folder), before, "{mode}");
        let expected = if mode == "wal" { "wal" } else { "delete" };
        assert_eq!(outcome.metadata()["journal_mode"], json!(expected));
    }
}

#[test]
fn what_is_only_in_the_write_ahead_log_is_seen_and_its_size_has_a_limit() {
    let (_folder, path, connection) = database("wal");
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); UPDATE jobs SET state = 'failed' WHERE id <= 3").unwrap();
    let outcome = run(&asking(&path, "SELECT count(*) FROM jobs WHERE state = 'failed'", "< 3"));
    assert_eq!((reason(&outcome), outcome.detail()), ("unexpected", "expected < 3, found `3`"));
    let wal = outcome.metadata()["wal_bytes"].as_u64().unwrap();
    for (limit, expected) in [(wal, "pass"), (wal - 1, "threshold")] {
        let limit = ByteSize::from_scalar(&format!("{limit}B")).ok();
        let check = Sqlite::new(Options { wal_degraded_above: limit, ..Options::new(&path) }).unwrap();
        assert_eq!(reason(&run(&check)), expected);
    }
}

#[test]
fn a_file_that_is_missing_empty_or_something_else_is_told_apart_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.db");
    let said = |path: &Path| {
        let outcome = run(&check(path));
        assert!(!outcome.message().contains("some.db"), "{outcome:?}");
        (reason(&outcome).to_owned(), outcome.message().to_owned())
    };
    let owned = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
    assert_eq!(said(&path), owned("unexpected", "database's file is not there"));
    assert!(files(&folder).is_empty());
    fs::write(&path, "").unwrap();
    assert_eq!(said(&path), owned("unexpected", "database's file is empty"));
    fs::write(&path, "no database at all ".repeat(500)).unwrap();
    assert_eq!(said(&path), owned("protocol", "not a SQLite database"));
    assert_eq!(said(folder.path()), owned("unexpected", "database is not a file"));
    assert_eq!(files(&folder), ["some.db"]);
}

#[test]
fn damage_is_found_on_the_way_or_by_looking_through_the_file_until_that_is_due_again() {
    let (_folder, path, connection) = database("delete");
    drop(connection);
    let length = fs::metadata(&path).unwrap().len();
    let through = |every| Options { quick_check_every: Some(every), ..Options::new(&path) };
    let seldom = Sqlite::new(through(Duration::from_secs(3600))).unwrap();
    let always = Sqlite::new(through(Duration::ZERO)).unwrap();
    assert_eq!((reason(&run(&seldom)), reason(&run(&always))), ("pass", "pass"));
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(length / 4096 / 2 * 4096)).unwrap();
    file.write_all(&[0xff; 4096]).unwrap();
    assert_eq!(reason(&run(&check(&path))), "pass", "the schema is elsewhere");
    assert_eq!(reason(&run(&seldom)), "pass", "it has looked an hour ago");
    for check in [always, asking(&path, "SELECT sum(length(state)) FROM jobs", "> 0")] {
        let outcome = run(&check);
        assert_eq!((reason(&outcome), outcome.message()), ("corrupt", "database is damaged"), "{outcome:?}");
        assert!(!outcome.detail().is_empty());
    }
}

#[test]
fn a_lock_is_waited_for_until_the_timeout_and_no_longer() {
    let (_folder, path, connection) = database("delete");
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let begun = Instant::now();
    let outcome = check(&path).run(&Context::within(Duration::from_millis(300)));
    assert_eq!((reason(&outcome), outcome.message()), ("locked", "database is locked"), "{outcome:?}");
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
    connection.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
    assert_eq!(reason(&run(&check(&path))), "pass", "a writer that has not come to its commit holds nobody off");
}

#[test]
fn an_endless_query_and_a_look_through_without_time_are_given_up() {
    let (_folder, path, _connection) = database("wal");
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let asked = asking(&path, endless, "1");
    let (tell, told) = std::sync::mpsc::channel();
    // On a thread of its own, so that a run that went on would fail this test and not hold it.
    std::thread::spawn(move || drop(tell.send(asked.run(&Context::within(Duration::from_millis(200))))));
    let outcome = told.recv_timeout(PATIENCE).expect("the query is given up");
    assert_eq!((reason(&outcome), outcome.detail()), ("timeout", "timed out while querying"));

    let through = check(&path);
    let connection = through.open("mode=ro", Instant::now()).unwrap();
    let finding = through.look_through(&connection, Duration::ZERO).expect("there was no time to look");
    assert_eq!((reason(&finding), finding.verdict()), ("timeout", Verdict::Warn));
    assert_eq!(finding.message(), "database could not be looked through in time");
}

#[test]
fn a_query_that_is_wrong_or_would_write_fails_and_writes_nothing() {
    let (_folder, path, connection) = database("wal");
    for (query, message) in [
        ("DELETE FROM jobs", "query would write"),
        ("SELECT 1 FROM no_such_table", "query failed"),
        ("SELECT 1; DELETE FROM jobs", "query failed"),
    ] {
        let outcome = run(&asking(&path, query, "1"));
        assert_eq!((reason(&outcome), outcome.message()), ("error", message), "{query}: {outcome:?}");
    }
    assert_eq!(connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0)), Ok(2000));
    for (query, expected) in [("SELECT NULL", "null"), ("SELECT 'done'", "!= failed"), ("SELECT 1.5", "> 1")] {
        assert_eq!(reason(&run(&asking(&path, query, expected))), "pass", "{query}");
    }
    let outcome = run(&asking(&path, "SELECT 1 WHERE 0", "1"));
    assert_eq!(outcome.message(), "query gave no row");
}

#[test]
fn a_write_that_a_crash_cut_short_waits_for_the_next_writer() {
    let (folder, path, connection) = database("delete");
    connection.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE jobs SET state = 'half'").unwrap();
    // What a crash would leave at this moment.
    let left = folder.path().join("left.db");
    fs::copy(&path, &left).unwrap();
    fs::copy(beside(&path, "-journal"), beside(&left, "-journal")).unwrap();
    let before = fs::read(&left).unwrap();
    let outcome = run(&check(&left));
    assert_eq!((reason(&outcome), outcome.verdict()), ("not_ready", Verdict::Warn), "{outcome:?}");
    assert_eq!(fs::read(&left).unwrap(), before);
}

/// To root, as whom tests may run, everything is permitted, so the codes are SQLite's own (sqlite.org/rescode.html).
#[test]
fn what_sqlite_says_is_told_in_an_operators_words() {
    for (code, expected) in [(14, "auth"), (23, "auth"), (13, "exhausted"), (10, "internal"), (15, "locked"), (1, "error")]
    {
        let outcome = outcome_of(&Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        assert_eq!(reason(&outcome), expected, "{code}");
    }
}

#[test]
fn a_configuration_is_held_to_what_can_be() {
    configured("sqlite: { path: /var/lib/x.db, query: SELECT 1, expect: 1, quick_check_every: 1d }").unwrap();
    for (keys, reported) in [
        ("query: SELECT 1", "missing key `path`"),
        ("path: x.db, query: ' '", "write a query such as"),
        ("path: x.db, expect: 1", "there is no query whose value it could be"),
    ] {
        let text = configured(&format!("sqlite: {{ {keys} }}")).unwrap_err();
        assert!(text.contains(reported), "{text}");
    }
}
