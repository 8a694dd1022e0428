//! What every store of versions does alike: each claim is held against the one in memory, against SQLite, and against a
//! real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use wellkept_config::{
    Content, ContentHash, MAX_VERSIONS_BYTES, MemoryVersions, OutcomeKind, Part, Trigger, Version, VersionId,
    VersionStore,
};
use wellkept_store::{Owner, SqliteVersions};

/// A place for a store, which can be opened, closed and opened again.
trait Backend {
    fn open(&self) -> Box<dyn VersionStore>;

    /// Whether what was written is there when it is opened again.
    fn survives(&self) -> bool {
        true
    }
}

struct Memory;

impl Backend for Memory {
    fn open(&self) -> Box<dyn VersionStore> {
        Box::new(MemoryVersions::default())
    }

    fn survives(&self) -> bool {
        false
    }
}

struct Sqlite(TempDir);

impl Backend for Sqlite {
    fn open(&self) -> Box<dyn VersionStore> {
        Box::new(SqliteVersions::new(self.0.path().join("deep/er/wellkept.db"), Owner::named("orders")))
    }
}

#[cfg(feature = "postgres")]
mod shared {
    use std::sync::atomic::{AtomicU32, Ordering};

    use wellkept_store::{PostgresOptions, PostgresVersions};
    use wellkept_testkit::{Postgres, SharedPostgres};

    use super::{Backend, VersionStore};

    /// A schema of the test's own, which is removed with it.
    pub(crate) struct Schema {
        server: SharedPostgres,
        schema: String,
    }

    impl Schema {
        pub(crate) fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            Self { server: Postgres::shared(), schema: format!("versions_{}_{number}", std::process::id()) }
        }
    }

    impl Backend for Schema {
        fn open(&self) -> Box<dyn VersionStore> {
            let options = PostgresOptions::new(self.server.url(), "orders", "orders-1");
            let options = PostgresOptions { schema: self.schema.clone(), ..options };
            Box::new(PostgresVersions::new(options).unwrap())
        }
    }

    impl Drop for Schema {
        fn drop(&mut self) {
            self.server
                .execute(&format!("SET client_min_messages = error; DROP SCHEMA IF EXISTS {} CASCADE", self.schema));
        }
    }
}

/// Holds each claim against each backend.
macro_rules! claims {
    ($($claim:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $claim() { super::$claim(&super::Memory); })*
        }
        mod sqlite {
            $(#[test] fn $claim() { super::$claim(&super::Sqlite(tempfile::tempdir().unwrap())); })*
        }
        #[cfg(feature = "postgres")]
        mod postgres {
            $(#[test] fn $claim() { super::$claim(&super::shared::Schema::new()); })*
        }
    };
}

claims! {
    a_store_that_nobody_wrote_to_has_no_versions,
    versions_are_numbered_from_one_and_come_back_newest_first_with_their_contents,
    strange_texts_and_times_come_back_as_they_were,
    the_oldest_are_forgotten_with_their_contents_and_no_number_is_given_twice,
    refused_attempts_take_nothing_away_that_one_can_return_to,
    much_text_is_forgotten_before_its_number_is_reached,
    a_version_that_is_told_of_again_is_not_added_twice,
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(1_767_225_600_123_456 + second * 1_000_000)
}

fn content(text: &str) -> Content {
    let part = |name: &str| Part { name: name.into(), text: format!("# {name}\n{text}") };
    Content { parts: vec![part("/etc/wellkept/wellkept.yaml"), part("/etc/wellkept/conf.d/b.yaml")] }
}

fn version(second: u64, outcome: OutcomeKind) -> Version {
    Version {
        id: VersionId(0),
        at: at(second),
        trigger: Trigger::Signal,
        author: String::new(),
        hash: content(&second.to_string()).hash(),
        outcome,
        returned_to: None,
        refuses: None,
        summary: vec![format!("~ a: {second} -> {}", second + 1), "+ b: 1".into()],
    }
}

fn applied(store: &mut dyn VersionStore, second: u64, keep: usize) -> VersionId {
    let content = content(&second.to_string());
    store.append(&version(second, OutcomeKind::Applied), Some(&content), keep).unwrap()
}

fn refused(store: &mut dyn VersionStore, second: u64, keep: usize) -> VersionId {
    store.append(&version(second, OutcomeKind::Rejected), None, keep).unwrap()
}

fn ids(store: &mut dyn VersionStore) -> Vec<u64> {
    store.versions().unwrap().iter().map(|version| version.id.0).collect()
}

fn a_store_that_nobody_wrote_to_has_no_versions(backend: &dyn Backend) {
    let mut store = backend.open();
    assert_eq!(store.versions().unwrap(), []);
    for id in [0, 1, u64::MAX] {
        assert_eq!(store.content(VersionId(id)).unwrap(), None);
    }
}

fn versions_are_numbered_from_one_and_come_back_newest_first_with_their_contents(backend: &dyn Backend) {
    let mut store = backend.open();
    let first = Version { id: VersionId(1), ..version(1, OutcomeKind::Applied) };
    let second = Version { id: VersionId(2), summary: Vec::new(), ..version(2, OutcomeKind::Rejected) };
    let third = Version {
        id: VersionId(3),
        trigger: Trigger::Api,
        author: "ann".into(),
        returned_to: Some(VersionId(1)),
        refuses: Some(ContentHash([7; 32])),
        hash: Content::default().hash(),
        ..version(3, OutcomeKind::RolledBack)
    };
    assert_eq!(store.append(&first, Some(&content("1")), 50).unwrap(), VersionId(1));
    assert_eq!(store.append(&second, None, 50).unwrap(), VersionId(2));
    assert_eq!(store.append(&third, Some(&Content::default()), 50).unwrap(), VersionId(3));
    if backend.survives() {
        store = backend.open();
    }
    assert_eq!(store.versions().unwrap(), [third, second, first]);
    assert_eq!(store.content(VersionId(1)).unwrap(), Some(content("1")));
    assert_eq!(store.content(VersionId(2)).unwrap(), None, "it was refused");
    assert_eq!(store.content(VersionId(3)).unwrap(), Some(Content::default()), "a configuration without files");
    assert_eq!(store.content(VersionId(4)).unwrap(), None);
}

fn strange_texts_and_times_come_back_as_they_were(backend: &dyn Backend) {
    let mut store = backend.open();
    let times = [SystemTime::UNIX_EPOCH, at(0), SystemTime::UNIX_EPOCH - Duration::from_secs(7)];
    for (text, time) in ["'; DROP TABLE config_versions; -- ü\0\\0", "two\nlines\r\n", ""].into_iter().zip(times) {
        let part = Part { name: text.into(), text: text.into() };
        let content = Content { parts: vec![part.clone(), part] };
        let told = Version {
            at: time,
            author: text.into(),
            hash: content.hash(),
            summary: vec![text.into(), text.into()],
            ..version(1, OutcomeKind::RestartRequired)
        };
        let id = store.append(&told, Some(&content), 50).unwrap();
        assert_eq!(store.versions().unwrap()[0], Version { id, ..told });
        assert_eq!(store.content(id).unwrap(), Some(content));
    }
}

fn the_oldest_are_forgotten_with_their_contents_and_no_number_is_given_twice(backend: &dyn Backend) {
    let mut store = backend.open();
    for second in 1..=10 {
        assert_eq!(applied(&mut *store, second, 3), VersionId(second));
    }
    assert_eq!(ids(&mut *store), [10, 9, 8]);
    assert_eq!(store.content(VersionId(7)).unwrap(), None);
    assert_eq!(store.content(VersionId(8)).unwrap(), Some(content("8")));
    applied(&mut *store, 11, 0);
    assert_eq!(ids(&mut *store), [11], "the one that runs is kept in any case");
    refused(&mut *store, 12, 0);
    refused(&mut *store, 13, 0);
    assert_eq!(ids(&mut *store), [13, 11], "and the newest, which knows the next number");
    if backend.survives() {
        store = backend.open();
    }
    assert_eq!(applied(&mut *store, 14, 5), VersionId(14));
    assert_eq!(ids(&mut *store), [14, 13, 11]);
}

fn refused_attempts_take_nothing_away_that_one_can_return_to(backend: &dyn Backend) {
    let mut store = backend.open();
    applied(&mut *store, 1, 3);
    applied(&mut *store, 2, 3);
    for second in 3..20 {
        refused(&mut *store, second, 3);
    }
    assert_eq!(ids(&mut *store), [19, 18, 17, 2, 1]);
    assert_eq!(store.content(VersionId(1)).unwrap(), Some(content("1")));
}

fn much_text_is_forgotten_before_its_number_is_reached(backend: &dyn Backend) {
    let mut store = backend.open();
    let large = "x".repeat(usize::try_from(MAX_VERSIONS_BYTES / 8).unwrap());
    for second in 1..=5 {
        let content = Content { parts: vec![Part { name: "a".into(), text: large.clone() }; 2] };
        let version = Version { hash: content.hash(), ..version(second, OutcomeKind::Applied) };
        store.append(&version, Some(&content), 50).unwrap();
    }
    assert_eq!(ids(&mut *store), [5, 4, 3], "the summaries count as well");
}

fn a_version_that_is_told_of_again_is_not_added_twice(backend: &dyn Backend) {
    let mut store = backend.open();
    let first = applied(&mut *store, 1, 3);
    assert_eq!(applied(&mut *store, 1, 3), first);
    assert_eq!(applied(&mut *store, 2, 3), VersionId(2));
    assert_eq!(applied(&mut *store, 1, 3), VersionId(3), "only the newest one can be meant");
    assert_eq!(refused(&mut *store, 1, 3), VersionId(4), "what came of it differs");
    assert_eq!(ids(&mut *store), [4, 3, 2, 1]);
}
