//! The entries in the order of their registration, and the chunks that are published of them: whoever changes an entry
//! has its chunk made anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Id};
use crate::snapshot::{CHUNK, Chunk, Chunks, Index};

/// A map from ids to entries. There is no way to change an entry that leaves what is published of it as it was.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_id: BTreeMap<Id, Entry>,
    /// Empty while entries have come or gone since the last publication.
    slots: Vec<Slot>,
    index: Arc<Index>,
}

/// Where a chunk begins, and the chunk as last published.
#[derive(Debug)]
struct Slot {
    first: Id,
    chunk: Arc<Chunk>,
    changed: bool,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains_key(&self, id: Id) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn get(&self, id: Id) -> Option<&Entry> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Entry> {
        let after = self.slots.partition_point(|slot| slot.first <= id);
        if let Some(slot) = after.checked_sub(1).and_then(|at| self.slots.get_mut(at)) {
            slot.changed = true;
        }
        self.by_id.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, &Entry)> {
        self.by_id.iter().map(|(id, entry)| (*id, entry))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.by_id.values()
    }

    pub(super) fn insert(&mut self, id: Id, entry: Entry) {
        self.slots.clear();
        self.by_id.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Entry> {
        self.slots.clear();
        self.by_id.remove(&id)
    }

    /// All chunks, those made anew that hold what changed since the last time, by a result or by its age.
    pub(super) fn publish(&mut self, now: Duration) -> Chunks {
        if self.slots.is_empty() {
            self.lay_out(now);
        }
        for slot in &mut self.slots {
            if slot.changed || !slot.chunk.is_valid(now) {
                let entries = self.by_id.range(slot.first..).take(slot.chunk.len());
                slot.chunk = Arc::new(Chunk::new(entries.map(|(_, entry)| Arc::clone(&entry.health)), now));
                slot.changed = false;
            }
        }
        Chunks::new(self.slots.iter().map(|slot| Arc::clone(&slot.chunk)), Arc::clone(&self.index))
    }

    fn lay_out(&mut self, now: Duration) {
        self.index = Arc::default();
        let mut entries = self.by_id.iter().peekable();
        while let Some((first, _)) = entries.peek() {
            let first = **first;
            let components = entries.by_ref().take(CHUNK).map(|(_, entry)| Arc::clone(&entry.health));
            self.slots.push(Slot { first, chunk: Arc::new(Chunk::new(components, now)), changed: false });
        }
    }
}
