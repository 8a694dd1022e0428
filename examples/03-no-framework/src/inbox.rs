//! The inbox as a component: a check of one's own, and how a test drives time.

use std::path::PathBuf;
use std::time::Duration;

use wellkept_health::{Check, Component, Context, Outcome, Reason, Scope, Thresholds};

/// Jobs that may wait.
const FEW: usize = 10;

/// A component that is degraded while many jobs wait, and unhealthy while nobody can tell how many.
pub(crate) fn component(folder: PathBuf) -> Component {
    Component::new("inbox", Inbox { folder })
        .scope(Scope::Machine)
        .interval(Duration::from_millis(100))
        .thresholds(Thresholds { fall: 2, rise: 2, ..Thresholds::default() })
}

struct Inbox {
    folder: PathBuf,
}

impl Check for Inbox {
    async fn run(&self, _context: &Context) -> Outcome {
        match self.waiting().await {
            Ok(waiting) if waiting > FEW => Outcome::warn(Reason::Threshold, "many jobs wait").with("waiting", waiting),
            Ok(waiting) => Outcome::pass().with("waiting", waiting),
            // The error names the folder, which is nobody's business but the operators'.
            Err(error) => Outcome::fail(Reason::Error, "the inbox can't be read").with_detail(error.to_string()),
        }
    }
}

impl Inbox {
    async fn waiting(&self) -> std::io::Result<usize> {
        let mut jobs = tokio::fs::read_dir(&self.folder).await?;
        let mut waiting = 0;
        while jobs.next_entry().await?.is_some() {
            waiting += 1;
        }
        Ok(waiting)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;
    use wellkept_health::{Checker, Settings, Status, TokioClock};

    use super::*;

    /// Time is tokio's, which stands still but for sleeps: a minute passes in moments, and ages pass with it.
    #[tokio::test(start_paused = true)]
    async fn an_inbox_that_fills_degrades_and_one_that_is_gone_is_unhealthy() {
        let folder = tempfile::tempdir().unwrap();
        let (checker, engine) = Checker::new(Settings { clock: TokioClock::start(), ..Settings::new("tested") });
        checker.register(component(folder.path().to_owned())).unwrap();
        let engine = tokio::spawn(engine.run(std::future::pending()));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(checker.status(), Status::Healthy);

        for number in 0..=FEW {
            std::fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!(checker.status(), Status::Degraded);
        drop(folder);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(checker.status(), Status::Unhealthy);

        engine.abort();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(checker.status(), Status::Unknown, "without results nothing is known for long");
    }
}
