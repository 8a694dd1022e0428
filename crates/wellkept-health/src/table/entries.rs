//! The entries in the order of their registration, kept by the chunks that are published of them: whoever changes an
//! entry has its chunk made anew.

use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Id};
use crate::snapshot::{CHUNK, Chunk, Chunks, Index};

/// A map from ids to entries. There is no way to change an entry that leaves what is published of it as it was.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// In the order of their ids.
    slots: Vec<Slot>,
    len: usize,
    index: Arc<Index>,
}

/// The entries of one chunk.
#[derive(Debug)]
struct Slot {
    /// No entry here has a lower one, and none of the slots before has a higher one.
    first: Id,
    /// In the order of their ids; at least one, at most [`CHUNK`].
    entries: Vec<(Id, Entry)>,
    /// As last published; `None` when something has changed since.
    published: Option<Arc<Chunk>>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains_key(&self, id: Id) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn get(&self, id: Id) -> Option<&Entry> {
        let slot = self.slots.get(self.slot_of(id)?)?;
        slot.find(id).ok().and_then(|at| slot.entries.get(at)).map(|(_, entry)| entry)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Entry> {
        let at = self.slot_of(id)?;
        let slot = self.slots.get_mut(at)?;
        let at = slot.find(id).ok()?;
        slot.published = None;
        slot.entries.get_mut(at).map(|(_, entry)| entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Entry)> {
        self.slots.iter().flat_map(|slot| &slot.entries).map(|(id, entry)| (*id, entry))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.iter().map(|(_, entry)| entry)
    }

    /// Adds an entry under an id that is not taken. Most come last.
    pub(super) fn insert(&mut self, id: Id, entry: Entry) {
        self.index = Arc::default();
        self.len += 1;
        let at = self.slot_of(id).unwrap_or(0);
        match self.slots.get_mut(at) {
            Some(slot) if slot.entries.len() < CHUNK => slot.insert(id, entry),
            Some(slot) if slot.entries.last().is_some_and(|(last, _)| *last < id) => {
                self.slots.insert(at + 1, Slot::new(vec![(id, entry)]));
            }
            Some(slot) => {
                let mut second = Slot::new(slot.entries.split_off(CHUNK / 2));
                slot.published = None;
                let half = if id < second.first { slot } else { &mut second };
                half.insert(id, entry);
                self.slots.insert(at + 1, second);
            }
            None => self.slots.push(Slot::new(vec![(id, entry)])),
        }
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Entry> {
        let at = self.slot_of(id)?;
        let slot = self.slots.get_mut(at)?;
        let (_, entry) = slot.find(id).ok().map(|at| slot.entries.remove(at))?;
        slot.published = None;
        if slot.entries.is_empty() {
            self.slots.remove(at);
        }
        self.index = Arc::default();
        self.len -= 1;
        if self.slots.len() > 2 * self.len.div_ceil(CHUNK) + 1 {
            self.close_gaps();
        }
        Some(entry)
    }

    /// All chunks; those are made anew that hold what changed since the last time, by a result or by its age.
    pub(super) fn publish(&mut self, now: Duration) -> Chunks {
        let chunks = self.slots.iter_mut().map(|slot| slot.publish(now)).collect();
        Chunks::new(chunks, self.len, Arc::clone(&self.index))
    }

    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.slots.len()
    }

    /// Where an id is, or would come last.
    fn slot_of(&self, id: Id) -> Option<usize> {
        self.slots.partition_point(|slot| slot.first <= id).checked_sub(1)
    }

    /// Fills the slots, after so many removals that most are nearly empty.
    fn close_gaps(&mut self) {
        let mut entries = std::mem::take(&mut self.slots).into_iter().flat_map(|slot| slot.entries).peekable();
        while entries.peek().is_some() {
            self.slots.push(Slot::new(entries.by_ref().take(CHUNK).collect()));
        }
    }
}

impl Slot {
    /// `entries` holds at least one.
    fn new(entries: Vec<(Id, Entry)>) -> Self {
        Self { first: entries.first().expect("no slot is empty").0, entries, published: None }
    }

    fn find(&self, id: Id) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |(id, _)| *id)
    }

    fn insert(&mut self, id: Id, entry: Entry) {
        let at = self.find(id).unwrap_or_else(|at| at);
        self.entries.insert(at, (id, entry));
        self.first = self.first.min(id);
        self.published = None;
    }

    fn publish(&mut self, now: Duration) -> Arc<Chunk> {
        if let Some(published) = self.published.as_ref().filter(|chunk| chunk.is_valid(now)) {
            return Arc::clone(published);
        }
        let chunk = Arc::new(Chunk::new(self.entries.iter().map(|(_, entry)| Arc::clone(&entry.health)), now));
        self.published = Some(Arc::clone(&chunk));
        chunk
    }
}
