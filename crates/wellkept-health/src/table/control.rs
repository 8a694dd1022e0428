//! What is asked of components while they are kept: a run now, another schedule, to be left out and taken in again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{EngineState, Entry, Id, Table};
use crate::announce::Announcement;
use crate::clock::Clock;
use crate::component::{Component, Group};
use crate::control::{ControlError, Switched, Tuning};
use crate::drift::Drift;
use crate::hysteresis::Hysteresis;
use crate::job::Job;
use crate::snapshot::{Activity, Belonging, ComponentHealth, Moment};

/// Tells all who asked for a run what it found.
pub(crate) type Answer = watch::Sender<Option<Arc<ComponentHealth>>>;

/// Waits for what a run found. Closed without it when there will be none.
pub(crate) type Ask = watch::Receiver<Option<Arc<ComponentHealth>>>;

/// What one who asks gets.
#[derive(Debug)]
pub(crate) enum Answered {
    /// The latest result is new enough.
    Known(Arc<ComponentHealth>),
    /// It is still to come, within the timeout of one run once that has begun.
    Asked { ask: Ask, timeout: Duration },
}

/// What the engine is to do when it looks next. Sets: however often something is asked for, it is done once.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) run: BTreeSet<Id>,
    pub(crate) replan: BTreeSet<Id>,
}

/// What a run was begun under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Generation {
    /// How often the component was disabled: a run from before counts no more.
    pub(super) life: u32,
    /// How often it was tuned: a run from before counts, and is no answer to who asks for one.
    pub(super) settings: u32,
}

/// What the engine needs to know of a component whose turn it is.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) component: Arc<Component>,
    pub(crate) generation: Generation,
    pub(crate) plan: Plan,
}

/// Whether a component runs on its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    Runs,
    Disabled,
    /// It is for the start only, which is complete.
    Done,
}

impl Table {
    /// An engine runs from now on.
    pub(crate) fn begin(&mut self) {
        self.engine = EngineState::Running;
    }

    /// There is no engine any more: nobody waits for it.
    pub(crate) fn end(&mut self) {
        self.engine = EngineState::Ended;
        self.asked.clear();
    }

    pub(crate) fn engine(&self) -> EngineState {
        self.engine
    }

    pub(crate) fn take_orders(&mut self) -> Orders {
        std::mem::take(&mut self.orders)
    }

    pub(crate) fn turn(&self, id: Id) -> Option<Turn> {
        let entry = self.entries.get(id)?;
        let is_done = self.started && entry.is_for_start_only() && entry.health.served.is_some();
        let plan = match entry.health.activity {
            Activity::Disabled => Plan::Disabled,
            Activity::Enabled if is_done => Plan::Done,
            Activity::Enabled => Plan::Runs,
        };
        Some(Turn { component: Arc::clone(&entry.component), generation: entry.generation, plan })
    }

    /// The definition of a component as it is now.
    pub(crate) fn definition(&self, name: &str) -> Option<Arc<Component>> {
        self.entry(name).ok().map(|(_, entry)| Arc::clone(&entry.component))
    }

    /// What was changed at run time and still is.
    pub(crate) fn drift(&self) -> Vec<Drift> {
        let drift = self.entries.values().map(|entry| Drift {
            kind: entry.health.kind,
            belongs: entry.health.belongs,
            defined: Arc::clone(entry.defined.as_ref().unwrap_or(&entry.component)),
            now: Arc::clone(&entry.component),
            switched: (entry.health.activity != entry.component.activity).then_some(entry.health.activity),
        });
        let differs = |one: &Drift| {
            one.belongs == Belonging::Addition || one.switched.is_some() || !Arc::ptr_eq(&one.defined, &one.now)
        };
        drift.filter(differs).collect()
    }

    /// The jobs among the components, by name.
    pub(crate) fn jobs(&self) -> Vec<(Arc<str>, Job)> {
        let components = self.entries.values().map(|entry| &entry.component);
        components.filter_map(|one| Some((Arc::clone(&one.name), one.check.job.clone()?))).collect()
    }

    /// Asks for a run, or for the one that goes on, unless the latest result is younger than `gap`.
    pub(crate) fn ask(&mut self, name: &str, gap: Duration, clock: &dyn Clock) -> Result<Answered, ControlError> {
        let (id, entry) = self.entry(name)?;
        if entry.health.activity == Activity::Disabled {
            return Err(ControlError::Disabled { name: name.to_owned() });
        }
        if self.engine == EngineState::Ended {
            return Err(ControlError::NotRunning);
        }
        if entry.is_newer_than(gap, clock) {
            return Ok(Answered::Known(Arc::clone(&entry.health)));
        }
        let timeout = entry.component.schedule.timeout;
        Ok(Answered::Asked { ask: self.wait_for(id), timeout })
    }

    /// Asks for a run of each component that is wanted, runs at all, and has no result younger than `gap`.
    pub(crate) fn ask_all(
        &mut self,
        gap: Duration,
        clock: &dyn Clock,
        wanted: impl Fn(&ComponentHealth) -> bool,
    ) -> Result<Vec<(Arc<str>, Ask)>, ControlError> {
        if self.engine == EngineState::Ended {
            return Err(ControlError::NotRunning);
        }
        let due = |id: Id, entry: &Entry| {
            let runs = self.turn(id).is_some_and(|turn| turn.plan == Plan::Runs);
            runs && wanted(&entry.health) && !entry.is_newer_than(gap, clock)
        };
        let all = self.entries.iter().filter(|(id, entry)| due(*id, entry));
        let all: Vec<_> = all.map(|(id, entry)| (id, Arc::clone(&entry.component.name))).collect();
        Ok(all.into_iter().map(|(id, name)| (name, self.wait_for(id))).collect())
    }

    /// Leaves a component out: it does not run, it counts for nothing, and a run that goes on is not heard any more.
    pub(crate) fn disable(
        &mut self,
        name: &str,
        clock: &dyn Clock,
    ) -> Result<(Switched, Option<Announcement>), ControlError> {
        let (id, entry) = self.entry(name)?;
        if entry.health.activity == Activity::Disabled {
            return Ok((Switched::Already, None));
        }
        self.asked.remove(&id);
        let book = &self.maintenance;
        let announcement = self.entries.get_mut(id).and_then(|entry| {
            entry.generation.life = entry.generation.life.wrapping_add(1);
            let health = Arc::make_mut(&mut entry.health);
            health.activity = Activity::Disabled;
            health.counted = false;
            entry.announce(Moment::now(clock), book)
        });
        let announcement = announcement.map(|told| self.with_root(id, told, clock.boot()));
        Ok((Switched::Now, announcement))
    }

    /// Takes a component in again: it runs at once, and counts from that result on.
    pub(crate) fn enable(&mut self, name: &str) -> Result<Switched, ControlError> {
        let (id, entry) = self.entry(name)?;
        if entry.health.activity == Activity::Enabled {
            return Ok(Switched::Already);
        }
        let counted = !self.started && entry.component.holds_start();
        if let Some(entry) = self.entries.get_mut(id) {
            entry.hysteresis = Hysteresis::default();
            entry.causes = Default::default();
            let health = Arc::make_mut(&mut entry.health);
            *health = ComponentHealth {
                activity: Activity::Enabled,
                counted,
                served: None,
                raw: None,
                raw_reason: None,
                detail: "".into(),
                metadata: Arc::default(),
                parts: None,
                remaining: None,
                response_time: None,
                checked: None,
                consecutive: 0,
                ..health.clone()
            };
        }
        self.orders.run.insert(id);
        Ok(Switched::Now)
    }

    /// Gives a component other settings, or none of them when they can't be kept.
    pub(crate) fn tune(&mut self, name: &str, tuning: &Tuning) -> Result<Arc<Component>, ControlError> {
        let (id, entry) = self.entry(name)?;
        let tuned = tuning.applied_to(&entry.component);
        tuned.validate()?;
        let (tuned, started) = (Arc::new(tuned), self.started);
        if let Some(entry) = self.entries.get_mut(id) {
            let before = std::mem::replace(&mut entry.component, Arc::clone(&tuned));
            entry.defined.get_or_insert(before);
            entry.generation.settings = entry.generation.settings.wrapping_add(1);
            let health = Arc::make_mut(&mut entry.health);
            health.max_age = tuned.effective_max_age();
            health.interval = tuned.schedule.interval;
            health.timeout = tuned.schedule.timeout;
            health.thresholds = tuned.thresholds;
            health.tuned = true;
            if started {
                entry.complete_start();
            }
        }
        self.orders.replan.insert(id);
        if self.asked.contains_key(&id) {
            // The run that they joined was begun under the old settings.
            self.orders.run.insert(id);
        }
        Ok(tuned)
    }

    /// The start is complete from now on. Says whether that changed what counts.
    pub(crate) fn complete_start(&mut self) -> bool {
        self.started = true;
        let counts_no_more = |entry: &Entry| entry.is_for_start_only() || entry.is_awaited();
        let changing = self.entries.iter().filter(|(_, entry)| counts_no_more(entry));
        let changing: Vec<Id> = changing.map(|(id, _)| id).collect();
        for id in &changing {
            if let Some(entry) = self.entries.get_mut(*id) {
                entry.complete_start();
                // Registered since the snapshot that completed the start: it is one more that is added at run time.
                if entry.is_awaited() {
                    Arc::make_mut(&mut entry.health).counted = false;
                }
            }
        }
        !changing.is_empty()
    }

    /// Removes a component that was added at run time, and hands it out as [`Table::remove`] does.
    pub(crate) fn remove_added(&mut self, name: &str) -> Result<Option<Arc<Component>>, ControlError> {
        let (_, entry) = self.entry(name)?;
        if entry.health.belongs != Belonging::Addition {
            return Err(ControlError::NotAdded { name: name.to_owned() });
        }
        Ok(self.remove(name))
    }

    /// Those who asked for a run of the component under its old definition get the first of the new one.
    pub(super) fn ask_instead(&mut self, old: Id, new: Id, activity: Activity) {
        if let Some(answer) = self.asked.remove(&old)
            && activity == Activity::Enabled
        {
            self.asked.insert(new, answer);
            self.orders.run.insert(new);
        }
    }

    /// Nobody waits for what is gone.
    pub(super) fn forget_removed(&mut self) {
        self.fresh.retain(|id| self.entries.contains_key(*id));
        self.orders.run.retain(|id| self.entries.contains_key(*id));
        self.orders.replan.retain(|id| self.entries.contains_key(*id));
        self.asked.retain(|id, _| self.entries.contains_key(*id));
    }

    fn entry(&self, name: &str) -> Result<(Id, &Entry), ControlError> {
        let found = self.names.get(name).and_then(|id| Some((*id, self.entries.get(*id)?)));
        found.ok_or_else(|| ControlError::unknown(name))
    }

    fn wait_for(&mut self, id: Id) -> Ask {
        let answer = self.asked.entry(id).or_insert_with(|| watch::Sender::new(None));
        self.orders.run.insert(id);
        answer.subscribe()
    }
}

impl Entry {
    /// Whether no probe sees it but the one of the start.
    pub(super) fn is_for_start_only(&self) -> bool {
        *self.health.groups == [Group::Startup]
    }

    /// Whether it counts and nothing is known of it yet.
    fn is_awaited(&self) -> bool {
        self.health.counted && self.health.served.is_none()
    }

    /// What is for the start only has done its work, keeps what it found, and counts no more (Kubernetes, "Configure
    /// Liveness, Readiness and Startup Probes": the startup probe never runs again).
    pub(super) fn complete_start(&mut self) {
        if self.is_for_start_only() {
            let health = Arc::make_mut(&mut self.health);
            health.counted = false;
            health.max_age = Duration::MAX;
        }
    }

    /// Whether the latest result is younger than `gap`, or than one interval when that is shorter.
    fn is_newer_than(&self, gap: Duration, clock: &dyn Clock) -> bool {
        let gap = gap.min(self.component.schedule.interval);
        self.health.checked.is_some_and(|checked| clock.boot().saturating_sub(checked.boot) < gap)
    }
}
