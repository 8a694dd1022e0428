//! One change: all or nothing, whatever a subscriber or a reader does.

use super::*;

#[tokio::test]
async fn a_reload_applies_whole_and_what_is_wrong_leaves_the_old_one() {
    let text = Text::new("number: 1");
    let live = text.live();
    let number = live.handle(|app| &app.number);
    let mut cached = number.cached();
    assert_eq!((live.reload(by_code()).await.outcome, *cached.read()), (Outcome::Unchanged, 1));
    text.set("number: 2");
    let report = live.reload(by_code()).await;
    assert_eq!((report.outcome, report.changes), (Outcome::Applied, vec!["~ number: 1 -> 2".to_owned()]));
    assert_eq!((*number.read(), *cached.read(), live.current().twin), (2, 2, 2));
    text.set("number: two\nport: none");
    let report = live.reload(by_code()).await;
    assert_eq!(rejection(&report).code(), "config.rejected");
    insta::assert_snapshot!(rejection(&report), @r"
    app.yaml:1:9: expected a whole number such as 1000, found `two`
    app.yaml:2:7: expected a whole number such as 8080, found `none`
    ");
    assert_eq!(live.running().last_rejection.len(), 2);
    assert_eq!((*number.read(), live.stats().rejected), (2, 1));
    text.set("number: 3\nport: 2");
    let report = live.reload(by_code()).await;
    assert_eq!(report.outcome, Outcome::RestartRequired { keys: vec!["port".to_owned()] });
    assert_eq!((*number.read(), live.running().restart_required), (3, vec!["port".to_owned()]));
    assert!(live.running().last_rejection.is_empty());
}

#[tokio::test]
async fn subscribers_are_told_old_and_new_and_a_refusal_gives_back_what_others_prepared() {
    let text = Text::new("number: 1");
    let live = text.live();
    let (first, second) = (Recorder::named("first"), Recorder::named("second"));
    let _first = live.subscribe("first", first.clone());
    let subscription = live.subscribe("second", second.clone());
    text.set("number: 2");
    let report = live.reload(by_code()).await;
    assert_eq!((report.outcome, report.effects.len()), (Outcome::Applied, 2));
    assert_eq!(first.events()[0], "1 -> 2");
    text.set("number: 6\nfate: second refuse");
    let refused = Rejection::Refused { who: "second".to_owned(), why: "it won't do".to_owned() };
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Rejected(refused));
    assert!(first.events().contains(&"not 6".to_owned()));
    assert_eq!(live.current().number, 2);
    drop(subscription);
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
    assert_eq!(first.events()[0], "2 -> 6");
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_refused_at_the_deadline_and_what_comes_later_is_given_back() {
    let text = Text::new("number: 1");
    let live = text.live();
    live.adjust(|options| options.deadline = Duration::from_secs(10));
    let (quick, slow) = (Recorder::named("quick"), Recorder::named("slow"));
    let _quick = live.subscribe("quick", quick.clone());
    let _slow = live.subscribe("slow", slow.clone());
    for fate in ["hang", "late"] {
        text.set(&format!("number: 2\nfate: slow {fate}"));
        let report = live.reload(by_code()).await;
        let timed_out = Rejection::TimedOut { what: "slow".to_owned(), limit: Duration::from_secs(10) };
        assert_eq!(report.outcome, Outcome::Rejected(timed_out));
        assert!(report.took >= Duration::from_secs(10) && report.took < Duration::from_secs(11));
        assert_eq!(quick.events(), ["not 2"]);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(slow.events().iter().all(|event| event == "not 2"), "nothing of it is put to use");
    text.set("number: 3");
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
    assert_eq!(live.current().number, 3);
}

#[tokio::test]
async fn a_panic_anywhere_before_the_commit_refuses_the_configuration() {
    let text = Text::new("number: 1");
    let live = text.live();
    let recorder = Recorder::named("it");
    let _it = live.subscribe("it", recorder.clone());
    for (fate, who) in [
        ("panic in read", "reading"),
        ("panic in restart_required", "reading"),
        ("panic in is_stale", "it"),
        ("it panic", "it"),
    ] {
        // Whether it is stale is only asked where nothing else differs.
        let number = if fate == "panic in is_stale" { 1 } else { 2 };
        text.set(&format!("number: {number}\nfate: {fate}"));
        if number == 1 {
            live.shared.books().now.fingerprint = fingerprint(&live);
        }
        assert_eq!(*rejection(&live.reload(by_code()).await), Rejection::Panicked { who: who.to_owned() }, "{fate}");
        assert_eq!(live.current().number, 1);
    }
    text.set("number: 3");
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
}

/// Of what the sources say now.
fn fingerprint(live: &Live<App>) -> u64 {
    let content = live.sources().content().unwrap();
    let document = live.sources().document(&content).unwrap();
    document.root().fingerprint()
}

#[tokio::test]
async fn a_panic_in_a_commit_takes_everyone_back() {
    let text = Text::new("number: 1");
    let live = text.live();
    let (first, second, third) = (Recorder::named("first"), Recorder::named("second"), Recorder::named("third"));
    let _first = live.subscribe("first", first.clone());
    let _second = live.subscribe("second", second.clone());
    let _third = live.subscribe("third", third.clone());
    let before = live.running();
    text.set("number: 2\nfate: second panic in commit");
    let report = live.reload(by_code()).await;
    assert_eq!(*rejection(&report), Rejection::Panicked { who: "second".to_owned() });
    assert_eq!((live.current().number, live.running().hash), (1, before.hash));
    for recorder in [&first, &third] {
        assert_eq!(recorder.events()[..2], ["1 -> 2", "2 -> 1"], "told of both");
    }
    assert_eq!(second.events()[0], "2 -> 1");
    text.set("number: 3");
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
    assert!(first.events().contains(&"1 -> 3".to_owned()));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_does_nothing() {
    let text = Text::new("number: 1");
    let live = text.live();
    let recorder = Recorder::named("it");
    let _it = live.subscribe("it", recorder.clone());
    let before = (live.running(), live.stats());
    assert_eq!(live.reload(by_code().dry_run()).await.outcome, Outcome::Unchanged);
    text.set("number: 2\nport: 9");
    let report = live.reload(by_code().dry_run()).await;
    assert_eq!(report.outcome, Outcome::RestartRequired { keys: vec!["port".to_owned()] });
    assert_eq!(report.changes, ["~ number: 1 -> 2", "~ port: 1 -> 9"]);
    assert_eq!(recorder.events(), ["not 2"]);
    text.set("number: 2\nfate: it refuse");
    assert_eq!(rejection(&live.reload(by_code().dry_run()).await).code(), "config.refused");
    assert_eq!((live.running(), live.stats()), before);
    assert_eq!(live.versions().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_differs_outside_the_text_is_a_change() {
    let text = Text::new("number: 1\nfate: stale");
    let live = text.live();
    let recorder = Recorder::named("it");
    let _it = live.subscribe("it", recorder.clone());
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
    assert_eq!(recorder.events()[0], "1 -> 1");
}

#[tokio::test]
async fn whoever_subscribes_while_others_prepare_is_asked_before_the_commit_and_who_leaves_is_not_waited_for() {
    let text = Text::new("number: 1");
    let live = text.live();
    let (stays, leaves, comes) = (Recorder::named("stays"), Recorder::named("leaves"), Recorder::named("comes"));
    let _stays = live.subscribe("stays", stays.clone());
    let leaving = live.subscribe("leaves", leaves.clone());
    text.set("number: 2\nfate: leaves hang");
    let reload = tokio::spawn({
        let live = live.clone();
        async move { live.reload(by_code()).await }
    });
    while leaves.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let _comes = live.subscribe("comes", comes.clone());
    while comes.asked() == 0 {
        tokio::task::yield_now().await;
    }
    drop(leaving);
    assert_eq!(reload.await.unwrap().outcome, Outcome::Applied);
    assert_eq!((&stays.events()[0], &comes.events()[0]), (&"1 -> 2".to_owned(), &"1 -> 2".to_owned()));
    assert_eq!((stays.asked(), comes.asked()), (1, 1));
    assert!(leaves.events().iter().all(|event| event == "not 2"), "it is given back");
}

#[tokio::test]
async fn what_somebody_prepared_who_leaves_before_the_commit_is_given_back() {
    let text = Text::new("number: 1");
    let live = text.live();
    let (leaves, stays) = (Recorder::named("leaves"), Recorder::named("stays"));
    let leaving = Mutex::new(Some(live.subscribe("leaves", leaves.clone())));
    let (seen, count) = (leaves.clone(), stays.clone());
    let _stays = live.subscribe("stays", move |old: Arc<App>, new: Arc<App>| {
        let (seen, count) = (seen.clone(), count.clone());
        let leaving = leaving.lock().unwrap().take();
        async move {
            while seen.asked() == 0 {
                tokio::task::yield_now().await;
            }
            drop(leaving);
            count.prepare(&old, &new).await
        }
    });
    text.set("number: 2");
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
    assert_eq!((leaves.events(), stays.events().remove(0)), (vec!["not 2".to_owned()], "1 -> 2".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_was_replaced_ends_after_the_commits_within_the_deadline_and_eight_at_a_time() {
    let text = Text::new("number: 0");
    let live = text.live();
    let ended = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ended);
    let _it = live.subscribe("it", move |old: Arc<App>, _: Arc<App>| {
        let seen = Arc::clone(&seen);
        async move {
            Ok(Prepared::nothing().retire(move || async move {
                let _dropped = Dropped(Arc::clone(&seen), old.number);
                std::future::pending::<()>().await;
            }))
        }
    });
    for number in 1..=10 {
        text.set(&format!("number: {number}"));
        assert_eq!(live.reload(by_code()).await.outcome, Outcome::Applied);
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*ended.lock().unwrap(), [0, 1], "the oldest of more than eight");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(ended.lock().unwrap().len(), 10, "no longer than the deadline");
}

struct Dropped(Arc<Mutex<Vec<u64>>>, u64);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

#[tokio::test]
async fn who_follows_the_changes_sees_the_newest_and_their_end() {
    let text = Text::new("number: 1");
    let live = text.live();
    let mut changes = live.changes();
    let handle = live.handle(|app| &app.number);
    for number in [2, 3] {
        text.set(&format!("number: {number}"));
        live.reload(by_code()).await;
    }
    assert_eq!(changes.next().await.map(|app| app.number), Some(3));
    drop(live);
    assert_eq!(changes.next().await, None);
    assert_eq!(*handle.read(), 3, "a handle shows what was last");
}
