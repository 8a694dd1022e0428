//! Where history is kept: the section `store`.

use std::path::{Path, PathBuf};

use wellkept_config::Section;

/// Where history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// An embedded SQLite file.
    Sqlite(PathBuf),
    /// Nowhere: the latest records are in memory.
    Memory,
}

impl StoreLocation {
    /// `$XDG_STATE_HOME/wellkept/wellkept.db`, `~/.local/state/…` without it, `/var/lib/wellkept/wellkept.db` as root.
    pub fn usual() -> Self {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = match state {
            Some(state) => Some(state.join("wellkept")),
            None if rustix::process::geteuid().is_root() => Some(PathBuf::from("/var/lib/wellkept")),
            None => home.map(|home| home.join("wellkept")),
        };
        folder.map_or(Self::Memory, |folder| Self::Sqlite(folder.join("wellkept.db")))
    }

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let url = section.required::<String>("url");
        section.complete();
        let at = section.position_of("url");
        match url?.as_str() {
            "memory" => Some(Self::Memory),
            url if url.starts_with("postgres:") || url.starts_with("postgresql:") => {
                section.report(at, "config.not_available", "a store in PostgreSQL is not a part of this version yet");
                None
            }
            url => match url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) {
                Some(path) if !path.is_empty() => Some(Self::Sqlite(PathBuf::from(path))),
                _ => {
                    section.report(at, "config.range", "expected `sqlite:///path/to/file.db` or `memory`");
                    None
                }
            },
        }
    }

    /// The file, when there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Memory => None,
        }
    }
}
