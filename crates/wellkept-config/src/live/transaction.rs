//! One change, from the reading to the end of what it replaced: everything new stands before anything is put to use.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

use crate::content::ContentHash;
use crate::diff::diff;
use crate::outcome::{Effects, Intent, Outcome, Rejection, Report, Request};
use crate::settings::Settings;

use super::books::{Entry, Now};
use super::candidate::Candidate;
use super::subscriber::{Prepared, Refusal, Retire};
use super::turns::Task;
use super::{Shared, panic_message, quietly};

/// Makes the change that has the turn. Not cancel-safe: it runs on a task of its own.
pub(super) async fn run<T: Settings>(
    shared: &Arc<Shared<T>>,
    task: &Task,
    request: &Request,
    asked: Instant,
) -> Report {
    let limit = shared.books().options.deadline;
    let until = Until { at: Instant::now() + limit, limit };
    let report = match attempt(shared, task, request, &until).await {
        Ok(done) => {
            let mut books = shared.books();
            let report = Report {
                outcome: done.outcome,
                version: books.now.version,
                hash: books.now.hash,
                changes: done.changes,
                effects: done.effects,
                took: asked.elapsed(),
            };
            if request.intent == Intent::Apply {
                books.count(&report);
            }
            report
        }
        Err(rejection) => shared.refused(rejection, request.intent, asked),
    };
    log(request, &report);
    report
}

/// The end of the time that a change has.
struct Until {
    at: Instant,
    limit: Duration,
}

impl Until {
    async fn wait<F: Future>(&self, what: &str, future: F) -> Result<F::Output, Rejection> {
        timeout_at(self.at, future).await.map_err(|_| self.passed(what))
    }

    fn passed(&self, what: &str) -> Rejection {
        Rejection::TimedOut { what: what.to_owned(), limit: self.limit }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.at
    }
}

/// What became of a change that was not refused.
struct Done {
    outcome: Outcome,
    changes: Vec<String>,
    effects: Effects,
}

async fn attempt<T: Settings>(
    shared: &Arc<Shared<T>>,
    task: &Task,
    request: &Request,
    until: &Until,
) -> Result<Done, Rejection> {
    let before = shared.books().admit(request)?;
    let old = shared.current.load_full();
    let Some(candidate) = read(shared, task, &before, &old, until).await? else {
        return Ok(Done { outcome: Outcome::Unchanged, changes: Vec::new(), effects: Effects::new() });
    };
    let mut preparations = Preparations::default();
    preparations.make(shared, &old, &candidate.value, until).await?;
    let outcome = match task {
        Task::RollBack(to) => Outcome::RolledBack { to: *to, restart_required: candidate.restart_required.clone() },
        Task::Reload if candidate.restart_required.is_empty() => Outcome::Applied,
        Task::Reload => Outcome::RestartRequired { keys: candidate.restart_required.clone() },
    };
    let changes = diff(&before.shown, &candidate.shown);
    if request.intent == Intent::DryRun {
        return Ok(Done { outcome, changes, effects: Effects::new() });
    }
    // Whoever subscribed meanwhile knows the old one only: it is asked as well.
    while let Commit::Newcomers = commit_begins(shared, &mut preparations, &candidate, request, until)? {
        preparations.make(shared, &old, &candidate.value, until).await?;
    }
    let (effects, retires) = preparations.commit();
    shared.changes.send_replace(Arc::clone(&candidate.value));
    retire(shared, retires);
    Ok(Done { outcome, changes, effects })
}

/// Reads what the task names; `None` when nothing differs from what runs.
async fn read<T: Settings>(
    shared: &Arc<Shared<T>>,
    task: &Task,
    before: &Now,
    old: &Arc<T>,
    until: &Until,
) -> Result<Option<Candidate<T>>, Rejection> {
    if let Task::RollBack(id) = task {
        return Err(Rejection::UnknownVersion { id: *id });
    }
    if shared.sources.is_empty_of_files() {
        return Err(Rejection::NoFile);
    }
    let what = "reading";
    let turn = until.wait(what, Arc::clone(&shared.reading).acquire_owned()).await?;
    let reading = {
        let (shared, old, fingerprint, refuses) =
            (Arc::clone(shared), Arc::clone(old), before.fingerprint, before.refuses);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let content = shared.sources.content().map_err(invalid)?;
            if refuses.is_some_and(|refused: ContentHash| refused == content.hash()) {
                return Err(Rejection::Pinned);
            }
            let candidate = Candidate::read(&shared.sources, &content, Some(&*shared.started)).map_err(invalid)?;
            let same = candidate.fingerprint == fingerprint && !shared.is_stale(&old, &candidate.value)?;
            Ok((!same).then_some(candidate))
        })
    };
    until.wait(what, reading).await?.unwrap_or_else(|error| Err(ended(what, error)))
}

fn invalid(error: impl std::fmt::Display) -> Rejection {
    Rejection::Invalid { message: error.to_string() }
}

/// Why a task ended without a result.
fn ended(who: &str, error: JoinError) -> Rejection {
    match error.try_into_panic() {
        Ok(panic) => {
            let panic = panic_message(panic.as_ref());
            tracing::error!(target: "wellkept::config", who, panic, "panicked while a new configuration was prepared");
            Rejection::Panicked { who: who.to_owned() }
        }
        // Its runtime ends.
        Err(_) => Rejection::ShuttingDown,
    }
}

impl<T: Settings> Shared<T> {
    /// Whether a subscriber sees a difference that the text does not tell.
    fn is_stale(&self, running: &Arc<T>, read_again: &Arc<T>) -> Result<bool, Rejection> {
        for Entry { name, member, .. } in self.members() {
            match quietly(|| member.is_stale(running, read_again)) {
                Some(false) => {}
                Some(true) => return Ok(true),
                None => return Err(Rejection::Panicked { who: name.to_string() }),
            }
        }
        Ok(false)
    }

    fn members(&self) -> Vec<Entry<T>> {
        self.books().members().to_vec()
    }
}

/// What the subscribers prepare. Dropped, it is given back, whatever comes later included.
#[derive(Default)]
struct Preparations {
    /// In the order of the subscriptions.
    list: Vec<Preparation>,
}

struct Preparation {
    id: u64,
    who: Arc<str>,
    state: State,
}

enum State {
    Running(JoinHandle<Result<Prepared, Refusal>>),
    Ready(Prepared),
    Failed,
}

impl Preparations {
    fn has(&self, id: u64) -> bool {
        self.list.iter().any(|preparation| preparation.id == id)
    }

    /// Has everyone prepare who did not yet, all at once.
    async fn make<T: Settings>(
        &mut self,
        shared: &Shared<T>,
        old: &Arc<T>,
        new: &Arc<T>,
        until: &Until,
    ) -> Result<(), Rejection> {
        for Entry { id, name: who, member } in shared.members() {
            if !self.has(id) {
                let preparing = tokio::spawn(member.prepare(Arc::clone(old), Arc::clone(new)));
                self.list.push(Preparation { id, who, state: State::Running(preparing) });
            }
        }
        match timeout_at(until.at, self.all()).await {
            Ok(result) => result,
            Err(_) => Err(until.passed(self.late())),
        }
    }

    /// Waits for all of them, or the first that fails.
    async fn all(&mut self) -> Result<(), Rejection> {
        poll_fn(|context| {
            let mut waits = false;
            for Preparation { who, state, .. } in &mut self.list {
                let State::Running(task) = state else { continue };
                let Poll::Ready(result) = Pin::new(task).poll(context) else {
                    waits = true;
                    continue;
                };
                *state = State::Failed;
                match result {
                    Ok(Ok(prepared)) => *state = State::Ready(prepared),
                    Ok(Err(Refusal { why })) => {
                        return Poll::Ready(Err(Rejection::Refused { who: who.to_string(), why }));
                    }
                    Err(error) => return Poll::Ready(Err(ended(who, error))),
                }
            }
            if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
        .await
    }

    /// The first that is not ready.
    fn late(&self) -> &str {
        let late = self.list.iter().find(|preparation| matches!(preparation.state, State::Running(_)));
        late.map_or("the subscribers", |late| &late.who)
    }

    /// Puts everything to use, one after the other.
    fn commit(mut self) -> (Effects, Vec<Retire>) {
        let (mut effects, mut retires) = (Effects::new(), Vec::new());
        for Preparation { who, state, .. } in std::mem::take(&mut self.list) {
            let State::Ready(prepared) = state else { continue };
            let (done, retire) = prepared.commit();
            if done.is_none() {
                tracing::error!(target: "wellkept::config", %who, "its part of the change is not made");
            }
            effects.extend(done.unwrap_or_default());
            retires.extend(retire);
        }
        (effects, retires)
    }
}

impl Drop for Preparations {
    fn drop(&mut self) {
        for preparation in &self.list {
            if let State::Running(task) = &preparation.state {
                task.abort();
            }
        }
    }
}

enum Commit {
    /// The new configuration is the one that is read.
    Begun,
    /// Someone subscribed who has not prepared.
    Newcomers,
}

/// The point of no return: what is read from here on is the new one. Everything that could still be in its way is looked
/// at under the same lock.
fn commit_begins<T: Settings>(
    shared: &Shared<T>,
    preparations: &mut Preparations,
    candidate: &Candidate<T>,
    request: &Request,
    until: &Until,
) -> Result<Commit, Rejection> {
    let gone: Vec<Preparation>;
    let _old;
    {
        let mut books = shared.books();
        if books.closed {
            return Err(Rejection::ShuttingDown);
        }
        if until.is_over() {
            return Err(until.passed("the last step before the commit"));
        }
        if books.members().iter().any(|entry| !preparations.has(entry.id)) {
            return Ok(Commit::Newcomers);
        }
        let subscribed = |id| books.members().iter().any(|entry| entry.id == id);
        let (stay, left) = preparations.list.drain(..).partition(|preparation| subscribed(preparation.id));
        (preparations.list, gone) = (stay, left);
        books.now = Now {
            generation: books.now.generation + 1,
            version: None,
            hash: candidate.hash,
            fingerprint: candidate.fingerprint,
            shown: Arc::clone(&candidate.shown),
            since: SystemTime::now(),
            trigger: request.trigger,
            author: request.author.clone(),
            refuses: None,
            restart_required: candidate.restart_required.clone(),
        };
        _old = shared.current.swap(Arc::clone(&candidate.value));
    }
    // What an unsubscribed one prepared is given back.
    drop(gone);
    Ok(Commit::Begun)
}

/// Lets what was replaced end, each on a task of its own, within the deadline.
fn retire<T: Settings>(shared: &Shared<T>, retires: Vec<Retire>) {
    if retires.is_empty() {
        return;
    }
    let limit = shared.books().options.deadline;
    let ends = tokio::spawn(async move {
        let mut ends: JoinSet<()> = retires.into_iter().collect();
        let all = async { while ends.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(target: "wellkept::config", ?limit, "what was replaced did not end in time, and is dropped");
        }
    });
    shared.books().retire(ends.abort_handle());
}

fn log(request: &Request, report: &Report) {
    let (outcome, trigger, author) = (report.outcome.kind().as_str(), request.trigger.as_str(), &request.author);
    let dry_run = request.intent == Intent::DryRun;
    if let Outcome::Rejected(rejection) = &report.outcome {
        let code = rejection.code();
        tracing::error!(
            target: "wellkept::config", outcome, trigger, author, dry_run, code, %rejection,
            "the configuration from before runs on"
        );
    } else {
        tracing::info!(target: "wellkept::config", outcome, trigger, author, dry_run, "the configuration was read");
    }
}
