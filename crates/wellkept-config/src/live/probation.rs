//! Probation: a change that does the process no good is taken back without anybody's doing.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::outcome::Outcome;
use crate::settings::Settings;

use super::books::Trial;
use super::{LONGEST, Live, Shared, quietly, turns};

/// How often a judge is asked.
const EVERY: Duration = Duration::from_secs(1);

/// A time after each change in which it goes back by itself, if the judge says so.
#[derive(Clone)]
pub struct Probation {
    /// How long. Zero: there is none. At most 30 days.
    pub lasts: Duration,
    /// Who says so.
    pub judge: Arc<dyn Judge>,
}

/// Says whether the process is worse off since a change.
pub trait Judge: Send + Sync + 'static {
    /// A change is about to be made: what is the case now is what it is measured against. Must not block.
    fn before(&self) {}

    /// Why the change should be taken back, in words for operators; `None` while there is no reason. Asked every second
    /// of the probation, and at its end. Must not block. A panic is a reason.
    fn verdict(&self) -> Option<String>;
}

impl<F: Fn() -> Option<String> + Send + Sync + 'static> Judge for F {
    fn verdict(&self) -> Option<String> {
        self()
    }
}

impl fmt::Debug for Probation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Probation").field("lasts", &self.lasts).finish_non_exhaustive()
    }
}

impl<T: Settings> Live<T> {
    /// Ends the probation of what runs, badly: it is taken back. `false` when it is not on probation (any more).
    pub fn fail_probation(&self, why: impl Into<String>) -> bool {
        let books = self.shared.books();
        let Some(trial) = &books.trial else { return false };
        trial.verdict.send_replace(Some(why.into()));
        true
    }
}

/// Has the judge look at how things are without the change.
pub(super) fn announce<T>(shared: &Shared<T>) {
    let probation = shared.books().probation();
    if let Some(probation) = probation {
        quietly(|| probation.judge.before());
    }
}

/// Puts what was just committed on probation, or trusts it at once where there is none.
pub(super) fn begin<T: Settings>(shared: &Arc<Shared<T>>) {
    let mut books = shared.books();
    let Some(mut probation) = books.probation() else { return books.end_trial() };
    probation.lasts = probation.lasts.min(LONGEST);
    let until = SystemTime::now() + probation.lasts;
    let (verdict, said) = watch::channel(None);
    let (generation, content) = (books.now.generation, Arc::clone(&books.now.content));
    let task = tokio::spawn(watch_over(Arc::downgrade(shared), generation, probation, said)).abort_handle();
    books.begin_trial(Trial { generation, content, until, verdict, task });
}

/// Asks the judge until the end.
async fn watch_over<T: Settings>(
    shared: Weak<Shared<T>>,
    generation: u64,
    probation: Probation,
    mut said: watch::Receiver<Option<String>>,
) {
    let end = Instant::now() + probation.lasts;
    loop {
        let next = (Instant::now() + EVERY).min(end);
        let given = match timeout_at(next, said.changed()).await {
            Ok(Ok(())) => said.borrow_and_update().clone(),
            // It is over: something else runs, or the process ends.
            Ok(Err(_)) => return,
            Err(_) => None,
        };
        let judged = || quietly(|| probation.judge.verdict()).unwrap_or_else(|| Some("the judge panicked".to_owned()));
        let why = given.or_else(judged);
        let is_end = Instant::now() >= end;
        let Some(shared) = shared.upgrade() else { return };
        match why {
            Some(why) => {
                tracing::error!(target: "wellkept::config", why, "probation failed: the configuration goes back");
                let report = turns::go_back(&shared, generation, why).await;
                match report.map(|report| report.outcome) {
                    // It could not go back: what is bad is told again, and tried again.
                    Some(Outcome::Rejected(_)) if !is_end => {}
                    _ => return,
                }
            }
            None if is_end => {
                let outlived = shared.books().outlived(generation);
                if outlived {
                    tracing::info!(target: "wellkept::config", "probation is over: the configuration stays");
                }
                return;
            }
            None => {}
        }
    }
}
