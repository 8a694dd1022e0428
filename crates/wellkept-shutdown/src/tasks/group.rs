//! The background tasks as the sequence sees them.

use std::sync::Arc;
use std::time::Duration;

use super::StopAt;
use super::supervisor::{Shared, Stage};
use crate::BoxFuture;
use crate::entrance::{Entrance, Remaining};

/// The tasks that stop at the same moment, as the sequence sees them.
pub(super) struct Group {
    pub(super) shared: Arc<Shared>,
    pub(super) stop_at: StopAt,
}

/// What is polled for longer than this without a pause holds its thread.
pub(super) const HOLDS_ITS_THREAD: Duration = Duration::from_millis(100);

impl Entrance for Group {
    fn name(&self) -> &'static str {
        "tasks"
    }

    /// Nothing: tasks have no clients.
    fn announce(&self) {}

    /// None: the announcement is not for them.
    fn open(&self) -> usize {
        0
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn stop_accepting(&self) -> BoxFuture<'_, ()> {
        self.shared.advance(match self.stop_at {
            StopAt::Beginning => Stage::Beginning,
            StopAt::Drained => Stage::All,
        });
        Box::pin(std::future::ready(()))
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.all_ended(|state| state.stop_at == self.stop_at))
    }

    fn remaining(&self) -> Vec<Remaining> {
        let list = self.shared.lock();
        let left = list.tasks.values().map(|(state, _)| state).filter(|state| state.stop_at == self.stop_at);
        left.map(|state| Remaining {
            item: format!("task {}", state.name),
            reason: match state.held.lasts() {
                Some(lasts) if lasts > HOLDS_ITS_THREAD => "blocks_its_thread".into(),
                _ => "task_does_not_end".into(),
            },
            age: Some(state.began.elapsed()),
        })
        .collect()
    }

    fn abort(&self) {
        self.shared.cut(|state| state.stop_at == self.stop_at);
    }
}
