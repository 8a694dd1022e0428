//! Where history is kept: the section `store`.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use wellkept_config::{MemoryVersions, Position, Section, StoreFault, VersionStore};
use wellkept_health::{HistoryError, HistoryStore as _, StatusChange};
use wellkept_store::{Owner, SqliteStore, SqliteVersions};
#[cfg(feature = "postgres")]
use wellkept_store::{PostgresStore, PostgresVersions};

#[cfg(feature = "postgres")]
use super::machine;

/// Where history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// An embedded SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: Owner,
    },
    /// Tables in PostgreSQL, which all instances of the service share.
    #[cfg(feature = "postgres")]
    Postgres(PostgresLocation),
    /// Nowhere: the latest records are in memory.
    Memory,
}

/// Tables in PostgreSQL, and which instance writes to them.
#[cfg(feature = "postgres")]
#[derive(Debug, Clone)]
pub struct PostgresLocation(pub(super) wellkept_store::PostgresOptions);

#[cfg(feature = "postgres")]
impl PartialEq for PostgresLocation {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (&self.0, &other.0);
        one.url.expose_secret() == other.url.expose_secret()
            && (&one.schema, &one.service, &one.instance) == (&other.schema, &other.service, &other.instance)
    }
}

#[cfg(feature = "postgres")]
impl Eq for PostgresLocation {}

/// Longest name of a service that is a file's name as it is.
const LONGEST: usize = 100;

impl StoreLocation {
    /// In `$XDG_STATE_HOME/wellkept`, `~/.local/state/wellkept` without it, `/var/lib/wellkept` as root: a file of the
    /// service's own, `service-NAME.db`, and `wellkept.db` where the service has no name.
    pub fn usual(service: Option<&str>) -> Self {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = match state {
            Some(state) => Some(state.join("wellkept")),
            None if rustix::process::geteuid().is_root() => Some(PathBuf::from("/var/lib/wellkept")),
            None => home.map(|home| home.join("wellkept")),
        };
        let name = service.map_or_else(|| "wellkept.db".to_owned(), file_name);
        let of = |folder: PathBuf| Self::Sqlite { path: folder.join(name), owner: owner(service, None) };
        folder.map_or(Self::Memory, of)
    }

    /// `service` is the name that the configuration gives the service, if any.
    pub(super) fn read(section: &mut Section<'_>, service: Option<&str>) -> Option<Self> {
        section.describe(&[
            ("url", "`sqlite:///path/to/file.db`, `postgres://user@host/database` for instances that share one history, or `memory`."),
            ("schema", "The schema of the tables in PostgreSQL. Default: wellkept."),
            ("instance", "What tells this instance from others of the service in PostgreSQL. Default: the machine's host name."),
            ("formerly", "What the service was called before, whose file in SQLite it takes over. Default: nothing."),
        ]);
        let url = section.required::<SecretString>("url");
        let schema = section.optional::<String>("schema");
        let instance = section.optional::<String>("instance");
        let formerly = section.optional::<String>("formerly");
        section.complete();
        let at = section.position_of("url");
        let url = url?;
        let text = url.expose_secret();
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            refuse(section, &[("formerly", formerly.is_some())], "it is for a store in SQLite");
            return Self::read_postgres(section, at, &url, service, schema, instance);
        }
        let shared = [("schema", schema.is_some()), ("instance", instance.is_some())];
        refuse(section, &shared, "it is for a store in PostgreSQL");
        if text == "memory" {
            return Some(Self::Memory);
        }
        match text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")) {
            Some(path) if !path.is_empty() => {
                Some(Self::Sqlite { path: PathBuf::from(path), owner: owner(service, formerly) })
            }
            _ => {
                let message = "expected `sqlite:///path/to/file.db`, `postgres://…` or `memory`";
                section.report(at, "config.range", message);
                None
            }
        }
    }

    /// The latest changes that are kept there, newest first; `None` where nothing is. Changes nothing, and blocks for
    /// some seconds at most. Not for use in an asynchronous runtime.
    ///
    /// # Errors
    /// When the store can't be read, or the file is another service's.
    pub fn latest_changes(&self, limit: usize) -> Option<Result<Vec<StatusChange>, HistoryError>> {
        match self {
            Self::Sqlite { path, owner } => path.exists().then(|| {
                SqliteStore::refuse_other(path, owner)?;
                SqliteStore::open_read_only(path)?.changes(None, limit)
            }),
            #[cfg(feature = "postgres")]
            Self::Postgres(location) => Some(
                PostgresStore::new(location.0.clone())
                    .map_err(Into::into)
                    .and_then(|mut store| store.changes(None, limit)),
            ),
            Self::Memory => None,
        }
    }

    /// Where versions of the configuration are kept: beside the history. Nothing is opened or connected to yet.
    ///
    /// # Errors
    /// When there are no threads or descriptors left for a store in PostgreSQL.
    pub fn versions(&self) -> Result<Box<dyn VersionStore>, StoreFault> {
        Ok(match self {
            Self::Sqlite { path, owner } => Box::new(SqliteVersions::new(path.clone(), owner.clone())),
            #[cfg(feature = "postgres")]
            Self::Postgres(location) => Box::new(PostgresVersions::new(location.0.clone())?),
            Self::Memory => Box::new(MemoryVersions::default()),
        })
    }

    #[cfg(feature = "postgres")]
    fn read_postgres(
        section: &mut Section<'_>,
        at: Position,
        url: &SecretString,
        service: Option<&str>,
        schema: Option<String>,
        instance: Option<String>,
    ) -> Option<Self> {
        use wellkept_store::{PostgresError, PostgresOptions};

        let Some(service) = service else {
            let message = "a store that is shared needs `service: { name: … }`: all instances of a name share it";
            section.report(at, "store.invalid", message);
            return None;
        };
        let options = PostgresOptions::new(url.clone(), service, instance.unwrap_or_else(machine::host_name));
        let options = PostgresOptions { schema: schema.unwrap_or(options.schema), ..options };
        match options.validate() {
            Ok(()) => Some(Self::Postgres(PostgresLocation(options))),
            Err(PostgresError::Invalid { option, problem }) => {
                let at = if section.has(option) { section.position_of(option) } else { at };
                section.report(at, "store.invalid", format!("`{option}`: {problem}"));
                None
            }
            Err(error) => {
                section.report(at, error.code(), error.to_string());
                None
            }
        }
    }

    #[cfg(not(feature = "postgres"))]
    fn read_postgres(
        section: &mut Section<'_>,
        at: Position,
        _url: &SecretString,
        _service: Option<&str>,
        _schema: Option<String>,
        _instance: Option<String>,
    ) -> Option<Self> {
        let message = "a store in PostgreSQL is not in this build: it needs feature `postgres`";
        section.report(at, "store.not_built", message);
        None
    }
}

impl std::fmt::Display for StoreLocation {
    /// For the log: where, and nothing of a URL.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite { path, .. } => path.display().fmt(formatter),
            #[cfg(feature = "postgres")]
            Self::Postgres(PostgresLocation(options)) => {
                write!(formatter, "PostgreSQL, schema {}, as instance {}", options.schema, options.instance)
            }
            Self::Memory => formatter.write_str("memory only"),
        }
    }
}

/// Reports the keys that are there and mean nothing here.
fn refuse(section: &mut Section<'_>, keys: &[(&'static str, bool)], why: &str) {
    for (key, _) in keys.iter().filter(|(_, is_there)| *is_there) {
        let at = section.position_of(key);
        section.report(at, "config.range", format!("`{key}` means nothing here: {why}"));
    }
}

fn owner(service: Option<&str>, formerly: Option<String>) -> Owner {
    Owner { service: service.unwrap_or_default().to_owned(), formerly }
}

/// A file's name that no other service has: what a file can't be called is written in hexadecimal, and a name that is
/// long ends in a number that follows from the whole.
fn file_name(service: &str) -> String {
    use std::fmt::Write as _;

    let mut name = String::from("service-");
    for byte in service.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(name, "%{byte:02x}");
        }
        if name.len() > LONGEST {
            let _ = write!(name, "-{}", wellkept_health::Identity::named(service));
            break;
        }
    }
    name + ".db"
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use wellkept_config::{Content, OutcomeKind, Trigger, Version, VersionId};
    use wellkept_store::Limits;

    use super::*;

    #[test]
    fn each_name_has_a_file_of_its_own_that_can_be_made() {
        let long = "x".repeat(500);
        let names = ["orders", "Orders", "a/b", "a%2fb", "..", "wellkept", "", &long, &format!("{long}y"), "ü\0\n"];
        let files: std::collections::BTreeSet<_> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(files.len(), names.len());
        for file in files {
            assert!(file.starts_with("service-") && file.len() < 200 && !file.contains(['/', '\0']), "{file}");
        }
        assert_eq!(file_name("orders-db.eu"), "service-orders-db.eu.db");
    }

    #[test]
    fn versions_are_kept_beside_the_history() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wellkept.db");
        let location = StoreLocation::Sqlite { path: path.clone(), owner: Owner::named("orders") };
        let version = Version {
            id: VersionId(0),
            at: SystemTime::now(),
            trigger: Trigger::Start,
            author: String::new(),
            hash: Content::default().hash(),
            outcome: OutcomeKind::Applied,
            returned_to: None,
            refuses: None,
            summary: Vec::new(),
        };
        location.versions().unwrap().append(&version, Some(&Content::default()), 50).unwrap();
        drop(SqliteStore::open_as(&path, &Owner::named("orders"), Limits::default()).unwrap());
        assert_eq!(location.versions().unwrap().versions().unwrap().len(), 1);
        assert_eq!(StoreLocation::Memory.versions().unwrap().versions().unwrap(), []);
    }
}
