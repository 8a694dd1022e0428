//! What is known of a place that logs before it does: the head of its lines, its keys and which of its fields are secrets.

use std::collections::HashMap;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::Metadata;

use super::{Encoder, LineKind, MESSAGE, SEVERITY};
use crate::logging::Level;
use crate::logging::buffer::BLOCK;
use crate::logging::redact::Redactor;

/// What is known of one place that logs, or opens a span.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) level: Level,
    pub(super) kind: LineKind,
    /// With its secrets masked, as it is written.
    pub(super) target: Box<str>,
    /// Whether an event of it may turn out to be critical.
    pub(super) may_be_critical: bool,
    pub(super) message: Message,
    /// What is done with each field.
    pub(super) classes: Box<[Class]>,
    /// How it is written, for each form.
    pub(super) forms: Box<[FormPlan]>,
}

/// What is done with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Plain,
    Secret,
    Message,
    /// Makes an error a critical one.
    Severity,
}

/// Where a place has its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// Before all other fields, as the macros put it.
    First,
    Elsewhere,
    /// It is a span, or says nothing.
    Nowhere,
}

/// How one place is written in one form.
#[derive(Debug)]
pub(super) struct FormPlan {
    /// Between the time and the fields; the second of those that are critical.
    pub(super) heads: [Box<[u8]>; 2],
    pub(super) keys: Box<[Key]>,
    /// Which keys may be among these.
    pub(super) bloom: u64,
}

/// A key as it is written, with all that stands around it: `,"name":`.
#[derive(Debug)]
pub(super) struct Key {
    block: [u8; BLOCK],
    length: usize,
    /// Where a block is too short for it.
    long: Option<Box<[u8]>>,
    pub(super) hash: u32,
}

impl Key {
    fn new(text: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        let long = match block.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text);
                None
            }
            None => Some(text.into()),
        };
        Self { block, length: text.len(), long, hash: hash(text) }
    }

    pub(super) fn text(&self) -> &[u8] {
        self.long.as_deref().unwrap_or_else(|| self.block.get(..self.length).unwrap_or_default())
    }

    pub(super) fn block(&self) -> Option<(&[u8; BLOCK], usize)> {
        if self.long.is_none() { Some((&self.block, self.length)) } else { None }
    }
}

/// FNV-1a: keys are few, and known when the program is written.
pub(super) const fn hash(text: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut index = 0;
    while index < text.len() {
        hash = (hash ^ text[index] as u32).wrapping_mul(0x0100_0193);
        index += 1;
    }
    hash
}

/// One of 64 bits for a key.
pub(super) const fn bloom(hash: u32) -> u64 {
    1 << (hash >> 26)
}

impl Plan {
    fn new(metadata: &Metadata<'static>, encoders: &[Encoder], redactor: &Redactor) -> Self {
        let level = Level::from(*metadata.level());
        let is_event = metadata.is_event();
        let names: Vec<&str> = metadata.fields().iter().map(|field| field.name()).collect();
        let may_be_critical = is_event && level == Level::Error && names.contains(&SEVERITY);
        let message = names.iter().position(|&name| name == MESSAGE).filter(|_| is_event);
        let class = |(index, &name): (usize, &&str)| match name {
            _ if Some(index) == message => Class::Message,
            SEVERITY if may_be_critical => Class::Severity,
            _ if redactor.is_secret(name) => Class::Secret,
            _ => Class::Plain,
        };
        let place = match message {
            Some(0) => Message::First,
            Some(_) => Message::Elsewhere,
            None => Message::Nowhere,
        };
        let mut target = String::new();
        if !redactor.redact(metadata.target(), &mut target) {
            metadata.target().clone_into(&mut target);
        }
        Self {
            level,
            kind: LineKind::of(metadata.target()),
            may_be_critical,
            message: place,
            classes: names.iter().enumerate().map(class).collect(),
            forms: encoders
                .iter()
                .map(|encoder| FormPlan::new(encoder, level, &target, &names, (is_event, message)))
                .collect(),
            target: target.into(),
        }
    }
}

impl FormPlan {
    fn new(
        encoder: &Encoder,
        level: Level,
        target: &str,
        names: &[&str],
        (is_event, message): (bool, Option<usize>),
    ) -> Self {
        let mut keys: Vec<Key> = Vec::with_capacity(names.len());
        for (index, &name) in names.iter().enumerate() {
            let name = name.strip_prefix("r#").unwrap_or(name);
            if Some(index) == message {
                keys.push(Key::new(encoder.message_key()));
                continue;
            }
            // A second value of one key would make the line say two things. What the line writes itself goes first.
            let mut name = encoder.name(name);
            while encoder.is_taken(&name) || (is_event && keys.iter().any(|key| key.text() == encoder.key(&name))) {
                name.push('_');
            }
            keys.push(Key::new(&encoder.key(&name)));
        }
        let bloom = keys.iter().fold(0, |sum, key| sum | bloom(key.hash));
        let heads = [level, Level::Critical].map(|level| encoder.head(level, target).into_boxed_slice());
        Self { heads, keys: keys.into(), bloom }
    }
}

/// The plans of all places that have logged; there are as many as the program was written with.
pub(super) struct Plans {
    number: u64,
    all: RwLock<HashMap<usize, Arc<Plan>>>,
}

impl Plans {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), all: RwLock::default() }
    }

    fn find(&self, metadata: &'static Metadata<'static>, encoders: &[Encoder], redactor: &Redactor) -> Arc<Plan> {
        let place = ptr::from_ref(metadata).addr();
        if let Some(plan) = self.all.read().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return Arc::clone(plan);
        }
        let plan = Arc::new(Plan::new(metadata, encoders, redactor));
        Arc::clone(self.all.write().unwrap_or_else(PoisonError::into_inner).entry(place).or_insert(plan))
    }
}

impl fmt::Debug for Plans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Plans").field("number", &self.number).finish_non_exhaustive()
    }
}

/// The plans that a thread has used last, so that it takes no lock for them.
#[derive(Debug)]
pub(super) struct Recent(Box<[Option<Used>]>);

#[derive(Debug)]
struct Used {
    of: u64,
    place: usize,
    plan: Arc<Plan>,
}

const RECENT: usize = 128;

impl Default for Recent {
    fn default() -> Self {
        Self((0..RECENT).map(|_| None).collect())
    }
}

impl Recent {
    #[inline]
    pub(super) fn plan(
        &mut self,
        plans: &Plans,
        metadata: &'static Metadata<'static>,
        make: (&[Encoder], &Redactor),
    ) -> &Arc<Plan> {
        let place = ptr::from_ref(metadata).addr();
        let slot = &mut self.0[(place >> 4) % RECENT];
        if !slot.as_ref().is_some_and(|used| used.place == place && used.of == plans.number) {
            *slot = None;
        }
        &slot.get_or_insert_with(|| Used { of: plans.number, place, plan: plans.find(metadata, make.0, make.1) }).plan
    }
}
