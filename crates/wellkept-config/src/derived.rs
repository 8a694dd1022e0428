//! What derived readers stand on: whether a type is read from a value or from a section is decided where it is read.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use crate::diagnostics::{nearest, quoted};
use crate::from_node::FromNode;
use crate::section::Section;
use crate::settings::Settings;

pub use wellkept_config_derive::{SettingsOfWellkept, WordsOfWellkept};

/// Reads a type: by [`ReadValue`] if it is a [`FromNode`], by [`ReadSection`] if it is [`Settings`].
///
/// A call `(&Reader::<T>::new()).one(…)` finds the method of whichever trait `T` has: that for values takes the reader
/// by reference, that for sections a reference to it.
#[derive(Debug)]
pub struct Reader<T>(PhantomData<fn() -> T>);

impl<T> Reader<T> {
    /// The reader.
    #[expect(clippy::new_without_default, reason = "written by a macro only")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// Reads values.
pub trait ReadValue {
    /// What is read.
    type Of;

    /// It must be there unless there is a default.
    fn one(&self, section: &mut Section<'_>, key: &'static str, default: Option<Self::Of>) -> Option<Self::Of>;

    /// It may be there. The outer `None` is a value that is wrong.
    fn optional(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<Option<Self::Of>>,
    ) -> Option<Option<Self::Of>>;

    /// A list, which may be left out.
    fn list(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<Vec<Self::Of>>,
    ) -> Option<Vec<Self::Of>>;

    /// A mapping with free keys, which may be left out.
    fn map(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<BTreeMap<String, Self::Of>>,
    ) -> Option<BTreeMap<String, Self::Of>>;

    /// The keys below that wait for a restart.
    fn restarts(&self, key: &str, started: &Self::Of, new: &Self::Of, keys: &mut Vec<String>);
}

impl<T: FromNode> ReadValue for Reader<T> {
    type Of = T;

    fn one(&self, section: &mut Section<'_>, key: &'static str, default: Option<T>) -> Option<T> {
        match default {
            Some(default) => section.if_absent(key, default),
            None => section.required(key),
        }
    }

    fn optional(&self, section: &mut Section<'_>, key: &'static str, default: Option<Option<T>>) -> Option<Option<T>> {
        if let Some(Some(default)) = default {
            return self.one(section, key, Some(default)).map(Some);
        }
        let value = section.optional(key);
        if value.is_none() && section.has(key) { None } else { Some(value) }
    }

    fn list(&self, section: &mut Section<'_>, key: &'static str, default: Option<Vec<T>>) -> Option<Vec<T>> {
        Reader::<Vec<T>>::new().one(section, key, Some(default.unwrap_or_default()))
    }

    fn map(
        &self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<BTreeMap<String, T>>,
    ) -> Option<BTreeMap<String, T>> {
        let Some(entries) = section.entries(key) else { return absent(section, key, default) };
        let read: Vec<_> = entries.into_iter().map(|(name, _, node)| Some((name, section.value(node)?))).collect();
        read.into_iter().collect()
    }

    fn restarts(&self, _: &str, _: &T, _: &T, _: &mut Vec<String>) {}
}

/// Reads sections.
pub trait ReadSection {
    /// What is read.
    type Of;

    /// Without it an empty one is read, unless there is a default.
    fn one(self, section: &mut Section<'_>, key: &'static str, default: Option<Self::Of>) -> Option<Self::Of>;

    /// It may be there. The outer `None` is a section that is wrong.
    fn optional(
        self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<Option<Self::Of>>,
    ) -> Option<Option<Self::Of>>;

    /// A list of sections, which may be left out.
    fn list(
        self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<Vec<Self::Of>>,
    ) -> Option<Vec<Self::Of>>;

    /// Sections under free keys, which may be left out.
    fn map(
        self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<BTreeMap<String, Self::Of>>,
    ) -> Option<BTreeMap<String, Self::Of>>;

    /// The keys below that wait for a restart.
    fn restarts(self, key: &str, started: &Self::Of, new: &Self::Of, keys: &mut Vec<String>);
}

impl<T: Settings> ReadSection for &Reader<T> {
    type Of = T;

    fn one(self, section: &mut Section<'_>, key: &'static str, default: Option<T>) -> Option<T> {
        if default.is_some() && !section.has(key) && !section.is_describing() {
            section.known(&[key]);
            return default;
        }
        section.section_or_empty(key, T::read)
    }

    fn optional(self, section: &mut Section<'_>, key: &'static str, default: Option<Option<T>>) -> Option<Option<T>> {
        if section.has(key) || section.is_describing() {
            return section.section(key, T::read).map(Some);
        }
        absent(section, key, default)
    }

    fn list(self, section: &mut Section<'_>, key: &'static str, default: Option<Vec<T>>) -> Option<Vec<T>> {
        section.list(key, T::read).or_else(|| absent(section, key, default))
    }

    fn map(
        self,
        section: &mut Section<'_>,
        key: &'static str,
        default: Option<BTreeMap<String, T>>,
    ) -> Option<BTreeMap<String, T>> {
        let read = section.sections(key, |_, section| T::read(section));
        match read {
            Some(entries) => Some(entries.into_iter().collect()),
            None => absent(section, key, default),
        }
    }

    fn restarts(self, key: &str, started: &T, new: &T, keys: &mut Vec<String>) {
        keys.extend(T::restart_required(started, new).into_iter().map(|below| format!("{key}.{below}")));
    }
}

/// What holds where `key` is not; `None` where it is, and wrong.
fn absent<T: Default>(section: &mut Section<'_>, key: &'static str, default: Option<T>) -> Option<T> {
    section.known(&[key]);
    (!section.has(key)).then(|| default.unwrap_or_default())
}

/// A value that is within its range; whether it is, is reported.
pub fn within<T: FromNode + PartialOrd>(
    section: &mut Section<'_>,
    key: &'static str,
    value: Option<T>,
    range: impl RangeBounds<T>,
) -> Option<T> {
    section.within(key, value, range)
}

/// The same for a value that need not be there.
pub fn within_if_there<T: FromNode + PartialOrd>(
    section: &mut Section<'_>,
    key: &'static str,
    value: Option<Option<T>>,
    range: impl RangeBounds<T>,
) -> Option<Option<T>> {
    match value {
        Some(Some(value)) => section.within(key, Some(value), range).map(Some),
        other => {
            // The limits are told to whoever records the walk.
            section.within(key, None::<T>, range);
            other
        }
    }
}

/// The nearest word, for a text that is none.
pub fn hint(text: &str, words: &[&str]) -> String {
    nearest(text, words.iter().copied()).map(|word| format!("did you mean {}?", quoted(word))).unwrap_or_default()
}
