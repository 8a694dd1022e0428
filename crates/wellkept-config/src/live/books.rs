//! What is known of the configuration that runs: its particulars, who is subscribed, who waits, what was counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::content::{Content, ContentHash};
use crate::control::{Running, Shown};
use crate::named::Named;
use crate::outcome::{Outcome, Rejection, Report, Request};
use crate::versions::{OutcomeKind, Trigger, VersionId};

use super::LiveOptions;
use super::candidate::Candidate;
use super::milliseconds;
use super::probation::Probation;
use super::subscriber::Member;
use super::turns::Turn;

/// How many changes may have something that still ends.
const MOST_RETIRING: usize = 8;

/// All that is behind the one lock.
pub(super) struct Books<T> {
    pub(super) options: LiveOptions,
    pub(super) closed: bool,
    /// Turns that wait, the oldest first.
    pub(super) waiting: VecDeque<Turn>,
    /// Whether a task takes turns.
    pub(super) driven: bool,
    pub(super) now: Now,
    pub(super) seen: Seen,
    /// What ran last without being on probation.
    pub(super) good: Good,
    /// Of what runs, while it lasts.
    pub(super) trial: Option<Trial>,
    members: Vec<Entry<T>>,
    next_member: u64,
    /// The ends of what was replaced, the oldest first.
    retiring: VecDeque<AbortHandle>,
    last_rejection: Vec<String>,
    /// The refused attempt that was kept last.
    last_refusal: Option<(ContentHash, Vec<String>)>,
    counts: Counts,
}

/// What the sources said when they were read last, whatever came of it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `None` when they could not be read.
    pub(crate) hash: Option<ContentHash>,
    /// The files whose content belongs to the configuration.
    pub(crate) named: Vec<Named>,
}

/// One subscriber.
pub(super) struct Entry<T> {
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    pub(super) member: Arc<dyn Member<T>>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { id: self.id, name: Arc::clone(&self.name), member: Arc::clone(&self.member) }
    }
}

/// The configuration that runs.
#[derive(Clone)]
pub(super) struct Now {
    /// Counts up with each commit.
    pub(super) generation: u64,
    pub(super) hash: ContentHash,
    /// Of the last text that was seen to say the same.
    pub(super) alias: ContentHash,
    pub(super) fingerprint: u64,
    pub(super) content: Arc<Content>,
    pub(super) shown: Arc<[Shown]>,
    pub(super) since: SystemTime,
    pub(super) trigger: Trigger,
    pub(super) author: String,
    pub(super) refuses: Option<ContentHash>,
    pub(super) restart_required: Vec<String>,
}

/// What one goes back to.
pub(super) struct Good {
    pub(super) generation: u64,
    pub(super) content: Arc<Content>,
}

/// A probation that lasts.
pub(super) struct Trial {
    /// Of the commit that is on it.
    pub(super) generation: u64,
    pub(super) content: Arc<Content>,
    pub(super) until: SystemTime,
    /// Tells that it failed.
    pub(super) verdict: watch::Sender<Option<String>>,
    /// Who asks the judge.
    pub(super) task: AbortHandle,
}

/// What reloads came to so far. Dry runs are not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadStats {
    /// How many were applied whole.
    pub applied: u64,
    /// How many changed nothing.
    pub unchanged: u64,
    /// How many were refused.
    pub rejected: u64,
    /// How many returned to an earlier version.
    pub rolled_back: u64,
    /// How many were applied but for keys that wait for a restart.
    pub restart_required: u64,
    /// When the last one ended, and what it came to; `None` before the first.
    pub last: Option<(SystemTime, OutcomeKind)>,
    /// When the sources were last read without being refused: the start, or a reload.
    pub last_success: SystemTime,
    /// How long the last one took, from the request to the end.
    pub took: Duration,
    /// The hash of the content that runs.
    pub hash: ContentHash,
    /// The version that runs.
    pub version: Option<VersionId>,
    /// Whether a content is refused since a rollback.
    pub pinned: bool,
    /// Whether what runs is on probation.
    pub on_probation: bool,
    /// How many versions are in memory only, since the store can't be written.
    pub unwritten: usize,
    /// How many versions were lost, since the store could not be written for too long.
    pub lost: u64,
}

#[derive(Debug)]
struct Counts {
    applied: u64,
    unchanged: u64,
    rejected: u64,
    rolled_back: u64,
    restart_required: u64,
    last: Option<(SystemTime, OutcomeKind)>,
    last_success: SystemTime,
    took: Duration,
}

impl<T> Books<T> {
    pub(super) fn new(
        options: LiveOptions,
        first: Candidate<T>,
        files: ContentHash,
        refuses: Option<ContentHash>,
    ) -> Self {
        let at = SystemTime::now();
        Self {
            options,
            closed: false,
            waiting: VecDeque::new(),
            driven: false,
            seen: Seen { hash: Some(files), named: first.named },
            good: Good { generation: 0, content: Arc::clone(&first.content) },
            trial: None,
            now: Now {
                generation: 0,
                hash: first.hash,
                alias: first.hash,
                fingerprint: first.fingerprint,
                content: first.content,
                shown: first.shown,
                since: at,
                trigger: Trigger::Start,
                author: String::new(),
                refuses,
                restart_required: Vec::new(),
            },
            members: Vec::new(),
            next_member: 0,
            retiring: VecDeque::new(),
            last_rejection: Vec::new(),
            last_refusal: None,
            counts: Counts {
                applied: 0,
                unchanged: 0,
                rejected: 0,
                rolled_back: 0,
                restart_required: 0,
                last: None,
                last_success: at,
                took: Duration::ZERO,
            },
        }
    }

    pub(super) fn join(&mut self, name: &str, member: Arc<dyn Member<T>>) -> u64 {
        let id = self.next_member;
        self.next_member += 1;
        self.members.push(Entry { id, name: name.into(), member });
        id
    }

    pub(super) fn leave(&mut self, id: u64) -> Option<Entry<T>> {
        let index = self.members.iter().position(|entry| entry.id == id)?;
        Some(self.members.remove(index))
    }

    /// Those who are subscribed, in the order of their subscriptions.
    pub(super) fn members(&self) -> &[Entry<T>] {
        &self.members
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        if let Some(trial) = self.trial.take() {
            trial.task.abort();
        }
    }

    /// The probation that a change is put on, if there is one.
    pub(super) fn probation(&self) -> Option<Probation> {
        self.options.probation.clone().filter(|probation| !probation.lasts.is_zero() && !self.closed)
    }

    /// Puts what runs on probation; the one before it is over, undecided.
    pub(super) fn begin_trial(&mut self, trial: Trial) {
        if let Some(before) = self.trial.replace(trial) {
            before.task.abort();
        }
    }

    /// Trusts what runs.
    pub(super) fn end_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            trial.task.abort();
        }
        self.good = Good { generation: self.now.generation, content: Arc::clone(&self.now.content) };
    }

    /// Trusts what was on probation, if it still is. `false` when something else is.
    pub(super) fn outlived(&mut self, generation: u64) -> bool {
        let Some(trial) = self.trial.take_if(|trial| trial.generation == generation) else { return false };
        self.good = Good { generation, content: trial.content };
        true
    }

    /// Whether this attempt differs from the refused one that was kept last; if so it is the last one now.
    pub(super) fn is_new_refusal(&mut self, hash: ContentHash, summary: &[String]) -> bool {
        let is_new = self.last_refusal.as_ref().is_none_or(|(last, why)| *last != hash || why != summary);
        self.last_refusal = Some((hash, summary.to_vec()));
        is_new
    }

    /// What was taken back because of its probation is shown as what was refused last.
    pub(super) fn tell_of_going_back(&mut self, why: &str) {
        self.last_rejection = vec![format!("taken back on probation: {why}")];
    }

    /// What runs, for whoever has the turn to change it.
    pub(super) fn admit(&self, request: &Request) -> Result<Now, Rejection> {
        if self.closed {
            return Err(Rejection::ShuttingDown);
        }
        if request.expected.is_some_and(|expected| expected != self.now.hash) {
            return Err(Rejection::Stale);
        }
        Ok(self.now.clone())
    }

    /// Has the oldest ends of what was replaced cut off where there are too many.
    pub(super) fn retire(&mut self, end: AbortHandle) {
        self.retiring.retain(|end| !end.is_finished());
        self.retiring.push_back(end);
        while self.retiring.len() > MOST_RETIRING {
            if let Some(oldest) = self.retiring.pop_front() {
                oldest.abort();
            }
        }
    }

    /// Counts what a reload came to.
    pub(super) fn count(&mut self, report: &Report) {
        let at = SystemTime::now();
        let counts = &mut self.counts;
        let kind = report.outcome.kind();
        match kind {
            OutcomeKind::Applied => counts.applied += 1,
            OutcomeKind::Unchanged => counts.unchanged += 1,
            OutcomeKind::Rejected => counts.rejected += 1,
            OutcomeKind::RolledBack => counts.rolled_back += 1,
            OutcomeKind::RestartRequired => counts.restart_required += 1,
        }
        counts.last = Some((at, kind));
        counts.took = report.took;
        match &report.outcome {
            Outcome::Rejected(rejection) if tells_of_content(rejection) => {
                self.last_rejection = rejection.to_string().lines().map(str::to_owned).collect();
            }
            Outcome::Rejected(_) => {}
            Outcome::Unchanged => {
                counts.last_success = at;
                self.last_rejection.clear();
            }
            _ => {
                counts.last_success = at;
                self.last_rejection.clear();
                self.last_refusal = None;
            }
        }
    }

    pub(super) fn stats(&self, version: Option<VersionId>, (unwritten, lost): (usize, u64)) -> ReloadStats {
        let Counts { applied, unchanged, rejected, rolled_back, restart_required, last, last_success, took } =
            self.counts;
        ReloadStats {
            applied,
            unchanged,
            rejected,
            rolled_back,
            restart_required,
            last,
            last_success,
            took,
            hash: self.now.hash,
            version,
            pinned: self.now.refuses.is_some(),
            on_probation: self.trial.is_some(),
            unwritten,
            lost,
        }
    }

    pub(super) fn running(&self, version: Option<VersionId>, files: Vec<String>) -> Running {
        let now = &self.now;
        Running {
            version,
            hash: now.hash,
            since: milliseconds(now.since),
            trigger: now.trigger,
            author: now.author.clone(),
            files,
            refuses: now.refuses,
            restart_required: now.restart_required.clone(),
            probation_until: self.trial.as_ref().map(|trial| milliseconds(trial.until)),
            last_rejection: self.last_rejection.clone(),
        }
    }
}

/// Whether it says something of what the sources hold, rather than of when and how it was asked for.
pub(super) fn tells_of_content(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::Invalid { .. } | Rejection::Refused { .. } | Rejection::Panicked { .. } | Rejection::TimedOut { .. }
    )
}
