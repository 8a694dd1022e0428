//! One change, from the reading to the end of what it replaced: everything new stands before anything is put to use.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::content::{Content, ContentHash};
use crate::diff::diff;
use crate::outcome::{Effects, Intent, Outcome, Rejection, Report, Request};
use crate::settings::Settings;
use crate::versions::{OutcomeKind, Version, VersionId};

use super::books::{Entry, Now, Seen, tells_of_content};
use super::candidate::Candidate;
use super::keeper::Record;
use super::preparations::{Preparations, ended};
use super::subscriber::Retire;
use super::telling::log;
use super::turns::Task;
use super::{Shared, probation, quietly};

/// What the store gave no number to.
const UNNUMBERED: VersionId = VersionId(0);

/// Makes the change that has the turn. Not cancel-safe: it runs on a task of its own.
pub(super) async fn run<T: Settings>(
    shared: &Arc<Shared<T>>,
    task: &Task,
    request: &Request,
    asked: Instant,
) -> Report {
    let limit = shared.deadline();
    let attempt = Attempt { shared, task, request, until: Until::after(limit), seen: Arc::default() };
    let report = match attempt.make().await {
        Ok(done) => {
            let version = shared.version();
            let mut books = shared.books();
            let report = Report {
                outcome: done.outcome,
                version,
                hash: books.now.hash,
                changes: done.changes,
                effects: done.effects,
                took: asked.elapsed(),
            };
            if request.intent == Intent::Apply {
                books.count(&report);
            }
            if let (Task::GoBack { why, .. }, Outcome::RolledBack { .. }) = (task, &report.outcome) {
                books.tell_of_going_back(why);
            }
            report
        }
        Err(rejection) => {
            attempt.record_refusal(&rejection).await;
            shared.refused(rejection, request.intent, asked)
        }
    };
    log(request, &report);
    shared.tell(request, &report);
    report
}

/// The end of the time that a change has.
pub(super) struct Until {
    pub(super) at: Instant,
    limit: Duration,
}

impl Until {
    fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    async fn wait<F: Future>(&self, what: &str, future: F) -> Result<F::Output, Rejection> {
        timeout_at(self.at, future).await.map_err(|_| self.passed(what))
    }

    pub(super) fn passed(&self, what: &str) -> Rejection {
        Rejection::TimedOut { what: what.to_owned(), limit: self.limit }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.at
    }
}

struct Attempt<'a, T> {
    shared: &'a Arc<Shared<T>>,
    task: &'a Task,
    request: &'a Request,
    until: Until,
    /// The hash of what was read, be it refused.
    seen: Arc<OnceLock<ContentHash>>,
}

/// What became of a change that was not refused.
struct Done {
    outcome: Outcome,
    changes: Vec<String>,
    effects: Effects,
}

/// What was read.
enum Read<T> {
    /// It says what runs already, in a text of this hash.
    Same(ContentHash),
    /// Something else, and what is refused from its commit on.
    New(Candidate<T>, Option<ContentHash>),
}

/// What is to be read, and what it is compared with.
struct Question<T> {
    before: Now,
    old: Arc<T>,
    /// The content of a version; else the sources are read.
    kept: Option<Arc<Content>>,
    /// The hash of what the files say then.
    said: ContentHash,
}

/// Blocks on the files. What was `seen` is told whatever comes of it, and what the `files` say.
fn examine<T: Settings>(
    shared: &Shared<T>,
    question: Question<T>,
    seen: &OnceLock<ContentHash>,
    files: &mut Seen,
) -> Result<Read<T>, Rejection> {
    let Question { before, old, kept, said } = question;
    let (content, refuses) = match kept {
        None => {
            files.hash = None;
            let content = Arc::new(shared.sources.content().map_err(invalid)?);
            let hash = content.hash();
            files.hash = Some(hash);
            if before.refuses == Some(hash) {
                return Err(Rejection::Pinned);
            }
            (content, None)
        }
        // What the files say must not come back by itself.
        Some(content) => {
            let refuses = Some(said).filter(|said| *said != content.hash());
            (content, refuses)
        }
    };
    let hash = content.hash();
    let _ = seen.set(hash);
    let started = Some(&*shared.started);
    let candidate = Candidate::read(&shared.sources, content, started, &mut files.named).map_err(invalid)?;
    if candidate.fingerprint == before.fingerprint && !shared.is_stale(&old, &candidate.value)? {
        return Ok(Read::Same(hash));
    }
    Ok(Read::New(candidate, refuses))
}

impl<T: Settings> Attempt<'_, T> {
    async fn make(&self) -> Result<Done, Rejection> {
        let before = self.shared.books().admit(self.request)?;
        let old = self.shared.current.load_full();
        let (candidate, refuses) = match self.read(&before, &old).await? {
            Read::New(candidate, refuses) => (candidate, refuses),
            Read::Same(hash) => {
                let mut books = self.shared.books();
                match self.task {
                    Task::Reload => books.now.alias = hash,
                    Task::RollBack(_) => {}
                    // Nothing else is left to go back to.
                    Task::GoBack { .. } => books.end_trial(),
                }
                return Ok(Done { outcome: Outcome::Unchanged, changes: Vec::new(), effects: Effects::new() });
            }
        };
        let changes = diff(&before.shown, &candidate.shown);
        let restart_required = candidate.restart_required.clone();
        let returned_to = self.returns_to();
        let outcome = match returned_to {
            Some(to) => Outcome::RolledBack { to, restart_required },
            None if restart_required.is_empty() => Outcome::Applied,
            None => Outcome::RestartRequired { keys: restart_required },
        };
        let mut preparations = Preparations::default();
        preparations.make(self.shared, &old, &candidate.value, &self.until).await?;
        if self.request.intent == Intent::DryRun {
            return Ok(Done { outcome, changes, effects: Effects::new() });
        }
        let now = Now {
            generation: before.generation + 1,
            hash: candidate.hash,
            alias: candidate.hash,
            fingerprint: candidate.fingerprint,
            content: Arc::clone(&candidate.content),
            shown: Arc::clone(&candidate.shown),
            since: SystemTime::now(),
            trigger: self.request.trigger,
            author: self.request.author.clone(),
            refuses,
            restart_required: candidate.restart_required.clone(),
        };
        probation::announce(self.shared);
        loop {
            match self.shared.swap(&mut preparations, &now, &candidate.value, Some(&self.until))? {
                Swap::Done => break,
                // Whoever subscribed meanwhile knows the old one only: it is asked as well.
                Swap::Newcomers => {}
            }
            preparations.make(self.shared, &old, &candidate.value, &self.until).await?;
        }
        let committed = preparations.commit();
        if let Some(who) = committed.panicked
            && self.undo(&before, &old, &candidate).await
        {
            self.shared.retire(committed.retires);
            return Err(Rejection::Panicked { who });
        }
        self.shared.changes.send_replace(Arc::clone(&candidate.value));
        self.record(&candidate, outcome.kind(), returned_to, refuses, &changes).await;
        self.shared.retire(committed.retires);
        match self.task {
            Task::GoBack { .. } => self.shared.books().end_trial(),
            Task::Reload | Task::RollBack(_) => probation::begin(self.shared),
        }
        Ok(Done { outcome, changes, effects: committed.effects })
    }

    /// The version that the task returns to.
    fn returns_to(&self) -> Option<VersionId> {
        match self.task {
            Task::Reload => None,
            Task::RollBack(to) => Some(*to),
            Task::GoBack { .. } => {
                let generation = self.shared.books().good.generation;
                Some(self.shared.keeper.number(generation).unwrap_or(UNNUMBERED))
            }
        }
    }

    /// Reads and checks what the task names.
    async fn read(&self, before: &Now, old: &Arc<T>) -> Result<Read<T>, Rejection> {
        let shared = self.shared;
        let kept = match self.task {
            Task::Reload if shared.sources.is_empty_of_files() => return Err(Rejection::NoFile),
            Task::Reload => None,
            Task::RollBack(to) => Some(self.kept(*to).await?),
            Task::GoBack { .. } => Some(Arc::clone(&shared.books().good.content)),
        };
        // What the files say must not come back by itself. Where they can't be read, or nobody looked at them before
        // this was decided, that is what they are known to have said.
        let known = before.refuses.unwrap_or(before.alias);
        let said = match self.task {
            Task::RollBack(_) => self.files().await.unwrap_or(known),
            Task::Reload | Task::GoBack { .. } => known,
        };
        let what = "reading";
        let turns = if kept.is_some() { &shared.reading_kept } else { &shared.reading };
        let turn = self.until.wait(what, Arc::clone(turns).acquire_owned()).await?;
        let question = Question { before: before.clone(), old: Arc::clone(old), kept, said };
        let (shared, seen) = (Arc::clone(shared), Arc::clone(&self.seen));
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut files = shared.books().seen.clone();
            (examine(&shared, question, &seen, &mut files), files)
        });
        let (read, files) = self.until.wait(what, reading).await?.map_err(|error| ended(what, error))?;
        if self.request.intent == Intent::Apply {
            self.shared.books().seen = files;
        }
        read
    }

    /// The hash of what the files say now, where that can be had soon: a rollback must be possible without them.
    async fn files(&self) -> Option<ContentHash> {
        let patience = self.shared.patience();
        let look = async {
            let turn = Arc::clone(&self.shared.reading).acquire_owned().await.ok()?;
            let shared = Arc::clone(self.shared);
            let reading = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                shared.sources.content().ok().map(|content| content.hash())
            });
            reading.await.ok()?
        };
        tokio::time::timeout(patience, look).await.ok()?
    }

    /// The content of a version.
    async fn kept(&self, id: VersionId) -> Result<Arc<Content>, Rejection> {
        let (runtime, patience) = (Handle::current(), self.shared.patience());
        match self.shared.keeper.content(&runtime, patience, id).await {
            Ok(Some(content)) => Ok(Arc::new(content)),
            Ok(None) => Err(Rejection::UnknownVersion { id }),
            Err(fault) => Err(Rejection::Store { message: fault.to_string() }),
        }
    }

    /// After a commit panicked, which leaves the change half made: takes everyone back to what ran before. Where even
    /// that is refused, the change stays, since it is what is read.
    async fn undo(&self, before: &Now, old: &Arc<T>, candidate: &Candidate<T>) -> bool {
        let until = Until::after(self.until.limit);
        let mut preparations = Preparations::default();
        loop {
            if let Err(rejection) = preparations.make(self.shared, &candidate.value, old, &until).await {
                tracing::error!(
                    target: "wellkept::config", %rejection,
                    "a change is made in part, and can't be taken back: it stays as it is"
                );
                return false;
            }
            if let Ok(Swap::Done) = self.shared.swap(&mut preparations, before, old, None) {
                break;
            }
        }
        self.shared.retire(preparations.commit().retires);
        true
    }

    /// Keeps a version that runs.
    async fn record(
        &self,
        candidate: &Candidate<T>,
        outcome: OutcomeKind,
        returned_to: Option<VersionId>,
        refuses: Option<ContentHash>,
        changes: &[String],
    ) {
        let why = match self.task {
            Task::GoBack { why, .. } => Some(format!("probation failed: {why}")),
            Task::Reload | Task::RollBack(_) => None,
        };
        let summary = why.into_iter().chain(changes.iter().cloned()).collect();
        let returned_to = returned_to.filter(|to| *to != UNNUMBERED);
        let version = Version { returned_to, refuses, ..self.version(candidate.hash, outcome, summary) };
        let generation = Some(self.shared.books().now.generation);
        self.write(Record { generation, version, content: Some(Arc::clone(&candidate.content)) }).await;
    }

    /// Keeps an attempt that was refused, unless it is the one before once more.
    async fn record_refusal(&self, rejection: &Rejection) {
        let Some(hash) = self.seen.get().copied() else { return };
        if self.request.intent == Intent::DryRun || !tells_of_content(rejection) {
            return;
        }
        let summary: Vec<String> = rejection.to_string().lines().map(str::to_owned).collect();
        if self.shared.books().is_new_refusal(hash, &summary) {
            let version = self.version(hash, OutcomeKind::Rejected, summary);
            self.write(Record { generation: None, version, content: None }).await;
        }
    }

    fn version(&self, hash: ContentHash, outcome: OutcomeKind, summary: Vec<String>) -> Version {
        Version {
            id: UNNUMBERED,
            at: SystemTime::now(),
            trigger: self.request.trigger,
            author: self.request.author.clone(),
            hash,
            outcome,
            returned_to: None,
            refuses: None,
            summary,
        }
    }

    async fn write(&self, record: Record) {
        self.shared.keeper.put(record);
        self.shared.keeper.write(&Handle::current(), self.shared.patience()).await;
    }
}

fn invalid(error: impl std::fmt::Display) -> Rejection {
    Rejection::Invalid { message: error.to_string() }
}

/// What came of the point of no return.
enum Swap {
    /// The new configuration is the one that is read.
    Done,
    /// Not yet: someone subscribed who has not prepared.
    Newcomers,
}

impl<T: Settings> Shared<T> {
    /// The point of no return: what is read from here on is the new one. Everything that could still be in its way is
    /// looked at under the same lock; without `until`, nothing is.
    fn swap(
        &self,
        preparations: &mut Preparations,
        now: &Now,
        value: &Arc<T>,
        until: Option<&Until>,
    ) -> Result<Swap, Rejection> {
        let mut books = self.books();
        if let Some(until) = until {
            if books.closed {
                return Err(Rejection::ShuttingDown);
            }
            if until.is_over() {
                return Err(until.passed("the commit"));
            }
        }
        if !preparations.cover(books.members()) {
            return Ok(Swap::Newcomers);
        }
        let gone = preparations.without(books.members());
        books.now = now.clone();
        let old = self.current.swap(Arc::clone(value));
        drop(books);
        // Foreign code: what an unsubscribed one prepared is given back, and maybe the old configuration goes.
        quietly(|| drop((gone, old)));
        Ok(Swap::Done)
    }

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

    /// Lets what was replaced end, each on a task of its own, within the deadline.
    fn retire(&self, retires: Vec<Retire>) {
        if retires.is_empty() {
            return;
        }
        let limit = self.deadline();
        let ends = tokio::spawn(async move {
            let mut ends: JoinSet<()> = retires.into_iter().collect();
            let all = async { while ends.join_next().await.is_some() {} };
            if tokio::time::timeout(limit, all).await.is_err() {
                tracing::warn!(target: "wellkept::config", ?limit, "what was replaced did not end in time, and is dropped");
            }
        });
        self.books().retire(ends.abort_handle());
    }
}
