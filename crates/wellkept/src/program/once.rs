//! Running a configuration's checks once, all at the same time, for `wellkept check`.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wellkept_health::{Component, Finished, Group, Status, run_once};

/// How many checks run at the same time.
const AT_ONCE: usize = 64;

/// What every check found, in the order of the configuration.
#[derive(Debug)]
pub struct Verdicts {
    /// Each component with what its check found.
    pub checks: Vec<(Component, Finished)>,
}

impl Verdicts {
    /// What all checks add up to, as `/health` says it of a service: there are no thresholds on a single run.
    pub fn status(&self) -> Status {
        self.total(|component, status| component.weight().weigh(status))
    }

    /// What readiness would say: what its group does not see is left out, and what is shared by all replicas degrades.
    pub fn readiness(&self) -> Status {
        self.total(|component, status| component.counts_for(&Group::Ready, status))
    }

    fn total(&self, counts: impl Fn(&Component, Status) -> Option<Status>) -> Status {
        let statuses =
            self.checks.iter().filter_map(|(component, finished)| counts(component, finished.outcome.verdict().into()));
        statuses.fold(Status::Healthy, Status::worse)
    }
}

/// Runs every component's check once. Ends at the longest timeout at the latest, when there are no more than 64.
pub async fn run_all(components: Vec<Component>) -> Verdicts {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for (index, component) in components.into_iter().enumerate() {
        let places = Arc::clone(&places);
        runs.spawn(async move {
            // The semaphore is never closed: without a place the run would only be less polite.
            let _place = places.acquire().await;
            let finished = run_once(&component).await;
            (index, component, finished)
        });
    }
    let mut checks = runs.join_all().await;
    checks.sort_by_key(|(index, ..)| *index);
    Verdicts { checks: checks.into_iter().map(|(_, component, finished)| (component, finished)).collect() }
}
