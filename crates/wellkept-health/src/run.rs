//! One run of a check: bounded in time, isolated from panics, and told apart from its straggling end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::check::{Context, ErasedCheck, Run};
use crate::circuit::{Answer, Circuit, Permit};
use crate::component::{Component, MAX_TIMEOUT};
use crate::origin::Identity;
use crate::outcome::{Outcome, Reason, Verdict};

/// What a run found and how long it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The outcome, `slow` and `timeout` taken into account.
    pub outcome: Outcome,
    /// From the run's start to its end or its deadline.
    pub elapsed: Duration,
}

impl Finished {
    /// What a run that has passed its deadline counts as when the next one would be due.
    pub(crate) fn still_waiting(timeout: Duration) -> Self {
        Self { outcome: timed_out(timeout), elapsed: timeout }
    }

    /// What a run counts as that is not begun because too many others still occupy a thread.
    pub(crate) fn no_thread_left() -> Self {
        let outcome = Outcome::fail(Reason::Exhausted, "too many checks hang")
            .with_detail("this check needs a thread, and too many hold one past their time");
        Self { outcome, elapsed: Duration::ZERO }
    }
}

/// Runs a component's check once, now, outside any schedule. Ends at the component's timeout (an hour at most), or a
/// tenth of it later (50 ms at most), also when the check hangs or blocks its thread. Cancel-safe: dropping it drops the check's future.
pub async fn run_once(component: &Component) -> Finished {
    let mut run = Started::begin(component, None);
    run.outcome().await
}

/// A run that has begun.
pub(crate) struct Started {
    work: Work,
    began: Instant,
    timeout: Duration,
    slow: Option<Duration>,
    /// Behind a circuit breaker, the leave to ask the check.
    permit: Option<Permit>,
}

enum Work {
    Task(AbortOnDrop),
    Thread(oneshot::Receiver<Outcome>),
    /// The check is not asked, and this is what the run counts as.
    NotStarted(Outcome),
}

impl Started {
    /// Begins a run of a component of the service of this identity.
    pub(crate) fn begin(component: &Component, identity: Option<Identity>) -> Self {
        // Nobody has validated a component that is not registered.
        let timeout = component.schedule.timeout.min(MAX_TIMEOUT);
        let context = Context::within(timeout).within_service(identity);
        let (permit, refused) = match component.circuit.as_ref().map(Circuit::ask) {
            None => (None, None),
            Some(Answer::Go(permit)) => (Some(permit), None),
            Some(Answer::No(outcome)) => (None, Some(outcome)),
        };
        let work = match (refused, &component.check.run) {
            (Some(outcome), _) => Work::NotStarted(outcome),
            (None, Run::Async(check)) => Work::Task(AbortOnDrop::spawn(Arc::clone(check), context)),
            (None, Run::Blocking(function)) => thread(&component.name, Arc::clone(function), context),
        };
        Self { work, began: Instant::now(), timeout, slow: component.slow, permit }
    }

    /// The outcome, at the deadline at the latest.
    pub(crate) async fn outcome(&mut self) -> Finished {
        // A check that minds its deadline names the stage that it waited in; it gets a moment to say so.
        let patience = self.timeout + (self.timeout / 10).min(Duration::from_millis(50));
        let outcome = match tokio::time::timeout_at(self.began + patience, self.work.outcome()).await {
            Ok(outcome) => outcome,
            Err(_) => timed_out(self.timeout),
        };
        let elapsed = self.began.elapsed();
        let outcome = if elapsed > self.timeout && outcome.verdict() != Verdict::Fail {
            timed_out(self.timeout)
        } else if outcome.verdict() == Verdict::Pass && self.slow.is_some_and(|slow| elapsed > slow) {
            outcome.turned_slow()
        } else {
            outcome
        };
        if let Some(permit) = self.permit.take() {
            permit.tell(&outcome);
        }
        Finished { outcome: outcome.bounded(), elapsed }
    }

    /// Whether the run still occupies something although its outcome is known.
    pub(crate) fn straggles(&self) -> bool {
        match &self.work {
            Work::Task(task) => !task.0.is_finished(),
            Work::Thread(result) => !result.is_terminated(),
            Work::NotStarted(_) => false,
        }
    }

    /// Ends what can be ended and waits until the run is really over. A thread can't be ended: this then waits for
    /// as long as it hangs, which is why nobody waits for this but the task that keeps count.
    pub(crate) async fn end(&mut self) {
        match &mut self.work {
            Work::Task(task) => {
                task.0.abort();
                drop((&mut task.0).await);
            }
            Work::Thread(result) if !result.is_terminated() => drop(result.await),
            Work::Thread(_) | Work::NotStarted(_) => {}
        }
    }
}

impl Work {
    async fn outcome(&mut self) -> Outcome {
        match self {
            Self::Task(task) => match (&mut task.0).await {
                Ok(outcome) => outcome,
                Err(error) => panicked(error.try_into_panic().ok().as_deref()),
            },
            Self::Thread(result) => result.await.unwrap_or_else(|_| panicked(None)),
            Self::NotStarted(outcome) => outcome.clone(),
        }
    }
}

/// A spawned future that ends with whoever waits for it.
struct AbortOnDrop(JoinHandle<Outcome>);

impl AbortOnDrop {
    fn spawn(check: Arc<dyn ErasedCheck>, context: Context) -> Self {
        Self(tokio::spawn(async move { check.run(&context).await }))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A thread of its own and not one of tokio's blocking pool: one that hangs must not keep the runtime from ending.
fn thread(name: &str, function: Arc<dyn Fn(&Context) -> Outcome + Send + Sync>, context: Context) -> Work {
    let (sender, receiver) = oneshot::channel();
    // The kernel keeps 15 bytes of a thread's name.
    let builder = std::thread::Builder::new().name(format!("check {name}").replace('\0', " "));
    let spawned = builder.spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| function(&context)));
        // Whoever asked may have gone: nothing is lost by it.
        drop(sender.send(outcome.unwrap_or_else(|panic| panicked(Some(&*panic)))));
    });
    match spawned {
        Ok(_detached) => Work::Thread(receiver),
        Err(error) => Work::NotStarted(
            Outcome::fail(Reason::Internal, "the check could not be started")
                .with_detail(format!("no thread for it: {error}")),
        ),
    }
}

fn timed_out(timeout: Duration) -> Outcome {
    Outcome::fail(Reason::Timeout, "no answer in time").with_detail(format!("no answer within {timeout:?}"))
}

fn panicked(panic: Option<&(dyn std::any::Any + Send)>) -> Outcome {
    let text = panic.and_then(|panic| {
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
    });
    Outcome::fail(Reason::Panic, "the check panicked").with_detail(text.unwrap_or("no message").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::AnyCheck;

    const TIMEOUT: Duration = Duration::from_millis(200);

    fn component(check: AnyCheck) -> Component {
        Component::new("tested", check).timeout(TIMEOUT)
    }

    fn reason(finished: &Finished) -> Option<Reason> {
        finished.outcome.reason().cloned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_check_ends_at_its_timeout() {
        let finished = run_once(&component(AnyCheck::from_fn(async || std::future::pending::<()>().await))).await;
        assert_eq!(reason(&finished), Some(Reason::Timeout));
        assert!(finished.elapsed <= TIMEOUT + Duration::from_millis(51));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_without_measure_is_an_hour() {
        let check = AnyCheck::from_fn(async || std::future::pending::<()>().await);
        let finished = run_once(&Component::new("tested", check).timeout(Duration::MAX)).await;
        assert_eq!(reason(&finished), Some(Reason::Timeout));
        assert_eq!(finished.elapsed.as_secs(), 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_after_the_timeout_is_a_timeout() {
        let late = AnyCheck::from_fn(async || tokio::time::sleep(TIMEOUT + Duration::from_millis(10)).await);
        assert_eq!(reason(&run_once(&component(late)).await), Some(Reason::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_pass_is_a_warning_that_keeps_its_readings() {
        let slow = AnyCheck::from_fn(async || {
            tokio::time::sleep(Duration::from_millis(150)).await;
            Outcome::pass().with("rows", 3)
        });
        let finished = run_once(&component(slow).slow(Duration::from_millis(100))).await;
        assert_eq!(finished.outcome.verdict(), Verdict::Warn);
        assert_eq!(reason(&finished), Some(Reason::Slow));
        assert_eq!(finished.outcome.metadata()["rows"], 3);
    }

    #[tokio::test]
    async fn ten_megabytes_of_metadata_are_not_kept() {
        let huge = || Outcome::pass().with("huge", "x".repeat(10 << 20));
        for check in [AnyCheck::from_fn(move || std::future::ready(huge())), AnyCheck::blocking(huge)] {
            let finished = run_once(&component(check).timeout(Duration::from_secs(20))).await;
            assert_eq!(finished.outcome.metadata()["truncated"], true);
            assert_eq!(finished.outcome.metadata().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_panic_is_a_failed_check_on_either_kind_of_thread() {
        let on_task = AnyCheck::from_fn(async || -> () { panic!("task {}", 1) });
        let on_thread = AnyCheck::blocking(|| -> () { panic!("thread") });
        for (check, text) in [(on_task, "task 1"), (on_thread, "thread")] {
            let finished = run_once(&component(check)).await;
            assert_eq!(reason(&finished), Some(Reason::Panic));
            assert_eq!(finished.outcome.detail(), text);
            assert_eq!(finished.outcome.message(), "the check panicked");
        }
    }

    #[tokio::test]
    async fn a_blocking_check_that_hangs_does_not_hold_its_caller() {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let hold = std::sync::Mutex::new(hold);
        let hangs = AnyCheck::blocking(move || drop(hold.lock().map(|hold| hold.recv())));
        let component = component(hangs);
        let mut run = Started::begin(&component, None);
        assert_eq!(reason(&run.outcome().await), Some(Reason::Timeout));
        assert!(run.straggles());
        release.send(()).unwrap();
        run.end().await;
        assert!(!run.straggles());
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_timed_out_has_released_what_it_held() {
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let check = AnyCheck::from_fn(move || {
            let kept = Arc::clone(&inside);
            async move {
                std::future::pending::<()>().await;
                drop(kept);
            }
        });
        let component = component(check);
        let mut run = Started::begin(&component, None);
        run.outcome().await;
        run.end().await;
        assert_eq!(Arc::strong_count(&held), 2, "only the check and the test still hold it");
    }
}
