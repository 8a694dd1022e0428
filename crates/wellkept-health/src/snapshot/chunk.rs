//! A run of components that are published together: when one of them changes, only its chunk is made anew.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;

use super::ComponentHealth;
use super::totals::{Total, Totals};
use crate::component::Group;

/// Components in a chunk: few, so that one result costs little, and enough for the sum over all chunks to cost little
/// too. In tests there are to be many chunks.
pub(crate) const CHUNK: usize = if cfg!(test) { 3 } else { 32 };

/// At most [`CHUNK`] components and what they add up to.
#[derive(Debug)]
pub(crate) struct Chunk {
    components: Box<[Arc<ComponentHealth>]>,
    totals: Totals,
    oldest: Option<Timestamp>,
    sampled: bool,
}

impl Chunk {
    pub(crate) fn new(components: impl Iterator<Item = Arc<ComponentHealth>>, now: Duration) -> Self {
        let components: Box<[_]> = components.collect();
        let counted = || components.iter().filter(|one| one.counted);
        Self {
            totals: Totals::of(components.iter().map(|one| &**one), now),
            oldest: counted().filter_map(|one| one.checked).map(|at| at.wall).min(),
            sampled: counted().all(|one| one.served.is_some()),
            components,
        }
    }

    /// Whether what it adds up to still holds.
    pub(crate) fn is_valid(&self, now: Duration) -> bool {
        now < self.totals.valid_until()
    }
}

/// All components by chunks. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunks {
    all: Arc<[Arc<Chunk>]>,
    len: usize,
    index: Arc<Index>,
}

/// Where each name is, as chunk and place in it; made by the first who asks and kept for as long as no component comes
/// or goes.
pub(crate) type Index = OnceLock<HashMap<Arc<str>, (usize, usize)>>;

impl Chunks {
    /// `len` is how many components there are, and `index` is of the same ones, or empty.
    pub(crate) fn new(all: Arc<[Arc<Chunk>]>, len: usize, index: Arc<Index>) -> Self {
        Self { all, len, index }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &ComponentHealth> {
        Components { components: self.all.iter().flat_map(|chunk| &chunk.components), left: self.len }.map(|one| &**one)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&ComponentHealth> {
        let (chunk, place) = *self.index.get_or_init(|| self.make_index()).get(name)?;
        self.all.get(chunk)?.components.get(place).map(|one| &**one)
    }

    fn make_index(&self) -> HashMap<Arc<str>, (usize, usize)> {
        let mut index = HashMap::with_capacity(self.len);
        for (number, chunk) in self.all.iter().enumerate() {
            let names = chunk.components.iter().map(|one| Arc::clone(&one.name));
            index.extend(names.enumerate().map(|(place, name)| (name, (number, place))));
        }
        index
    }

    /// The totals as they were when each chunk was made.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::nothing();
        for chunk in &*self.all {
            totals.add(&chunk.totals);
        }
        totals
    }

    /// The total of a group, or of all, now; only where it is not kept or no longer holds are components looked at.
    pub(crate) fn total(&self, group: Option<&Group>, now: Duration) -> Total {
        let totals = self.all.iter().map(|chunk| match chunk.totals.kept(group) {
            Some(kept) if now < kept.valid_until => kept,
            _ => Total::of(chunk.components.iter().map(|one| &**one), group, now),
        });
        totals.fold(Total::NOTHING, Total::and)
    }

    /// When the oldest result that counts was taken.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.all.iter().filter_map(|chunk| chunk.oldest).min()
    }

    /// Whether every component that counts has had a result.
    pub(crate) fn all_sampled(&self) -> bool {
        self.all.iter().all(|chunk| chunk.sampled)
    }
}

/// All components of all chunks, whose number is known.
struct Components<I> {
    components: I,
    left: usize,
}

impl<I: Iterator> Iterator for Components<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.saturating_sub(1);
        self.components.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Components<I> {}
