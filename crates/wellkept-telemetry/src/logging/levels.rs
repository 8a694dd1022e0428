//! Which events are logged: a level for all, levels for modules, and those set at run time, which end by themselves when
//! they were set for a while.

mod change;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tracing::Metadata;
use tracing::level_filters::LevelFilter;

pub(super) use self::change::check_text;
pub use self::change::{LevelChange, LevelError, LevelRule, LevelSet, check_module};
use self::table::Table;
use super::Level;

/// Longest name of a module, in bytes.
pub const MAX_MODULE_BYTES: usize = 128;
/// Most modules that options or a configuration give a level of their own.
pub const MAX_MODULES: usize = 64;
/// Most modules whose level is another at run time than the configuration's; the whole log counts as one.
pub const MAX_LEVEL_CHANGES: usize = 32;
/// Shortest time that a level may be set for.
pub const SHORTEST_LEVEL_CHANGE: Duration = Duration::from_secs(1);
/// Longest time that a level may be set for.
pub const LONGEST_LEVEL_CHANGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the log says of itself goes by this target, and passes every level: a log that keeps quiet about what it leaves
/// out can't be trusted.
pub(super) const OWN_TARGET: &str = "wellkept::log";
/// No time at all.
const NEVER: u64 = u64::MAX;
/// How long after a change every place that logs is asked once more.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The levels in force. Readers never wait for a change.
pub(super) struct Levels {
    /// What readers see: made anew by each change.
    table: ArcSwap<Table>,
    /// Held through a whole change, so that two can't leave half of each. Nobody who logs ever takes it.
    orders: Mutex<Orders>,
    /// When the next level ends, in milliseconds of the boot clock.
    next_end: AtomicU64,
    /// When all places that log are asked again, as above.
    ask_again: AtomicU64,
}

/// All that was ever ordered and holds still.
#[derive(Debug)]
struct Orders {
    level: Level,
    modules: BTreeMap<String, Level>,
    /// By module; `None` is the whole log.
    set: BTreeMap<Option<String>, Set>,
}

/// What was set at run time for one module.
#[derive(Debug, Default)]
struct Set {
    lasting: Option<Order>,
    /// Stands above what lasts until its time comes.
    timed: Option<(Order, Duration)>,
}

#[derive(Debug, Clone)]
struct Order {
    level: Level,
    by: String,
    reason: String,
    since: Timestamp,
}

impl Levels {
    /// # Errors
    /// When a module's name can't be one, or there are too many.
    pub(super) fn new(level: Level, modules: &[(String, Level)]) -> Result<Self, LevelError> {
        let orders = Orders { level, modules: checked(modules)?, set: BTreeMap::new() };
        let table = ArcSwap::from_pointee(orders.table());
        let (next_end, ask_again) = (AtomicU64::new(NEVER), AtomicU64::new(NEVER));
        Ok(Self { table, orders: Mutex::new(orders), next_end, ask_again })
    }

    /// Whether an event or a span of this kind is logged. Asked once for each place that logs, and again after a change.
    pub(super) fn wants(&self, metadata: &Metadata<'_>) -> bool {
        self.table.load().wants(metadata)
    }

    /// Whether an event of this target and level is logged, where the level is not that of its place.
    pub(super) fn wants_level(&self, target: &str, level: Level) -> bool {
        self.table.load().wants_level(target, level)
    }

    /// No event below this is wanted anywhere.
    pub(super) fn filter(&self) -> LevelFilter {
        self.table.load().filter()
    }

    /// The level in force for what no module's is for.
    pub(super) fn level(&self) -> Level {
        self.table.load().level
    }

    /// Sets the level for what no module has one for, as [`configure`](Levels::configure) does.
    pub(super) fn set_level(&self, level: Level, now: Duration) {
        let mut orders = self.lock();
        orders.level = level;
        if let Some(set) = orders.set.get_mut(&None) {
            set.lasting = None;
        }
        self.apply(&mut orders, now);
    }

    /// Takes over what a program or a configuration says. A level that was set at run time without an end goes where the
    /// level below it changes, since whoever wrote the configuration meant that; one with an end stays until then.
    ///
    /// # Errors
    /// As [`Levels::new`]; nothing is changed then.
    pub(super) fn configure(&self, level: Level, modules: &[(String, Level)], now: Duration) -> Result<(), LevelError> {
        let modules = checked(modules)?;
        let mut orders = self.lock();
        let before = std::mem::replace(&mut orders.modules, modules);
        let level_before = std::mem::replace(&mut orders.level, level);
        let Orders { modules, set, .. } = &mut *orders;
        for (module, set) in set.iter_mut() {
            let differs = match module {
                None => level != level_before,
                Some(module) => modules.get(module) != before.get(module),
            };
            if differs {
                set.lasting = None;
            }
        }
        self.apply(&mut orders, now);
        Ok(())
    }

    /// Sets a level at run time. Returns what was in force for the module before, and when what was set ends.
    ///
    /// # Errors
    /// When something in it is beyond its limits; nothing is changed then.
    pub(super) fn change(&self, change: LevelChange, now: Duration) -> Result<Changed, LevelError> {
        let LevelChange { module, level, lasts, by, reason } = change;
        module.as_deref().map_or(Ok(()), check_module)?;
        check_text(&by)?;
        check_text(&reason)?;
        if lasts.is_some_and(|lasts| !(SHORTEST_LEVEL_CHANGE..=LONGEST_LEVEL_CHANGE).contains(&lasts)) {
            return Err(LevelError::Duration);
        }
        let mut orders = self.lock();
        if !orders.set.contains_key(&module) && orders.set.len() >= MAX_LEVEL_CHANGES {
            return Err(LevelError::TooManyChanges);
        }
        let before = orders.table().level_of(module.as_deref().unwrap_or_default());
        let order = Order { level, by, reason, since: Timestamp::now() };
        let set = orders.set.entry(module).or_default();
        match lasts {
            Some(lasts) => set.timed = Some((order, now + lasts)),
            // The last word counts: what had an end does not come back above it.
            None => *set = Set { lasting: Some(order), timed: None },
        }
        self.apply(&mut orders, now);
        Ok(Changed { before })
    }

    /// Takes back what was set at run time for a module, or for the whole log with `None`. Returns whether there was
    /// something.
    pub(super) fn reset(&self, module: Option<&str>, now: Duration) -> bool {
        let mut orders = self.lock();
        let was_set = orders.set.remove(&module.map(str::to_owned)).is_some();
        if was_set {
            self.apply(&mut orders, now);
        }
        was_set
    }

    /// Takes back all that was set at run time. Returns for how many modules.
    pub(super) fn reset_all(&self, now: Duration) -> usize {
        let mut orders = self.lock();
        let count = std::mem::take(&mut orders.set).len();
        if count > 0 {
            self.apply(&mut orders, now);
        }
        count
    }

    /// Ends what has come to its end, and returns it. To be called about once a second; costs next to nothing while
    /// nothing ends.
    pub(super) fn tend(&self, now: Duration) -> Vec<Ended> {
        let millis = millis(now);
        if millis < self.next_end.load(Ordering::Relaxed) {
            if millis >= self.ask_again.load(Ordering::Relaxed) {
                let _orders = self.lock();
                self.ask_again.store(NEVER, Ordering::Relaxed);
                tracing::callsite::rebuild_interest_cache();
            }
            return Vec::new();
        }
        let mut orders = self.lock();
        let over = |(_, set): (&Option<String>, &Set)| set.timed.as_ref().is_some_and(|(_, end)| *end <= now);
        let ended: Vec<Option<String>> =
            orders.set.iter().filter(|(module, set)| over((module, set))).map(|(module, _)| module.clone()).collect();
        let mut levels = Vec::with_capacity(ended.len());
        for module in &ended {
            if let Some((order, _)) = orders.set.get_mut(module).and_then(|set| set.timed.take()) {
                levels.push(order.level);
            }
        }
        self.apply(&mut orders, now);
        let table = self.table.load();
        let now_of = |module: &Option<String>| table.level_of(module.as_deref().unwrap_or_default());
        ended.into_iter().zip(levels).map(|(module, was)| Ended { level: now_of(&module), module, was }).collect()
    }

    /// All rules, the whole log's first, then by module.
    pub(super) fn rules(&self, now: Duration) -> Vec<LevelRule> {
        let orders = self.lock();
        let mut modules: Vec<Option<&String>> = vec![None];
        modules.extend(orders.modules.keys().map(Some));
        modules.extend(orders.set.keys().flatten().filter(|it| !orders.modules.contains_key(*it)).map(Some));
        modules.sort_unstable();
        modules.into_iter().filter_map(|module| orders.rule(module, now)).collect()
    }

    /// Has readers see what was ordered, and asks all places that log again.
    fn apply(&self, orders: &mut MutexGuard<'_, Orders>, now: Duration) {
        orders.set.retain(|_, set| set.lasting.is_some() || set.timed.is_some());
        let ends = orders.set.values().filter_map(|set| set.timed.as_ref().map(|(_, end)| millis(*end)));
        self.next_end.store(ends.min().unwrap_or(NEVER), Ordering::Relaxed);
        self.table.store(orders.table().into());
        tracing::callsite::rebuild_interest_cache();
        // A place that logs for the first time just now may have asked before the change and remember the answer after
        // it: `tracing` has no order between the two.
        self.ask_again.store(millis(now + ASK_AGAIN_AFTER), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orders {
    fn table(&self) -> Table {
        let set = |module: Option<&String>| self.set.get(&module.cloned()).and_then(Set::level);
        let level = set(None).unwrap_or(self.level);
        let mut modules: BTreeMap<&str, Level> =
            self.modules.iter().map(|(name, level)| (name.as_str(), *level)).collect();
        modules.extend(self.set.iter().filter_map(|(module, set)| Some((module.as_deref()?, set.level()?))));
        Table::new(level, modules)
    }

    fn rule(&self, module: Option<&String>, now: Duration) -> Option<LevelRule> {
        let configured = match module {
            None => Some(self.level),
            Some(module) => self.modules.get(module).copied(),
        };
        let set = self.set.get(&module.cloned()).and_then(|set| {
            let timed = set.timed.as_ref().map(|(order, end)| (order, Some(end.saturating_sub(now))));
            let (order, left) = timed.or_else(|| set.lasting.as_ref().map(|order| (order, None)))?;
            let ends = left.and_then(|left| Timestamp::now().checked_add(SignedDuration::try_from(left).ok()?).ok());
            let Order { level, by, reason, since } = order.clone();
            Some(LevelSet { level, by, reason, since, left, ends })
        });
        let level = set.as_ref().map(|set| set.level).or(configured)?;
        Some(LevelRule { module: module.cloned(), level, configured, set })
    }
}

impl Set {
    fn level(&self) -> Option<Level> {
        let timed = self.timed.as_ref().map(|(order, _)| order.level);
        timed.or_else(|| self.lasting.as_ref().map(|order| order.level))
    }
}

/// What a change took the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) before: Level,
}

/// A level that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) module: Option<String>,
    /// What it was.
    pub(super) was: Level,
    /// What is in force now.
    pub(super) level: Level,
}

impl fmt::Debug for Levels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.load().fmt(formatter)
    }
}

/// Whether a target is a module, or in it: `sqlx::query` is in `sqlx`, and `sqlx_macros` is not.
pub(super) fn is_in(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER)
}

fn checked(modules: &[(String, Level)]) -> Result<BTreeMap<String, Level>, LevelError> {
    if modules.len() > MAX_MODULES {
        return Err(LevelError::TooManyModules);
    }
    for (module, _) in modules {
        check_module(module)?;
    }
    Ok(modules.iter().cloned().collect())
}

#[cfg(test)]
mod tests;
