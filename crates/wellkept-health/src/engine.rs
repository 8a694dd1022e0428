//! The worker: runs every check on its own schedule and publishes what comes of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::check::Scope;
use crate::checker::Checker;
use crate::engine::publishing::Service;
use crate::history::Record;
use crate::run::{Finished, Started};
use crate::schedule::Timetable;
use crate::snapshot::{ComponentHealth, Moment};
use crate::table::{Answer, Generation, Id, Plan};

mod orders;
mod publishing;

/// How often results are looked over for having grown stale.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How much further the clock that goes on through suspend must have come for the machine to have slept.
const SLEPT: Duration = Duration::from_secs(1);
/// How much later than it should a look over the results comes after the process was stopped, or its runtime stalled.
const PAUSED: Duration = Duration::from_secs(5);
/// Runs past their time that may occupy a thread each; beyond it no blocking check is started.
const MOST_STRAGGLERS: usize = 1000;
/// Checks on this process or machine that may run at once.
pub(crate) const MOST_LOCAL: usize = 512;

/// Runs the checks of its [`Checker`]. Made together with it; spawn [`Engine::run`].
pub struct Engine {
    checker: Checker,
    /// When each component is due next.
    agenda: BinaryHeap<Reverse<(Instant, Id)>>,
    active: HashMap<Id, Active>,
    remote: Lane,
    /// Of its own: what looks at this process or machine never waits for what looks at others.
    local: Lane,
    runs: JoinSet<()>,
    events_in: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    straggling_tasks: usize,
    straggling_threads: usize,
    /// The two clocks at the latest sweep, to notice that the machine slept.
    swept: (Duration, Instant),
    unpublished: bool,
    publish_after: Instant,
    service: Service,
    /// What those are told who asked for a run, once its result is published.
    answers: Vec<(Answer, Arc<ComponentHealth>)>,
}

/// Checks of one kind: how many run, and which are due and wait for a place.
struct Lane {
    queue: VecDeque<(Id, Instant)>,
    running: usize,
    places: usize,
}

impl Lane {
    fn new(places: usize) -> Self {
        Self { queue: VecDeque::new(), running: 0, places }
    }

    /// What is to be started next, if there is a place.
    fn next(&mut self) -> Option<(Id, Instant)> {
        if self.running < self.places { self.queue.pop_front() } else { None }
    }
}

struct Active {
    timetable: Timetable,
    /// When it is due next. What else the agenda says of it is outdated.
    due: Option<Instant>,
    run: RunState,
    /// What the latest run was begun under.
    generation: Generation,
    /// Asked for while a run went on whose result will not do.
    again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunState {
    Idle,
    Queued,
    Running,
    /// Its result, a timeout, is known; the run itself goes on.
    Straggling,
}

enum Event {
    Finished { id: Id, generation: Generation, finished: Box<Finished>, straggler: Option<Straggler>, scope: Scope },
    Ended { id: Id, straggler: Straggler },
}

/// What a run past its time occupies. A task ends as soon as it is polled again, a thread as late as it likes.
#[derive(Debug, Clone, Copy)]
enum Straggler {
    Task,
    Thread,
}

impl Engine {
    pub(crate) fn new(checker: Checker) -> Self {
        let (events_in, events) = mpsc::channel(1024);
        let boot = checker.clock().boot();
        let remote = Lane::new(checker.shared.settings.max_concurrent);
        Self {
            checker,
            agenda: BinaryHeap::new(),
            active: HashMap::new(),
            remote,
            local: Lane::new(MOST_LOCAL),
            runs: JoinSet::new(),
            events_in,
            events,
            straggling_tasks: 0,
            straggling_threads: 0,
            swept: (boot, Instant::now()),
            unpublished: true,
            publish_after: Instant::now(),
            service: Service::default(),
            answers: Vec::new(),
        }
    }

    /// Runs until `stop` ends, or for ever with [`std::future::pending`]. Checks that run then are dropped.
    /// Cancel-safe: dropping it ends all runs but those of blocking checks.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let checker = self.checker.clone();
        checker.table().begin();
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.take_in();
            self.begin_due();
            if self.unpublished && Instant::now() >= self.publish_after {
                self.publish();
            }
            let next = self.next_wake();
            tokio::select! {
                () = &mut stop => return,
                Some(event) = self.events.recv() => self.take(event),
                Some(_) = self.runs.join_next() => {}
                () = checker.shared.wake.notified() => self.look_up(),
                () = sleep_until(next) => {}
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    /// Puts what was registered since the last look onto the agenda, and does what was asked for.
    fn take_in(&mut self) {
        let now = Instant::now();
        let mut table = self.checker.table();
        let fresh = table.take_fresh();
        let warnings = table.warnings(&fresh);
        for id in fresh {
            let Some(component) = table.component(id) else { continue };
            let instance = &self.checker.shared.settings.instance;
            let (timetable, first) = Timetable::begin(component.schedule, instance, &component.name, now);
            self.agenda.push(Reverse((first, id)));
            let due = Some(first);
            let idle = Active { timetable, due, run: RunState::Idle, generation: Generation::default(), again: false };
            self.active.insert(id, idle);
            self.unpublished = true;
        }
        // What was removed leaves the books when it falls due. Many reloads with long intervals must not fill them, nor
        // what is due no more.
        if self.agenda.len().max(self.active.len()) > 2 * table.len() + 64 {
            self.active.retain(|id, _| table.component(*id).is_some());
            self.remote.queue.retain(|(id, _)| table.component(*id).is_some());
            self.local.queue.retain(|(id, _)| table.component(*id).is_some());
            self.agenda.retain(|Reverse((due, id))| self.active.get(id).is_some_and(|one| one.due == Some(*due)));
        }
        let orders = table.take_orders();
        drop(table);
        for warning in warnings {
            tracing::warn!(target: "wellkept::health", "{warning}");
        }
        for id in orders.replan {
            self.replan(id, now);
        }
        for id in orders.run {
            self.run_now(id, now);
        }
    }

    /// Queues what is due and starts as much of it as there are places.
    fn begin_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((due, id))) = self.agenda.peek()
            && due <= now
        {
            self.agenda.pop();
            self.fall_due(id, due, now);
        }
        while let Some((id, due)) = self.local.next().or_else(|| self.remote.next()) {
            self.start(id, due, now);
        }
        let counters = &self.checker.shared.counters;
        let (queued, running) =
            (self.local.queue.len() + self.remote.queue.len(), self.local.running + self.remote.running);
        counters.queued.store(queued as u64, Ordering::Relaxed);
        counters.running.store(running as u64, Ordering::Relaxed);
        counters.stragglers.store((self.straggling_tasks + self.straggling_threads) as u64, Ordering::Relaxed);
    }

    fn fall_due(&mut self, id: Id, due: Instant, now: Instant) {
        let Some(turn) = self.checker.table().turn(id) else {
            self.active.remove(&id);
            return;
        };
        let Some(active) = self.active.get_mut(&id).filter(|active| active.due == Some(due)) else { return };
        if turn.plan == Plan::Done {
            active.due = None;
            return;
        }
        let (next, mut missed) = active.timetable.next(now);
        active.due = Some(next);
        self.agenda.push(Reverse((next, id)));
        if turn.plan == Plan::Disabled {
            return;
        }
        let component = turn.component;
        match active.run {
            RunState::Idle => {
                active.run = RunState::Queued;
                self.lane(component.scope).queue.push_back((id, due));
            }
            RunState::Queued | RunState::Running => missed += 1,
            RunState::Straggling => {
                // It still owes its answer: that counts as one more timeout, or a check that hangs for ever would
                // be found out by its age only.
                missed += 1;
                let finished = Finished::still_waiting(component.schedule.timeout);
                self.apply(id, turn.generation, finished);
            }
        }
        if missed > 0 {
            self.checker.shared.counters.missed.fetch_add(missed, Ordering::Relaxed);
            self.checker.table().missed(id, missed);
        }
    }

    fn start(&mut self, id: Id, due: Instant, now: Instant) {
        let Some(turn) = self.checker.table().turn(id) else {
            self.active.remove(&id);
            return;
        };
        if turn.plan == Plan::Disabled {
            self.set_state(id, RunState::Idle);
            return;
        }
        let (component, generation) = (turn.component, turn.generation);
        if self.straggling_threads >= MOST_STRAGGLERS && component.check.is_blocking() {
            self.set_state(id, RunState::Idle);
            self.apply(id, generation, Finished::no_thread_left());
            return;
        }
        if let Some(active) = self.active.get_mut(&id) {
            active.run = RunState::Running;
            active.generation = generation;
        }
        self.lane(component.scope).running += 1;
        self.checker.shared.counters.lags.add(now.saturating_duration_since(due));
        let events = self.events_in.clone();
        let identity = Some(self.checker.identity());
        self.runs.spawn(async move {
            let mut run = Started::begin(&component, identity);
            let finished = run.outcome().await;
            let occupied = if component.check.is_blocking() { Straggler::Thread } else { Straggler::Task };
            let straggler = run.straggles().then_some(occupied);
            // The engine that would read this may be gone: then nobody waits for the result.
            let scope = component.scope;
            let finished = Box::new(finished);
            let event = Event::Finished { id, generation, finished, straggler, scope };
            if events.send(event).await.is_ok()
                && let Some(straggler) = straggler
            {
                run.end().await;
                drop(events.send(Event::Ended { id, straggler }).await);
            }
        });
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Finished { id, generation, finished, straggler, scope } => {
                self.lane(scope).running -= 1;
                let state = straggler.map_or(RunState::Idle, |straggler| {
                    *self.straggling(straggler) += 1;
                    RunState::Straggling
                });
                self.set_state(id, state);
                self.apply(id, generation, *finished);
                self.run_again(id);
            }
            Event::Ended { id, straggler } => {
                *self.straggling(straggler) -= 1;
                self.set_state(id, RunState::Idle);
                self.run_again(id);
            }
        }
    }

    fn lane(&mut self, scope: Scope) -> &mut Lane {
        match scope {
            Scope::Remote => &mut self.remote,
            Scope::Process | Scope::Machine => &mut self.local,
        }
    }

    fn straggling(&mut self, straggler: Straggler) -> &mut usize {
        match straggler {
            Straggler::Task => &mut self.straggling_tasks,
            Straggler::Thread => &mut self.straggling_threads,
        }
    }

    fn set_state(&mut self, id: Id, state: RunState) {
        if let Some(active) = self.active.get_mut(&id) {
            active.run = state;
        }
    }

    fn apply(&mut self, id: Id, generation: Generation, finished: Finished) {
        let applied = self.checker.table().apply(id, generation, finished, self.checker.clock());
        let Some(applied) = applied else { return };
        self.checker.shared.counters.runs.fetch_add(1, Ordering::Relaxed);
        self.checker.remember(Record::Result(applied.result));
        if let Some(announcement) = applied.announcement {
            self.checker.announce(announcement);
        }
        self.answers.extend(applied.answer);
        self.unpublished = true;
    }

    fn sweep(&mut self) {
        let (boot, now) = (self.checker.clock().boot(), Instant::now());
        self.tick();
        let (boot_before, before) = std::mem::replace(&mut self.swept, (boot, now));
        let passed = boot.saturating_sub(boot_before);
        if passed > now.saturating_duration_since(before) + SLEPT || passed > PAUSED {
            self.all_due(now, passed);
            self.unpublished = true;
        }
        self.announce_by_time();
        // A maintenance of the whole service begins and ends without a change of any component.
        self.unpublished |= self.service.status.is_some_and(|status| status != self.checker.snapshot().overall());
        if let Some(history) = self.checker.shared.history.load().as_ref() {
            history.look(&self.checker.shared.snapshot.load(), Moment::now(self.checker.clock()));
        }
    }

    /// Notes that the engine looks around, for who asks whether it still does.
    fn tick(&self) {
        let wall = self.checker.clock().wall().as_millisecond();
        self.checker.shared.counters.tick.store(wall, Ordering::Relaxed);
    }

    /// Somebody changed what there is to run, or what is in maintenance.
    fn look_up(&mut self) {
        self.unpublished = true;
        let changed = self.checker.table().take_maintenance_changed();
        if changed {
            self.announce_by_time();
        }
    }

    fn announce_by_time(&mut self) {
        let (changed, planned) = {
            let mut table = self.checker.table();
            (table.sweep(self.checker.clock()), table.take_maintenance_changed())
        };
        // A plan that was made anew is not announced, and readers go by it all the same.
        self.unpublished |= planned || !changed.is_empty();
        for announcement in changed {
            self.checker.announce(announcement);
        }
        self.checker.save_maintenances();
    }

    /// After the machine slept or the process was stopped all results are old at once, and nobody should wait an
    /// interval for new ones.
    fn all_due(&mut self, now: Instant, passed: Duration) {
        let seconds = passed.as_secs();
        tracing::info!(target: "wellkept::health", seconds, "nothing ran for a while: all checks run now");
        self.agenda.clear();
        for (id, active) in &mut self.active {
            active.due = Some(now);
            self.agenda.push(Reverse((now, *id)));
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let due = self.agenda.peek().map(|Reverse((due, _))| *due);
        let publish = self.unpublished.then_some(self.publish_after);
        due.into_iter().chain(publish).min()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.checker.table().end();
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
impl Engine {
    fn look_around(&mut self) {
        self.take_in();
    }

    fn size(&self) -> usize {
        self.agenda.len().max(self.active.len())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("running", &(self.local.running + self.remote.running))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
