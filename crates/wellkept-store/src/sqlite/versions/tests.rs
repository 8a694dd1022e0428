//! What a file of versions does when it is held, closed, full, damaged, old or another's.

use std::time::Instant;

use tempfile::TempDir;
use wellkept_config::{OutcomeKind, Trigger};

use super::*;
use crate::sqlite::BUSY_TIMEOUT;
use crate::{Limits, SqliteStore};

fn store() -> (TempDir, PathBuf, SqliteVersions) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    let versions = SqliteVersions::new(path.clone(), Owner::default());
    (folder, path, versions)
}

fn content(text: &str) -> Content {
    Content { parts: vec![Part { name: "wellkept.yaml".into(), text: text.into() }] }
}

fn version(second: u64, content: &Content) -> Version {
    Version {
        id: VersionId(0),
        at: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second),
        trigger: Trigger::Watch,
        author: "ann".into(),
        hash: content.hash(),
        outcome: OutcomeKind::Applied,
        returned_to: None,
        refuses: None,
        summary: vec!["~ a: 1 -> 2".into()],
    }
}

fn add(store: &mut SqliteVersions, second: u64, text: &str) -> Result<VersionId, StoreFault> {
    store.append(&version(second, &content(text)), Some(&content(text)), 2)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_that_others_may_read_is_closed_to_them_before_it_holds_a_configuration() {
    let (_folder, path, mut versions) = store();
    let history = SqliteStore::open(&path).unwrap();
    let beside = ["db-wal", "db-shm"].map(|suffix| path.with_extension(suffix));
    for file in beside.iter().chain([&path]) {
        fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    }
    versions.versions().unwrap();
    assert_eq!(mode(&path), 0o644, "to read changes nothing");
    add(&mut versions, 1, "password: hunter2").unwrap();
    for file in beside.iter().chain([&path]) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    drop(history);
}

#[test]
fn what_is_forgotten_is_no_longer_in_the_file() {
    let (_folder, path, mut versions) = store();
    let holds = |text: &str| {
        let bytes = fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let secret = |number: u64| format!("password: hunter-{number}-{}", "x".repeat(5000));
    for number in 1..=3 {
        add(&mut versions, number, &secret(number)).unwrap();
    }
    drop(versions);
    assert!(!holds("hunter-1"));
    assert!(holds("hunter-2") && holds("hunter-3"));
}

#[test]
fn to_read_makes_no_file_and_goes_on_beside_a_writer() {
    let (_folder, path, mut versions) = store();
    assert_eq!(versions.versions().unwrap(), []);
    assert!(!path.exists());
    let mut writer = SqliteVersions::new(path.clone(), Owner::default());
    add(&mut writer, 1, "a: 1").unwrap();
    assert_eq!(versions.versions().unwrap().len(), 1);
    let mut history = SqliteStore::open(&path).unwrap();
    wellkept_health::HistoryStore::append(&mut history, &[]).unwrap();
    add(&mut writer, 2, "a: 2").unwrap();
    assert_eq!(versions.content(VersionId(2)).unwrap(), Some(content("a: 2")));
}

#[test]
fn a_file_that_was_removed_or_replaced_is_opened_anew() {
    let (_folder, path, mut versions) = store();
    add(&mut versions, 1, "a: 1").unwrap();
    for suffix in ["db", "db-wal", "db-shm"] {
        fs::remove_file(path.with_extension(suffix)).ok();
    }
    assert_eq!(versions.versions().unwrap(), []);
    assert_eq!(add(&mut versions, 2, "a: 2").unwrap(), VersionId(1));
    assert_eq!(SqliteVersions::new(path, Owner::default()).versions().unwrap().len(), 1);
}

#[test]
fn a_file_that_is_locked_for_too_long_is_reported_and_written_later() {
    let (_folder, path, mut versions) = store();
    add(&mut versions, 1, "a: 1").unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    versions.writer().unwrap().connection.busy_timeout(std::time::Duration::from_millis(1)).unwrap();
    let began = Instant::now();
    assert_eq!(add(&mut versions, 2, "a: 2").unwrap_err().code, "store.busy");
    assert!(began.elapsed() < BUSY_TIMEOUT);
    assert_eq!(versions.versions().unwrap().len(), 1, "readers don't wait");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(add(&mut versions, 2, "a: 2").unwrap(), VersionId(2));
}

#[test]
fn a_version_that_does_not_fit_leaves_nothing_behind() {
    let (_folder, _path, mut versions) = store();
    add(&mut versions, 1, "a: 1").unwrap();
    let connection = &versions.writer().unwrap().connection;
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    let large = "x".repeat(500_000);
    let fault = add(&mut versions, 2, &large).unwrap_err();
    assert_eq!(fault.code, "store.full");
    assert!(fault.to_string().contains("no space is left on its disk"), "{fault}");
    assert_eq!(versions.versions().unwrap().len(), 1);
    assert_eq!(versions.content(VersionId(2)).unwrap(), None);
    let connection = &versions.writer().unwrap().connection;
    connection.pragma_update_and_check(None, "max_page_count", 1 << 20, |_| Ok(())).unwrap();
    assert_eq!(add(&mut versions, 2, &large).unwrap(), VersionId(2));
}

#[test]
fn another_services_file_is_neither_read_nor_written_and_neither_is_what_is_no_store() {
    let (folder, path, mut versions) = store();
    drop(SqliteStore::open_as(&path, &Owner::named("stock"), Limits::default()).unwrap());
    assert_eq!(versions.versions().unwrap_err().code, "store.other_service");
    assert_eq!(versions.content(VersionId(1)).unwrap_err().code, "store.other_service");
    assert_eq!(add(&mut versions, 1, "a: 1").unwrap_err().code, "store.other_service");

    let rubbish = folder.path().join("rubbish.db");
    fs::write(&rubbish, "no database ".repeat(1000)).unwrap();
    let mut versions = SqliteVersions::new(rubbish, Owner::default());
    assert_eq!(versions.versions().unwrap_err().code, "store.corrupt");
    assert_eq!(add(&mut versions, 1, "a: 1").unwrap_err().code, "store.corrupt");

    // Nobody may make folders there, not even root.
    let mut versions = SqliteVersions::new("/sys/wellkept/wellkept.db".into(), Owner::default());
    assert_eq!(versions.versions().unwrap(), []);
    assert_eq!(add(&mut versions, 1, "a: 1").unwrap_err().code, "store.io");
}

#[test]
fn a_file_of_each_earlier_schema_has_no_versions_until_one_is_added() {
    for schema in 1..schema::known() {
        let (_folder, path, mut versions) = store();
        schema::make_old(&path, schema);
        assert_eq!(versions.versions().unwrap(), [], "of schema {schema}");
        assert_eq!(add(&mut versions, 1, "a: 1").unwrap(), VersionId(1));
        assert_eq!(versions.versions().unwrap().len(), 1);
        let mut history = SqliteStore::open_read_only(&path).unwrap();
        assert_eq!(wellkept_health::HistoryStore::changes(&mut history, None, 9).unwrap().len(), 1, "nothing is lost");
    }
}

#[test]
fn a_damaged_file_gives_faults_and_never_a_panic() {
    let (_folder, path, mut versions) = store();
    for number in 1..=2 {
        add(&mut versions, number, &"x".repeat(30_000)).unwrap();
    }
    drop(versions);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0x5a);
        fs::write(&path, &bytes).unwrap();
        let mut versions = SqliteVersions::new(path.clone(), Owner::default());
        let outcome = versions.versions().and_then(|_| {
            for id in [1, 2] {
                assert_eq!(versions.content(VersionId(id))?, Some(content(&"x".repeat(30_000))), "page {page}");
            }
            add(&mut versions, 3, "a: 3")
        });
        if let Err(fault) = outcome {
            assert!(["store.corrupt", "store.database", "store.foreign"].contains(&fault.code), "page {page}: {fault}");
            refused += 1;
        }
        drop(versions);
        for suffix in ["db-wal", "db-shm"] {
            fs::remove_file(path.with_extension(suffix)).ok();
        }
    }
    assert!(refused > 10, "only {refused} pages matter");
}
