//! The way to the store of versions, which may be slow, broken or hung: one call at a time, and nobody waits for long.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::oneshot;

use crate::content::Content;
use crate::versions::{StoreFault, Version, VersionId, VersionStore};

/// How many versions wait in memory for a store that can't be written, and how much text they hold together. Beyond
/// that the oldest are lost.
const MOST_UNWRITTEN: usize = 50;
const MOST_UNWRITTEN_BYTES: u64 = 16 << 20;

/// How many questions may wait for the store.
const MOST_QUESTIONS: usize = 16;

/// How many versions' numbers are remembered.
const MOST_NUMBERS: usize = 256;

/// A version on its way into the store.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// The commit that it tells of; `None` for a refused attempt.
    pub(super) generation: Option<u64>,
    pub(super) version: Version,
    pub(super) content: Option<Arc<Content>>,
}

/// Owns the store.
#[derive(Debug)]
pub(super) struct Keeper(Mutex<Books>);

#[derive(Debug)]
struct Books {
    /// Absent while a call is at it.
    store: Option<Box<dyn VersionStore>>,
    keep: usize,
    unwritten: VecDeque<Record>,
    /// What was dropped from memory unwritten.
    lost: u64,
    questions: VecDeque<Question>,
    /// Who waits until everything is written, or can't be.
    writers: Vec<oneshot::Sender<Result<(), StoreFault>>>,
    /// The numbers that the store gave to commits, the newest last.
    numbers: VecDeque<(u64, VersionId)>,
    /// Whether a thread works through all this.
    worked: bool,
}

#[derive(Debug)]
enum Question {
    Versions(oneshot::Sender<Result<Vec<Version>, StoreFault>>),
    Content(VersionId, oneshot::Sender<Result<Option<Content>, StoreFault>>),
}

impl Keeper {
    pub(super) fn new(store: Box<dyn VersionStore>, keep: usize) -> Self {
        Self(Mutex::new(Books {
            store: Some(store),
            keep,
            unwritten: VecDeque::new(),
            lost: 0,
            questions: VecDeque::new(),
            writers: Vec::new(),
            numbers: VecDeque::new(),
            worked: false,
        }))
    }

    /// Remembers the number of a commit.
    pub(super) fn note(&self, generation: u64, id: VersionId) {
        self.books().note(generation, id);
    }

    /// The number of a commit; `None` until the store gave it one.
    pub(super) fn number(&self, generation: u64) -> Option<VersionId> {
        self.books().numbers.iter().rev().find(|(known, _)| *known == generation).map(|(_, id)| *id)
    }

    /// How many versions wait in memory, and how many were lost.
    pub(super) fn unwritten(&self) -> (usize, u64) {
        let books = self.books();
        (books.unwritten.len(), books.lost)
    }

    pub(super) fn keep(&self, keep: usize) {
        self.books().keep = keep;
    }

    /// Takes a version, to be written next. Never blocks.
    pub(super) fn put(&self, record: Record) {
        let mut books = self.books();
        books.unwritten.push_back(record);
        while books.unwritten.len() > MOST_UNWRITTEN || books.unwritten_bytes() > MOST_UNWRITTEN_BYTES {
            // The newest stays, whatever its size: it is the one that runs.
            if books.unwritten.len() == 1 {
                break;
            }
            books.unwritten.pop_front();
            books.lost += 1;
            tracing::error!(
                target: "wellkept::config", lost = books.lost,
                "versions are lost: the store could not be written for too long"
            );
        }
    }

    /// Has everything written that waits, for at most `patience`. What can't be is kept, and tried again next time.
    pub(super) async fn write(self: &Arc<Self>, runtime: &runtime::Handle, patience: Duration) {
        let (sender, receiver) = oneshot::channel();
        {
            let mut books = self.books();
            books.writers.retain(|writer| !writer.is_closed());
            books.writers.push(sender);
        }
        self.work(runtime);
        let fault = match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(fault))) => fault.to_string(),
            Ok(Err(_)) => "the runtime has ended".to_owned(),
            Err(_) => format!("it does not answer within {patience:?}"),
        };
        let waiting = self.unwritten().0;
        tracing::error!(target: "wellkept::config", fault, waiting, "a version is in memory only: the store can't be written");
    }

    pub(super) async fn versions(
        self: &Arc<Self>,
        runtime: &runtime::Handle,
        patience: Duration,
    ) -> Result<Vec<Version>, StoreFault> {
        self.ask(runtime, patience, Question::Versions).await
    }

    pub(super) async fn content(
        self: &Arc<Self>,
        runtime: &runtime::Handle,
        patience: Duration,
        id: VersionId,
    ) -> Result<Option<Content>, StoreFault> {
        self.ask(runtime, patience, |answer| Question::Content(id, answer)).await
    }

    async fn ask<R>(
        self: &Arc<Self>,
        runtime: &runtime::Handle,
        patience: Duration,
        question: impl FnOnce(oneshot::Sender<Result<R, StoreFault>>) -> Question,
    ) -> Result<R, StoreFault> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut books = self.books();
            books.questions.retain(|question| !question.is_given_up());
            if books.questions.len() >= MOST_QUESTIONS {
                return Err(fault("store.busy", "too many wait for it already"));
            }
            books.questions.push_back(question(sender));
        }
        self.work(runtime);
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(fault("store.gone", "the runtime has ended")),
            Err(_) => Err(fault("store.slow", format!("it does not answer within {patience:?}"))),
        }
    }

    /// Sees to it that a thread is at work.
    fn work(self: &Arc<Self>, runtime: &runtime::Handle) {
        if !std::mem::replace(&mut self.books().worked, true) {
            let mut worker = Worker { keeper: Arc::clone(self), working: true };
            runtime.spawn_blocking(move || while worker.step() {});
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn note(&mut self, generation: u64, id: VersionId) {
        self.numbers.push_back((generation, id));
        if self.numbers.len() > MOST_NUMBERS {
            self.numbers.pop_front();
        }
    }

    fn unwritten_bytes(&self) -> u64 {
        self.unwritten.iter().map(|record| record.version.bytes(record.content.as_deref())).sum()
    }
}

impl Question {
    fn is_given_up(&self) -> bool {
        match self {
            Self::Versions(answer) => answer.is_closed(),
            Self::Content(_, answer) => answer.is_closed(),
        }
    }
}

/// The one thread that calls the store. Dropped before it found nothing to do, it leaves nobody waiting.
struct Worker {
    keeper: Arc<Keeper>,
    working: bool,
}

impl Worker {
    /// Writes what waits and answers one question; `false` when nobody wants anything.
    fn step(&mut self) -> bool {
        let (mut store, writers, question) = {
            let mut books = self.keeper.books();
            let wanted = !books.writers.is_empty() || !books.questions.is_empty();
            let (Some(store), true) = (books.store.take_if(|_| wanted), wanted) else {
                (self.working, books.worked) = (false, false);
                return false;
            };
            (store, std::mem::take(&mut books.writers), books.questions.pop_front())
        };
        // First of all: what is told of the store then is what happened.
        let written = self.write(store.as_mut());
        for writer in writers {
            let _ = writer.send(written.clone());
        }
        match question {
            Some(Question::Versions(answer)) => drop(answer.send(guarded(|| store.versions()))),
            Some(Question::Content(id, answer)) => drop(answer.send(guarded(|| store.content(id)))),
            None => {}
        }
        self.keeper.books().store = Some(store);
        true
    }

    /// Writes what waits, oldest first, until the store fails.
    fn write(&self, store: &mut dyn VersionStore) -> Result<(), StoreFault> {
        loop {
            let (record, keep) = {
                let books = self.keeper.books();
                let Some(record) = books.unwritten.front().cloned() else { return Ok(()) };
                (record, books.keep)
            };
            let id = guarded(|| store.append(&record.version, record.content.as_deref(), keep))?;
            let mut books = self.keeper.books();
            // It may have been dropped meanwhile, to make room.
            if books.unwritten.front().is_some_and(|front| front.version == record.version) {
                books.unwritten.pop_front();
            }
            if let Some(generation) = record.generation {
                books.note(generation, id);
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.working {
            let mut books = self.keeper.books();
            books.worked = false;
            books.writers.clear();
            books.questions.clear();
        }
    }
}

/// Calls the store, which may be the application's own and panic.
pub(super) fn guarded<R>(call: impl FnOnce() -> Result<R, StoreFault>) -> Result<R, StoreFault> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let panic = super::panic_message(panic.as_ref());
        Err(fault("store.panicked", format!("it panicked: {panic}")))
    })
}

fn fault(code: &'static str, detail: impl Into<String>) -> StoreFault {
    StoreFault { code, detail: detail.into() }
}
