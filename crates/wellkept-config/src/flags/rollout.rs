//! Who gets which variant: the shares of all keys, the keys by name, and the hash that puts each key in its place.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use twox_hash::XxHash64;

/// Into so many buckets the keys of a flag fall: a share is told to a hundredth of a hundredth of a percent.
pub const BUCKETS: u32 = 1_000_000;

/// What one flag does for whom, whatever its type.
#[derive(Clone)]
pub struct Rollout {
    name: &'static str,
    words: Box<[&'static str]>,
    /// The hash of the name, which is the seed of every key's.
    salt: u64,
    /// For whom nothing else is said.
    rest: u8,
    /// Each share as the bucket before which it ends and its variant, in the order of the words.
    shares: Box<[(u32, u8)]>,
    /// By their hashes, ascending.
    keys: Box<[Named]>,
    /// Counts by variant; there are none before a [`FlagBoard`](super::FlagBoard) gives them.
    counts: OnceLock<Arc<[AtomicU64]>>,
}

/// A key that the configuration names.
#[derive(Clone, PartialEq)]
struct Named {
    hash: u64,
    key: Box<str>,
    variant: u8,
}

/// What a configuration says of a flag, checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Rule {
    pub(super) rest: u8,
    /// Variants with how many buckets each, in the order of the words; all together at most [`BUCKETS`].
    pub(super) shares: Vec<(u8, u32)>,
    /// No key twice.
    pub(super) keys: Vec<(String, u8)>,
}

/// The bucket of `key` for the flag `name`, from 0 to [`BUCKETS`] - 1.
///
/// XXH64 of the key's bytes, with the XXH64 of the name's bytes (seed 0) as the seed; then the upper 64 bits of its product
/// with [`BUCKETS`]. The name is a salt: who is among the first of one flag is not among the first of the next.
///
/// ```
/// assert_eq!(wellkept_config::bucket("new-checkout", "tenant-a"), 361_615);
/// ```
pub fn bucket(name: &str, key: &str) -> u32 {
    place(hash(salt(name), key))
}

impl Rollout {
    pub(super) fn fixed(name: &'static str, words: Box<[&'static str]>, variant: u8) -> Self {
        Self::new(name, words, Rule { rest: variant, ..Rule::default() })
    }

    pub(super) fn new(name: &'static str, words: Box<[&'static str]>, rule: Rule) -> Self {
        let salt = salt(name);
        let mut end = 0;
        let shares = rule.shares.into_iter().filter(|(_, share)| *share > 0).map(|(variant, share)| {
            end = BUCKETS.min(end + share);
            (end, variant)
        });
        let shares = shares.collect();
        let named = |(key, variant): (String, u8)| Named { hash: hash(salt, &key), key: key.into(), variant };
        let mut keys: Vec<_> = rule.keys.into_iter().map(named).collect();
        keys.sort_by_key(|named| named.hash);
        Self { name, words, salt, rest: rule.rest, shares, keys: keys.into(), counts: OnceLock::new() }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The variants by name, in the order of their shares.
    pub fn variants(&self) -> &[&'static str] {
        &self.words
    }

    /// The part of all keys that gets each variant, from 0 to 1; keys that are named aside.
    pub fn ratios(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let buckets = |variant| {
            let mut begin = 0;
            let mut buckets = 0;
            for (end, of) in &self.shares {
                buckets += if *of == variant { end - begin } else { 0 };
                begin = *end;
            }
            if variant == self.rest { buckets + BUCKETS - begin } else { buckets }
        };
        self.words.iter().zip(0..).map(move |(word, variant)| (*word, f64::from(buckets(variant)) / f64::from(BUCKETS)))
    }

    /// How many keys the configuration names.
    pub fn named_keys(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn answer(&self, key: &str) -> u8 {
        let variant = self.variant_of(key);
        self.count(variant);
        variant
    }

    pub(super) fn answer_without_key(&self) -> u8 {
        let variant = match &*self.shares {
            // Everybody is in it, whatever the key.
            [(BUCKETS, variant)] => *variant,
            _ => self.rest,
        };
        self.count(variant);
        variant
    }

    /// Counts from now on what it answers. Only the first counters are kept: who shares the flag counts the same.
    pub(super) fn count_in(&self, counts: Arc<[AtomicU64]>) {
        let _ = self.counts.set(counts);
    }

    fn variant_of(&self, key: &str) -> u8 {
        if self.shares.is_empty() && self.keys.is_empty() {
            return self.rest;
        }
        let hash = hash(self.salt, key);
        if let Some(variant) = self.named(hash, key) {
            return variant;
        }
        let bucket = place(hash);
        self.shares.iter().find(|(end, _)| bucket < *end).map_or(self.rest, |(_, variant)| *variant)
    }

    fn named(&self, hash: u64, key: &str) -> Option<u8> {
        let first = self.keys.partition_point(|named| named.hash < hash);
        let same_hash = self.keys.iter().skip(first).take_while(|named| named.hash == hash);
        same_hash.into_iter().find(|named| *named.key == *key).map(|named| named.variant)
    }

    fn count(&self, variant: u8) {
        if let Some(count) = self.counts.get().and_then(|counts| counts.get(usize::from(variant))) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// By what they do, not by what they counted.
impl PartialEq for Rollout {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.words, self.rest) == (other.name, &other.words, other.rest)
            && (&self.shares, &self.keys) == (&other.shares, &other.keys)
    }
}

/// Without the keys, which may be of people.
impl fmt::Debug for Rollout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Rollout");
        shown.field("name", &self.name).field("ratios", &self.ratios().collect::<Vec<_>>());
        shown.field("named_keys", &self.keys.len()).finish_non_exhaustive()
    }
}

fn salt(name: &str) -> u64 {
    XxHash64::oneshot(0, name.as_bytes())
}

fn hash(salt: u64, key: &str) -> u64 {
    XxHash64::oneshot(salt, key.as_bytes())
}

fn place(hash: u64) -> u32 {
    let place = (u128::from(hash) * u128::from(BUCKETS)) >> 64;
    u32::try_from(place).expect("it is less than the number of buckets")
}
