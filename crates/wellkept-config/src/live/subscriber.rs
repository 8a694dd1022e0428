//! Those who act on a change: asked before it, told with it, and given back what they prepared when nothing comes of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::outcome::Effects;

use super::quietly;

/// Takes part in each change of a configuration.
///
/// Closures take part as well: `|old: Arc<T>, new: Arc<T>| async move { Ok(Prepared::nothing()) }`.
pub trait Subscriber<T>: Send + Sync + 'static {
    /// Makes everything that the new configuration needs, beside what runs, or refuses it. Changes nothing yet: others
    /// may refuse as well, and a dry run ends here.
    ///
    /// Runs on a task of its own, beside those of the other subscribers, within the deadline of the whole reload. Where
    /// that passes, the task is aborted at its next await; a panic refuses the configuration. It must not wait for a
    /// reload itself: that one's turn comes after this.
    fn prepare(&self, old: &Arc<T>, new: &Arc<T>) -> impl Future<Output = Result<Prepared, Refusal>> + Send;

    /// Whether something differs that the text of the configuration does not tell, such as the content of a file that it
    /// names: then a reload is none that changes nothing. Must not block. Default: no.
    fn is_stale(&self, running: &Arc<T>, read_again: &Arc<T>) -> bool {
        let _ = (running, read_again);
        false
    }
}

impl<T, F, P> Subscriber<T> for F
where
    F: Fn(Arc<T>, Arc<T>) -> P + Send + Sync + 'static,
    P: Future<Output = Result<Prepared, Refusal>> + Send + 'static,
{
    fn prepare(&self, old: &Arc<T>, new: &Arc<T>) -> impl Future<Output = Result<Prepared, Refusal>> + Send {
        self(Arc::clone(old), Arc::clone(new))
    }
}

/// Why a subscriber can't work with a new configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// In words for operators: no secret.
    pub why: String,
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self { why }
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Self::new(why)
    }
}

type Commit = Box<dyn FnOnce() -> Effects + Send>;
type Undo = Box<dyn FnOnce() + Send>;
pub(super) type Retire = Pin<Box<dyn Future<Output = ()> + Send>>;
type MakeRetire = Box<dyn FnOnce() -> Retire + Send>;

/// What a subscriber made ready: how it is put to use, how it is given back, and how what it replaces is ended.
///
/// Dropped without having been committed, it is given back.
#[must_use = "what is dropped is given back"]
pub struct Prepared {
    commit: Option<Commit>,
    undo: Option<Undo>,
    retire: Option<MakeRetire>,
}

impl Prepared {
    /// There is nothing to do.
    pub fn nothing() -> Self {
        Self { commit: None, undo: None, retire: None }
    }

    /// `commit` puts to use what was prepared. It can't fail, must be quick and must not block: all subscribers' commits
    /// run one after the other, in the order of their subscriptions, right after the new configuration became the one
    /// that is read. What it did is what the report says.
    pub fn new(commit: impl FnOnce() -> Effects + Send + 'static) -> Self {
        Self { commit: Some(Box::new(commit)), undo: None, retire: None }
    }

    /// `undo` gives back what was prepared, when nothing comes of it: another one refused, the deadline passed, or it
    /// was a dry run. Must be quick. Not needed for what `commit` holds: that is dropped with it.
    pub fn undo(mut self, undo: impl FnOnce() + Send + 'static) -> Self {
        self.undo = Some(Box::new(undo));
        self
    }

    /// `retire` ends what was replaced, after all commits: what still uses it may finish. It is given the reload's
    /// deadline once more, and is dropped then; so is that of the oldest of more than eight changes.
    pub fn retire<F>(mut self, retire: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.retire = Some(Box::new(move || Box::pin(retire())));
        self
    }

    /// What it did, what is to be retired, and whether it panicked.
    pub(super) fn commit(mut self) -> (Option<Effects>, Option<Retire>) {
        self.undo = None;
        let effects = match self.commit.take() {
            Some(commit) => quietly(commit),
            None => Some(Effects::new()),
        };
        let retire = self.retire.take().and_then(quietly);
        (effects, retire)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // First the commit, which holds what was made: it never runs.
        let commit = self.commit.take();
        let retire = self.retire.take();
        quietly(move || drop((commit, retire)));
        if let Some(undo) = self.undo.take() {
            quietly(undo);
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Prepared")
            .field("commits", &self.commit.is_some())
            .field("retires", &self.retire.is_some())
            .finish_non_exhaustive()
    }
}

/// Keeps a subscriber subscribed. Dropped, it is asked and told no more, not even of a reload that has begun.
#[must_use = "what is dropped is no longer subscribed"]
pub struct Subscription {
    pub(super) end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Subscription {
    /// For subscribers that stay for as long as the configuration does.
    pub fn forget(mut self) {
        self.end = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").finish_non_exhaustive()
    }
}

/// [`Subscriber`] for lists of them.
pub(super) trait Member<T>: Send + Sync {
    fn prepare(self: Arc<Self>, old: Arc<T>, new: Arc<T>) -> Preparing;
    fn is_stale(&self, running: &Arc<T>, read_again: &Arc<T>) -> bool;
}

pub(super) type Preparing = Pin<Box<dyn Future<Output = Result<Prepared, Refusal>> + Send>>;

impl<T: Send + Sync + 'static, S: Subscriber<T>> Member<T> for S {
    fn prepare(self: Arc<Self>, old: Arc<T>, new: Arc<T>) -> Preparing {
        Box::pin(async move { Subscriber::prepare(&*self, &old, &new).await })
    }

    fn is_stale(&self, running: &Arc<T>, read_again: &Arc<T>) -> bool {
        Subscriber::is_stale(self, running, read_again)
    }
}
