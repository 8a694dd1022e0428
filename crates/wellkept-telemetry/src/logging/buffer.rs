//! The bytes of a line: room that is taken once, and never more than a line may have.

/// Longest block that is copied as one, whatever of it is wanted.
pub(super) const BLOCK: usize = 32;

/// Bytes up to a limit.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
    /// Nothing is pushed past it; at most what the buffer was made for.
    limit: usize,
    most: usize,
}

impl Buffer {
    pub(super) fn new(most: usize) -> Self {
        // A block may be copied whole where only its beginning is wanted.
        Self { bytes: vec![0; most + BLOCK].into_boxed_slice(), length: 0, limit: most, most }
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
        self.limit = self.most;
    }

    pub(super) fn limit_to(&mut self, limit: usize) {
        self.limit = limit.min(self.most);
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.length)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Appends all of it, or nothing when that is past the limit, and says whether it did.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let end = self.length + bytes.len();
        if end > self.limit {
            return false;
        }
        let Some(room) = self.bytes.get_mut(self.length..end) else { return false };
        copy(room, bytes);
        self.length = end;
        true
    }

    /// Appends the first `length` bytes of a block, or nothing when that is past the limit.
    #[inline]
    pub(super) fn push_block(&mut self, block: &[u8; BLOCK], length: usize) -> bool {
        let end = self.length + length;
        let room = self.bytes.get_mut(self.length..).and_then(|room| room.first_chunk_mut::<BLOCK>());
        match room {
            Some(room) if end <= self.limit => {
                *room = *block;
                self.length = end;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn push_byte(&mut self, byte: u8) -> bool {
        match self.bytes.get_mut(self.length) {
            Some(place) if self.length < self.limit => {
                *place = byte;
                self.length += 1;
                true
            }
            _ => false,
        }
    }
}

/// Copies what is mostly shorter than a call of `memcpy` is worth: two blocks that overlap.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        0..=3 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        4..=7 => copy_ends::<4>(to, from),
        8..=15 => copy_ends::<8>(to, from),
        16..=32 => copy_ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_pushed_is_there_up_to_the_limit(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20), limit in 0_usize..300) {
            let mut buffer = Buffer::new(300);
            buffer.limit_to(limit);
            let mut wanted = Vec::new();
            for part in &parts {
                let fits = wanted.len() + part.len() <= limit;
                prop_assert_eq!(buffer.push(part), fits);
                if fits {
                    wanted.extend_from_slice(part);
                }
                prop_assert_eq!(buffer.push_block(&[7; BLOCK], 3), wanted.len() + 3 <= limit);
                if wanted.len() + 3 <= limit {
                    wanted.extend([7; 3]);
                }
                prop_assert_eq!(buffer.bytes(), &wanted[..]);
            }
        }
    }
}
