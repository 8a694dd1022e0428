//! What all subscribers prepare for one change: waited for together, put to use together, given back together.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tokio::task::{JoinError, JoinHandle};

use crate::outcome::{Effects, Rejection};
use crate::settings::Settings;

use super::books::Entry;
use super::subscriber::{Prepared, Refusal, Retire};
use super::transaction::Until;
use super::{Shared, panic_message};

/// What the subscribers prepare. Dropped, it is given back, whatever comes later included.
#[derive(Default)]
pub(super) struct Preparations {
    /// In the order of the subscriptions.
    list: Vec<Preparation>,
}

struct Preparation {
    id: u64,
    who: Arc<str>,
    state: State,
}

enum State {
    Running(JoinHandle<Result<Prepared, Refusal>>),
    Ready(Prepared),
    Failed,
}

/// What waiting came to.
enum Step {
    Ready,
    Changed,
    Failed(u64, Rejection),
}

/// What came of the commits.
pub(super) struct Committed {
    pub(super) effects: Effects,
    pub(super) retires: Vec<Retire>,
    /// The first that panicked instead.
    pub(super) panicked: Option<String>,
}

impl Preparations {
    /// Whether everyone of these has been asked.
    pub(super) fn cover<T>(&self, members: &[Entry<T>]) -> bool {
        members.iter().all(|entry| self.has(entry.id))
    }

    fn has(&self, id: u64) -> bool {
        self.list.iter().any(|preparation| preparation.id == id)
    }

    /// Has everyone prepare who did not yet, all at once, and waits for them. Who unsubscribes meanwhile is not waited
    /// for, and who subscribes is asked as well.
    pub(super) async fn make<T: Settings>(
        &mut self,
        shared: &Shared<T>,
        old: &Arc<T>,
        new: &Arc<T>,
        until: &Until,
    ) -> Result<(), Rejection> {
        let mut membership = shared.membership.subscribe();
        loop {
            let members = shared.members();
            drop(self.without(&members));
            for Entry { id, name: who, member } in members {
                if !self.has(id) {
                    let preparing = tokio::spawn(member.prepare(Arc::clone(old), Arc::clone(new)));
                    self.list.push(Preparation { id, who, state: State::Running(preparing) });
                }
            }
            let changed = pin!(membership.changed());
            match tokio::time::timeout_at(until.at, self.all(changed)).await {
                Ok(Step::Ready) => return Ok(()),
                Ok(Step::Changed) => {}
                // Nobody's word counts who is gone by now.
                Ok(Step::Failed(id, _)) if !shared.members().iter().any(|entry| entry.id == id) => {}
                Ok(Step::Failed(_, rejection)) => return Err(rejection),
                Err(_) => return Err(until.passed(self.late())),
            }
        }
    }

    /// Waits for all of them, the first that fails, or another set of subscribers.
    async fn all(&mut self, mut changed: Pin<&mut impl Future>) -> Step {
        poll_fn(|context| {
            let mut waits = false;
            for Preparation { id, who, state } in &mut self.list {
                let State::Running(task) = state else { continue };
                let Poll::Ready(result) = Pin::new(task).poll(context) else {
                    waits = true;
                    continue;
                };
                *state = State::Failed;
                match result {
                    Ok(Ok(prepared)) => *state = State::Ready(prepared),
                    Ok(Err(Refusal { why })) => {
                        return Poll::Ready(Step::Failed(*id, Rejection::Refused { who: who.to_string(), why }));
                    }
                    Err(error) => return Poll::Ready(Step::Failed(*id, ended(who, error))),
                }
            }
            if !waits {
                return Poll::Ready(Step::Ready);
            }
            changed.as_mut().poll(context).map(|_| Step::Changed)
        })
        .await
    }

    /// The first that is not ready.
    fn late(&self) -> &str {
        let late = self.list.iter().find(|preparation| matches!(preparation.state, State::Running(_)));
        late.map_or("the subscribers", |late| &late.who)
    }

    /// Takes out what those prepared who are no longer among `members`.
    pub(super) fn without<T>(&mut self, members: &[Entry<T>]) -> Self {
        let is_member = |id| members.iter().any(|entry| entry.id == id);
        let (stay, gone) = self.list.drain(..).partition(|preparation| is_member(preparation.id));
        self.list = stay;
        Self { list: gone }
    }

    /// Puts everything to use, one after the other.
    pub(super) fn commit(mut self) -> Committed {
        let mut committed = Committed { effects: Effects::new(), retires: Vec::new(), panicked: None };
        for Preparation { who, state, .. } in std::mem::take(&mut self.list) {
            let State::Ready(prepared) = state else { continue };
            let (effects, retire) = prepared.commit();
            if effects.is_none() && committed.panicked.is_none() {
                committed.panicked = Some(who.to_string());
            }
            committed.effects.extend(effects.unwrap_or_default());
            committed.retires.extend(retire);
        }
        committed
    }
}

impl Drop for Preparations {
    fn drop(&mut self) {
        for preparation in &self.list {
            if let State::Running(task) = &preparation.state {
                task.abort();
            }
        }
    }
}

/// Why a task ended without a result.
pub(super) fn ended(who: &str, error: JoinError) -> Rejection {
    match error.try_into_panic() {
        Ok(panic) => {
            let panic = panic_message(panic.as_ref());
            tracing::error!(target: "wellkept::config", who, panic, "panicked while a new configuration was prepared");
            Rejection::Panicked { who: who.to_owned() }
        }
        // Its runtime ends.
        Err(_) => Rejection::ShuttingDown,
    }
}
