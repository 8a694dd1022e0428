//! One change at a time: who asks while one is made waits for the next, and shares it with who asks for the same.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::outcome::{Intent, Outcome, Rejection, Report, Request};
use crate::settings::Settings;
use crate::versions::{Trigger, VersionId};

use super::books::{Books, Now};
use super::{Shared, preparations, telling, transaction};

/// How many different changes may wait.
const MOST_WAITING: usize = 4;

/// How many characters of a name are kept.
const LONGEST_AUTHOR: usize = 200;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// Read the sources again.
    Reload,
    /// Return to a version.
    RollBack(VersionId),
    /// Return to what ran before the commit of this number, which failed its probation.
    GoBack {
        /// Its number.
        generation: u64,
        /// Why.
        why: String,
    },
}

/// One change that waits for its turn, or has it.
pub(super) struct Turn {
    pub(super) task: Task,
    pub(super) request: Request,
    asked: Instant,
    /// What it came to, for all who share it.
    report: watch::Sender<Option<Report>>,
}

impl Turn {
    /// Whether what it is about runs no longer.
    fn is_over(&self, now: &Now) -> bool {
        matches!(self.task, Task::GoBack { generation, .. } if generation != now.generation)
    }

    /// Whether who asks for this may share it.
    fn serves(&self, task: &Task, request: &Request) -> bool {
        self.task == *task && self.request.intent == request.intent && self.request.expected == request.expected
    }
}

/// Asks for a change, and waits for what it comes to. Dropped, it ends the waiting only.
pub(super) async fn ask<T: Settings>(shared: &Arc<Shared<T>>, task: Task, request: Request) -> Report {
    let asked = Instant::now();
    let request = Request { author: one_line(&request.author), ..request };
    let asked_for = request.clone();
    // Whoever has no turn is told in the log too: a signal has no other answer.
    let refused = |rejection| {
        let report = shared.refused(rejection, asked_for.intent, asked);
        telling::log(&asked_for, &report);
        report
    };
    let mut report = match enqueue(shared, task, request, asked) {
        Ok(report) => report,
        Err(rejection) => return refused(rejection),
    };
    // The sender is gone without a report only where the runtime of the changes has ended.
    match report.wait_for(Option::is_some).await.ok().and_then(|report| report.clone()) {
        Some(report) => report,
        None => refused(Rejection::ShuttingDown),
    }
}

/// A name fit for the books, whoever gave it.
fn one_line(author: &str) -> String {
    author.chars().map(|character| if character.is_control() { ' ' } else { character }).take(LONGEST_AUTHOR).collect()
}

/// Asks to return to what ran before a commit that failed its probation, before everyone else who waits; `None` when
/// something else runs by then.
pub(super) async fn go_back<T: Settings>(shared: &Arc<Shared<T>>, generation: u64, why: String) -> Option<Report> {
    let task = Task::GoBack { generation, why };
    let request = Request { trigger: Trigger::Probation, author: String::new(), intent: Intent::Apply, expected: None };
    let mut report = enqueue(shared, task, request, Instant::now()).ok()?;
    report.wait_for(Option::is_some).await.ok()?.clone()
}

fn enqueue<T: Settings>(
    shared: &Arc<Shared<T>>,
    task: Task,
    request: Request,
    asked: Instant,
) -> Result<watch::Receiver<Option<Report>>, Rejection> {
    let Some(runtime) = shared.runtime() else {
        let why = "there is no tokio runtime to work on".to_owned();
        return Err(Rejection::Refused { who: "the process".to_owned(), why });
    };
    let mut books = shared.books();
    if books.closed {
        return Err(Rejection::ShuttingDown);
    }
    let (report, receiver) = watch::channel(None);
    if let Task::GoBack { .. } = &task {
        books.waiting.push_front(Turn { task, request, asked, report });
        shared.drive(books, &runtime);
        return Ok(receiver);
    }
    // Only the last one: whoever asks for something else in between is not overtaken.
    if let Some(last) = books.waiting.back_mut().filter(|last| last.serves(&task, &request)) {
        if last.request.author.is_empty() && !request.author.is_empty() {
            // Whoever has a name is the one that the books name.
            (last.request.trigger, last.request.author) = (request.trigger, request.author);
        }
        return Ok(last.report.subscribe());
    }
    if books.waiting.len() >= MOST_WAITING {
        return Err(Rejection::Busy);
    }
    books.waiting.push_back(Turn { task, request, asked, report });
    shared.drive(books, &runtime);
    Ok(receiver)
}

/// Takes turns until none is left. When its task is dropped, nobody waits for what will not come.
struct Driver<T: Settings> {
    shared: Arc<Shared<T>>,
    /// Until it found nobody waiting: from then on another task may drive.
    driving: bool,
}

impl<T: Settings> Driver<T> {
    async fn run(mut self) {
        while let Some(turn) = self.next() {
            let Turn { task, request, asked, report: told } = turn;
            let intent = request.intent;
            let shared = Arc::clone(&self.shared);
            // A task of its own: whatever panics in it, such as what an old configuration does when it is dropped, ends
            // this turn and no other.
            let mut made = tokio::spawn(async move { transaction::run(&shared, &task, &request, asked).await });
            let report = loop {
                match tokio::time::timeout(self.shared.longest_turn(), &mut made).await {
                    Ok(Ok(report)) => break report,
                    Ok(Err(error)) => {
                        break self.shared.refused(preparations::ended("the configuration", error), intent, asked);
                    }
                    Err(_) => {
                        tracing::error!(target: "wellkept::config", "a change blocks: it is waited for no longer");
                        told.send_replace(Some(self.shared.refused(Rejection::Busy, intent, asked)));
                        self.refuse_waiting();
                    }
                }
            };
            told.send_replace(Some(report));
        }
    }

    /// Those who wait for a change that something holds up for good wait no longer. It goes on once that ends.
    fn refuse_waiting(&self) {
        let waiting = std::mem::take(&mut self.shared.books().waiting);
        for Turn { request, asked, report, .. } in waiting {
            report.send_replace(Some(self.shared.refused(Rejection::Busy, request.intent, asked)));
        }
    }

    fn next(&mut self) -> Option<Turn> {
        let mut books = self.shared.books();
        let mut turn = books.waiting.pop_front();
        while turn.as_ref().is_some_and(|turn| turn.is_over(&books.now)) {
            turn = books.waiting.pop_front();
        }
        self.driving = turn.is_some();
        books.driven = self.driving;
        turn
    }
}

impl<T: Settings> Drop for Driver<T> {
    fn drop(&mut self) {
        if self.driving {
            let mut books = self.shared.books();
            books.driven = false;
            books.waiting.clear();
        }
    }
}

impl<T: Settings> Shared<T> {
    /// Sees to it that a task takes turns.
    fn drive(self: &Arc<Self>, mut books: MutexGuard<'_, Books<T>>, runtime: &Handle) {
        let idle = !std::mem::replace(&mut books.driven, true);
        drop(books);
        if idle {
            let driver = Driver { shared: Arc::clone(self), driving: true };
            runtime.spawn(driver.run());
        }
    }

    /// No turn takes longer, unless something blocks that must not: the reading and preparing, once more where a commit
    /// is taken back, and what the store is asked.
    fn longest_turn(&self) -> Duration {
        self.deadline() * 2 + self.patience() * 4
    }

    pub(super) fn runtime(&self) -> Option<Handle> {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let _ = self.runtime.set(runtime);
        }
        self.runtime.get().cloned()
    }

    /// The report of what was refused, counted unless it was only tried.
    pub(super) fn refused(&self, rejection: Rejection, intent: Intent, asked: Instant) -> Report {
        let version = self.version();
        let mut books = self.books();
        let report = Report {
            outcome: Outcome::Rejected(rejection),
            version,
            hash: books.now.hash,
            changes: Vec::new(),
            effects: Vec::new(),
            took: asked.elapsed(),
        };
        if intent == Intent::Apply {
            books.count(&report);
        }
        report
    }
}
