//! What the engine does when it is asked to: a run now, another timetable.

use std::cmp::Reverse;

use tokio::time::Instant;

use super::{Engine, RunState};
use crate::table::{Id, Plan};

impl Engine {
    /// Has a run started, or joins the one that goes on: whoever waits for a result gets that run's. It waits for a
    /// place in its turn, so that those who ask take none from the schedule.
    pub(super) fn run_now(&mut self, id: Id, now: Instant) {
        let Some(turn) = self.checker.table().turn(id).filter(|turn| turn.plan != Plan::Disabled) else { return };
        let Some(active) = self.active.get_mut(&id) else { return };
        match active.run {
            RunState::Idle => {
                active.run = RunState::Queued;
                self.lane(turn.component.scope).queue.push_back((id, now));
            }
            RunState::Queued => {}
            RunState::Running if active.generation == turn.generation => {}
            // A check never runs on top of itself: not even on a run that nobody waits for any more.
            RunState::Running | RunState::Straggling => active.again = true,
        }
    }

    /// Starts the run that was asked for while another one was in its way.
    pub(super) fn run_again(&mut self, id: Id) {
        let idle = self.active.get_mut(&id).filter(|active| active.run == RunState::Idle && active.again);
        if let Some(active) = idle {
            active.again = false;
            self.run_now(id, Instant::now());
        }
    }

    /// Plans the next run by the schedule as it is now. One that is due already is not put off, nor is the first one.
    pub(super) fn replan(&mut self, id: Id, now: Instant) {
        let Some(turn) = self.checker.table().turn(id) else { return };
        let Some(active) = self.active.get_mut(&id) else { return };
        let has_begun = active.timetable.has_begun();
        active.timetable.change(turn.component.schedule, now);
        if has_begun && active.due.is_some_and(|due| due > now) {
            let (due, _) = active.timetable.next(now);
            active.due = Some(due);
            self.agenda.push(Reverse((due, id)));
        }
    }
}
