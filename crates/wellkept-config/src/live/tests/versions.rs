//! What is kept, what one returns to, and stores that fail.

use super::*;
use crate::content::{Content, Part};
use crate::control::{ShownValue, ViewError, Which};
use crate::versions::{StoreFault, Version};

/// A store in memory that several processes' worth of tests share, and that can be made to fail, panic or hang.
#[derive(Debug, Clone, Default)]
struct Disk {
    kept: Arc<Mutex<MemoryVersions>>,
    trouble: Arc<Mutex<Option<&'static str>>>,
    gate: Gate,
}

impl Disk {
    fn trouble(&self, what: Option<&'static str>) {
        *self.trouble.lock().unwrap() = what;
    }

    fn on<R>(&self, call: impl FnOnce(&mut MemoryVersions) -> Result<R, StoreFault>) -> Result<R, StoreFault> {
        self.gate.pass();
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Some("panic") => panic!("as the test wants it"),
            Some(detail) => Err(StoreFault { code: "store.test", detail: detail.to_owned() }),
            None => call(&mut self.kept.lock().unwrap()),
        }
    }
}

impl VersionStore for Disk {
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

async fn apply(live: &Live<App>, text: &Text, says: &str) -> Report {
    text.set(says);
    live.reload(by_code()).await
}

/// Each version in a line, newest first.
async fn history(live: &Live<App>) -> String {
    let told = |version: Version| {
        let Version { id, trigger, author, outcome, returned_to, refuses, summary, .. } = version;
        let returned_to = returned_to.map(|to| format!(" to {to}")).unwrap_or_default();
        let refuses = if refuses.is_some() { " refusing" } else { "" };
        format!("{id} {} {author}: {}{returned_to}{refuses} {summary:?}", trigger.as_str(), outcome.as_str())
    };
    live.versions().await.unwrap().into_iter().map(told).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn each_change_is_kept_with_who_and_what_and_one_returns_to_any() {
    let text = Text::new("number: 1");
    let live = text.live();
    apply(&live, &text, "number: 2").await;
    text.set("number: none");
    for _ in 0..3 {
        // Once more the same refusal says nothing new.
        live.reload(Request::new(Trigger::Signal)).await;
    }
    let back = live.roll_back(VersionId(1), Request::new(Trigger::Api).by("alice")).await;
    assert_eq!(back.outcome, Outcome::RolledBack { to: VersionId(1), restart_required: Vec::new() });
    assert_eq!((back.version, live.current().number), (Some(VersionId(4)), 1));
    insta::assert_snapshot!(history(&live).await, @r#"
    4 api alice: rolled_back to 1 refusing ["~ number: 2 -> 1"]
    3 signal : rejected ["app.yaml:1:9: expected a whole number such as 1000, found `none`"]
    2 code : applied ["~ number: 1 -> 2"]
    1 start : applied []
    "#);
    for gone in [3, 9] {
        let report = live.roll_back(VersionId(gone), by_code()).await;
        assert_eq!(*rejection(&report), Rejection::UnknownVersion { id: VersionId(gone) });
    }
    assert_eq!(live.roll_back(VersionId(1), by_code()).await.outcome, Outcome::Unchanged);
}

#[tokio::test]
async fn what_was_rolled_back_from_is_refused_until_the_file_changes_across_restarts() {
    let (text, disk) = (Text::new("number: 1"), Disk::default());
    let live = text.live_with(LiveOptions::default(), disk.clone());
    apply(&live, &text, "number: 2").await;
    // The file says the same in other words by now: it must not come back by those either.
    assert_eq!(apply(&live, &text, "number: 2 # two").await.outcome, Outcome::Unchanged);
    assert_eq!(live.roll_back(VersionId(1), by_code()).await.outcome.kind(), OutcomeKind::RolledBack);
    assert_eq!(*rejection(&live.reload(Request::new(Trigger::Watch)).await), Rejection::Pinned);
    assert_eq!(*rejection(&live.reload(by_code().dry_run()).await), Rejection::Pinned);

    let live = text.live_with(LiveOptions::default(), disk.clone());
    let running = live.running();
    assert_eq!((live.current().number, running.version, running.trigger), (1, Some(VersionId(3)), Trigger::Start));
    assert!(running.refuses.is_some() && live.stats().pinned);
    assert_eq!(*rejection(&live.reload(by_code()).await), Rejection::Pinned);
    assert_eq!(apply(&live, &text, "number: 3").await.version, Some(VersionId(4)));
    assert_eq!(live.running().refuses, None);
    assert_eq!(apply(&live, &text, "number: 2 # two").await.outcome, Outcome::Applied, "the file changed since");
}

#[tokio::test]
async fn rolling_forward_to_what_is_refused_lifts_the_pin() {
    let text = Text::new("number: 1");
    let live = text.live();
    apply(&live, &text, "number: 2").await;
    live.roll_back(VersionId(1), by_code()).await;
    assert!(live.running().refuses.is_some());
    live.roll_back(VersionId(2), by_code()).await;
    assert_eq!((live.current().number, live.running().refuses), (2, None));
    assert_eq!(live.reload(by_code()).await.outcome, Outcome::Unchanged);
}

#[tokio::test]
async fn a_restart_makes_a_version_only_where_the_files_differ() {
    let (text, disk) = (Text::new("number: 1"), Disk::default());
    for (says, version) in [("number: 1", 1), ("number: 1", 1), ("number: 5", 2), ("number: 5", 2)] {
        text.set(says);
        let live = text.live_with(LiveOptions::default(), disk.clone());
        assert_eq!(live.running().version, Some(VersionId(version)));
    }
    let live = text.live_with(LiveOptions::default(), disk);
    insta::assert_snapshot!(history(&live).await, @r#"
    2 start : applied ["~ number: 1 -> 5"]
    1 start : applied []
    "#);
}

#[tokio::test]
async fn a_store_that_fails_holds_nobody_up_and_gets_everything_in_order_once_it_can() {
    let (text, disk) = (Text::new("number: 1"), Disk::default());
    let live = text.live_with(LiveOptions::default(), disk.clone());
    for (number, trouble) in [(2, "the disk is full"), (3, "panic")] {
        disk.trouble(Some(trouble));
        let report = apply(&live, &text, &format!("number: {number}")).await;
        assert_eq!((report.outcome, report.version), (Outcome::Applied, None));
    }
    assert_eq!((live.stats().unwritten, live.stats().version), (2, None));
    let fault = live.versions().await.unwrap_err();
    assert!(matches!(&fault, ViewError::Store(fault) if fault.code == "store.panicked"), "{fault}");
    assert_eq!(rejection(&live.roll_back(VersionId(1), by_code()).await).code(), "config.store");
    assert_eq!(live.flush().await, 2);
    disk.trouble(None);
    assert_eq!(live.flush().await, 0);
    assert_eq!(live.running().version, Some(VersionId(3)));
    assert_eq!(apply(&live, &text, "number: 4").await.version, Some(VersionId(4)));
    let numbers: Vec<_> = live.versions().await.unwrap().into_iter().flat_map(|version| version.summary).collect();
    assert_eq!(numbers, ["~ number: 3 -> 4", "~ number: 2 -> 3", "~ number: 1 -> 2"]);
}

#[tokio::test]
async fn of_what_a_store_does_not_take_the_newest_fifty_are_kept_in_memory() {
    let (text, disk) = (Text::new("number: 0"), Disk::default());
    let live = text.live_with(LiveOptions::default(), disk.clone());
    disk.trouble(Some("the disk is full"));
    for number in 1..=60 {
        apply(&live, &text, &format!("number: {number}")).await;
    }
    assert_eq!((live.stats().unwritten, live.stats().lost), (50, 10));
    disk.trouble(None);
    assert_eq!(live.flush().await, 0);
    let newest = live.versions().await.unwrap().remove(0);
    assert_eq!((Some(newest.id), newest.hash), (live.running().version, live.running().hash));
}

#[tokio::test]
async fn where_the_version_that_was_returned_to_is_gone_the_files_are_what_is_left() {
    let (text, disk) = (Text::new("number: 1"), Disk::default());
    let live = text.live_with(LiveOptions::default(), disk.clone());
    apply(&live, &text, "number: 2").await;
    live.roll_back(VersionId(1), by_code()).await;
    let back = live.shared.books().now.content.parts[0].text.clone();
    assert_eq!(back, "number: 1");
    // What was valid once is not any more.
    let version = Version { summary: Vec::new(), ..live.versions().await.unwrap().remove(0) };
    let version = Version { at: version.at + Duration::from_secs(1), ..version };
    let wrong = Content { parts: vec![Part { name: "app.yaml".to_owned(), text: "gone: 1".to_owned() }] };
    disk.kept.lock().unwrap().append(&version, Some(&wrong), 50).unwrap();
    let live = text.live_with(LiveOptions::default(), disk);
    assert_eq!((live.current().number, live.running().refuses), (2, None));
}

#[tokio::test]
async fn whoever_asks_is_named_in_one_line() {
    let text = Text::new("number: 1");
    let live = text.live();
    text.set("number: 2");
    live.reload(Request::new(Trigger::Api).by(format!("eve\n2 api root: applied{}", "!".repeat(1_000)))).await;
    let author = live.running().author;
    assert!(author.starts_with("eve 2 api root") && author.chars().count() == 200, "{author}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_no_longer_than_is_allowed() {
    let (text, disk) = (Text::new("number: 1"), Disk::default());
    let live = text.live_with(LiveOptions::default(), disk.clone());
    let mut changes = live.changes();
    text.set("number: 2");
    disk.gate.shut();
    let reload = tokio::spawn({
        let live = live.clone();
        async move { live.reload(by_code()).await }
    });
    assert_eq!(changes.next().await.map(|app| app.number), Some(2), "it runs before it is kept");
    while live.shared.keeper.unwritten().0 == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(6)).await;
    let report = reload.await.unwrap();
    assert_eq!((report.outcome, report.version), (Outcome::Applied, None));
    disk.gate.open();
    assert_eq!(live.flush().await, 0);
    assert_eq!(live.running().version, Some(VersionId(2)));
    assert_eq!(live.versions().await.unwrap().len(), 2, "and it is kept once");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_does_not_keep_the_process_from_starting() {
    let (text, disk) = (Text::new("number: 1"), Disk::default());
    for trouble in ["locked", "panic"] {
        disk.trouble(Some(trouble));
        let live = text.live_with(LiveOptions::default(), disk.clone());
        assert_eq!((live.current().number, live.running().version, live.stats().unwritten), (1, None, 1));
    }
    let live = text.live_with(LiveOptions::default(), disk.clone());
    disk.trouble(None);
    assert_eq!(live.flush().await, 0);
    assert_eq!(live.running().version, Some(VersionId(1)));
}

#[tokio::test]
async fn versions_that_are_kept_can_be_shown_and_compared() {
    let text = Text::new("number: 1");
    let live = text.live();
    apply(&live, &text, "number: 2").await;
    text.set("number: 3");
    let shown = live.show(Which::Version(VersionId(1))).await.unwrap();
    let number = shown.iter().find(|shown| shown.path == "number").unwrap();
    assert_eq!((&number.value, number.origin.as_str()), (&ShownValue::Written("1".to_owned()), "app.yaml:1:9"));
    let first = Which::Version(VersionId(1));
    assert_eq!(live.diff(first, Which::Running).await.unwrap(), ["~ number: 1 -> 2"]);
    assert_eq!(live.diff(Which::Running, Which::Sources).await.unwrap(), ["~ number: 2 -> 3"]);
    let unknown = Which::Version(VersionId(7));
    assert_eq!(live.show(unknown).await, Err(ViewError::UnknownVersion(VersionId(7))));
    text.set("number: [");
    assert!(matches!(live.show(Which::Sources).await, Err(ViewError::Invalid(_))));
    text.set("number: 4\nfate: panic in read");
    assert!(matches!(live.show(Which::Sources).await, Err(ViewError::Store(_))));
    assert_eq!(live.current().number, 2);
}

#[tokio::test]
async fn without_a_file_there_is_nothing_to_read_again() {
    let live = Live::<App>::load(Sources::new().text("app.yaml", "number: 1"), LiveOptions::default()).unwrap();
    assert_eq!(*rejection(&live.reload(by_code()).await), Rejection::NoFile);
}
