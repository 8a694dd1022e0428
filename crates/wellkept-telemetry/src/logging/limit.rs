//! Lines that repeat: past a limit they are counted instead of written, and a line says how many there were.

use std::fmt;
use std::hash::{BuildHasher as _, Hash as _, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level as TracingLevel, Metadata};

use super::levels::OWN_TARGET;
use super::{Level, levels};
use crate::events::{AUDIT_TARGET, EVENT_TARGET};

/// Longest text that a summary repeats, in bytes. Of a longer one it names the target alone: a part of it might be a part
/// of a secret, which nobody would recognise any more.
const MAX_TEXT_BYTES: usize = 240;
/// How many different lines are counted at the same time: so many sets of so many.
const SETS: usize = 64;
const WAYS: usize = 8;

/// How often the same line is written before the rest is only counted.
///
/// Lines are the same when they come from the same place in the code and have the same message; their other fields may
/// differ. Of a place that logs no message, all fields must be the same. When the time is over, one line says how often it
/// was left out, whether or not it still comes: `connection refused … repeated 1,234 times in 10 s`, with the fields `of`
/// (its target) and `repeated`. Then it is written again up to the limit.
///
/// Never left out are critical events, security events, every other typed event, whose lines and metrics agree, and what
/// is logged under [`AUDIT_TARGET`]. Some 500
/// different lines are counted at the same time; where there are more, all of them are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatLimit {
    /// How often it is written within the time. At least once.
    pub lines: u32,
    /// The time, from the first of them on: 1 s to 1 h; what is beyond is taken as the nearer of the two.
    pub within: Duration,
}

impl RepeatLimit {
    /// Shortest time.
    pub const SHORTEST: Duration = Duration::from_secs(1);
    /// Longest time.
    pub const LONGEST: Duration = Duration::from_secs(3600);
}

impl Default for RepeatLimit {
    /// 100 times within 10 s: what a service writes as part of its work stays, a loop that fails does not fill the disk.
    fn default() -> Self {
        Self { lines: 100, within: Duration::from_secs(10) }
    }
}

/// The books of what repeats. Nothing in here allocates once it is made.
pub(super) struct Repeats {
    lines: u32,
    /// In milliseconds, as all times here.
    within: u64,
    hasher: RandomState,
    sets: Box<[Mutex<[Option<Slot>; WAYS]>]>,
    suppressed: AtomicU64,
    /// How many of them no summary has told of yet.
    untold: AtomicU64,
}

/// One line that may repeat.
struct Slot {
    key: u64,
    metadata: &'static Metadata<'static>,
    began: u64,
    count: u32,
    /// Left out since the latest summary, which was at that time.
    suppressed: u64,
    since: u64,
    text: Text,
}

/// What a summary says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    metadata: &'static Metadata<'static>,
    text: String,
    count: u64,
    over: Duration,
}

/// Which windows a summary is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Those that are over.
    Over,
    /// All: there may be no later.
    All,
}

impl Repeats {
    pub(super) fn new(limit: RepeatLimit) -> Self {
        let within = limit.within.clamp(RepeatLimit::SHORTEST, RepeatLimit::LONGEST);
        Self {
            lines: limit.lines.max(1),
            within: millis(within),
            hasher: RandomState::new(),
            sets: std::iter::repeat_with(Mutex::default).take(SETS).collect(),
            suppressed: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        }
    }

    /// Whether an event is written; counts it.
    pub(super) fn admits(&self, event: &Event<'_>, level: Level, now: Duration) -> bool {
        let metadata = event.metadata();
        if level == Level::Critical || is_exempt(metadata.target()) {
            return true;
        }
        let has_message = metadata.fields().field(MESSAGE).is_some();
        let mut reader = Reader { hasher: self.hasher.build_hasher(), text: Text::default(), has_message };
        metadata.callsite().hash(&mut reader.hasher);
        // Before any lock: a value's Debug may log itself.
        event.record(&mut reader);
        self.counts(metadata, reader.hasher.finish(), &reader.text, millis(now))
    }

    /// Events left out since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Takes the summaries that are due. To be called about once a second; costs next to nothing while none is.
    pub(super) fn take_due(&self, due: Due, now: Duration) -> Vec<Summary> {
        if self.untold.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let now = millis(now);
        let mut summaries = Vec::new();
        for set in &self.sets {
            for slot in lock(set).iter_mut().flatten().filter(|slot| slot.suppressed > 0) {
                // A window that began anew meanwhile does not put off what is left of the one before.
                if due == Due::All || now.saturating_sub(slot.since) >= self.within {
                    summaries.push(slot.summary(now));
                }
            }
        }
        let told: u64 = summaries.iter().map(|summary| summary.count).sum();
        self.untold.fetch_sub(told, Ordering::Relaxed);
        summaries
    }

    fn counts(&self, metadata: &'static Metadata<'static>, key: u64, text: &Text, now: u64) -> bool {
        let index = usize::try_from(key % SETS as u64).unwrap_or_default();
        let Some(set) = self.sets.get(index) else { return true };
        let mut set = lock(set);
        let is_key = |slot: &&mut Option<Slot>| slot.as_ref().is_some_and(|slot| slot.key == key);
        if let Some(Some(slot)) = set.iter_mut().find(is_key) {
            if now.saturating_sub(slot.began) >= self.within {
                (slot.began, slot.count) = (now, 0);
            }
            slot.count = slot.count.saturating_add(1);
            if slot.count <= self.lines {
                return true;
            }
            if slot.suppressed == 0 {
                slot.since = slot.began;
                slot.text = *text;
            }
            slot.suppressed += 1;
            drop(set);
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            self.untold.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let age = |slot: &Option<Slot>| slot.as_ref().map_or(0, |slot| slot.began);
        // Whose count is given up is written more often, and never lost.
        let may_go = |slot: &&mut Option<Slot>| slot.as_ref().is_none_or(|slot| slot.suppressed == 0);
        if let Some(place) = set.iter_mut().filter(may_go).min_by_key(|slot| age(slot)) {
            let text = Text::default();
            *place = Some(Slot { key, metadata, began: now, count: 1, suppressed: 0, since: now, text });
        }
        true
    }
}

impl Slot {
    /// Tells of what was left out; the window goes on.
    fn summary(&mut self, now: u64) -> Summary {
        let over = Duration::from_millis(now.saturating_sub(self.since));
        let count = std::mem::take(&mut self.suppressed);
        self.since = now;
        Summary { metadata: self.metadata, text: self.text.as_str().to_owned(), count, over }
    }
}

impl Summary {
    /// Logs it, at the level of what repeated.
    pub(super) fn log(&self) {
        let Self { metadata, text, count, over } = self;
        let (of, repeated) = (metadata.target(), *count);
        let text = if text.is_empty() { "a line" } else { text };
        // At least one: what took less is not worth a fraction.
        let (times, seconds) = (Grouped(repeated), over.as_secs_f64().round().max(1.0));
        macro_rules! say {
            ($level:ident) => {
                tracing::event!(
                    target: OWN_TARGET, TracingLevel::$level, of, repeated,
                    "{text} … repeated {times} times in {seconds} s"
                )
            };
        }
        match *metadata.level() {
            TracingLevel::ERROR => say!(ERROR),
            TracingLevel::WARN => say!(WARN),
            _ => say!(INFO),
        }
    }
}

/// Reads what makes two lines the same.
struct Reader<H> {
    hasher: H,
    text: Text,
    has_message: bool,
}

const MESSAGE: &str = "message";

impl<H: Hasher> Visit for Reader<H> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let is_message = field.name() == MESSAGE;
        if is_message {
            // An error of the value's own ends it early, for every such line alike.
            let _ = fmt::Write::write_fmt(self, format_args!("{value:?}"));
        } else if !self.has_message {
            self.hasher.write_usize(field.index());
            let _ = fmt::Write::write_fmt(&mut Hashed(&mut self.hasher), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            let _ = fmt::Write::write_str(self, value);
        } else {
            self.record_debug(field, &value);
        }
    }
}

impl<H: Hasher> fmt::Write for Reader<H> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.hasher.write(part.as_bytes());
        self.text.push(part);
        Ok(())
    }
}

struct Hashed<'h, H>(&'h mut H);

impl<H: Hasher> fmt::Write for Hashed<'_, H> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0.write(part.as_bytes());
        Ok(())
    }
}

/// A short text in place; nothing at all of a longer one.
#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; MAX_TEXT_BYTES],
    /// Past the end when it was too long.
    length: usize,
}

impl Text {
    fn push(&mut self, part: &str) {
        let end = self.length.saturating_add(part.len());
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(part.as_bytes());
        }
        self.length = end;
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self { bytes: [0; MAX_TEXT_BYTES], length: 0 }
    }
}

/// `1,234,567`
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(formatter, "{}", self.0);
        }
        write!(formatter, "{},{:03}", Self(self.0 / 1000), self.0 % 1000)
    }
}

impl fmt::Debug for Repeats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Repeats")
            .field("lines", &self.lines)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

fn is_exempt(target: &str) -> bool {
    [EVENT_TARGET, AUDIT_TARGET, OWN_TARGET].iter().any(|exempt| levels::is_in(target, exempt))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(set: &Mutex<T>) -> MutexGuard<'_, T> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
