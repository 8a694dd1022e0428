//! The worker that walks the phases.

use std::borrow::Cow;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::BoxFuture;
use crate::cause::Cause;
use crate::closer::{Closed, panic_text};
use crate::deadline::Budget;
use crate::entrance::{Entrance, EntranceKind, Remaining};
use crate::flush;
use crate::handle::Shared;
use crate::hook::Hook;
use crate::phase::Phase;
use crate::report::{ForcedItem, PhaseTime, Report, ResourceOutcome, ResourceReport, Status, seconds};
use crate::resources::{Resource, ResourceId, ResourceType};
use crate::tracker::Left;

/// How long a probe's answer may take to leave when the probe doors close.
const PROBE_DRAIN: Duration = Duration::from_millis(250);
/// How long those who were told to let go of something are waited for.
const LETTING_GO: Duration = Duration::from_millis(100);
/// How many of the tracker's names the report and a line of progress hold.
const MAX_NAMED: usize = 100;
const NAMED_IN_PROGRESS: usize = 3;
const SHORTEST_PROGRESS: Duration = Duration::from_millis(100);

/// The worker of a shutdown. Exactly one exists for each [`Shutdown`](crate::Shutdown). Dropped before its end, it
/// leaves a report of status `failed`, so that nobody waits for ever.
#[must_use = "nothing happens after the trigger unless the sequence runs"]
pub struct Sequence {
    shared: Arc<Shared>,
    story: Story,
    published: bool,
}

/// What is collected on the way.
#[derive(Default)]
struct Story {
    cut_by_time: bool,
    requests_at_drain: usize,
    left: Left,
    forced: Vec<ForcedItem>,
    resources: Vec<ResourceReport>,
    /// The resources whose closers run at this moment.
    closing: Vec<Closing>,
}

struct Closing {
    id: ResourceId,
    name: String,
    kind: ResourceType,
    priority: i32,
    began: Instant,
    /// Whether the time that it was given is less than its own.
    cut: bool,
}

impl Sequence {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, story: Story::default(), published: false }
    }

    /// Waits for the trigger, then walks all phases within the one deadline and returns the report. To be spawned or
    /// awaited in `main`; needs a tokio runtime with its timer.
    pub async fn run(mut self) -> Report {
        self.shared.begun().await;
        let shared = Arc::clone(&self.shared);
        let Some(budget) = shared.triggered().map(|trigger| trigger.budget) else {
            return self.close("the sequence ran without a trigger");
        };
        let forced = tokio::select! {
            biased;
            () = shared.forced() => true,
            () = walk(&shared, budget, &mut self.story) => false,
            never = tell_progress(&shared, budget) => match never {},
        };
        if forced {
            self.cut_everything();
        }
        shared.enter(Phase::FlushingBuffers);
        // The last words keep their time even in a process that was stopped past its deadline.
        let least = Instant::now() + (budget.deadline - budget.resources);
        let flush_ends = if forced { least } else { budget.deadline.max(least) };
        if !flush(&shared, flush_ends).await {
            self.story.cut_by_time = true;
        }
        self.finish()
    }

    /// What a force leaves: no open entrance, and each resource named.
    fn cut_everything(&mut self) {
        cut_tracked(&self.shared, &mut self.story);
        for (_, entrance) in entrances(&self.shared, |_| true) {
            abort(&self.shared, &*entrance, Some(&mut self.story.forced));
        }
        for closing in std::mem::take(&mut self.story.closing) {
            let detail = "cut off by a further signal".to_owned();
            let closed = Closed { outcome: ResourceOutcome::TimedOut, detail };
            note_closed(&self.shared, &mut self.story, closing, closed);
        }
        self.shared.lock().resources.close();
        skip_resources(&self.shared, &mut self.story, "the shutdown was forced");
    }

    fn finish(&mut self) -> Report {
        let shared = &self.shared;
        let forced_by = shared.forced_by().cloned();
        let (cause, started_at) = shared.triggered().map_or_else(
            || (Cause::failure("the sequence was dropped"), jiff::Timestamp::now()),
            |trigger| (trigger.cause.clone(), trigger.started_at),
        );
        let story = std::mem::take(&mut self.story);
        let failed = matches!(cause, Cause::Failure { .. }) || !shared.lock().errors.is_empty();
        let status = if forced_by.is_some() || story.cut_by_time {
            Status::Forced
        } else if failed {
            Status::Failed
        } else {
            Status::Successful
        };
        shared.enter(if status == Status::Forced { Phase::Forced } else { Phase::Completed });
        let state = shared.lock();
        let report = Report {
            status,
            cause,
            forced_by,
            started_at: started_at.to_string(),
            duration_seconds: shared.elapsed_seconds(),
            phases: phase_times(&state.entered),
            connections_at_drain: state.connections_at_drain,
            requests_at_drain: story.requests_at_drain,
            connections_cut: story.left.connections,
            requests_cut: story.left.requests,
            forced: story.forced,
            resources: story.resources,
            errors: state.errors.clone(),
        };
        drop(state);
        self.published = true;
        shared.publish(report.clone());
        report
    }

    fn close(&mut self, error: &str) -> Report {
        self.shared.error(error.to_owned());
        self.finish()
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if self.shared.phase() == Phase::Running {
            // Nothing was asked of it: a start that failed is no shutdown that did, and no error in the log.
            self.finish();
        } else {
            self.close("the sequence was dropped before its end");
        }
    }
}

impl std::fmt::Debug for Sequence {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sequence").field("phase", &self.shared.phase()).finish_non_exhaustive()
    }
}

/// The phases from the delay to the closing of the probe doors. Dropped as a whole when the shutdown is forced.
async fn walk(shared: &Shared, budget: Budget, story: &mut Story) {
    // Taken before the phase changes: what is registered later comes too late.
    let before = std::mem::take(&mut shared.lock().before);
    let before = call(shared, "hook", before, budget.drain);
    shared.enter(Phase::Delaying);
    tokio::join!(before, tokio::time::sleep_until(budget.delay));

    shared.enter(Phase::Announcing);
    // The probe doors announce now too: they close last, and by then their clients have long known.
    let all = entrances(shared, |_| true);
    for (_, entrance) in &all {
        guarded(shared, &**entrance, "announce", || entrance.announce());
    }
    if all.iter().any(|(_, entrance)| entrance.open() > 0) {
        each(shared, &all, "announcement", budget.announce, |entrance| entrance.closed()).await;
    }

    shared.enter(Phase::StoppingNewRequests);
    let applications = entrances(shared, |kind| kind == EntranceKind::Application);
    each(shared, &applications, "stop", budget.drain, |entrance| entrance.stop_accepting()).await;
    shared.tracker.stop_accepting_new();

    shared.enter(Phase::DrainingConnections);
    story.requests_at_drain = shared.tracker.in_flight_requests();
    shared.lock().connections_at_drain = shared.tracker.connections();
    let (entrances_drained, tracker_drained) = tokio::join!(
        each(shared, &applications, "drain", budget.drain, |entrance| entrance.drain()),
        tokio::time::timeout_at(budget.drain, shared.tracker.idle()),
    );
    if !entrances_drained || tracker_drained.is_err() {
        story.cut_by_time = true;
        cut_tracked(shared, story);
    }
    // Looked for again: one may have come since.
    for (_, entrance) in &entrances(shared, |kind| kind == EntranceKind::Application) {
        let list = story.cut_by_time.then_some(&mut story.forced);
        abort(shared, &**entrance, list);
    }
    if story.cut_by_time {
        // Whoever holds a guard was told, and gets a moment to let go before what it stands on is closed.
        let _ = tokio::time::timeout(
            LETTING_GO.min(budget.resources.saturating_duration_since(Instant::now())),
            shared.tracker.idle(),
        )
        .await;
    }

    stop_background(shared, budget, story).await;
    close_resources(shared, budget, story).await;
    let after = std::mem::take(&mut shared.lock().after);
    call(shared, "hook", after, budget.resources).await;

    let probes = entrances(shared, |kind| kind == EntranceKind::Probe);
    each(shared, &probes, "stop", budget.resources, |entrance| entrance.stop_accepting()).await;
    let ends = (Instant::now() + PROBE_DRAIN).min(budget.resources);
    each(shared, &probes, "drain", ends, |entrance| entrance.drain()).await;
    for (_, entrance) in &probes {
        abort(shared, &**entrance, None);
    }
}

/// Ends what served requests until now.
async fn stop_background(shared: &Shared, budget: Budget, story: &mut Story) {
    let background = entrances(shared, |kind| kind == EntranceKind::Background);
    if background.is_empty() {
        return;
    }
    each(shared, &background, "stop", budget.resources, |entrance| entrance.stop_accepting()).await;
    let ends = budget.resources.min(Instant::now() + shared.settings.resource);
    let drained = each(shared, &background, "drain", ends, |entrance| entrance.drain()).await;
    story.cut_by_time |= !drained;
    for (_, entrance) in &background {
        abort(shared, &**entrance, (!drained).then_some(&mut story.forced));
    }
}

/// Tells whoever holds a guard to let go, and names those of which there is a name.
fn cut_tracked(shared: &Shared, story: &mut Story) {
    story.forced.extend(shared.tracker.in_flight(MAX_NAMED).into_iter().map(|one| ForcedItem {
        entrance: "tracker".to_owned(),
        age_seconds: Some(seconds(one.age)),
        reason: Cow::Borrowed("in_flight"),
        item: one.described(),
    }));
    story.left = shared.tracker.force_close_all();
}

/// Says what a phase waits for that lasts. Nobody is waited for in the delay, except by hooks that go on past it.
async fn tell_progress(shared: &Shared, budget: Budget) -> Infallible {
    let Some(every) = shared.settings.log_progress else { return std::future::pending().await };
    let mut phases = shared.follow();
    loop {
        if tokio::time::timeout(every.max(SHORTEST_PROGRESS), phases.changed()).await.is_ok() {
            continue;
        }
        let (stats, phase) = (shared.tracker.stats(), shared.phase());
        if phase == Phase::Delaying && Instant::now() <= budget.delay {
            continue;
        }
        let resources = shared.lock().resources.len();
        tracing::info!(
            target: "wellkept::shutdown",
            phase = phase.as_str(),
            connections = stats.total_connections,
            requests = stats.total_in_flight_requests,
            resources,
            held_up_by = held_up_by(shared).join("; "),
            "shutdown: still {phase}"
        );
    }
}

/// Some of what is still there, by name: what the tracker knows, then what each entrance tells first.
fn held_up_by(shared: &Shared) -> Vec<String> {
    let mut named: Vec<_> = shared.tracker.in_flight(NAMED_IN_PROGRESS).iter().map(ToString::to_string).collect();
    for (_, entrance) in entrances(shared, |kind| kind != EntranceKind::Probe) {
        guarded(shared, &*entrance, "progress", || {
            named.extend(entrance.remaining().iter().take(NAMED_IN_PROGRESS).map(ToString::to_string));
        });
    }
    named.truncate(NAMED_IN_PROGRESS);
    named
}

async fn close_resources(shared: &Shared, budget: Budget, story: &mut Story) {
    shared.enter(Phase::ClosingResources);
    shared.lock().resources.close();
    // A dropped set ends its tasks, and with them the closers.
    let mut closers = JoinSet::new();
    loop {
        let begin_next = || shared.lock().resources.begin_next();
        while Instant::now() < budget.resources
            && let Some((id, resource)) = begin_next()
        {
            let began = Instant::now();
            let own = resource.timeout.unwrap_or(shared.settings.resource);
            let limit = budget.for_resource(own, began);
            let Resource { name, kind, priority, closer, .. } = resource;
            story.closing.push(Closing { id, name, kind, priority, began, cut: limit < own });
            closers.spawn(async move { (id, closer.run(limit).await) });
        }
        let Some(ended) = closers.join_next().await else { break };
        // A closer's panic stays in its own task, so this one has ended as it should.
        let Ok((id, closed)) = ended else { continue };
        shared.lock().resources.ended(id);
        let Some(index) = story.closing.iter().position(|closing| closing.id == id) else { continue };
        let closing = story.closing.remove(index);
        story.cut_by_time |= closed.outcome == ResourceOutcome::TimedOut && closing.cut;
        note_closed(shared, story, closing, closed);
    }
    if skip_resources(shared, story, "no time was left") {
        story.cut_by_time = true;
    }
}

fn note_closed(shared: &Shared, story: &mut Story, closing: Closing, closed: Closed) {
    let Closed { outcome, detail } = closed;
    let Closing { name, kind, priority, began, .. } = closing;
    if outcome == ResourceOutcome::Closed {
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(target: "wellkept::shutdown", resource = name, duration_ms = ms, "resource closed");
    } else {
        shared.error(format!("resource `{name}` {}: {detail}", outcome.as_str()));
    }
    shared.lock().closed_resources += 1;
    let duration_seconds = seconds(began.elapsed());
    story.resources.push(ResourceReport { name, kind, priority, outcome, duration_seconds, detail });
}

/// Lists what will not be closed. Tells whether there was any.
fn skip_resources(shared: &Shared, story: &mut Story, why: &str) -> bool {
    let before = story.resources.len();
    loop {
        let Some((id, resource)) = shared.lock().resources.skip_next() else { break };
        let Resource { name, kind, priority, .. } = resource;
        let closing = Closing { id, name, kind, priority, began: Instant::now(), cut: true };
        let closed = Closed { outcome: ResourceOutcome::Skipped, detail: why.to_owned() };
        note_closed(shared, story, closing, closed);
    }
    story.resources.len() > before
}

/// Calls all flushes at once, each on its thread. Tells whether all ended in time.
async fn flush(shared: &Shared, ends: Instant) -> bool {
    let limit = ends.saturating_duration_since(Instant::now());
    let calls = flush::start(shared).into_iter().map(|(name, started)| async move {
        match started {
            Ok(apart) => (name, apart.ended(limit).await),
            Err(failed) => (name, failed),
        }
    });
    note_calls(shared, "flush", join(calls.map(boxed).collect()).await)
}

/// Calls hooks at once. Tells whether all ended in time.
async fn call(shared: &Shared, what: &str, hooks: Vec<Hook>, ends: Instant) -> bool {
    let limit = shared.settings.resource.min(ends.saturating_duration_since(Instant::now()));
    let calls = hooks.into_iter().map(|hook| async move { (hook.name, hook.call.run(limit).await) });
    note_calls(shared, what, join(calls.map(boxed).collect()).await)
}

/// Tells whether all ended in time.
fn note_calls(shared: &Shared, what: &str, ended: Vec<(String, Closed)>) -> bool {
    let mut in_time = true;
    for (name, closed) in ended {
        if closed.outcome != ResourceOutcome::Closed {
            shared.error(format!("{what} `{name}` {}: {}", closed.outcome.as_str(), closed.detail));
        }
        in_time &= closed.outcome != ResourceOutcome::TimedOut;
    }
    in_time
}

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

type Entrances = Vec<(EntranceKind, Arc<dyn Entrance>)>;

fn entrances(shared: &Shared, wanted: impl Fn(EntranceKind) -> bool) -> Entrances {
    shared.lock().entrances.iter().filter(|(kind, _)| wanted(*kind)).cloned().collect()
}

/// Asks all entrances at once. Tells whether all had ended by then. A panic counts as an end and is noted.
async fn each<'e>(
    shared: &Shared,
    entrances: &'e Entrances,
    what: &str,
    until: Instant,
    ask: impl Fn(&'e dyn Entrance) -> BoxFuture<'e, ()>,
) -> bool {
    let asked = entrances
        .iter()
        .map(|(_, entrance)| {
            let entrance = &**entrance;
            let mut asked = None;
            guarded(shared, entrance, what, || asked = Some(ask(entrance)));
            Box::pin(async move {
                let Some(mut asked) = asked else { return };
                std::future::poll_fn(|context| {
                    let mut polled = std::task::Poll::Ready(());
                    guarded(shared, entrance, what, || polled = asked.as_mut().poll(context));
                    polled
                })
                .await;
            }) as BoxFuture<'_, ()>
        })
        .collect();
    tokio::time::timeout_at(until, join(asked)).await.is_ok()
}

/// Cuts what is open, listing it first if asked to.
fn abort(shared: &Shared, entrance: &dyn Entrance, list: Option<&mut Vec<ForcedItem>>) {
    guarded(shared, entrance, "abort", || {
        if let Some(list) = list {
            list.extend(entrance.remaining().into_iter().map(|Remaining { item, reason, age }| ForcedItem {
                entrance: entrance.name().to_owned(),
                item,
                reason,
                age_seconds: age.map(seconds),
            }));
        }
        entrance.abort();
    });
}

/// Calls into an entrance, which is foreign code: a panic there is an error here, not the end of the sequence.
fn guarded(shared: &Shared, entrance: &dyn Entrance, what: &str, call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        shared.error(format!("entrance `{}` panicked at {what}: {}", entrance.name(), panic_text(&*payload)));
    }
}

/// Waits for all of a few futures at once.
async fn join<T>(mut waiting: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut ended: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, slot) in waiting.iter_mut().zip(&mut ended) {
            if slot.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *slot = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    ended.into_iter().flatten().collect()
}

fn phase_times(entered: &[(Phase, Instant)]) -> Vec<PhaseTime> {
    entered
        .windows(2)
        .filter_map(|pair| match pair {
            [(phase, began), (_, ended)] => {
                Some(PhaseTime { phase: *phase, duration_seconds: seconds(*ended - *began) })
            }
            _ => None,
        })
        .collect()
}
