//! A plain tokio program with the shutdown crate alone: a server that takes lines over TCP and enters each into a journal.
//! At SIGTERM it takes no new connection, answers the lines that it has taken, and brings the journal to the disk last.
//!
//! ```sh
//! cargo run -p example-no-http -- journal.txt & sleep 1
//! (echo one; sleep 1; echo two) | nc 127.0.0.1 4000 & sleep 0.5; kill %1; wait; cat journal.txt
//! ```
#![expect(clippy::print_stdout, reason = "where it listens is printed")]

use std::error::Error;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use wellkept_shutdown::{
    Phase, Refused, Report, Resource, ResourceType, Settings, Shutdown, Task, TaskContext, Tasks, Work, signals,
    watchdog,
};

/// What an entry takes.
const ENTRY: Duration = Duration::from_millis(500);
/// From one look at the number of entries to the next.
const PACE: Duration = Duration::from_secs(60);
/// How long after the deadline a process that is still there is ended.
const OVERDUE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<Report, Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: ledger JOURNAL")?;
    let address = std::env::var("LEDGER_LISTEN").unwrap_or_else(|_| "127.0.0.1:4000".to_owned());
    let signals = signals::install()?;
    let (shutdown, sequence) = Shutdown::new(Settings::systemd());
    let _watchdog = watchdog::arm(&shutdown, OVERDUE)?;

    let journal = Arc::new(File::options().create(true).append(true).open(path)?);
    let synced = Arc::clone(&journal);
    shutdown.register(Resource::blocking("journal", ResourceType::FileHandle, move || synced.sync_all()))?;
    // Started again when it fails, and stopped when the drain is over.
    let counted = Arc::clone(&journal);
    Tasks::new(&shutdown).spawn(Task::new("size", move |context| tell_size(context, Arc::clone(&counted))))?;

    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?.port());
    tokio::spawn(accept(listener, journal, shutdown.clone()));
    tokio::spawn(signals.drive(shutdown));
    Ok(sequence.run().await)
}

/// Takes connections until the phase in which that ends.
async fn accept(listener: TcpListener, journal: Arc<File>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.reached(Phase::StoppingNewRequests) => return,
            Ok((client, _)) = listener.accept() => {
                tokio::spawn(serve(client, Arc::clone(&journal), shutdown.clone()));
            }
        }
    }
}

/// Enters the lines of one client, and is gone when there is no more to be entered.
async fn serve(client: TcpStream, journal: Arc<File>, shutdown: Shutdown) -> io::Result<()> {
    let _connection = shutdown.tracker().register_connection();
    let (input, mut output) = client.into_split();
    let mut lines = BufReader::new(input).lines();
    loop {
        let line = tokio::select! {
            // What has come is taken before a word is said of the end.
            biased;
            line = lines.next_line() => line?,
            () = shutdown.reached(Phase::Announcing) => break,
        };
        let Some(line) = line else { return Ok(()) };
        let answer = match shutdown.tracker().start_work(Work::new("entry", line.clone())) {
            Ok(_entry) => {
                tokio::time::sleep(ENTRY).await;
                writeln!(&*journal, "{line}")?;
                format!("entered {line}\n")
            }
            Err(Refused::Draining) => break,
            Err(Refused::TooManyInFlight) => "busy\n".to_owned(),
        };
        output.write_all(answer.as_bytes()).await?;
    }
    output.write_all(b"goodbye\n").await
}

async fn tell_size(context: TaskContext, journal: Arc<File>) -> io::Result<()> {
    while !context.is_stopping() {
        println!("the journal has {} bytes", journal.metadata()?.len());
        context.sleep(PACE).await;
    }
    Ok(())
}
