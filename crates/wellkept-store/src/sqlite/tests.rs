//! What is kept, in which order, how much of it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use wellkept_health::{JobRecord, JobStore as _, Maintenance, MaintenanceOrigin, MaintenanceStore};

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 123_456_000).unwrap()
}

fn result(component: &str, second: i64) -> RunResult {
    RunResult {
        component: component.into(),
        verdict: Verdict::Warn,
        reason: Some("slow".into()),
        response_time_ms: 1.5,
        at: at(second),
    }
}

fn change(component: Option<&str>, second: i64) -> StatusChange {
    StatusChange {
        component: component.map(Arc::from),
        from: (second > 0).then_some(Status::Healthy),
        to: Status::Unhealthy,
        reason: Some("refused".into()),
        message: "connection refused".into(),
        caused_by: Some("network".into()),
        detail: Some("ended by ann".into()),
        at: at(second),
    }
}

fn results(component: &str, seconds: std::ops::Range<i64>) -> Vec<Record> {
    seconds.map(|second| Record::Result(result(component, second))).collect()
}

fn changes(component: Option<&str>, seconds: std::ops::Range<i64>) -> Vec<Record> {
    seconds.map(|second| Record::Change(change(component, second))).collect()
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/wellkept.db");
    (folder, path)
}

fn code(result: Result<SqliteStore, StoreError>) -> &'static str {
    result.unwrap_err().code()
}

#[test]
fn the_bound_holds_when_another_process_has_written_meanwhile() {
    let (_folder, path) = folder();
    let limits = Limits { results: 10, ..Limits::default() };
    let mut first = SqliteStore::open_with(&path, limits).unwrap();
    let mut second = SqliteStore::open_with(&path, limits).unwrap();
    for round in 0..20 {
        first.append(&results("db", round..round + 1)).unwrap();
        second.append(&results("db", round..round + 1)).unwrap();
    }
    assert_eq!(rows(&first, "results"), 10);
}

#[test]
fn a_batch_that_fails_leaves_nothing_behind() {
    let (_folder, path) = folder();
    let mut store = SqliteStore::open(&path).unwrap();
    store.append(&results("db", 0..3)).unwrap();
    let pages: u32 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    let error = store.append(&results("cache", 0..5000)).unwrap_err();
    assert_eq!(error.code, "store.full");
    assert!(error.message.contains("no space is left"), "{error}");
    assert_eq!(rows(&store, "results"), 3);
    store.connection.pragma_update_and_check(None, "max_page_count", 1 << 20, |_| Ok(())).unwrap();
    store.append(&results("cache", 0..5)).unwrap();
    assert_eq!(store.results("cache", 100).unwrap().len(), 5);
}

#[test]
fn the_file_and_its_folders_are_closed_to_others() {
    let (_folder, path) = folder();
    let mut store = SqliteStore::open(&path).unwrap();
    store.append(&results("db", 0..1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(path.parent().unwrap().parent().unwrap()), 0o700);
}

#[test]
fn a_reader_sees_what_a_writer_writes_and_may_not_write() {
    let (_folder, path) = folder();
    let mut writer = SqliteStore::open(&path).unwrap();
    let mut reader = SqliteStore::open_read_only(&path).unwrap();
    writer.append(&results("db", 0..3)).unwrap();
    assert_eq!(reader.results("db", 10).unwrap().len(), 3);
    assert_eq!(reader.append(&results("db", 0..1)).unwrap_err().code, "store.read_only");
    drop(writer);
    let mut reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(reader.results("db", 10).unwrap().len(), 3);
}

#[test]
fn a_writer_that_holds_the_file_too_long_is_reported() {
    let (_folder, path) = folder();
    let mut store = SqliteStore::open(&path).unwrap();
    store.connection.busy_timeout(Duration::from_millis(1)).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(store.append(&results("db", 0..1)).unwrap_err().code, "store.busy");
    other.execute_batch("ROLLBACK").unwrap();
    store.append(&results("db", 0..1)).unwrap();
}

#[test]
fn what_is_no_store_is_refused_with_a_remedy() {
    let (folder, path) = folder();
    assert_eq!(code(SqliteStore::open_read_only(&path)), "store.missing");
    let rubbish = folder.path().join("rubbish.db");
    fs::write(&rubbish, "no database ".repeat(1000)).unwrap();
    for opened in [SqliteStore::open(&rubbish), SqliteStore::open_read_only(&rubbish)] {
        let error = opened.unwrap_err();
        assert_eq!(error.code(), "store.corrupt");
        assert!(error.to_string().contains("move it aside"), "{error}");
    }
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (id)").unwrap();
    assert_eq!(code(SqliteStore::open(&foreign)), "store.foreign");
    assert_eq!(code(SqliteStore::open(folder.path())), "store.io");
    // Nobody may make folders there, not even root.
    assert_eq!(code(SqliteStore::open(Path::new("/sys/wellkept/wellkept.db"))), "store.io");
}

#[test]
fn an_empty_file_becomes_a_store_for_a_writer_and_is_none_for_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wellkept.db");
    fs::write(&path, "").unwrap();
    assert_eq!(code(SqliteStore::open_read_only(&path)), "store.missing");
    SqliteStore::open(&path).unwrap().append(&results("db", 0..1)).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let (_folder, path) = folder();
    let store = SqliteStore::open(&path).unwrap();
    store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = SqliteStore::open(&path).unwrap_err();
    assert_eq!(error.code(), "store.newer_schema");
    let known = schema::known();
    assert!(error.to_string().contains(&format!("version 99, this release knows up to {known}")), "{error}");
}

#[test]
fn a_damaged_file_gives_errors_and_never_a_panic() {
    let (_folder, path) = folder();
    let mut store = SqliteStore::open(&path).unwrap();
    store.append(&results("db", 0..2000)).unwrap();
    store.append(&changes(Some("db"), 0..2000)).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0x5a);
        fs::write(&path, &bytes).unwrap();
        let outcome = SqliteStore::open(&path).map_err(HistoryError::from).and_then(|mut store| {
            store.results("db", 3000)?;
            store.changes(None, 3000)?;
            store.append(&results("db", 0..10))
        });
        if let Err(error) = outcome {
            assert_eq!(error.code, "store.corrupt", "page {page}: {error}");
            refused += 1;
        }
        for suffix in ["db-wal", "db-shm"] {
            fs::remove_file(path.with_extension(suffix)).ok();
        }
    }
    assert!(refused > 10, "only {refused} pages matter");
}

fn rows(store: &SqliteStore, table: &str) -> u64 {
    store.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn maintenance(id: &str, component: Option<&str>) -> Maintenance {
    Maintenance {
        id: id.into(),
        component: component.map(Arc::from),
        reason: "new disks; it's \"big\"".into(),
        author: "ann".into(),
        since: at(1),
        until: at(1000),
        origin: if component.is_some() { MaintenanceOrigin::Duration } else { MaintenanceOrigin::Time },
    }
}

#[test]
fn maintenances_are_kept_as_one_set() {
    let (_folder, path) = folder();
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), []);
    let both = [maintenance("m1", None), maintenance("m2", Some("db"))];
    store.save(&both).unwrap();
    drop(store);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), both);
    store.save(&both[1..]).unwrap();
    assert_eq!(store.load().unwrap(), both[1..]);
    let twice = [maintenance("m3", None), maintenance("m3", None)];
    store.save(&twice).unwrap_err();
    assert_eq!(store.load().unwrap(), both[1..], "whole or not at all");
}

#[test]
fn a_file_of_each_earlier_schema_is_brought_up_to_date_with_what_is_in_it() {
    for version in 1..schema::known() {
        let (_folder, path) = folder();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        schema::make_old(&path, version);
        assert_eq!(code(SqliteStore::open_read_only(&path)), "store.older_schema", "who only reads can't do it");
        let mut store = SqliteStore::open(&path).unwrap();
        let old = StatusChange { caused_by: None, detail: None, ..change(None, 7) };
        assert_eq!(store.changes(None, 10).unwrap()[0], old, "of version {version}");
        store.append(&changes(None, 8..9)).unwrap();
        assert_eq!(store.changes(None, 10).unwrap(), [change(None, 8), old]);
        store.save(&[maintenance("m1", None)]).unwrap();
        let job = JobRecord { name: "backup".into(), reports: 1, from: at(1), end: None, took: None, began: None };
        assert_eq!(store.exchange(std::slice::from_ref(&job)).unwrap(), [job]);
        drop(store);
        assert_eq!(SqliteStore::open_read_only(&path).unwrap().load().unwrap().len(), 1);
    }
}

#[test]
fn a_file_without_a_name_is_adopted_by_the_first_service_that_opens_it_and_refused_to_others() {
    let (_folder, path) = folder();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    schema::make_old(&path, 1);
    let open = |owner: &Owner| SqliteStore::open_as(&path, owner, Limits::default());
    let (orders, stock) = (Owner::named("orders"), Owner::named("stock \"two\"\n"));
    drop(open(&Owner::default()).unwrap());
    SqliteStore::refuse_other(&path, &stock).expect("a service without a name owns nothing");
    drop(open(&orders).unwrap());
    drop(open(&orders).unwrap());
    for other in [&stock, &Owner::default()] {
        assert_eq!(open(other).unwrap_err().code(), "store.other_service");
        assert_eq!(SqliteStore::refuse_other(&path, other).unwrap_err().code(), "store.other_service");
    }
    let told = open(&stock).unwrap_err().to_string();
    assert!(told.contains("the file is of service \"orders\", and this is service \"stock \\\"two\\\"\\n\""), "{told}");
    drop(open(&Owner { formerly: Some("orders".into()), ..stock.clone() }).unwrap());
    drop(open(&stock).unwrap());
    assert_eq!(open(&orders).unwrap_err().code(), "store.other_service", "it is no longer its own");
    assert_eq!(SqliteStore::open_read_only(&path).unwrap().changes(None, 10).unwrap().len(), 1, "nothing was lost");
}
