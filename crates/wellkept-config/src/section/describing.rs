//! What a section tells beside its values: descriptions, limits and secrets of keys, for whoever records the walk. In an
//! ordinary walk none of it costs anything.

use std::ops::{Bound, RangeBounds};

use super::{Section, Step};
use crate::diagnostics::{Diagnostic, codes};
use crate::from_node::FromNode;
use crate::record::{Keys, Record};
use crate::reference::{Presence, Shape};
use crate::schema::Schema;
use crate::tree::{Key, Node, Value};

/// What free keys are called.
const FREE: &str = "<name>";

impl<'d> Section<'d> {
    /// Says what keys are for, as `(key, description)`; a key below another section has a path: `tls.certificate`. Does
    /// nothing unless the walk [describes](crate::Reference).
    ///
    /// A sentence that begins with `Default` says what holds without the key, where the code doesn't tell: as it does by
    /// [`or`](Self::or). `Required.` says that it must be there, where that hangs on something else.
    pub fn describe(&mut self, keys: &[(&str, &str)]) {
        self.describe_all(keys.iter().copied());
    }

    /// [`describe`](Self::describe), for what is put together as it goes.
    pub fn describe_all(&mut self, keys: impl IntoIterator<Item = (impl AsRef<str>, impl Into<String>)>) {
        if let Some(book) = self.walk.record.keys() {
            for (key, description) in keys {
                book.describe(&format!("{}{}", self.path, key.as_ref()), description.into());
            }
        }
    }

    /// Whether the walk only describes: the section is empty, and what is read of it is thrown away. Who reads one of
    /// several ways then goes all of them, so that all become known.
    pub fn is_describing(&self) -> bool {
        self.walk.record.keys().is_some()
    }

    /// Says that new values of these keys, and of all below them, wait for a restart of the process. It is what the
    /// reference says; [`Settings::restart_required`](crate::Settings::restart_required) tells it of two configurations.
    pub fn restart(&mut self, keys: &[&str]) {
        if let Some(book) = self.walk.record.keys() {
            for key in keys {
                // Those of a list's items go without the brackets, as descriptions do.
                book.restart(format!("{}{key}", self.path).replace("[]", ""));
            }
        }
    }

    /// Says that new values of these keys are applied at once, although those of their section wait for a restart.
    pub fn at_once(&mut self, keys: &[&str]) {
        if let Some(book) = self.walk.record.keys() {
            for key in keys {
                book.at_once(format!("{}{key}", self.path));
            }
        }
    }

    /// Says that the values of these keys are shown to nobody, whatever their type. To be said before they are asked for.
    pub fn conceal(&mut self, keys: &[&'static str]) {
        for key in keys {
            match &self.walk.record {
                Record::Keys(book) => book.conceal(self.path_of(key)),
                Record::Values(book) => book.conceal(self.path_of(key)),
                Record::Off | Record::Asked(_) => {}
            }
            self.concealed.push(key);
        }
    }

    /// Says that exactly one of these keys is there, for the schema. Who reads them reports it.
    pub fn exactly_one(&mut self, keys: &[&str]) {
        if let Some(book) = self.walk.record.keys() {
            book.alternatives(&self.path, keys.iter().map(|key| (*key).to_owned()).collect());
        }
    }

    /// Whether the value of `key` is this word, as in `repeats: off` where else a section stands. Counts as asking for it.
    pub fn is_word(&mut self, key: &'static str, word: &'static str) -> bool {
        if let Some(book) = self.walk.record.keys() {
            book.also(&self.path_of(key), Schema::Words(vec![word.into()]), word);
        }
        let Some(node) = self.ask(key) else { return false };
        let is_it = node.scalar().is_some_and(|scalar| scalar.text() == word);
        if is_it && let Some(book) = self.walk.record.values() {
            book.value(self.path_of(key), node, false);
        }
        is_it
    }

    /// Says that a single value of this type may stand under `key` instead of a section or whatever else is asked for.
    /// Who reads it takes its [`node`](Self::node) first.
    pub fn also<T: FromNode>(&mut self, key: &'static str) {
        if let Some(book) = self.walk.record.keys() {
            book.also(&self.path_of(key), T::schema(), T::EXPECTED);
        }
    }

    /// Reports a value of `key` that is not within `range`, and returns it if it is. A value that is not there passes.
    ///
    /// ```
    /// use wellkept_config::Document;
    ///
    /// let document = Document::parse("app.yaml", "workers: 0").unwrap();
    /// let wrong = document.read(|section| {
    ///     let workers = section.or("workers", 4_u32);
    ///     section.within("workers", Some(workers), 1..=64)
    /// });
    /// assert_eq!(wrong.unwrap_err().to_string(), "app.yaml:1:10: `workers` must be from 1 to 64");
    /// ```
    pub fn within<T>(&mut self, key: &'static str, value: Option<T>, range: impl RangeBounds<T>) -> Option<T>
    where
        T: FromNode + PartialOrd,
    {
        let limit = |bound: Bound<&T>| match bound {
            Bound::Included(limit) => limit.written(),
            Bound::Excluded(limit) => limit.written().map(|limit| format!("{limit} (without it)")),
            Bound::Unbounded => None,
        };
        if let Some(book) = self.walk.record.keys() {
            book.within(&self.path_of(key), limit(range.start_bound()), limit(range.end_bound()));
            return value;
        }
        let value = value?;
        if range.contains(&value) {
            return Some(value);
        }
        let message = match (limit(range.start_bound()), limit(range.end_bound())) {
            (Some(least), Some(most)) => format!("`{key}` must be from {least} to {most}"),
            (Some(least), None) => format!("`{key}` must be at least {least}"),
            (None, Some(most)) => format!("`{key}` must be at most {most}"),
            (None, None) => format!("`{key}` is out of its range"),
        };
        let at = self.position_of(key);
        self.report(at, codes::RANGE, message);
        None
    }

    /// Like [`section`](Self::section); where there is none, an empty one is read, so that the defaults of its keys hold,
    /// and those that it must have are missed.
    pub fn section_or_empty<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        if self.has(key) || self.is_describing() {
            return self.section(key, read);
        }
        self.ask(key);
        let node = Node { position: self.position, ..Node::empty() };
        self.descend(key, Some(key), &node, Step::Key, read)
    }

    /// Reads the mapping under `key`, whose keys are free and whose values are mappings, each with `read`; `None` when it
    /// is absent, or when anything in it was refused. A key without a value is an empty mapping.
    pub fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Section<'_>) -> Option<T>,
    ) -> Option<Vec<(String, T)>> {
        self.note(key, Shape::Mapping);
        let asked = self.ask(key);
        if let Some(node) = self.stand_in() {
            self.note(&format!("{key}.{FREE}"), Shape::Section);
            return self
                .descend(key, None, node, Step::Free(FREE), |section| read("name", section))
                .map(|_| Vec::new());
        }
        let node = asked?;
        match &node.value {
            Value::Mapping(entries) => {
                let each = |(name, node): &(Key, Node)| {
                    let value = self.descend(key, Some(&name.text), node, Step::Free(&name.text), |section| {
                        read(&name.text, section)
                    });
                    value.map(|value| (name.text.clone(), value))
                };
                let read: Vec<_> = entries.iter().map(each).collect();
                read.into_iter().collect()
            }
            _ if node.is_null() => Some(Vec::new()),
            _ => {
                self.report_kind(node, "a mapping");
                None
            }
        }
    }

    /// Where `key` is, from the top.
    fn path_of(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// The path of what is below, with its dot; nothing unless the walk is recorded.
    pub(super) fn path_below(&self, key: &str, node: &Node, step: Step<'_>) -> String {
        let path = self.path_of_record(key);
        match (&self.walk.record, step) {
            (Record::Off, _) => path,
            (_, Step::Key) | (Record::Asked(_), Step::Item(_)) => path + ".",
            (_, Step::Free(name)) => format!("{path}.{name}."),
            (Record::Keys(_), Step::Item(_)) => path + "[].",
            (Record::Values(_), Step::Item(index)) => match name_of(node) {
                Some(name) => format!("{path}.{name}."),
                None => format!("{path}[{index}]."),
            },
        }
    }

    fn path_of_record(&self, key: &str) -> String {
        if self.walk.record.is_off() { String::new() } else { self.path_of(key) }
    }

    /// Notes that a value is asked for.
    pub(super) fn note_value<T: FromNode>(&self, key: &str, presence: impl FnOnce() -> Presence) {
        if let Some(book) = self.walk.record.keys() {
            book.value::<T>(self.path_of(key), presence());
        }
    }

    /// Notes what holds without `key`.
    pub(crate) fn note_default<T: FromNode>(&self, key: &str, default: &T) {
        match &self.walk.record {
            Record::Keys(book) => {
                let presence = if T::SECRET { None } else { default.written() };
                book.value::<T>(self.path_of(key), presence.map_or(Presence::Optional, Presence::Default));
            }
            Record::Values(book) if !self.has(key) => book.default(self.path_of(key), default.written(), T::SECRET),
            Record::Values(_) | Record::Off | Record::Asked(_) => {}
        }
    }

    /// Notes that something else than a value is asked for.
    pub(super) fn note(&self, key: &str, shape: Shape) {
        if let Some(book) = self.walk.record.keys() {
            book.add(self.path_of(key), shape, Presence::Optional, false);
        }
    }

    /// Notes as what a node that was handed out is read.
    pub(super) fn note_node<T: FromNode>(&self, node: &Node) {
        match &self.walk.record {
            Record::Keys(book) => {
                if let Some(path) = book.path_of(node) {
                    book.value::<T>(path, Presence::Optional);
                }
            }
            Record::Values(book) => {
                if let Some(path) = book.path_of(node) {
                    book.value(path, node, T::SECRET);
                }
            }
            Record::Off | Record::Asked(_) => {}
        }
    }

    /// The typed value of `key`.
    pub(super) fn typed<T: FromNode>(&mut self, key: &'static str, node: &Node) -> Option<T> {
        if let Some(book) = self.walk.record.values() {
            book.value(self.path_of(key), node, T::SECRET);
        }
        if !self.concealed.contains(&key) {
            return self.read_node(node);
        }
        match T::from_node(node) {
            Ok(value) => Some(value),
            Err(diagnostics) => {
                self.failed();
                for Diagnostic { position, code, .. } in diagnostics {
                    let message = format!("expected {}, found a value that is not shown", T::EXPECTED);
                    self.walk.reported.borrow_mut().push(Diagnostic::new(position, code, message));
                }
                None
            }
        }
    }

    /// Remembers a node that the reader gets as it is.
    pub(super) fn hand_out(&self, key: &str, node: &Node) {
        if let Some(book) = self.walk.record.values() {
            book.hand_out(self.path_of(key), node);
        }
    }

    /// Remembers the values of a mapping whose keys are free.
    pub(super) fn hand_out_entries(&self, key: &str, node: &Node) {
        if let (Some(book), Value::Mapping(entries)) = (self.walk.record.values(), &node.value) {
            for (name, value) in entries {
                book.hand_out(format!("{}.{}", self.path_of(key), name.text), value);
            }
        }
    }

    /// Stands for a section or an item where the walk describes.
    pub(super) fn stand_in(&self) -> Option<&'d Node> {
        self.walk.record.keys().map(Keys::nothing)
    }

    /// Stands for the value of a free key where the walk describes.
    pub(super) fn free_stand_in(&mut self, key: &'static str) -> Option<(&'static str, &'d Node)> {
        let book = self.walk.record.keys()?;
        let path = format!("{}.{FREE}", self.path_of(key));
        book.add(path.clone(), Shape::Anything, Presence::Optional, false);
        Some(("name", book.free_stand_in(&path)?))
    }
}

/// What an item of a list goes by.
fn name_of(item: &Node) -> Option<&str> {
    let Value::Mapping(entries) = &item.value else { return None };
    let (_, name) = entries.iter().find(|(key, _)| key.text == "name")?;
    name.scalar().map(crate::Scalar::written).filter(|name| !name.is_empty())
}
