//! Any interleaving of changes, faults, rollbacks and people who come and go: all or none, and the books add up.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::*;
use crate::content::{Content, ContentHash, Part};
use crate::outcome::{Effects, Intent};
use crate::versions::{StoreFault, Version};

/// How many subscribers are there from the beginning to the end.
const MEMBERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// The source says something new: what the member of this number makes of it, and how.
    Says(usize, Fate),
    Wrong,
    Ask(Asked),
    /// The clock goes on by so many milliseconds.
    Wait(u64),
    /// One more subscriber comes, or the last one goes.
    Comes,
    Goes,
    /// The store fails from now on, or no longer.
    Store(bool),
    FailProbation,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Well,
    Slow,
    Refuses,
    Panics,
    PanicsInCommit,
    Hangs,
}

#[derive(Debug, Clone)]
struct Asked {
    back_to: Option<u64>,
    intent: Intent,
    expects: Expects,
    gives_up: bool,
}

#[derive(Debug, Clone, Copy)]
enum Expects {
    Anything,
    WhatRuns,
    SomethingElse,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        6 => Just(Fate::Well),
        2 => Just(Fate::Slow),
        1 => Just(Fate::Refuses),
        1 => Just(Fate::Panics),
        1 => Just(Fate::PanicsInCommit),
        1 => Just(Fate::Hangs),
    ];
    let back_to = prop_oneof![3 => Just(None), 1 => (1..8_u64).prop_map(Some)];
    let intent = prop_oneof![4 => Just(Intent::Apply), 1 => Just(Intent::DryRun)];
    let expects = prop_oneof![
        6 => Just(Expects::Anything),
        1 => Just(Expects::WhatRuns),
        1 => Just(Expects::SomethingElse),
    ];
    let asked = (back_to, intent, expects, prop::bool::weighted(0.2))
        .prop_map(|(back_to, intent, expects, gives_up)| Asked { back_to, intent, expects, gives_up });
    prop_oneof![
        5 => (0..MEMBERS, fate).prop_map(|(member, fate)| Step::Says(member, fate)),
        1 => Just(Step::Wrong),
        8 => asked.prop_map(Step::Ask),
        4 => (0..2_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Wait(40_000)),
        1 => Just(Step::Comes),
        1 => Just(Step::Goes),
        1 => any::<bool>().prop_map(Step::Store),
        1 => Just(Step::FailProbation),
    ]
}

/// A subscriber that keeps books.
#[derive(Clone, Default)]
struct Member {
    index: Option<usize>,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// The number that was put to use last.
    in_use: u64,
    prepared: usize,
    committed: usize,
    undone: usize,
    panicked: usize,
}

impl Subscriber<App> for Member {
    async fn prepare(&self, old: &Arc<App>, new: &Arc<App>) -> Result<Prepared, Refusal> {
        assert_eq!((old.number, new.number), (old.twin, new.twin));
        let (member, fate) = new.fate.split_once(' ').unwrap_or_default();
        let fate = if self.index.map(|index| index.to_string()).as_deref() == Some(member) { fate } else { "" };
        match fate {
            // pace: on a paused clock only.
            "Slow" => tokio::time::sleep(Duration::from_millis(700)).await,
            "Refuses" => return Err(Refusal::new("as the test wants it")),
            "Panics" => panic!("as the test wants it"),
            "Hangs" => std::future::pending().await,
            _ => {}
        }
        let (commit, undo) = (Arc::clone(&self.ledger), Arc::clone(&self.ledger));
        let (from, to, panics) = (old.number, new.number, fate == "PanicsInCommit");
        let is_new = self.index.is_none();
        self.ledger.lock().unwrap().prepared += 1;
        let prepared = Prepared::new(move || {
            let mut ledger = commit.lock().unwrap();
            if panics {
                ledger.panicked += 1;
                drop(ledger);
                panic!("as the test wants it");
            }
            assert!(is_new || ledger.in_use == from || ledger.in_use == to, "nothing was left out");
            ledger.in_use = to;
            ledger.committed += 1;
            Effects::new()
        });
        Ok(prepared.undo(move || undo.lock().unwrap().undone += 1))
    }
}

/// A store that fails when a test wants it.
#[derive(Debug, Clone, Default)]
struct Flaky {
    kept: Arc<Mutex<MemoryVersions>>,
    fails: Arc<AtomicBool>,
}

impl Flaky {
    fn on<R>(&self, call: impl FnOnce(&mut MemoryVersions) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreFault { code: "store.test", detail: "as the test wants it".to_owned() });
        }
        call(&mut self.kept.lock().unwrap())
    }
}

impl VersionStore for Flaky {
    fn append(&mut self, version: &Version, content: Option<&Content>, keep: usize) -> Result<VersionId, StoreFault> {
        self.on(|kept| kept.append(version, content, keep))
    }

    fn versions(&mut self) -> Result<Vec<Version>, StoreFault> {
        self.on(MemoryVersions::versions)
    }

    fn content(&mut self, id: VersionId) -> Result<Option<Content>, StoreFault> {
        self.on(|kept| kept.content(id))
    }
}

fn hash_of(text: &str) -> ContentHash {
    Content { parts: vec![Part { name: "app.yaml".to_owned(), text: text.to_owned() }] }.hash()
}

/// Everything that one run is made of.
struct Run {
    text: Text,
    live: Live<App>,
    store: Flaky,
    members: Vec<Member>,
    subscriptions: Vec<Subscription>,
    guests: Vec<(Member, Subscription)>,
    left: Vec<Member>,
    /// The hash of the text that has this number.
    numbers: HashMap<u64, ContentHash>,
    asking: Vec<(Asked, JoinHandle<Report>)>,
    turns: Arc<AtomicUsize>,
}

impl Run {
    fn new(probation: bool) -> Self {
        let (text, store) = (Text::new("number: 0"), Flaky::default());
        let live = text.live_with(LiveOptions::default(), store.clone());
        if probation {
            let judge = Arc::new(|| None);
            live.adjust(|options| options.probation = Some(Probation { lasts: Duration::from_secs(5), judge }));
        }
        let members: Vec<_> = (0..MEMBERS).map(|index| Member { index: Some(index), ..Member::default() }).collect();
        let subscriptions = members.iter().map(|member| live.subscribe("member", member.clone())).collect();
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        live.observe(move |request, _| {
            if request.intent == Intent::Apply {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            numbers: HashMap::from([(0, hash_of("number: 0"))]),
            text,
            live,
            store,
            members,
            subscriptions,
            guests: Vec::new(),
            left: Vec::new(),
            asking: Vec::new(),
            turns,
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Says(member, fate) => {
                let number = self.numbers.len() as u64;
                let says = format!("number: {number}\nfate: {member} {fate:?}");
                self.text.set(&says);
                self.numbers.insert(number, hash_of(&says));
            }
            Step::Wrong => self.text.set("number: none"),
            Step::Ask(asked) => self.ask(asked),
            // pace: on a paused clock only.
            Step::Wait(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            Step::Comes => {
                let guest = Member::default();
                let subscription = self.live.subscribe("guest", guest.clone());
                self.guests.push((guest, subscription));
            }
            Step::Goes => self.left.extend(self.guests.pop().map(|(guest, _)| guest)),
            Step::Store(fails) => self.store.fails.store(fails, Ordering::Relaxed),
            Step::FailProbation => drop(self.live.fail_probation("as the test wants it")),
        }
    }

    fn ask(&mut self, asked: Asked) {
        let live = self.live.clone();
        let expected = match asked.expects {
            Expects::Anything => None,
            Expects::WhatRuns => Some(live.running().hash),
            Expects::SomethingElse => Some(ContentHash([0; 32])),
        };
        let request = Request { intent: asked.intent, expected, ..by_code() };
        let back_to = asked.back_to.map(VersionId);
        let asking = tokio::spawn(async move {
            match back_to {
                None => live.reload(request).await,
                Some(id) => live.roll_back(id, request).await,
            }
        });
        if asked.gives_up {
            asking.abort();
        }
        self.asking.push((asked, asking));
    }

    /// Until nothing goes on any more. `Err` says what does not hold then.
    async fn settle(mut self) -> Result<(), TestCaseError> {
        let mut refused_at_once = 0;
        let mut told = Vec::new();
        for (asked, asking) in self.asking.drain(..) {
            let report = tokio::time::timeout(Duration::from_secs(3_600), asking).await;
            let Ok(report) = report.expect("every wait ends") else { continue };
            if let (Expects::SomethingElse, Outcome::Rejected(rejection)) = (asked.expects, &report.outcome) {
                prop_assert!(matches!(rejection, Rejection::Stale | Rejection::Busy), "{rejection}");
            }
            let busy = report.outcome == Outcome::Rejected(Rejection::Busy);
            refused_at_once += usize::from(busy && asked.intent == Intent::Apply);
            if asked.intent == Intent::Apply && report.outcome.kind().runs() {
                told.push((report.version, report.hash));
            }
        }
        // pace: on a paused clock only: probation ends, and what was given up has its end.
        tokio::time::sleep(Duration::from_secs(600)).await;
        self.store.fails.store(false, Ordering::Relaxed);
        prop_assert_eq!(self.live.flush().await, 0);

        let (number, running) = (self.live.current().number, self.live.running());
        prop_assert_eq!(self.numbers.get(&number), Some(&running.hash));
        for member in self.members.iter().chain(self.guests.iter().map(|(guest, _)| guest)).chain(&self.left) {
            let ledger = member.ledger.lock().unwrap();
            let ended = ledger.committed + ledger.undone + ledger.panicked;
            prop_assert_eq!(ledger.prepared, ended, "all of it is put to use or given back: {:?}", *ledger);
        }
        for member in &self.members {
            prop_assert_eq!(member.ledger.lock().unwrap().in_use, number, "all or none");
        }
        let stats = self.live.stats();
        let counted = stats.applied + stats.unchanged + stats.rejected + stats.rolled_back + stats.restart_required;
        let turns = self.turns.load(Ordering::Relaxed) + refused_at_once;
        prop_assert_eq!(usize::try_from(counted).unwrap(), turns, "{:?}", stats);
        prop_assert!(!stats.on_probation);

        let versions = self.live.versions().await.unwrap();
        let newest = versions.iter().find(|version| version.outcome.runs()).unwrap();
        prop_assert_eq!((Some(newest.id), newest.hash), (running.version, running.hash));
        prop_assert_eq!(newest.refuses, running.refuses);
        let by_id: HashMap<_, _> = versions.iter().map(|version| (version.id, version)).collect();
        for version in &versions {
            if let Some(to) = version.returned_to.filter(|to| to.0 > 0) {
                prop_assert_eq!(by_id.get(&to).map(|to| to.hash), Some(version.hash));
                prop_assert!(version.refuses != Some(version.hash));
            }
        }
        for (version, hash) in told.into_iter().filter_map(|(version, hash)| Some((version?, hash))) {
            prop_assert_eq!(by_id.get(&version).map(|version| version.hash), Some(hash));
        }
        drop(self.subscriptions);
        Ok(())
    }
}

/// Reads all the time, on a thread of its own, and finds every configuration whole.
fn read_until(over: Arc<AtomicBool>, live: &Live<App>) -> std::thread::JoinHandle<u64> {
    let whole = live.handle(|app| app);
    std::thread::spawn(move || {
        let (mut reads, mut cached) = (0, whole.cached());
        while !over.load(Ordering::Relaxed) {
            let app = whole.read();
            assert_eq!(app.number, app.twin);
            let app = cached.read();
            assert_eq!(app.number, app.twin);
            reads += 1;
            std::thread::yield_now();
        }
        reads
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_a_change_is_made_by_all_or_by_none(
        steps in prop::collection::vec(step(), 1..40),
        probation: bool,
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(probation);
            let over = Arc::new(AtomicBool::new(false));
            let reader = read_until(Arc::clone(&over), &run.live);
            for step in steps {
                run.take(step).await;
            }
            let result = run.settle().await;
            over.store(true, Ordering::Relaxed);
            reader.join().expect("nothing is torn");
            result
        })?;
    }
}
