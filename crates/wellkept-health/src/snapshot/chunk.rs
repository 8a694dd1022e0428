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

    pub(crate) fn len(&self) -> usize {
        self.components.len()
    }

    /// Whether what it adds up to still holds.
    pub(crate) fn is_valid(&self, now: Duration) -> bool {
        now < self.totals.valid_until()
    }
}

/// All components by chunks, each of them full but the last one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunks {
    chunks: Arc<[Arc<Chunk>]>,
    index: Arc<Index>,
}

/// Where each name is, made by the first who asks and kept for as long as no component comes or goes.
pub(crate) type Index = OnceLock<HashMap<Arc<str>, usize>>;

impl Chunks {
    /// `index` is of the same components, or empty.
    pub(crate) fn new(chunks: impl Iterator<Item = Arc<Chunk>>, index: Arc<Index>) -> Self {
        Self { chunks: chunks.collect(), index }
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &ComponentHealth> {
        (0..self.len()).map(|position| self.at(position).expect("each chunk but the last one is full"))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&ComponentHealth> {
        let names = || self.iter().enumerate().map(|(position, one)| (Arc::clone(&one.name), position)).collect();
        self.index.get_or_init(names).get(name).and_then(|position| self.at(*position))
    }

    /// The totals as they were when each chunk was made.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::nothing();
        for chunk in &*self.chunks {
            totals.add(&chunk.totals);
        }
        totals
    }

    /// The total of a group, or of all, now; only where it is not kept or no longer holds are components looked at.
    pub(crate) fn total(&self, group: Option<&Group>, now: Duration) -> Total {
        let totals = self.chunks.iter().map(|chunk| match chunk.totals.kept(group) {
            Some(kept) if now < kept.valid_until => kept,
            _ => Total::of(chunk.components.iter().map(|one| &**one), group, now),
        });
        totals.fold(Total::NOTHING, Total::and)
    }

    /// When the oldest result that counts was taken.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.chunks.iter().filter_map(|chunk| chunk.oldest).min()
    }

    /// Whether every component that counts has had a result.
    pub(crate) fn all_sampled(&self) -> bool {
        self.chunks.iter().all(|chunk| chunk.sampled)
    }

    fn at(&self, position: usize) -> Option<&ComponentHealth> {
        self.chunks.get(position / CHUNK)?.components.get(position % CHUNK).map(|one| &**one)
    }
}
