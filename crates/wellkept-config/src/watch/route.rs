//! The way to a file: every folder in which something can be renamed or replaced so that the file is another one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Most links followed on the way to one file, as the kernel does (`path_resolution(7)`).
const MAX_LINKS: usize = 40;
/// Most places watched; beyond it the files are polled.
const MAX_PLACES: usize = 512;
/// Most entries of a folder whose links are followed.
const MAX_ENTRIES: usize = 256;

/// Where something may happen, by its path, which holds no link.
pub(super) type Route = BTreeMap<PathBuf, Place>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder that is on the way: what happens to these names in it.
    Passed(BTreeSet<OsString>),
    /// A folder that files are in: what happens to these names in it, and what is written to them.
    Holds(BTreeSet<OsString>),
    /// A folder of which every file counts.
    Whole,
    /// A file: it may be written to by another name.
    File,
}

impl Place {
    /// Whether something that happened to `name` in it is of interest. Without a name it happened to the place itself.
    pub(super) fn is_of_interest(&self, name: Option<&OsStr>) -> bool {
        match (self, name) {
            (Self::Passed(names) | Self::Holds(names), Some(name)) => names.contains(name),
            (Self::Whole | Self::File, _) | (_, None) => true,
        }
    }
}

/// The way to each of these files and folders. Blocks on the file system.
pub(super) fn route(paths: &[PathBuf]) -> Route {
    let mut route = Route::new();
    for path in paths {
        // Fails for an empty path, and in a folder that was removed.
        let Ok(path) = std::path::absolute(path) else { continue };
        let Some(reached) = follow(&path, &mut route) else { continue };
        let Ok(metadata) = fs::symlink_metadata(&reached) else { continue };
        if metadata.is_dir() {
            let entries = fs::read_dir(&reached).into_iter().flatten().flatten().take(MAX_ENTRIES);
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink())) {
                follow(&entry.path(), &mut route);
            }
            route.insert(reached, Place::Whole);
        } else {
            route.entry(reached).or_insert(Place::File);
        }
    }
    while route.len() > MAX_PLACES {
        route.pop_last();
    }
    route
}

/// Walks to `path`, noting each name that is looked up; `None` when it leads nowhere.
fn follow(path: &Path, route: &mut Route) -> Option<PathBuf> {
    let mut at = PathBuf::from("/");
    let mut ahead: Vec<OsString> = Vec::new();
    push(path, &mut ahead);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        note(route, &at, &name, ahead.is_empty());
        let next = at.join(&name);
        match fs::read_link(&next) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                push(&target, &mut ahead);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            // It is there, and no link.
            Err(_) => at = next,
        }
    }
    Some(at)
}

/// Puts the names of a path on the stack, the first one on top.
fn push(path: &Path, ahead: &mut Vec<OsString>) {
    ahead.extend(path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    }));
}

fn note(route: &mut Route, folder: &Path, name: &OsStr, is_last: bool) {
    let place = route.entry(folder.to_owned()).or_insert_with(|| Place::Passed(BTreeSet::new()));
    match place {
        Place::Passed(names) if is_last => {
            let mut names = std::mem::take(names);
            names.insert(name.to_owned());
            *place = Place::Holds(names);
        }
        Place::Passed(names) | Place::Holds(names) => {
            names.insert(name.to_owned());
        }
        Place::Whole | Place::File => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The places within `folder`, in words.
    fn places(folder: &Path, paths: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| folder.join(path)).collect();
        let within = |path: &Path| path.strip_prefix(folder).ok().map(|path| path.display().to_string());
        let names = |names: &BTreeSet<OsString>| {
            names.iter().map(|name| name.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        let in_words = |(path, place): (PathBuf, Place)| {
            let path = within(&path)?;
            Some(match place {
                Place::Passed(passed) => format!("{path}/ passed: {}", names(&passed)),
                Place::Holds(held) => format!("{path}/ holds: {}", names(&held)),
                Place::Whole => format!("{path}/ whole"),
                Place::File => format!("{path} file"),
            })
        };
        route(&paths).into_iter().filter_map(in_words).collect()
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn each_link_on_the_way_is_watched_where_it_stands() {
        let (_kept, folder) = folder();
        fs::create_dir_all(folder.join("etc/..2026")).unwrap();
        fs::write(folder.join("etc/..2026/app.yaml"), "a: 1").unwrap();
        symlink("..2026", folder.join("etc/..data")).unwrap();
        symlink("..data/app.yaml", folder.join("etc/app.yaml")).unwrap();
        symlink(folder.join("etc"), folder.join("to-etc")).unwrap();
        let expected = [
            "/ passed: etc to-etc",
            "etc/ holds: ..2026 ..data app.yaml",
            "etc/..2026/ holds: app.yaml",
            "etc/..2026/app.yaml file",
        ];
        assert_eq!(places(&folder, &["to-etc/../to-etc/./app.yaml"]), expected);
    }

    #[test]
    fn what_is_not_there_yet_is_awaited_where_it_would_appear() {
        let (_kept, folder) = folder();
        assert_eq!(places(&folder, &["conf/app.yaml"]), ["/ passed: conf"]);
        symlink("elsewhere", folder.join("conf")).unwrap();
        assert_eq!(places(&folder, &["conf/app.yaml"]), ["/ passed: conf elsewhere"]);
    }

    #[test]
    fn a_folder_counts_with_all_that_is_in_it_and_with_what_its_links_lead_to() {
        let (_kept, folder) = folder();
        fs::create_dir_all(folder.join("conf.d/..2026")).unwrap();
        fs::write(folder.join("conf.d/..2026/a.yaml"), "").unwrap();
        symlink("..2026", folder.join("conf.d/..data")).unwrap();
        symlink("..data/a.yaml", folder.join("conf.d/a.yaml")).unwrap();
        let expected = ["/ holds: conf.d", "conf.d/ whole", "conf.d/..2026/ holds: a.yaml"];
        assert_eq!(places(&folder, &["conf.d"]), expected);
    }

    #[test]
    fn links_in_a_circle_end() {
        let (_kept, folder) = folder();
        symlink("b", folder.join("a")).unwrap();
        symlink("a", folder.join("b")).unwrap();
        assert_eq!(places(&folder, &["a"]), ["/ holds: a b"]);
        assert_eq!(places(&folder, &["a/app.yaml"]), ["/ passed: a b"]);
    }
}
