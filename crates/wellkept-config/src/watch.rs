//! Watching: notices that files say something else than before, however they were replaced, and tells it once they have
//! come to rest. Knows nothing of what they mean.

mod hints;
mod live;
mod route;
mod settle;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};

use self::hints::Hints;
use self::settle::{Settling, Step};
use crate::content::ContentHash;

/// How files are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// How often the files are read again even if nothing was heard of a change: file systems of other machines tell
    /// nothing. Also how long a file may be gone, or empty, before that counts as a change. From 10 ms to a day;
    /// default 30 s.
    pub poll: Duration,
    /// For how long the files must say the same before it counts, so that what is half written is left alone. From
    /// 10 ms to a day; default 200 ms.
    pub settle: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { poll: Duration::from_secs(30), settle: Duration::from_millis(200) }
    }
}

impl WatchOptions {
    fn bounded(self) -> Self {
        let bounded = |time: Duration| time.clamp(Duration::from_millis(10), Duration::from_secs(86_400));
        Self { poll: bounded(self.poll), settle: bounded(self.settle) }
    }
}

/// What watched files say, as far as it tells two states of them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// All could be read.
    Content {
        /// Tells two contents apart.
        hash: ContentHash,
        /// How many files there are. When they become fewer, that counts after 2 s only: a file that is replaced may be
        /// gone for a moment.
        files: usize,
    },
    /// All could be read, and there is nothing in one of them: it may be on its way to be written anew.
    Emptied(ContentHash),
    /// One is gone, or can't be read: why.
    Gone(String),
    /// One is nothing that could be used: why.
    Broken(String),
}

/// What became of a change that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is dealt with, well or badly, when the files said this: what differs from it is told again.
    Taken(Look),
    /// Not now: it is told again after [`WatchOptions::poll`].
    Later,
}

/// Files that are watched.
pub trait Watched: Send + Sync + 'static {
    /// The files and folders, as they were given. They need not exist. Asked for anew before each look; must not block.
    fn paths(&self) -> Vec<PathBuf>;

    /// What they say now. Called on a thread that may block, one call at a time.
    fn look(&self) -> Look;

    /// They say something else than when this was called last, and have done so for long enough. Nothing is looked at
    /// until it returns.
    fn changed(&self, look: &Look) -> impl Future<Output = Told> + Send;
}

/// A watch that goes on until this is dropped.
#[derive(Debug)]
#[must_use = "the watch ends when this is dropped"]
pub struct Watching {
    task: JoinHandle<()>,
}

impl Watching {
    /// Watches, from now on: `known` is what the files said when they were last taken.
    ///
    /// What the kernel tells of the files, of the links on the way to them and of the folders they are in is a hint to
    /// look again: what counts is what the files say, never their time. They are also looked at every
    /// [`WatchOptions::poll`]. Where the kernel has no more watches to give, this is the only way, and it is logged
    /// once. A file that is mounted by itself (`subPath` in Kubernetes) never changes: mount its folder.
    ///
    /// # Panics
    /// Outside a Tokio runtime whose time is enabled.
    pub fn start(watched: impl Watched, known: Look, options: WatchOptions) -> Self {
        let hints = Hints::open();
        Self { task: tokio::spawn(watch(Arc::new(watched), known, options.bounded(), hints)) }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch<W: Watched>(watched: Arc<W>, known: Look, options: WatchOptions, mut hints: Hints) {
    let mut settling = Settling::new(known, options);
    loop {
        let paths = watched.paths();
        let look = look(&watched, paths.clone(), &mut hints, options.poll).await;
        let next = match settling.step(Instant::now(), look) {
            Step::Rest => options.poll,
            Step::Again(after) => after.min(options.poll),
            Step::Act(look) => {
                let told = watched.changed(&look).await;
                settling.acted(told);
                // Where other files are to be watched from now on, the next look is what begins it.
                if watched.paths() == paths { options.poll } else { options.settle }
            }
        };
        // However often something happens to the files, they are read once in a while only.
        let now = Instant::now();
        let soonest = now + options.settle;
        tokio::select! {
            () = sleep_until(now + next) => {}
            () = async { hints.next().await; sleep_until(soonest).await } => {}
        }
    }
}

/// Looks, on a thread that may block; the watches are set before, so that no change falls between the two.
async fn look<W: Watched>(watched: &Arc<W>, paths: Vec<PathBuf>, hints: &mut Hints, patience: Duration) -> Look {
    let (arming, watched) = (hints.arming(), Arc::clone(watched));
    let mut looking = task::spawn_blocking(move || {
        let trouble = arming.arm(&paths);
        (trouble, watched.look())
    });
    let looked = if let Ok(looked) = timeout(patience, &mut looking).await {
        looked
    } else {
        tracing::warn!(
            target: "wellkept::config",
            "the files that are watched can't be read: their disk does not answer; what runs runs on"
        );
        looking.await
    };
    match looked {
        Ok((trouble, look)) => {
            hints.armed(&trouble);
            look
        }
        Err(error) => Look::Gone(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
