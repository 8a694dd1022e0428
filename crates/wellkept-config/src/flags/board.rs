//! What the flags do and answered, for metrics and operators: counts go on over reloads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Flags, Rollout};
use crate::live::{Live, Prepared, Refusal, Subscriber, Subscription};
use crate::outcome::Effects;
use crate::settings::Settings;

/// Shows a section of flags and counts what they answer. Cheap to clone; clones share what they know. It holds as many
/// flags and variants as the code declares.
#[derive(Debug, Clone, Default)]
pub struct FlagBoard(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    counts: BTreeMap<&'static str, Arc<[AtomicU64]>>,
    shown: Vec<Rollout>,
}

/// What a flag does, and what it answered so far.
#[derive(Debug, Clone, PartialEq)]
pub struct FlagState {
    /// Its name.
    pub name: &'static str,
    /// Each variant, in the order of the declaration.
    pub variants: Vec<VariantState>,
    /// How many keys the configuration names.
    pub named_keys: usize,
}

/// What becomes of one variant.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantState {
    /// Its name: `true` or `false` of a switch.
    pub name: &'static str,
    /// The part of all keys that gets it, from 0 to 1; keys that are named aside.
    pub ratio: f64,
    /// How often it was the answer, since the process counts.
    pub evaluations_total: u64,
}

impl FlagBoard {
    /// Without flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has these flags count their answers here, each on from what the flag of its name counted before. To be called
    /// before others read them; flags whose configuration is then refused do no harm.
    pub fn count(&self, flags: &impl Flags) {
        let mut board = self.board();
        for rollout in flags.rollouts() {
            let fresh = || rollout.variants().iter().map(|_| AtomicU64::new(0)).collect();
            rollout.count_in(Arc::clone(board.counts.entry(rollout.name()).or_insert_with(fresh)));
        }
    }

    /// Tells of these flags from now on.
    pub fn show(&self, flags: &impl Flags) {
        let shown = flags.rollouts().into_iter().cloned().collect();
        self.board().shown = shown;
    }

    /// Counts and shows the flags of a configuration that runs, with each change from then on, until the subscription is
    /// dropped.
    ///
    /// ```
    /// use wellkept_config::{FlagBoard, Live, LiveOptions, Sources, flags};
    ///
    /// flags! {
    ///     /// What the shop switches, here the whole of its configuration.
    ///     struct Switches {
    ///         /// The checkout on one page.
    ///         new_checkout("new-checkout"): bool = false,
    ///     }
    /// }
    ///
    /// let sources = Sources::new().text("shop.yaml", "new-checkout: 25%");
    /// let live = Live::<Switches>::load(sources, LiveOptions::default()).unwrap();
    /// let board = FlagBoard::new();
    /// let _following = board.follow(&live, |switches| switches);
    /// assert!(!live.handle(|switches| switches).read().new_checkout.is_on("tenant-a"));
    /// assert_eq!(board.states()[0].variants[0].evaluations_total, 1);
    /// ```
    pub fn follow<T: Settings, F: Flags>(&self, live: &Live<T>, flags: fn(&T) -> &F) -> Subscription {
        let subscription = live.subscribe("feature flags", Follower { board: self.clone(), flags });
        let current = live.current();
        self.count(flags(&current));
        self.show(flags(&current));
        subscription
    }

    /// The flags as shown last, in the order of the declaration.
    pub fn states(&self) -> Vec<FlagState> {
        let board = self.board();
        board.shown.iter().map(|rollout| state(rollout, board.counts.get(rollout.name()))).collect()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes part in the changes of a configuration.
struct Follower<T, F> {
    board: FlagBoard,
    flags: fn(&T) -> &F,
}

impl<T: Settings, F: Flags> Subscriber<T> for Follower<T, F> {
    async fn prepare(&self, _: &Arc<T>, new: &Arc<T>) -> Result<Prepared, Refusal> {
        self.board.count((self.flags)(new));
        let (board, flags, new) = (self.board.clone(), self.flags, Arc::clone(new));
        Ok(Prepared::new(move || {
            board.show(flags(&new));
            Effects::new()
        }))
    }
}

fn state(rollout: &Rollout, counts: Option<&Arc<[AtomicU64]>>) -> FlagState {
    let counted = |index: usize| counts.and_then(|counts| counts.get(index)).map(|count| count.load(Ordering::Relaxed));
    let variant = |(index, (name, ratio))| VariantState { name, ratio, evaluations_total: counted(index).unwrap_or(0) };
    let variants = rollout.ratios().enumerate().map(variant).collect();
    FlagState { name: rollout.name(), variants, named_keys: rollout.named_keys() }
}
