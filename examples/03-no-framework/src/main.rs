//! A plain tokio program with the health crate alone: no web framework, no server. A clerk takes jobs out of a folder;
//! a check of its own looks at how many wait, a heartbeat watches its loop, and every change of health is printed as a
//! line of JSON.
//!
//! ```sh
//! mkdir -p inbox; cargo run -p example-no-framework -- inbox &
//! touch inbox/{1..500}; sleep 20; rm -r inbox; sleep 1; kill %1
//! ```

mod inbox;
mod lines;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use wellkept_health::{Checker, ExportSettings, Heartbeat, Settings};

/// From one job to the next.
const PACE: Duration = Duration::from_millis(20);
/// The longest that one round may ever take.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: clerk FOLDER")?);

    let (checker, engine) = Checker::new(Settings::new("clerk"));
    checker.register(inbox::component(folder.clone()))?;
    checker.export("stdout", lines::Lines(std::io::stdout()), ExportSettings::default())?;
    tokio::spawn(work(folder, checker.heartbeat("work", LIMIT)?));

    engine.run(std::future::pending()).await;
    Ok(())
}

/// Takes one job after the other, for as long as the program runs.
async fn work(folder: PathBuf, heartbeat: Heartbeat) {
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        // A folder that can't be read is what the check tells of; this loop just tries again.
        if let Ok(mut jobs) = tokio::fs::read_dir(&folder).await
            && let Ok(Some(job)) = jobs.next_entry().await
        {
            let _taken_by_another = tokio::fs::remove_file(job.path()).await;
        }
        heartbeat.beat();
    }
}
