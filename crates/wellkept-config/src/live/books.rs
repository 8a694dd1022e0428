//! What is known of the configuration that runs: its particulars, who is subscribed, who waits, what was counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;

use crate::content::ContentHash;
use crate::control::{Running, Shown};
use crate::outcome::{Outcome, Rejection, Report, Request};
use crate::versions::{OutcomeKind, Trigger, VersionId};

use super::LiveOptions;
use super::candidate::Candidate;
use super::milliseconds;
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
    members: Vec<Entry<T>>,
    next_member: u64,
    /// The ends of what was replaced, the oldest first.
    retiring: VecDeque<AbortHandle>,
    last_rejection: Vec<String>,
    counts: Counts,
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
    /// `None` until the store has it.
    pub(super) version: Option<VersionId>,
    pub(super) hash: ContentHash,
    pub(super) fingerprint: u64,
    pub(super) shown: Arc<[Shown]>,
    pub(super) since: SystemTime,
    pub(super) trigger: Trigger,
    pub(super) author: String,
    pub(super) refuses: Option<ContentHash>,
    pub(super) restart_required: Vec<String>,
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
    pub(super) fn new(options: LiveOptions, first: Candidate<T>) -> Self {
        let at = SystemTime::now();
        Self {
            options,
            closed: false,
            waiting: VecDeque::new(),
            driven: false,
            now: Now {
                generation: 0,
                version: None,
                hash: first.hash,
                fingerprint: first.fingerprint,
                shown: first.shown,
                since: at,
                trigger: Trigger::Start,
                author: String::new(),
                refuses: None,
                restart_required: Vec::new(),
            },
            members: Vec::new(),
            next_member: 0,
            retiring: VecDeque::new(),
            last_rejection: Vec::new(),
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
            _ => {
                counts.last_success = at;
                self.last_rejection.clear();
            }
        }
    }

    pub(super) fn stats(&self) -> ReloadStats {
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
            version: self.now.version,
            pinned: self.now.refuses.is_some(),
        }
    }

    pub(super) fn running(&self, files: Vec<String>) -> Running {
        let now = &self.now;
        Running {
            version: now.version,
            hash: now.hash,
            since: milliseconds(now.since),
            trigger: now.trigger,
            author: now.author.clone(),
            files,
            refuses: now.refuses,
            restart_required: now.restart_required.clone(),
            probation_until: None,
            last_rejection: self.last_rejection.clone(),
        }
    }
}

/// Whether it says something of what the sources hold, rather than of when and how it was asked for.
fn tells_of_content(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::Invalid { .. } | Rejection::Refused { .. } | Rejection::Panicked { .. } | Rejection::TimedOut { .. }
    )
}
