//! Who asks while a change is made, who gives up asking, and the end of the process.

use super::*;

/// Has one reload wait for a subscriber until the returned gate is opened.
struct Held {
    text: Text,
    live: Live<App>,
    recorder: Recorder,
    gate: watch::Sender<bool>,
    _subscription: Subscription,
}

impl Held {
    fn new() -> Self {
        let text = Text::new("number: 1");
        let live = text.live();
        let recorder = Recorder::named("it");
        let (gate, opened) = watch::channel(false);
        let asked = recorder.clone();
        let subscription = live.subscribe("it", move |old: Arc<App>, new: Arc<App>| {
            let (asked, mut opened) = (asked.clone(), opened.clone());
            async move {
                let prepared = asked.prepare(&old, &new).await;
                let _ = opened.wait_for(|opened| *opened).await;
                prepared
            }
        });
        Self { text, live, recorder, gate, _subscription: subscription }
    }

    fn reload(&self, request: Request) -> tokio::task::JoinHandle<Report> {
        let live = self.live.clone();
        tokio::spawn(async move { live.reload(request).await })
    }

    async fn until_asked(&self, times: usize) {
        while self.recorder.asked() < times {
            tokio::task::yield_now().await;
        }
    }

    /// Until so many wait for a turn.
    async fn until_waiting(&self, turns: usize) {
        while self.live.shared.books().waiting.len() < turns {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn those_who_ask_while_a_change_is_made_share_the_next_one() {
    let held = Held::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    held.live.observe(move |request, report| {
        tells.lock().unwrap().push((request.trigger, request.author.clone(), report.outcome.kind()));
    });
    held.text.set("number: 2");
    let first = held.reload(by_code());
    held.until_asked(1).await;
    held.text.set("number: 3");
    let mut others: Vec<_> = (0..100).map(|_| held.reload(Request::new(Trigger::Signal))).collect();
    held.until_waiting(1).await;
    others.push(held.reload(Request::new(Trigger::Api).by("alice")));
    while held.live.shared.books().waiting[0].request.author.is_empty() {
        tokio::task::yield_now().await;
    }
    held.gate.send_replace(true);
    assert_eq!(first.await.unwrap().version, Some(VersionId(2)));
    for other in others {
        assert_eq!(other.await.unwrap().version, Some(VersionId(3)));
    }
    assert_eq!(held.recorder.asked(), 2);
    let by_alice = (Trigger::Api, "alice".to_owned(), OutcomeKind::Applied);
    assert_eq!(*told.lock().unwrap(), [(Trigger::Code, String::new(), OutcomeKind::Applied), by_alice]);
    assert_eq!(held.live.stats().applied, 2);
}

#[tokio::test]
async fn where_four_different_changes_wait_a_fifth_is_refused() {
    let held = Held::new();
    held.text.set("number: 2");
    let hash = held.live.running().hash;
    let mut asked = vec![held.reload(by_code())];
    held.until_asked(1).await;
    let different =
        [by_code(), by_code().dry_run(), by_code().expecting(hash), by_code().dry_run().expecting(hash)].into_iter();
    for (waiting, request) in (1..).zip(different) {
        asked.push(held.reload(request));
        held.until_waiting(waiting).await;
    }
    assert_eq!(*rejection(&held.live.reload(by_code()).await), Rejection::Busy);
    held.gate.send_replace(true);
    let mut kinds = Vec::new();
    for report in asked {
        kinds.push(report.await.unwrap().outcome);
    }
    let stale = || Outcome::Rejected(Rejection::Stale);
    assert_eq!(kinds, [Outcome::Applied, Outcome::Unchanged, Outcome::Unchanged, stale(), stale()]);
}

#[tokio::test]
async fn who_gives_up_waiting_changes_nothing() {
    let held = Held::new();
    held.text.set("number: 2");
    let mut changes = held.live.changes();
    let asking = held.reload(by_code());
    held.until_asked(1).await;
    asking.abort();
    assert!(asking.await.is_err());
    held.gate.send_replace(true);
    assert_eq!(changes.next().await.map(|app| app.number), Some(2));
}

#[tokio::test]
async fn a_change_that_is_prepared_when_the_process_ends_is_given_back_and_further_ones_are_refused() {
    let held = Held::new();
    held.text.set("number: 2");
    let (running, waiting) = (held.reload(by_code()), held.reload(by_code().dry_run()));
    held.until_asked(1).await;
    held.live.close();
    held.gate.send_replace(true);
    for report in [running.await.unwrap(), waiting.await.unwrap(), held.live.reload(by_code()).await] {
        assert_eq!(*rejection(&report), Rejection::ShuttingDown);
    }
    assert_eq!((held.live.current().number, held.recorder.events()), (1, vec!["not 2".to_owned()]));
}

#[tokio::test]
async fn a_caller_who_believes_something_else_to_run_is_refused() {
    let text = Text::new("number: 1");
    let live = text.live();
    let seen = live.running().hash;
    text.set("number: 2");
    let (one, other) = tokio::join!(
        live.reload(by_code().by("one").expecting(seen)),
        live.roll_back(VersionId(1), by_code().by("other").expecting(seen))
    );
    assert_eq!(one.outcome, Outcome::Applied);
    assert_eq!(*rejection(&other), Rejection::Stale);
    assert_eq!(live.current().number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_answer_is_refused_at_the_deadline_and_never_applied_late() {
    let text = Text::new("number: 1");
    let live = text.live();
    text.set("number: 2");
    text.gate.shut();
    for _ in 0..2 {
        let asked = live.clone();
        let reload = tokio::spawn(async move { asked.reload(by_code()).await });
        while !live.shared.books().driven {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(31)).await;
        let timed_out = Rejection::TimedOut { what: "reading".to_owned(), limit: Duration::from_secs(30) };
        assert_eq!(reload.await.unwrap().outcome, Outcome::Rejected(timed_out));
    }
    text.gate.open();
    // What was read late is thrown away; what is read now counts.
    text.set("number: 3");
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
    assert_eq!((live.current().number, live.stats().applied), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_blocks_holds_up_changes_and_nobody_who_reads_or_waits_for_good() {
    let text = Text::new("number: 1");
    let live = text.live();
    live.adjust(|options| {
        options.deadline = Duration::from_millis(10);
        options.store_patience = Duration::from_millis(1);
    });
    let gate = Gate::default();
    gate.shut();
    let passing = gate.clone();
    let _blocks = live.subscribe("blocks", move |_: Arc<App>, _: Arc<App>| {
        let passing = passing.clone();
        async move {
            Ok(Prepared::new(move || {
                passing.pass();
                Vec::new()
            }))
        }
    });
    text.set("number: 2");
    for _ in 0..2 {
        assert_eq!(*rejection(&live.reload(by_code()).await), Rejection::Busy);
    }
    assert_eq!(live.current().number, 2);
    gate.open();
}

#[test]
fn where_the_runtime_of_the_changes_ends_whoever_waits_is_told() {
    let other = runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let text = Text::new("number: 1");
    let live = text.live();
    live.run_on(other.handle().clone());
    let recorder = Recorder::named("it");
    let _it = live.subscribe("it", recorder.clone());
    text.set("number: 2\nfate: it hang");
    let mine = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = mine.block_on(async {
        let asking = tokio::spawn({
            let live = live.clone();
            async move { live.reload(by_code()).await }
        });
        while recorder.asked() == 0 {
            tokio::task::yield_now().await;
        }
        other.shutdown_background();
        asking.await.unwrap()
    });
    assert_eq!(*rejection(&report), Rejection::ShuttingDown);
    assert_eq!(live.current().number, 1);
}
