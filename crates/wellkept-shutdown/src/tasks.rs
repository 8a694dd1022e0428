//! Background tasks: named, started again when they fail, and stopped with the shutdown.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

mod group;
mod policy;
mod supervisor;
#[cfg(test)]
mod tests;
mod watched;

pub use policy::{Restart, RestartLimits};

use crate::BoxFuture;
use crate::closer::IntoClosed;
use crate::entrance::EntranceKind;
use crate::handle::Shutdown;
use group::Group;
use supervisor::{Changing, Leaving, Shared, Stage, State, keep};
use watched::Held;

/// Most likely each request starts one and none ends.
const MAX_TASKS: usize = 10_000;

/// Starts tasks, keeps them going, and has them stopped with the shutdown that it was made from. A cheap handle.
///
/// ```
/// # use std::time::Duration;
/// # use wellkept_shutdown::{Settings, Shutdown, Status, Task, Tasks};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), wellkept_shutdown::TaskRefused> {
/// let (shutdown, sequence) = Shutdown::new(Settings::default());
/// let tasks = Tasks::new(&shutdown);
/// tasks.spawn(Task::new("outbox", |context| async move {
///     while !context.is_stopping() {
///         // send_what_waits().await?;
///         context.sleep(Duration::from_secs(5)).await;
///     }
///     Ok::<(), std::io::Error>(())
/// }))?;
/// # tokio::spawn(sequence.run());
/// assert_eq!(shutdown.shut_down("example", None).await.status, Status::Successful);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tasks {
    shared: Arc<Shared>,
}

impl Tasks {
    /// For tasks that live as long as the service. Those that [take work](StopAt::Beginning) are told to stop as soon as
    /// the shutdown begins, and the drain waits for them; those that [others need](StopAt::Drained) when the drain is
    /// over. Who does not end in time is cut off and named in the report.
    pub fn new(shutdown: &Shutdown) -> Self {
        let shared = Arc::new(Shared {
            shutdown: Arc::downgrade(shutdown.shared()),
            stage: watch::Sender::new(Stage::Running),
            ended: watch::Sender::new(()),
            list: Mutex::default(),
        });
        let told = Arc::downgrade(&shared);
        shutdown.on_phase(move |_| {
            if let Some(shared) = told.upgrade() {
                shared.advance(Stage::Beginning);
            }
        });
        for (kind, stop_at) in
            [(EntranceKind::Application, StopAt::Beginning), (EntranceKind::Background, StopAt::Drained)]
        {
            shutdown.add_entrance(kind, Arc::new(Group { shared: Arc::clone(&shared), stop_at }));
        }
        let suspected = Arc::downgrade(&shared);
        shutdown.shared().suspect(move |for_longer_than| {
            suspected.upgrade().map(|shared| shared.blocking(for_longer_than)).unwrap_or_default()
        });
        Self { shared }
    }

    /// Starts a task on the current runtime.
    ///
    /// # Errors
    /// When the shutdown has come so far that it would be told to stop at once, or 10,000 tasks are there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(&self, task: Task) -> Result<(), TaskRefused> {
        // Looked for before the lock: where there is none, this panics.
        let runtime = tokio::runtime::Handle::current();
        // What the task needs is given to it after the lock: a runtime that is closing drops what it is given on the spot.
        let (give, given) = oneshot::channel();
        let (id, state) = {
            let mut list = self.shared.lock();
            // Under the lock: a stop is seen here, or sees this task.
            if self.shared.stage.borrow().stops(task.stop_at) {
                return Err(TaskRefused::Stopping);
            }
            if list.tasks.len() >= MAX_TASKS {
                return Err(TaskRefused::TooMany);
            }
            let id = list.next;
            list.next += 1;
            let state = Arc::new(State {
                name: task.name.clone(),
                stop_at: task.stop_at,
                began: Instant::now(),
                held: Held::new(),
                changing: Mutex::new(Changing { status: TaskStatus::Running, restarts: 0, last_error: None }),
            });
            let running = runtime.spawn(async move {
                if let Ok((task, context, state, leaving)) = given.await {
                    keep(task, context, state, leaving).await;
                }
            });
            list.tasks.insert(id, (Arc::clone(&state), running.abort_handle()));
            (id, state)
        };
        let context =
            TaskContext { name: task.name.clone(), stop_at: task.stop_at, stage: self.shared.stage.subscribe() };
        let leaving = Leaving { shared: Arc::clone(&self.shared), id };
        // A task that is gone already drops this, and with it leaves the list.
        let _ = give.send((task, context, state, leaving));
        Ok(())
    }

    /// All tasks that are there, and those that were given up (the last 100), in the order in which they were started.
    pub fn stats(&self) -> Vec<TaskStats> {
        let list = self.shared.lock();
        let there = list.tasks.values().map(|(state, _)| state.stats());
        // One that is being given up is on both lists for a moment.
        let there = there.filter(|one| one.status != TaskStatus::GivenUp);
        list.given_up.iter().map(|state| state.stats()).chain(there).collect()
    }

    /// The tasks that have held their thread for longer than this without an await, and for how long: those that keep
    /// others from their turn.
    pub fn blocking(&self, for_longer_than: Duration) -> Vec<(String, Duration)> {
        self.shared.blocking(for_longer_than)
    }

    /// Tells all tasks to stop, without a shutdown, and waits for them for `limit` at most; then cuts off those that are
    /// still there, and gives their names. Nothing can be started afterwards. Cancel-safe: called again, it waits again.
    pub async fn stop_all(&self, limit: Duration) -> Vec<String> {
        self.shared.advance(Stage::All);
        // Who is left is looked for below, whether the wait ended in time or not.
        let _ = tokio::time::timeout(limit, self.shared.all_ended(|_| true)).await;
        let left = self.shared.cut(|_| true);
        left.iter().map(|state| state.name.to_string()).collect()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tasks").field("running", &self.shared.lock().tasks.len()).finish_non_exhaustive()
    }
}

/// Something to be kept going: a name, how to begin it, and what happens when it ends.
pub struct Task {
    name: Arc<str>,
    begin: Box<dyn FnMut(TaskContext) -> BoxFuture<'static, Result<(), String>> + Send>,
    restart: Restart,
    limits: RestartLimits,
    when_given_up: WhenGivenUp,
    stop_at: StopAt,
}

impl Task {
    /// A task that is started again after an error or a panic. `begin` is called for each start; the future should end
    /// soon after its context says [stopping](TaskContext::stopping).
    pub fn new<F, Fut>(name: impl Into<String>, mut begin: F) -> Self
    where
        F: FnMut(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output: IntoClosed> + Send + 'static,
    {
        Self {
            name: name.into().into(),
            begin: Box::new(move |context| {
                let future = begin(context);
                Box::pin(async move { future.await.into_closed() })
            }),
            restart: Restart::default(),
            limits: RestartLimits::default(),
            when_given_up: WhenGivenUp::Log,
            stop_at: StopAt::Beginning,
        }
    }

    /// Sets after which ends it is started again, [`Restart::OnFailure`] by default.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how often and how soon, 5 times a minute with pauses from 100 ms to 30 s by default.
    #[must_use]
    pub fn limits(mut self, limits: RestartLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Has the service shut down, with exit code 70, when the task is given up: it can't do without.
    #[must_use]
    pub fn essential(mut self) -> Self {
        self.when_given_up = WhenGivenUp::ShutDown;
        self
    }

    /// Sets when the shutdown tells it to stop, [`StopAt::Beginning`] by default.
    #[must_use]
    pub fn stop_at(mut self, stop_at: StopAt) -> Self {
        self.stop_at = stop_at;
        self
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Task").field("name", &self.name).field("restart", &self.restart).finish_non_exhaustive()
    }
}

/// When a shutdown tells a task to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StopAt {
    /// At once, and the drain waits for it: a task that takes work from elsewhere, such as a consumer or a scheduler.
    #[default]
    Beginning,
    /// When nothing is in flight any more: a task that requests need, such as one that refreshes a cache.
    Drained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenGivenUp {
    Log,
    ShutDown,
}

/// What a task knows of its surroundings.
#[derive(Debug, Clone)]
pub struct TaskContext {
    name: Arc<str>,
    stop_at: StopAt,
    stage: watch::Receiver<Stage>,
}

impl TaskContext {
    /// The task's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it shall end.
    pub fn is_stopping(&self) -> bool {
        self.stage.borrow().stops(self.stop_at)
    }

    /// Ends when the task shall end. Cancel-safe.
    pub async fn stopping(&self) {
        let stop_at = self.stop_at;
        // Without a sender there is nobody left to wait for.
        let _ = self.stage.clone().wait_for(|stage| stage.stops(stop_at)).await;
    }

    /// Sleeps, but not past the moment at which the task shall end. Cancel-safe.
    pub async fn sleep(&self, duration: Duration) {
        let _ = tokio::time::timeout(duration, self.stopping()).await;
    }
}

/// Why a task was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TaskRefused {
    /// It would be told to stop at once.
    #[error("tasks are being stopped already")]
    Stopping,
    /// 10,000 tasks are there.
    #[error("too many tasks are running")]
    TooMany,
}

impl TaskRefused {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Stopping => "shutdown.tasks_stopping",
            Self::TooMany => "shutdown.too_many_tasks",
        }
    }
}

/// One task as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskStats {
    /// Its name.
    pub name: String,
    /// What it does.
    pub status: TaskStatus,
    /// How often it was started again.
    pub restarts: u64,
    /// For how long it has been there, pauses and restarts included.
    pub age_seconds: f64,
    /// The last error or panic. Private: for logs and operators, not for public answers.
    pub last_error: Option<String>,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It runs.
    Running,
    /// It failed, and waits for its next start.
    Pausing,
    /// It failed too often.
    GivenUp,
}
