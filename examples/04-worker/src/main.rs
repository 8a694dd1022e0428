//! A script, without a runtime and without a framework: it imports files out of a folder, one after the other, each line
//! to standard output. At SIGTERM it ends the file that it is at and begins no other; what it remembers leaves last.
//!
//! ```sh
//! mkdir -p inbox; seq 100 > inbox/a; cargo run -p example-worker -- inbox & sleep 5; kill %1; wait %1; echo $?
//! ```
#![expect(clippy::print_stdout, reason = "what it imports is printed")]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use wellkept_shutdown::{Hook, Report, Settings, Standalone, Work};

/// What a line takes.
const LINE: Duration = Duration::from_millis(20);
/// From one look into the folder to the next.
const PACE: Duration = Duration::from_secs(1);

fn main() -> io::Result<Report> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: importer FOLDER"))?;
    wellkept_shutdown::run(Settings::docker(), |standalone| {
        let imported = Arc::new(AtomicUsize::new(0));
        let total = Arc::clone(&imported);
        let goodbye = move || println!("imported {} files", total.load(Ordering::Relaxed));
        standalone.shutdown().after(Hook::blocking("totals", goodbye));
        while !standalone.is_shutting_down() {
            import_all(standalone, Path::new(&folder), &imported)?;
            standalone.sleep(PACE);
        }
        Ok::<(), io::Error>(())
    })
}

fn import_all(standalone: &Standalone, folder: &Path, imported: &AtomicUsize) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.display().to_string();
        // None is begun after the signal; one that was begun before is waited for.
        let Ok(_unit) = standalone.work(Work::new("import", name.clone())) else { break };
        println!("begins {name}");
        for line in fs::read_to_string(&path)?.lines() {
            println!("{line}");
            thread::sleep(LINE);
        }
        fs::remove_file(&path)?;
        imported.fetch_add(1, Ordering::Relaxed);
        println!("ends {name}");
    }
    Ok(())
}
