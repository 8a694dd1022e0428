//! What workers say by themselves: a heartbeat every two seconds, and a goodbye. Kept from run to run, by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

/// More workers than any application has; those past it are counted by who listens, and not named.
const MOST: usize = 1000;
/// The longest name kept, in bytes: a name is a word, `@` and a host's name, which has 253 at most.
const LONGEST_NAME: usize = 512;
/// For how long one that has left or fallen silent is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Everything heard from workers. Events come in beside the runs.
#[derive(Debug, Default)]
pub(super) struct Events {
    workers: Mutex<HashMap<Key, Sign>>,
    news: Notify,
}

/// Two workers may bear the same name; their processes tell them apart.
type Key = (String, u64);

/// The latest event of one worker.
#[derive(Debug, Clone, Copy)]
struct Sign {
    heard: Instant,
    /// Tasks that it works on.
    active: u64,
    /// It has said that it goes: it takes no more tasks, and may still work on some.
    leaves: bool,
}

/// What one worker is doing, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Works on nothing.
    Idle,
    /// Works on at least one task.
    Busy,
    /// Answers; whether it works on something is not known yet.
    Answering,
    /// Has been told to stop: takes no more tasks, and may still work on some.
    Draining,
    /// Is connected, and says nothing.
    Silent,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Answering => "answering",
            Self::Draining => "draining",
            Self::Silent => "silent",
        }
    }

    /// Whether it takes tasks and says so.
    pub(super) fn is_present(self) -> bool {
        matches!(self, Self::Idle | Self::Busy | Self::Answering)
    }
}

/// What a run knows of the workers beside their events.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    /// How many take commands, where the broker tells.
    pub(super) listening: Option<u64>,
    /// Since when events are heard and `listening` has been the same.
    pub(super) since: Instant,
    /// Who answered, where they were asked.
    pub(super) answered: Option<&'a [String]>,
    /// After how long without a sign a worker is silent.
    pub(super) silent_after: Duration,
}

/// The workers, called over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Roll {
    /// How many are there and say so, or have not had the time to.
    pub(super) present: u64,
    /// How many are connected and say nothing.
    pub(super) silent: u64,
    /// Whether every worker has had the time to give a sign.
    pub(super) settled: bool,
    /// Those whose names are known.
    pub(super) named: BTreeMap<String, State>,
}

impl Events {
    /// Takes one event in. What is none is left.
    pub(super) fn take(&self, event: &Value) {
        let (Some(kind), Some(name)) = (event["type"].as_str(), event["hostname"].as_str()) else { return };
        if !matches!(kind, "worker-heartbeat" | "worker-online" | "worker-offline") || name.len() > LONGEST_NAME {
            return;
        }
        let now = Instant::now();
        let key = (name.to_owned(), event["pid"].as_u64().unwrap_or_default());
        let sign =
            Sign { heard: now, active: event["active"].as_u64().unwrap_or_default(), leaves: kind == "worker-offline" };
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() >= MOST && !workers.contains_key(&key) {
            workers.retain(|_, sign| now - sign.heard < REMEMBERED);
            if workers.len() >= MOST {
                return;
            }
        }
        workers.insert(key, sign);
        drop(workers);
        self.news.notify_one();
    }

    /// Ends when there is an event that was not waited for yet.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// The names of all who are remembered and have not left.
    pub(super) fn names(&self) -> Vec<String> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let there = workers.iter().filter(|(_, sign)| !sign.leaves);
        let names: BTreeSet<_> = there.map(|((name, _), _)| name.clone()).collect();
        names.into_iter().collect()
    }

    /// Who is there, by what was heard and what the run knows.
    pub(super) fn call(&self, view: &View<'_>) -> Roll {
        let now = Instant::now();
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|_, sign| now - sign.heard < REMEMBERED.max(view.silent_after));
        let (roll, gone) = match view.answered {
            Some(answered) => by_answers(&workers, answered, view, now),
            None => by_signs(&workers, view, now),
        };
        if gone == Gone::TheUnheard {
            workers.retain(|_, sign| sign.leaves || now - sign.heard < view.silent_after);
        }
        roll
    }
}

/// What became of workers that were not heard for long.
#[derive(PartialEq, Eq)]
enum Gone {
    /// All that are connected are accounted for without them.
    TheUnheard,
    NotKnown,
}

fn by_answers(workers: &HashMap<Key, Sign>, answered: &[String], view: &View<'_>, now: Instant) -> (Roll, Gone) {
    let present = answered.len() as u64;
    let silent = view.listening.unwrap_or_default().saturating_sub(present);
    let mut named: BTreeMap<_, _> = answered.iter().map(|name| (name.clone(), State::Answering)).collect();
    for ((name, _), sign) in workers {
        let is_fresh = now - sign.heard < view.silent_after;
        match named.get_mut(name) {
            Some(State::Silent | State::Draining) | None if !sign.leaves => {
                // Without remote control a worker gives signs, and no answer.
                let state = if is_fresh && silent == 0 { Some(sign.activity()) } else { None };
                if let Some(state) = state.or((silent > 0).then_some(State::Silent)) {
                    named.insert(name.clone(), state);
                }
            }
            None => {
                named.insert(name.clone(), State::Draining);
            }
            Some(state) if is_fresh && !sign.leaves => *state = sign.activity(),
            Some(_) => {}
        }
    }
    let gone = if silent == 0 { Gone::TheUnheard } else { Gone::NotKnown };
    (Roll { present, silent, settled: true, named }, gone)
}

fn by_signs(workers: &HashMap<Key, Sign>, view: &View<'_>, now: Instant) -> (Roll, Gone) {
    let settled = now - view.since >= view.silent_after;
    let is_fresh = |sign: &Sign| now - sign.heard < view.silent_after;
    // What was heard before the number of listeners changed may come from one that has ended since.
    let is_certain = |sign: &Sign| is_fresh(sign) && sign.heard >= view.since;
    let there = || workers.values().filter(|sign| !sign.leaves);
    let certain = there().filter(|sign| is_certain(sign)).count() as u64;
    let unheard = there().filter(|sign| !is_fresh(sign)).count() as u64;
    let listening = view.listening.unwrap_or_default();
    let (present, silent) = match (settled, view.listening) {
        (false, _) => (certain.max(listening), 0),
        (true, Some(_)) => (certain, listening.saturating_sub(certain)),
        (true, None) => (certain, unheard),
    };
    let all_accounted_for = view.listening.is_some_and(|listening| certain >= listening);
    let mut named = BTreeMap::new();
    for ((name, _), sign) in workers {
        let state = match sign {
            Sign { leaves: true, .. } => State::Draining,
            sign if is_certain(sign) || is_fresh(sign) && !all_accounted_for => sign.activity(),
            _ if silent > 0 => State::Silent,
            _ => continue,
        };
        // Of two that bear the same name, or of one before and after a restart, the one that is there counts.
        let known = named.entry(name.clone()).or_insert(state);
        if state.is_present() {
            *known = state;
        }
    }
    let gone = if settled && all_accounted_for { Gone::TheUnheard } else { Gone::NotKnown };
    (Roll { present, silent, settled, named }, gone)
}

impl Sign {
    fn activity(&self) -> State {
        if self.active > 0 { State::Busy } else { State::Idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SILENT_AFTER: Duration = Duration::from_secs(10);

    fn heartbeat(name: &str, active: u64) -> Value {
        json!({ "type": "worker-heartbeat", "hostname": name, "pid": 1, "active": active })
    }

    fn view(listening: Option<u64>, since: Instant) -> View<'static> {
        View { listening, since, answered: None, silent_after: SILENT_AFTER }
    }

    fn states(roll: &Roll) -> String {
        let states: Vec<_> = roll.named.iter().map(|(name, state)| format!("{name} {}", state.as_str())).collect();
        states.join(", ")
    }

    #[tokio::test(start_paused = true)]
    async fn before_every_worker_could_give_a_sign_those_who_listen_count() {
        let (events, since) = (Events::default(), Instant::now());
        let roll = events.call(&view(Some(2), since));
        assert_eq!((roll.present, roll.silent, roll.settled), (2, 0, false));
        tokio::time::advance(SILENT_AFTER).await;
        let roll = events.call(&view(Some(2), since));
        assert_eq!((roll.present, roll.silent, roll.settled), (0, 2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_busy_draining_and_silent_are_told_apart() {
        let (events, since) = (Events::default(), Instant::now());
        events.take(&heartbeat("hung", 0));
        tokio::time::advance(SILENT_AFTER).await;
        events.take(&heartbeat("idle", 0));
        events.take(&heartbeat("busy", 3));
        events.take(&json!({ "type": "worker-offline", "hostname": "drains", "pid": 1 }));
        events.take(&json!({ "type": "task-sent", "hostname": "client", "pid": 1 }));
        let roll = events.call(&view(Some(3), since));
        assert_eq!(states(&roll), "busy busy, drains draining, hung silent, idle idle");
        assert_eq!((roll.present, roll.silent), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_killed_is_gone_at_once_and_one_that_gives_signs_counts_without_listening() {
        let (events, since) = (Events::default(), Instant::now());
        events.take(&heartbeat("one", 0));
        events.take(&heartbeat("two", 0));
        tokio::time::advance(SILENT_AFTER / 5).await;
        assert_eq!(events.call(&view(Some(2), since)).present, 2);
        // The number has changed just now.
        let changed = Instant::now();
        assert_eq!(events.call(&view(Some(0), changed)).present, 0);
        tokio::time::advance(SILENT_AFTER / 5).await;
        events.take(&heartbeat("two", 0));
        let roll = events.call(&view(Some(0), changed));
        assert_eq!((roll.present, states(&roll).as_str()), (1, "two idle"));
        tokio::time::advance(SILENT_AFTER).await;
        assert_eq!(events.call(&view(Some(0), changed)).named.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_returns_under_its_name_is_not_draining() {
        let (events, since) = (Events::default(), Instant::now());
        events.take(&json!({ "type": "worker-offline", "hostname": "w", "pid": 1 }));
        events.take(&json!({ "type": "worker-online", "hostname": "w", "pid": 2 }));
        assert_eq!(states(&events.call(&view(Some(1), since))), "w idle");
    }

    #[tokio::test(start_paused = true)]
    async fn among_those_who_were_asked_the_ones_without_answer_are_silent() {
        let (events, since) = (Events::default(), Instant::now());
        events.take(&heartbeat("answers", 1));
        events.take(&heartbeat("hung", 0));
        let answered = ["answers".to_owned(), "new".to_owned()];
        let roll = events.call(&View { answered: Some(&answered), ..view(Some(3), since) });
        assert_eq!(states(&roll), "answers busy, hung silent, new answering");
        assert_eq!((roll.present, roll.silent, roll.settled), (2, 1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let events = Events::default();
        for number in 0..2 * MOST {
            events.take(&heartbeat(&number.to_string(), 0));
        }
        events.take(&heartbeat(&"n".repeat(LONGEST_NAME + 1), 0));
        let known = || events.workers.lock().unwrap().len();
        assert_eq!(known(), MOST);
        tokio::time::advance(REMEMBERED).await;
        events.take(&heartbeat("late", 0));
        assert_eq!(known(), 1);
    }
}
