//! Keeps tasks going: starts them again, counts and lists them, and cuts them off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::policy::{Restart, Restarts};
use super::watched::{Held, Watched};
use super::{StopAt, Task, TaskContext, TaskStats, TaskStatus, WhenGivenUp};
use crate::cause::Cause;
use crate::handle::{self, Triggered};

/// Of those that were given up, so many are remembered.
const MAX_GIVEN_UP: usize = 100;

pub(super) struct Shared {
    pub(super) shutdown: Weak<handle::Shared>,
    pub(super) stage: watch::Sender<Stage>,
    /// Told when a task is gone.
    pub(super) ended: watch::Sender<()>,
    pub(super) list: Mutex<List>,
}

#[derive(Default)]
pub(super) struct List {
    pub(super) next: u64,
    pub(super) tasks: BTreeMap<u64, (Arc<State>, AbortHandle)>,
    pub(super) given_up: VecDeque<Arc<State>>,
}

/// How far the stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Running,
    Beginning,
    All,
}

impl Stage {
    pub(super) fn stops(self, at: StopAt) -> bool {
        match at {
            StopAt::Beginning => self >= Self::Beginning,
            StopAt::Drained => self >= Self::All,
        }
    }
}

pub(super) struct State {
    pub(super) name: Arc<str>,
    pub(super) stop_at: StopAt,
    pub(super) began: Instant,
    pub(super) held: Held,
    pub(super) changing: Mutex<Changing>,
}

pub(super) struct Changing {
    pub(super) status: TaskStatus,
    pub(super) restarts: u64,
    pub(super) last_error: Option<String>,
}

impl State {
    pub(super) fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> TaskStats {
        let changing = self.changing();
        TaskStats {
            name: self.name.to_string(),
            status: changing.status,
            restarts: changing.restarts,
            age_seconds: self.began.elapsed().as_secs_f64(),
            last_error: changing.last_error.clone(),
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn advance(&self, to: Stage) {
        // Under the lock, so that a task that is being started sees it or is seen.
        let _list = self.lock();
        self.stage.send_if_modified(|stage| {
            let advances = *stage < to;
            *stage = (*stage).max(to);
            advances
        });
    }

    pub(super) async fn all_ended(&self, of: impl Fn(&State) -> bool) {
        let mut ended = self.ended.subscribe();
        loop {
            ended.mark_unchanged();
            if !self.lock().tasks.values().any(|(state, _)| of(state)) {
                return;
            }
            if ended.changed().await.is_err() {
                return;
            }
        }
    }

    /// Cuts tasks off. Gives those that were there.
    pub(super) fn cut(&self, of: impl Fn(&State) -> bool) -> Vec<Arc<State>> {
        let list = self.lock();
        let cut = list.tasks.values().filter(|(state, _)| of(state));
        cut.map(|(state, task)| {
            task.abort();
            Arc::clone(state)
        })
        .collect()
    }

    pub(super) fn blocking(&self, for_longer_than: Duration) -> Vec<(String, Duration)> {
        let held = |state: &Arc<State>| Some((state.name.to_string(), state.held.lasts()?));
        let list = self.lock();
        let all = list.tasks.values().filter_map(|(state, _)| held(state));
        all.filter(|(_, lasts)| *lasts > for_longer_than).collect()
    }

    pub(super) fn give_up(&self, state: &Arc<State>, when: WhenGivenUp) {
        {
            let mut list = self.lock();
            if list.given_up.len() >= MAX_GIVEN_UP {
                list.given_up.pop_front();
            }
            list.given_up.push_back(Arc::clone(state));
        }
        tracing::error!(target: "wellkept::shutdown", task = &*state.name, "a task failed too often and is given up");
        if when == WhenGivenUp::ShutDown {
            self.tell_failure(format!("the task `{}` failed too often", state.name));
        }
    }

    /// An essential task has failed: the cause of the shutdown, or an error of one that is under way.
    fn tell_failure(&self, what: String) {
        let Some(shutdown) = self.shutdown.upgrade() else { return };
        if shutdown.trigger(Cause::failure(what.clone()), shutdown.settings) == Triggered::Before {
            shutdown.error(what);
        }
    }
}

/// Takes a task off the list when it is gone, in whatever way.
pub(super) struct Leaving {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let _left = self.shared.lock().tasks.remove(&self.id);
        self.shared.ended.send_replace(());
    }
}

/// Runs a task until it ends for good.
pub(super) async fn keep(mut task: Task, context: TaskContext, state: Arc<State>, leaving: Leaving) {
    let mut restarts = Restarts::default();
    loop {
        state.changing().status = TaskStatus::Running;
        let began = Instant::now();
        let ended = Watched::begin(&state.held, || (task.begin)(context.clone())).await;
        let failed = ended.is_err();
        if let Err(error) = ended {
            tracing::warn!(target: "wellkept::shutdown", task = &*state.name, error, "a task failed");
            state.changing().last_error = Some(error);
        }
        let again = match task.restart {
            Restart::Always => true,
            Restart::OnFailure => failed,
            Restart::Never => false,
        };
        if context.is_stopping() {
            if failed && task.when_given_up == WhenGivenUp::ShutDown {
                leaving.shared.tell_failure(format!("the task `{}` failed while it was to stop", state.name));
            }
            break;
        }
        if !again {
            break;
        }
        let Some(pause) = restarts.after(&task.limits, began, Instant::now()) else {
            state.changing().status = TaskStatus::GivenUp;
            leaving.shared.give_up(&state, task.when_given_up);
            break;
        };
        {
            let mut changing = state.changing();
            changing.status = TaskStatus::Pausing;
            changing.restarts += 1;
        }
        context.sleep(pause).await;
        if context.is_stopping() {
            break;
        }
    }
}
