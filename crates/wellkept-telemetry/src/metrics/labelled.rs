//! Families by label values: each set of values has a series of its own, up to a cap. What comes beyond it is counted
//! together, so that no flood of values fills memory or the page.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::books::Books;
use super::declaration::{Kind, Meta};
use super::instruments::{Cell, Instrument, sealed};
use super::names;
use super::reading::{Family, Labels, Sample};
use super::text::Page;

/// How many series a family has at most, unless it is said otherwise.
pub const MAX_SERIES: usize = 1_000;

/// The value of every label of the series that counts what is beyond the cap.
pub const OVERFLOW: &str = "_overflow";

/// A family with `N` labels. Cheap to clone. A handle that is asked for often is better kept: it costs an atomic, and
/// asking costs a look into a table.
///
/// ```
/// let metrics = wellkept_telemetry::metrics::Metrics::new();
/// let orders = metrics.counters("orders", "Orders taken, by channel.", ["channel"])?;
/// orders.with(["web"]).inc();
/// let by_phone = orders.with(["phone"]);
/// by_phone.add(2);
/// assert_eq!(orders.with(["phone"]).value(), 2);
/// # Ok::<(), wellkept_telemetry::metrics::MetricError>(())
/// ```
pub struct Labelled<I: Instrument, const N: usize> {
    table: Arc<Table<I::Cell>>,
    handle: PhantomData<fn() -> I>,
}

impl<I: Instrument, const N: usize> Labelled<I, N> {
    pub(super) fn on(table: Arc<Table<I::Cell>>) -> Self {
        Self { table, handle: PhantomData }
    }

    /// The series of these values, in the order of the declaration; made, if there is none yet. Allocates nothing if
    /// there is one. Values longer than 256 bytes are cut. Beyond the cap it is the series whose values all are
    /// `_overflow`, and `wellkept_metrics_overflow_total` counts each time that it was given instead.
    pub fn with(&self, values: [&str; N]) -> I {
        I::on(self.table.series(&values.map(names::cut)))
    }

    /// Takes a series off the page, and makes room for another. Handles on it go on, but are seen no more. Whether there
    /// was one.
    pub fn remove(&self, values: [&str; N]) -> bool {
        self.table.remove(&values.map(names::cut))
    }

    /// Takes all series off the page.
    pub fn clear(&self) {
        let mut state = self.table.write();
        state.index.clear();
        state.list.clear();
    }

    /// How many series there are, the one for what is beyond the cap aside.
    pub fn len(&self) -> usize {
        self.table.read().list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<I: Instrument, const N: usize> Clone for Labelled<I, N> {
    fn clone(&self) -> Self {
        Self::on(Arc::clone(&self.table))
    }
}

impl<I: Instrument, const N: usize> fmt::Debug for Labelled<I, N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Labelled").field("name", &self.table.settings.meta.name).finish_non_exhaustive()
    }
}

/// What all series of a family share.
#[derive(Debug)]
pub struct Settings {
    pub(super) meta: Arc<Meta>,
    /// Of a histogram; without the infinite one.
    pub(super) bounds: Arc<[f64]>,
    /// The bounds as the page has them, the infinite one too.
    pub(super) les: Box<[Box<str>]>,
    pub(super) max_series: usize,
}

/// One series.
#[derive(Debug)]
pub struct Series<C> {
    pub(super) cell: C,
    pub(super) books: Arc<Books>,
    pub(super) labels: Labels,
    values: Box<[Box<str>]>,
    /// What the page has before the value; of a histogram the labels alone.
    line: Box<str>,
}

/// The series of a family.
#[derive(Debug)]
pub(super) struct Table<C> {
    settings: Settings,
    books: Arc<Books>,
    state: RwLock<State<C>>,
    beyond: OnceLock<Arc<Series<C>>>,
    overflowed: AtomicU64,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct State<C> {
    /// In the order in which they came, which is also how they lie in memory.
    list: Vec<Arc<Series<C>>>,
    /// Places in the list.
    index: HashTable<usize>,
}

/// A family of any type, as the page and the readers need it.
pub(super) trait Shown: Any + fmt::Debug + Send + Sync {
    fn settings(&self) -> &Settings;
    fn write(&self, page: &mut Page);
    fn reading(&self) -> Family;
    /// How often a series was asked for beyond the cap.
    fn overflowed(&self) -> u64;
}

impl<C: Cell> Table<C> {
    pub(super) fn new(settings: Settings, books: Arc<Books>) -> Self {
        let state = RwLock::new(State { list: Vec::new(), index: HashTable::new() });
        let (beyond, overflowed, hasher) = (OnceLock::new(), AtomicU64::new(0), DefaultHashBuilder::default());
        Self { settings, books, state, beyond, overflowed, hasher }
    }

    /// The series of these values, which are as many as the labels.
    pub(super) fn series(&self, values: &[&str]) -> Arc<Series<C>> {
        let hash = self.hash(values.iter().copied());
        let state = self.read();
        if let Some(series) = state.find(hash, values) {
            return Arc::clone(series);
        }
        let is_full = state.list.len() >= self.settings.max_series;
        drop(state);
        if !values.is_empty() && values.iter().all(|value| *value == OVERFLOW) {
            return self.beyond();
        }
        // Under a flood of values readers don't wait for each other.
        if is_full {
            return self.overflow();
        }
        let mut state = self.write();
        // Another thread may have been faster.
        if let Some(series) = state.find(hash, values) {
            return Arc::clone(series);
        }
        if state.list.len() >= self.settings.max_series {
            drop(state);
            return self.overflow();
        }
        let series = Arc::new(self.new_series(values));
        let State { list, index } = &mut *state;
        index.insert_unique(hash, list.len(), |place| self.hash_of(list.get(*place)));
        list.push(Arc::clone(&series));
        series
    }

    fn overflow(&self) -> Arc<Series<C>> {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        self.beyond()
    }

    fn beyond(&self) -> Arc<Series<C>> {
        let make = || Arc::new(self.new_series(&vec![OVERFLOW; self.settings.meta.labels.len()]));
        Arc::clone(self.beyond.get_or_init(make))
    }

    fn remove(&self, values: &[&str]) -> bool {
        let hash = self.hash(values.iter().copied());
        let mut state = self.write();
        let State { list, index } = &mut *state;
        let is_it = |place: &usize| list.get(*place).is_some_and(|series| series.is_of(values));
        let Ok(entry) = index.find_entry(hash, is_it) else { return false };
        let (place, _) = entry.remove();
        list.swap_remove(place);
        // The last one stands in its place now.
        let moved = self.hash_of(list.get(place));
        if let Some(last) = index.find_mut(moved, |other| *other == list.len()) {
            *last = place;
        }
        true
    }

    fn new_series(&self, values: &[&str]) -> Series<C> {
        let meta = &self.settings.meta;
        let labels = Labels::new(meta.labels.iter().map(|label| &**label).zip(values.iter().copied()));
        let line = match C::KIND {
            Kind::Histogram => labels.as_text().to_owned(),
            kind if labels.is_empty() => format!("{}{} ", meta.name, kind.suffix()),
            kind => format!("{}{}{{{}}} ", meta.name, kind.suffix(), labels.as_text()),
        };
        Series {
            cell: C::new(&self.settings),
            books: Arc::clone(&self.books),
            labels,
            values: values.iter().map(|value| (*value).into()).collect(),
            line: line.into(),
        }
    }

    fn hash<'v>(&self, values: impl Iterator<Item = &'v str>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for value in values {
            hasher.write(value.as_bytes());
            // No UTF-8 has this byte: `ab`, `c` differ from `a`, `bc`.
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }

    fn hash_of(&self, series: Option<&Arc<Series<C>>>) -> u64 {
        self.hash(series.iter().flat_map(|series| series.values.iter().map(|value| &**value)))
    }

    fn read(&self) -> RwLockReadGuard<'_, State<C>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<C>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> State<C> {
    fn find(&self, hash: u64, values: &[&str]) -> Option<&Arc<Series<C>>> {
        let is_it = |place: &usize| self.list.get(*place).is_some_and(|series| series.is_of(values));
        self.index.find(hash, is_it).and_then(|place| self.list.get(*place))
    }
}

impl<C> Series<C> {
    fn is_of(&self, values: &[&str]) -> bool {
        self.values.iter().map(|value| &**value).eq(values.iter().copied())
    }
}

impl<C: Cell + fmt::Debug> Shown for Table<C> {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn write(&self, page: &mut Page) {
        page.head(&self.settings.meta);
        for series in self.read().list.iter().chain(self.beyond.get()) {
            series.cell.write(&series.line, &self.settings, page);
        }
    }

    fn reading(&self) -> Family {
        let state = self.read();
        let all = state.list.iter().chain(self.beyond.get());
        let sample =
            |series: &Arc<Series<C>>| Sample { labels: series.labels.clone(), value: series.cell.read(&self.settings) };
        Family { meta: Arc::clone(&self.settings.meta), samples: all.map(sample).collect() }
    }

    fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
}

/// The cell that a handle counts on.
pub(super) type CellOf<I> = <I as sealed::Instrument>::Cell;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Counter, Declaration, Limits, Metrics};

    #[test]
    fn what_is_beyond_the_cap_waits_for_no_other_reader() {
        let metrics = Metrics::new();
        let limits = Limits { max_series: 1, ..Limits::default() };
        let users: Labelled<Counter, 1> =
            metrics.family(&Declaration::counter("logins", "Logins.").by(&["user"]), limits).unwrap();
        users.with(["ann"]).inc();
        let reading = users.table.read();
        let (done, is_done) = mpsc::channel();
        let flood = users.clone();
        let thread = std::thread::spawn(move || {
            flood.with(["bob"]).inc();
            done.send(()).unwrap();
        });
        let answer = is_done.recv_timeout(Duration::from_secs(10));
        drop(reading);
        thread.join().unwrap();
        assert_eq!(answer, Ok(()));
        assert_eq!((users.with([OVERFLOW]).value(), users.table.overflowed()), (1, 1));
    }
}
