//! Probation: what goes back by itself, to what, and when it no longer does.

use super::*;

/// A judge that says what a test tells it to.
#[derive(Clone, Default)]
struct Judgement {
    says: Arc<Mutex<Option<&'static str>>>,
    looked_before: Arc<AtomicUsize>,
}

impl Judge for Judgement {
    fn before(&self) {
        self.looked_before.fetch_add(1, Ordering::Relaxed);
    }

    fn verdict(&self) -> Option<String> {
        let says = *self.says.lock().unwrap();
        assert_ne!(says, Some("panic"));
        says.map(str::to_owned)
    }
}

struct Scene {
    text: Text,
    live: Live<App>,
    judge: Judgement,
}

impl Scene {
    /// Number 1 runs, trusted. A probation lasts 10 s.
    fn new() -> Self {
        let (text, judge) = (Text::new("number: 1"), Judgement::default());
        let live = text.live();
        let probation = Probation { lasts: Duration::from_secs(10), judge: Arc::new(judge.clone()) };
        live.adjust(|options| options.probation = Some(probation));
        Self { text, live, judge }
    }

    fn says(&self, verdict: Option<&'static str>) {
        *self.judge.says.lock().unwrap() = verdict;
    }

    async fn apply(&self, number: u64) {
        self.text.set(&format!("number: {number}"));
        assert_eq!(self.live.reload(by_code()).await.outcome, Outcome::Applied);
        assert!(self.live.running().probation_until.is_some());
    }

    async fn until_back(&self) {
        let mut changes = self.live.changes();
        if self.live.stats().on_probation {
            tokio::time::timeout(Duration::from_secs(60), changes.next()).await.expect("it goes back");
        }
        while self.live.stats().on_probation {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_does_no_good_goes_back_by_itself_and_is_refused_until_the_file_changes() {
    let scene = Scene::new();
    scene.apply(2).await;
    assert_eq!(scene.judge.looked_before.load(Ordering::Relaxed), 1);
    scene.says(Some("readiness was lost"));
    scene.until_back().await;
    let running = scene.live.running();
    assert_eq!(
        (scene.live.current().number, running.trigger, running.version),
        (1, Trigger::Probation, Some(VersionId(3)))
    );
    assert_eq!(running.last_rejection, ["taken back on probation: readiness was lost"]);
    assert_eq!(running.probation_until, None, "what is gone back to is trusted");
    let newest = scene.live.versions().await.unwrap().remove(0);
    assert_eq!((newest.outcome, newest.returned_to), (OutcomeKind::RolledBack, Some(VersionId(1))));
    assert_eq!(newest.summary, ["probation failed: readiness was lost", "~ number: 2 -> 1"]);
    assert_eq!(*rejection(&scene.live.reload(Request::new(Trigger::Watch)).await), Rejection::Pinned);
    scene.says(None);
    scene.apply(3).await;
    assert_eq!(scene.live.stats().rolled_back, 1);
}

#[tokio::test(start_paused = true)]
async fn what_outlives_its_probation_is_what_the_next_one_goes_back_to() {
    let scene = Scene::new();
    scene.apply(2).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(scene.live.stats().on_probation);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!scene.live.stats().on_probation);
    scene.says(Some("worse"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.live.current().number, 2, "nobody is asked any more");
    scene.apply(3).await;
    scene.until_back().await;
    assert_eq!(scene.live.current().number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_newer_change_takes_the_place_of_one_on_probation_and_goes_back_past_it() {
    let scene = Scene::new();
    scene.apply(2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.apply(3).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(scene.live.stats().on_probation, "the newer one's time counts");
    assert!(scene.live.fail_probation("because I say so"));
    scene.until_back().await;
    assert_eq!(scene.live.current().number, 1, "2 was never trusted");
    assert!(!scene.live.fail_probation("once more"));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_does_not_return_in_other_words_that_were_read_meanwhile() {
    let scene = Scene::new();
    scene.apply(2).await;
    scene.text.set("number: 2 # two");
    assert_eq!(scene.live.reload(by_code()).await.outcome, Outcome::Unchanged);
    assert!(scene.live.fail_probation("worse"));
    scene.until_back().await;
    assert_eq!(*rejection(&scene.live.reload(Request::new(Trigger::Signal)).await), Rejection::Pinned);
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_panics_has_judged() {
    let scene = Scene::new();
    scene.apply(2).await;
    scene.says(Some("panic"));
    scene.until_back().await;
    assert_eq!(scene.live.current().number, 1);
}

#[tokio::test(start_paused = true)]
async fn going_back_is_tried_again_while_a_subscriber_refuses_it() {
    let scene = Scene::new();
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    let _it = scene.live.subscribe("it", move |_: Arc<App>, new: Arc<App>| {
        let refuses = new.number == 1 && counted.fetch_add(1, Ordering::Relaxed) < 3;
        async move { if refuses { Err(Refusal::new("not yet")) } else { Ok(Prepared::nothing()) } }
    });
    scene.apply(2).await;
    scene.says(Some("worse"));
    scene.until_back().await;
    assert_eq!((scene.live.current().number, refusals.load(Ordering::Relaxed)), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_takes_nothing_back() {
    let scene = Scene::new();
    scene.apply(2).await;
    scene.says(Some("everything goes down"));
    scene.live.close();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((scene.live.current().number, scene.live.stats().rolled_back), (2, 0));
    assert!(!scene.live.fail_probation("too late"));
}

#[tokio::test(start_paused = true)]
async fn without_probation_a_change_is_trusted_at_once() {
    let text = Text::new("number: 1");
    let live = text.live();
    text.set("number: 2");
    live.reload(by_code()).await;
    assert_eq!((live.running().probation_until, live.fail_probation("why not")), (None, false));
}
