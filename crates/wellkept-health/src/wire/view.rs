//! What one answer is about, and how much of it its reader may see: what all the formats are written from.

use std::sync::Arc;
use std::time::Duration;

use crate::checker::{Checker, Lifecycle};
use crate::component::Group;
use crate::liveness::Life;
use crate::snapshot::{ComponentHealth, Snapshot, Standing};
use crate::status::Status;

/// What an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The service as a whole.
    Service,
    /// Whether the process lives.
    Live,
    /// Whether traffic may come.
    Ready,
    /// Whether the start is complete.
    Startup,
    /// A group of the user's.
    Named(Group),
}

impl Subject {
    /// The subject that a group's name stands for; `None` when no component is in a group of the user's of this name.
    pub fn of_group(checker: &Checker, name: &str) -> Option<Self> {
        match Group::from(name) {
            Group::Live => Some(Self::Live),
            Group::Ready => Some(Self::Ready),
            Group::Startup => Some(Self::Startup),
            named @ Group::Named(_) => {
                let known = checker.snapshot().group(&named).next().is_some();
                known.then_some(Self::Named(named))
            }
        }
    }

    /// The group whose components it sees; `None` for all of them.
    pub fn group(&self) -> Option<&Group> {
        match self {
            Self::Service => None,
            Self::Live => Some(&Group::Live),
            Self::Ready => Some(&Group::Ready),
            Self::Startup => Some(&Group::Startup),
            Self::Named(group) => Some(group),
        }
    }
}

/// How much a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sight {
    /// Only what all components add up to.
    Status,
    /// The components' names and statuses, too.
    Names,
    /// Everything.
    Details,
}

/// One subject at one instant, as one reader may see it.
#[derive(Debug)]
pub struct View<'c> {
    pub(super) checker: &'c Checker,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) sight: Sight,
    subject: Subject,
    status: Status,
    lifecycle: Lifecycle,
    good: bool,
}

/// One component in a [`View`].
#[derive(Debug)]
pub struct Seen<'v> {
    /// The component.
    pub component: &'v ComponentHealth,
    /// What its readers are told now.
    pub standing: Standing,
    /// What it counts for the subject; `None` when it is left out.
    pub counts: Option<Status>,
}

impl<'c> View<'c> {
    /// The subject as it is now.
    pub fn of(checker: &'c Checker, subject: Subject, sight: Sight) -> Self {
        let snapshot = checker.snapshot();
        let lifecycle = checker.lifecycle();
        let (status, good) = match &subject {
            Subject::Service => {
                let overall = snapshot.overall();
                (overall, overall.is_ready())
            }
            Subject::Live => {
                // Not known yet, or in maintenance: alive all the same.
                let status = Some(snapshot.status(&Group::Live)).filter(|status| status.is_ready());
                let alive = checker.is_alive();
                (if alive { status.unwrap_or(Status::Healthy) } else { Status::Unhealthy }, alive)
            }
            Subject::Ready => {
                let readiness = checker.readiness_in(&snapshot);
                (readiness.status, readiness.ready)
            }
            Subject::Startup => {
                let started = checker.is_started();
                (if started { Status::Healthy } else { Status::Unknown }, started)
            }
            Subject::Named(group) => {
                let status = snapshot.named_status(group);
                (status, status.is_ready() && lifecycle != Lifecycle::Draining)
            }
        };
        Self { checker, snapshot, sight, subject, status, lifecycle, good }
    }

    /// Whether the probe passes: 200, and 503 otherwise.
    pub fn is_good(&self) -> bool {
        self.good
    }

    /// What the subject's components add up to.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Where the process is in its life, when that is why the probe fails.
    pub fn hindrance(&self) -> Option<Lifecycle> {
        let hindered = !self.good && matches!(self.subject, Subject::Ready | Subject::Named(_));
        Some(self.lifecycle).filter(|lifecycle| hindered && *lifecycle != Lifecycle::Running)
    }

    /// The status in a word, or what hinders a subject whose components are well: `draining`, `starting`.
    pub fn word(&self) -> &'static str {
        match self.hindrance() {
            Some(lifecycle) if self.status.is_ready() => lifecycle.as_str(),
            _ => self.status.as_str(),
        }
    }

    /// Whether the process is on its way out and the subject is about more than its being alive.
    pub fn is_draining(&self) -> bool {
        self.lifecycle == Lifecycle::Draining && !matches!(self.subject, Subject::Live | Subject::Startup)
    }

    /// What it is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether the reader may see everything.
    pub fn has_details(&self) -> bool {
        self.sight >= Sight::Details
    }

    /// The subject's components, as far as the reader may see their names.
    pub fn components(&self) -> impl Iterator<Item = Seen<'_>> {
        (self.sight >= Sight::Names).then(|| self.counted()).into_iter().flatten()
    }

    /// One of the subject's components, if the reader may see its name.
    pub fn component(&self, name: &str) -> Option<Seen<'_>> {
        let component = self.snapshot.component(name).filter(|_| self.sight >= Sight::Names)?;
        let sees = self.subject.group().is_none_or(|group| component.groups.contains(group));
        sees.then(|| self.seen(component))
    }

    /// How long nothing of this can turn too old by time alone; `None` when there is nothing that could.
    pub fn fresh_for(&self) -> Option<Duration> {
        let left = |seen: Seen<'_>| {
            let age = self.snapshot.age(seen.component)?;
            seen.counts.map(|_| seen.component.max_age.saturating_sub(age))
        };
        self.counted().filter_map(left).min()
    }

    /// Whether the probe would pass if these components were left out, too.
    pub fn is_good_without(&self, excluded: impl Fn(&str) -> bool) -> bool {
        if self.good || self.hindrance().is_some() || self.status == Status::Maintenance {
            return self.good;
        }
        let fine = || {
            let left = self.counted().filter(|seen| !excluded(&seen.component.name));
            left.filter_map(|seen| seen.counts).all(Status::is_ready)
        };
        let lives = || self.checker.down(&self.snapshot).all(|one| excluded(&one.name));
        match self.subject {
            Subject::Live => lives() && matches!(self.checker.life(), Life::Alive | Life::Failing),
            Subject::Startup => false,
            // Before there is a snapshot nothing is known of any component.
            Subject::Service | Subject::Ready => fine() && self.checker.is_started(),
            // Nor is there of a group that has just come.
            Subject::Named(_) => {
                fine() && self.checker.is_started() && self.counted().any(|seen| seen.counts.is_some())
            }
        }
    }

    fn counted(&self) -> impl Iterator<Item = Seen<'_>> {
        let group = self.subject.group();
        let seen = self.snapshot.components().filter(move |one| group.is_none_or(|group| one.groups.contains(group)));
        seen.map(|component| self.seen(component))
    }

    fn seen<'v>(&'v self, component: &'v ComponentHealth) -> Seen<'v> {
        let counts = self.snapshot.counts_as(component, self.subject.group());
        // A result of this process that is too old says that the engine does not run, and that is told elsewhere.
        let counts = counts.filter(|status| self.subject != Subject::Live || *status != Status::Unknown);
        Seen { component, standing: self.snapshot.standing(component), counts }
    }
}
