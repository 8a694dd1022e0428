//! What is wrong, of what a run found.

use serde_json::{Map, Value, json};
use wellkept_health::{Outcome, Reason};

use super::events::{Roll, State};
use super::{Facts, Mode, Settings, Silent};

/// Names up to this many bytes are shown: the readings of a component have room for 16 KiB.
const MOST_OF_NAMES: usize = 8 * 1024;

/// The worst of the workers and each queue.
pub(super) fn outcome(settings: &Settings, facts: &Facts) -> Outcome {
    let mut worst = workers(settings, &facts.roll);
    let queues = || settings.queues.iter().zip(&facts.queues);
    for judged in queues().map(|(queue, found)| found.judge(queue)) {
        if judged.verdict() > worst.verdict() {
            worst = judged;
        }
    }
    let mut outcome = with_numbers(worst, &facts.roll);
    let readings: Map<_, _> = queues()
        .map(|(queue, found)| {
            let mut reading = json!({ "length": found.length });
            if let Some(oldest) = found.oldest {
                reading["oldest_seconds"] = json!(oldest.as_secs());
            }
            (queue.name.clone(), reading)
        })
        .collect();
    if !readings.is_empty() {
        outcome = outcome.with("queues", readings);
    }
    outcome
}

fn workers(settings: &Settings, roll: &Roll) -> Outcome {
    let expected = &settings.workers;
    let missing: Vec<&str> = settings.missing(roll).collect();
    if roll.present >= expected.minimum && missing.is_empty() {
        return match roll.silent {
            0 => Outcome::pass(),
            silent => Outcome::warn(Reason::Timeout, "a worker gives no sign")
                .with_detail(format!("{silent} silent: {}", names(roll, State::Silent))),
        };
    }
    let with_silent = roll.present + roll.silent;
    let is_silent = |name: &&str| {
        roll.silent > 0 && (roll.named.get(*name) == Some(&State::Silent) || !roll.named.contains_key(*name))
    };
    let is_draining = roll.named.values().any(|state| *state == State::Draining);
    let (reason, message) = if !roll.settled && (settings.mode == Mode::Events || roll.present >= expected.minimum) {
        match roll.present {
            0 => (Reason::Timeout, "no worker has been heard of yet"),
            _ => (Reason::Timeout, "not every worker has been heard of yet"),
        }
    } else if roll.silent > 0 && with_silent >= expected.minimum && missing.iter().all(is_silent) {
        (Reason::Timeout, "workers give no sign")
    } else if with_silent == 0 && is_draining {
        (Reason::NotReady, "no worker takes tasks: the last ones drain or have ended")
    } else if with_silent == 0 {
        (Reason::NotReady, "no worker is there")
    } else if roll.present >= expected.minimum {
        (Reason::NotReady, "a worker is missing")
    } else {
        (Reason::NotReady, "fewer workers than there should be")
    };
    let is_tolerated = reason == Reason::Timeout && roll.silent > 0 && expected.silent == Silent::Degraded;
    let outcome = if is_tolerated { Outcome::warn(reason, message) } else { Outcome::fail(reason, message) };
    let wanted = expected.minimum.max(expected.names.len() as u64);
    let mut details = vec![format!("{} of {wanted} there", roll.present)];
    for (what, names) in [
        ("missing", missing.join(", ")),
        ("silent", names(roll, State::Silent)),
        ("draining", names(roll, State::Draining)),
    ] {
        if !names.is_empty() {
            details.push(format!("{what}: {names}"));
        }
    }
    outcome.with_detail(details.join("; "))
}

fn with_numbers(outcome: Outcome, roll: &Roll) -> Outcome {
    let count = |state| roll.named.values().filter(|known| **known == state).count() as u64;
    let mut outcome = outcome.with("workers", roll.present).with("silent", roll.silent);
    for state in [State::Idle, State::Busy, State::Draining] {
        outcome = outcome.with(state.as_str(), count(state));
    }
    let mut left = MOST_OF_NAMES;
    let names: Map<String, Value> = roll
        .named
        .iter()
        .map_while(|(name, state)| {
            left = left.checked_sub(name.len() + state.as_str().len() + 6)?;
            Some((name.clone(), state.as_str().into()))
        })
        .collect();
    if names.is_empty() { outcome } else { outcome.with("names", names) }
}

fn names(roll: &Roll, wanted: State) -> String {
    let names = roll.named.iter().filter(|(_, state)| **state == wanted).map(|(name, _)| name.as_str());
    names.collect::<Vec<_>>().join(", ")
}
