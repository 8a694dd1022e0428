//! The walk: a mapping that is asked for its keys. Decides which keys are unknown, and what is reported about them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Reported, codes, nearest, quoted};
use crate::from_node::FromNode;
use crate::named::NamedFiles;
use crate::origin::{Origin, Places};
use crate::record::Record;
use crate::reference::{Presence, Shape};
use crate::tree::{Interpolation, Key, Node, Position, Spelling, Value};

/// One mapping of the document, while it is being read.
///
/// The keys asked for are the keys known. When the closure that reads the section ends, every other key in it is
/// reported as unknown, with the nearest known one. So **ask for every key before giving up on any**: bind each answer,
/// call [`complete`](Self::complete), and unwrap with `?` only in the last expression. All errors are then found in one
/// pass. A closure that reports an error of its own can return its value all the same: the reading fails in any case.
///
/// A closure that returns `None` right after something was wrong, or without a reason, may not have come to its other
/// keys. Without `complete`, these are not called unknown then, except where one looks like a key that was asked for
/// and is not there: a spelling mistake.
///
/// Methods that return `None` for a wrong value have reported it: the caller need not.
#[derive(Debug)]
pub struct Section<'d> {
    /// The key that it stands under; `None` at the top and in lists.
    name: Option<&'d str>,
    position: Position,
    node: &'d Node,
    entries: &'d [(Key, Node)],
    index: Index<'d>,
    used: Vec<bool>,
    asked: Vec<&'static str>,
    /// Keys whose values are shown to nobody.
    concealed: Vec<&'static str>,
    progress: Progress,
    /// How many files were named before this section.
    named_before: usize,
    walk: &'d Walk,
    /// The keys that lead here, each with a dot behind it. Only kept where what is asked for is recorded.
    path: String,
}

mod describing;

/// What the sections of one walk share.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) reported: RefCell<Reported>,
    pub(crate) record: Record,
    /// The document's.
    pub(crate) places: Arc<Places>,
    pub(crate) credentials: Option<PathBuf>,
    /// The files whose content belongs to the configuration, so far.
    pub(crate) named: RefCell<NamedFiles>,
}

/// What tells a closure that gave up early from one that asked for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing went wrong.
    Clean,
    /// The last thing that happened was an error: the closure may end because of it.
    JustFailed,
    /// It asked for another key after an error, so it does not give up at the first.
    WentOn,
    /// The closure said that it asked for everything.
    Complete,
}

/// How a section is come to from the one above.
#[derive(Debug, Clone, Copy)]
enum Step<'s> {
    /// Under its key.
    Key,
    /// Under a free key of the mapping under its key.
    Free(&'s str),
    /// As an item of the list under its key.
    Item(usize),
}

/// Where each key is. Most mappings are small enough to look through; large ones must not take quadratic time.
#[derive(Debug)]
enum Index<'d> {
    Small,
    Large(HashMap<&'d str, usize>),
}

impl<'d> Section<'d> {
    /// The value of `key`, which must be there.
    pub fn required<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        self.note_value::<T>(key, || Presence::Required);
        if let Some(node) = self.ask(key) {
            return self.typed(key, node);
        }
        let place = self.name.map(|name| format!(" in {}", quoted(name))).unwrap_or_default();
        let message = format!("missing key {}{place}: expected {}", quoted(key), T::EXPECTED);
        self.report(self.position, codes::MISSING_KEY, message);
        None
    }

    /// The value of `key`; `None` when it is absent, or wrong, which is reported. A key without a value is wrong.
    pub fn optional<T: FromNode>(&mut self, key: &'static str) -> Option<T> {
        self.note_value::<T>(key, || Presence::Optional);
        let node = self.ask(key)?;
        self.typed(key, node)
    }

    /// The value of `key`, or `default` when it is absent, or wrong, which is reported.
    pub fn or<T: FromNode>(&mut self, key: &'static str, default: T) -> T {
        self.note_default(key, &default);
        self.ask(key).and_then(|node| self.typed(key, node)).unwrap_or(default)
    }

    /// The value of `key`, or `default` when it is absent; `None` when it is wrong, which is reported.
    pub fn if_absent<T: FromNode>(&mut self, key: &'static str, default: T) -> Option<T> {
        self.note_default(key, &default);
        match self.ask(key) {
            Some(node) => self.typed(key, node),
            None => Some(default),
        }
    }

    /// Reads the mapping under `key`; `None` when it is absent, not a mapping, or refused by `read`. A key without a
    /// value is an empty mapping.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Option<T> {
        self.note(key, Shape::Section);
        let node = self.ask(key).or_else(|| self.stand_in())?;
        self.descend(key, Some(key), node, Step::Key, read)
    }

    /// Like [`section`](Self::section), for a key that is known only at run time, such as a kind found among
    /// [`keys`](Self::keys). It is never suggested.
    pub fn open<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Option<T> {
        self.note(key, Shape::Section);
        let node = self.take(key).or_else(|| self.stand_in())?;
        self.descend(key, Some(key), node, Step::Key, read)
    }

    /// Reads the list of mappings under `key`, each with `read`; `None` when it is absent, or when anything in it was
    /// refused. All items are read in any case, so that all errors are found. A key without a value is an empty list.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.note(key, Shape::Sections);
        let asked = self.ask(key);
        if let Some(node) = self.stand_in() {
            return self.descend(key, None, node, Step::Item(0), read).map(|item| vec![item]);
        }
        let node = asked?;
        match &node.value {
            Value::Sequence(items) => {
                let items = items.iter().enumerate();
                let read: Vec<_> =
                    items.map(|(index, item)| self.descend(key, None, item, Step::Item(index), &mut read)).collect();
                read.into_iter().collect()
            }
            _ if node.is_null() => Some(Vec::new()),
            _ => {
                self.report_kind(node, "a list of mappings, each after a `- `");
                None
            }
        }
    }

    /// The entries of the mapping under `key`, whose keys are free: their text, where they stand, and their values, to
    /// be read with [`value`](Self::value). `None` when it is absent or not a mapping.
    pub fn entries(&mut self, key: &'static str) -> Option<Vec<(String, Position, &'d Node)>> {
        self.note(key, Shape::Mapping);
        let asked = self.ask(key);
        if let Some((name, node)) = self.free_stand_in(key) {
            return Some(vec![(name.to_owned(), Position::START, node)]);
        }
        let node = asked?;
        self.hand_out_entries(key, node);
        match &node.value {
            Value::Mapping(entries) => {
                Some(entries.iter().map(|(key, node)| (key.text.clone(), key.position, node)).collect())
            }
            _ if node.is_null() => Some(Vec::new()),
            _ => {
                self.report_kind(node, "a mapping");
                None
            }
        }
    }

    /// The typed value of a node from [`entries`](Self::entries) or [`node`](Self::node); `None` when it is wrong,
    /// which is reported.
    pub fn value<T: FromNode>(&mut self, node: &Node) -> Option<T> {
        self.note_node::<T>(node);
        self.read_node(node)
    }

    fn read_node<T: FromNode>(&mut self, node: &Node) -> Option<T> {
        match T::from_node(node) {
            Ok(value) => Some(value),
            Err(diagnostics) => {
                self.failed();
                for diagnostic in diagnostics {
                    self.walk.reported.borrow_mut().push(diagnostic);
                }
                None
            }
        }
    }

    /// The node under `key`, for what no other method reads; `None` when it is absent.
    pub fn node(&mut self, key: &'static str) -> Option<&'d Node> {
        self.note(key, Shape::Anything);
        let node = self.ask(key)?;
        self.hand_out(key, node);
        Some(node)
    }

    /// Declares keys that belong here whether or not this closure asks for them, such as those of another profile.
    pub fn known(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.ask(key);
        }
    }

    /// Declares that every key has been asked for: what is left is unknown, even if the closure now gives up.
    pub fn complete(&mut self) {
        self.progress = Progress::Complete;
    }

    /// Whether `key` is there, with or without a value. Does not count as asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// All keys and where they stand, in the order of the file. Does not count as asking for them.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Position)> {
        self.entries.iter().map(|(key, _)| (key.text.as_str(), key.position))
    }

    /// Where the section's mapping begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where the value of `key` begins, or the section when the key is absent. Does not count as asking for it.
    pub fn position_of(&self, key: &str) -> Position {
        self.find(key).and_then(|index| self.entries.get(index)).map_or(self.position, |(_, node)| node.position)
    }

    /// Where the value of `key` comes from; [`Origin::Default`] when it is absent. Does not count as asking for it.
    pub fn origin_of(&self, key: &str) -> Origin {
        let node = self.find(key).and_then(|index| self.entries.get(index)).map(|(_, node)| node);
        node.map_or(Origin::Default, |node| self.walk.places.origin(node.position))
    }

    /// Reports an error. `code` is a stable word, of [`codes`] or the program's own; `message` must not hold
    /// what a variable may have brought in: [`Scalar::written`](crate::Scalar::written) is safe.
    pub fn report(&mut self, position: Position, code: &'static str, message: impl Into<String>) {
        self.failed();
        self.walk.reported.borrow_mut().push(Diagnostic::new(position, code, message));
    }

    /// Reports that `written` is none of the `known` words, and suggests the nearest: "unknown check kind `postgress`".
    /// If it is a key of this section, it counts as asked for.
    pub fn report_unknown(&mut self, position: Position, what: &str, written: &str, known: &[&str]) {
        if let Some(used) = self.find(written).and_then(|index| self.used.get_mut(index)) {
            *used = true;
        }
        self.failed();
        let diagnostic = Diagnostic::new(position, codes::UNKNOWN_VALUE, format!("unknown {what} {}", quoted(written)))
            .suggesting(nearest(written, known.iter().copied()));
        self.walk.reported.borrow_mut().push(diagnostic);
    }

    /// [`Node::fingerprint`] of the section, and what the files say that it has been asked for by now: see
    /// [`file`](Self::file) and [`secret`](Self::secret).
    pub fn fingerprint(&self) -> u64 {
        let named = self.walk.named.borrow();
        let of_node = self.node.fingerprint();
        match named.since(self.named_before) {
            [] => of_node,
            named => {
                let mut hasher = DefaultHasher::new();
                (of_node, named).hash(&mut hasher);
                hasher.finish()
            }
        }
    }

    /// The path under `key` of a file whose content belongs to the configuration, such as a certificate; `None` as for
    /// [`optional`](Self::optional). What it says, in its first MiB, is a part of the [`fingerprint`](Self::fingerprint),
    /// so that a reload takes up what changed in it alone, and it is watched with the configuration's own files. Blocks
    /// on the file system; that it can't be read is for whoever opens it to report.
    ///
    /// `credential:NAME` is the file of a systemd credential, in `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    pub fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.optional::<PathBuf>(key)?;
        match self.resolved(&path) {
            Ok(path) => {
                self.take_in(&path);
                Some(path)
            }
            Err((code, message)) => {
                self.report(self.position_of(key), code, message);
                None
            }
        }
    }

    /// As [`file`](Self::file) for a path that was asked for otherwise. To be called before it is read.
    pub fn take_in(&self, path: &Path) {
        self.walk.named.borrow_mut().note(path);
    }

    /// The files that were named so far in the document.
    pub(crate) fn named(&self) -> &RefCell<NamedFiles> {
        &self.walk.named
    }

    /// The folder of the service's credentials.
    pub(crate) fn credentials(&self) -> Option<&Path> {
        self.walk.credentials.as_deref()
    }

    pub(crate) fn read_root<T>(
        root: &Node,
        walk: &Walk,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        if let Value::Mapping(entries) = &root.value {
            return Section::walk(None, String::new(), (root, entries), walk, read);
        }
        walk.reported.borrow_mut().push(no_mapping(root));
        None
    }

    /// Below `key`, under the name that messages call it by.
    fn descend<T>(
        &mut self,
        key: &str,
        name: Option<&str>,
        node: &Node,
        step: Step<'_>,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let entries: &[(Key, Node)] = match &node.value {
            Value::Mapping(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                self.report_kind(node, "a mapping such as `key: value`");
                return None;
            }
        };
        let path = self.path_below(key, node, step);
        let value = Section::walk(name, path, (node, entries), self.walk, read);
        if value.is_none() {
            self.failed();
        }
        value
    }

    fn walk<T>(
        name: Option<&str>,
        path: String,
        (node, entries): (&Node, &[(Key, Node)]),
        walk: &Walk,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let mut section = Section {
            name,
            position: node.position,
            node,
            entries,
            index: Index::of(entries),
            used: vec![false; entries.len()],
            asked: Vec::new(),
            concealed: Vec::new(),
            progress: Progress::Clean,
            named_before: walk.named.borrow().len(),
            walk,
            path,
        };
        let value = read(&mut section);
        let asked_for_all = value.is_some() || matches!(section.progress, Progress::WentOn | Progress::Complete);
        section.report_unknown_keys(asked_for_all);
        value
    }

    fn report_unknown_keys(&self, asked_for_all: bool) {
        let absent: Vec<_> = self.asked.iter().copied().filter(|key| self.find(key).is_none()).collect();
        let place = self.name.map(|name| format!(" in {}", quoted(name))).unwrap_or_default();
        let unused = self.entries.iter().zip(&self.used).filter(|(_, used)| !**used).map(|((key, _), _)| key);
        for key in unused.filter(|key| key.spelling != Spelling::Tentative) {
            let mut reported = self.walk.reported.borrow_mut();
            // A suggestion that nobody will see is not looked for: a large file may hold many unknown keys.
            let near =
                |known: &[&'static str]| nearest(&key.text, known.iter().copied().filter(|_| !reported.is_full()));
            // A key that is there already is a poor suggestion: it is made only when no absent one is near.
            let meant_absent = near(&absent);
            if !asked_for_all && meant_absent.is_none() {
                continue;
            }
            let suggestion = meant_absent.or_else(|| near(&self.asked));
            let message = format!("unknown key {}{place}", quoted(&key.text));
            reported.push(Diagnostic::new(key.position, codes::UNKNOWN_KEY, message).suggesting(suggestion));
        }
    }

    /// Looks `key` up and remembers it as known.
    fn ask(&mut self, key: &'static str) -> Option<&'d Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
            if let Record::Asked(asked) = &self.walk.record {
                asked.borrow_mut().insert(format!("{}{key}", self.path));
            }
        }
        self.take(key)
    }

    fn take(&mut self, key: &str) -> Option<&'d Node> {
        if self.progress == Progress::JustFailed {
            self.progress = Progress::WentOn;
        }
        let index = self.find(key)?;
        *self.used.get_mut(index)? = true;
        self.entries.get(index).map(|(_, node)| node)
    }

    fn find(&self, key: &str) -> Option<usize> {
        match &self.index {
            Index::Small => self.entries.iter().position(|(candidate, _)| candidate.is(key)),
            Index::Large(positions) => positions.get(key).copied().or_else(|| {
                let is_loose = |candidate: &Key| candidate.spelling != Spelling::Exact && candidate.is(key);
                self.entries.iter().position(|(candidate, _)| is_loose(candidate))
            }),
        }
    }

    fn report_kind(&mut self, node: &Node, expected: &str) {
        if node.scalar().is_some_and(|scalar| matches!(scalar.interpolation, Interpolation::Failed)) {
            self.failed();
            return;
        }
        self.report(node.position, codes::WRONG_TYPE, format!("expected {expected}, found {}", node.kind()));
    }

    fn failed(&mut self) {
        if self.progress != Progress::Complete {
            self.progress = Progress::JustFailed;
        }
    }
}

/// What is wrong with a file that holds a list, or a single value.
pub(crate) fn no_mapping(root: &Node) -> Diagnostic {
    let message = format!("expected a mapping such as `key: value`, found {}", root.kind());
    Diagnostic::new(root.position, codes::WRONG_TYPE, message)
}

impl<'d> Index<'d> {
    fn of(entries: &'d [(Key, Node)]) -> Self {
        const SMALL: usize = 32;
        if entries.len() <= SMALL {
            return Self::Small;
        }
        Self::Large(entries.iter().enumerate().map(|(index, (key, _))| (key.text.as_str(), index)).collect())
    }
}

#[cfg(test)]
mod tests;
