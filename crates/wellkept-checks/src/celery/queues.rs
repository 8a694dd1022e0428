//! The queues that are looked at: how long they are, and for how long their oldest task has been seen waiting.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::time::Instant;
use wellkept_config::Section;
use wellkept_health::{Outcome, Reason};

/// A queue, with the limits of its length and of the time that its oldest task waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// Its name, as the workers' `-Q` has it. Required.
    pub name: String,
    /// More tasks than this are degraded. Default: no limit.
    pub degraded_above: Option<u64>,
    /// More tasks than this are unhealthy. Default: no limit.
    pub unhealthy_above: Option<u64>,
    /// An oldest task that has been seen waiting for longer is degraded. Redis only. Default: no limit.
    pub degraded_after: Option<Duration>,
    /// An oldest task that has been seen waiting for longer is unhealthy. Redis only. Default: no limit.
    pub unhealthy_after: Option<Duration>,
}

impl Queue {
    /// A queue without limits: its length is a reading.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = section.required("name");
        let queue = Self {
            name: String::new(),
            degraded_above: section.optional("degraded_above"),
            unhealthy_above: section.optional("unhealthy_above"),
            degraded_after: section.optional("degraded_after"),
            unhealthy_after: section.optional("unhealthy_after"),
        };
        Some(Self { name: name?, ..queue })
    }

    /// Whether the age of its oldest task matters.
    pub(super) fn needs_age(&self) -> bool {
        self.degraded_after.is_some() || self.unhealthy_after.is_some()
    }
}

/// What was found of one queue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) length: u64,
    /// For how long the oldest task has been seen waiting; it may have waited before that.
    pub(super) oldest: Option<Duration>,
}

impl Found {
    pub(super) fn judge(&self, queue: &Queue) -> Outcome {
        let is_past = |limit: Option<u64>| limit.is_some_and(|limit| self.length > limit);
        let waits = |limit: Option<Duration>| limit.zip(self.oldest).is_some_and(|(limit, oldest)| oldest > limit);
        let outcome = if is_past(queue.unhealthy_above) {
            Outcome::fail(Reason::Threshold, "a queue is too long")
        } else if waits(queue.unhealthy_after) {
            Outcome::fail(Reason::Threshold, "a task has been waiting for too long")
        } else if is_past(queue.degraded_above) {
            Outcome::warn(Reason::Threshold, "a queue is too long")
        } else if waits(queue.degraded_after) {
            Outcome::warn(Reason::Threshold, "a task has been waiting for too long")
        } else {
            return Outcome::pass();
        };
        let oldest = self.oldest.map(|oldest| format!(", the oldest seen waiting for {}s", oldest.as_secs()));
        outcome.with_detail(format!("{}: {} tasks{}", queue.name, self.length, oldest.unwrap_or_default()))
    }
}

/// Which task was the oldest of each list when it was looked at last, and since when. A task does not say when it was
/// sent, so its age is known from the first run on that saw it at the end of its list.
#[derive(Debug, Default)]
pub(super) struct Oldest(HashMap<String, (u64, Instant)>);

impl Oldest {
    /// Notes what stands at the end of a list now, and tells for how long it has.
    pub(super) fn note(&mut self, list: &str, task: Option<&[u8]>) -> Option<Duration> {
        let Some(task) = task else {
            self.0.remove(list);
            return None;
        };
        let mut hasher = DefaultHasher::new();
        task.hash(&mut hasher);
        let (task, now) = (hasher.finish(), Instant::now());
        let (known, since) = self.0.entry(list.to_owned()).or_insert((task, now));
        if *known != task {
            (*known, *since) = (task, now);
        }
        Some(now - *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(length: u64, oldest: u64) -> String {
        let queue = Queue {
            degraded_above: Some(10),
            unhealthy_above: Some(100),
            degraded_after: Some(Duration::from_secs(60)),
            unhealthy_after: Some(Duration::from_secs(600)),
            ..Queue::new("mail")
        };
        let outcome = Found { length, oldest: Some(Duration::from_secs(oldest)) }.judge(&queue);
        format!("{} {}", outcome.verdict().as_str(), outcome.message())
    }

    #[test]
    fn the_worse_of_length_and_age_counts() {
        assert_eq!(judged(10, 60), "pass ");
        assert_eq!(judged(11, 0), "warn a queue is too long");
        assert_eq!(judged(1, 61), "warn a task has been waiting for too long");
        assert_eq!(judged(11, 601), "fail a task has been waiting for too long");
        assert_eq!(judged(101, 61), "fail a queue is too long");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_ages_while_it_stays_at_the_end_of_its_list() {
        let mut oldest = Oldest::default();
        assert_eq!(oldest.note("mail", Some(b"1")), Some(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(oldest.note("other", Some(b"1")), Some(Duration::ZERO));
        assert_eq!(oldest.note("mail", Some(b"1")), Some(Duration::from_secs(5)));
        assert_eq!(oldest.note("mail", Some(b"2")), Some(Duration::ZERO));
        assert_eq!(oldest.note("mail", None), None);
        assert!(!oldest.0.contains_key("mail"));
    }
}
