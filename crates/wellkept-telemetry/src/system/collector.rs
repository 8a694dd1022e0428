//! All readings at once, in bounded time: on a helper thread, each with a deadline of its own.

mod helper;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::figures::{CpuFigures, DiskIo, Filesystem, Interface, MemoryFigures, ProcessFigures, Stalled};
use super::readers;
use super::{Descriptors, Process, SystemRoot};

use helper::{State, Unit, work};

/// Most helpers that a reading may hold up. With as many no more are started, and what is left to read goes without.
const MOST_HELD_UP: usize = 8;
/// How long one call waits in all.
const PATIENCE: Duration = Duration::from_secs(2);

/// What [`System`] may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemOptions {
    /// Where the kernel's files are. Default `/proc` and `/sys`.
    pub root: SystemRoot,
    /// How long each reading may take. Default 100 ms; all but those of file systems take microseconds.
    pub deadline: Duration,
    /// How long the figures of an earlier reading are shown in place of one that is late or fails. Default 1 min.
    pub stale_after: Duration,
}

impl Default for SystemOptions {
    fn default() -> Self {
        Self { root: SystemRoot::default(), deadline: Duration::from_millis(100), stale_after: Duration::from_secs(60) }
    }
}

/// Reads the machine, the control group and the process, as often as it is asked to. Cheap to clone; clones share files
/// and readings, and who asks while another does gets the same.
///
/// The files are kept open. They are read by a helper thread, one after the other: a reading that is past its deadline
/// keeps its thread, and another one reads the rest. At most eight threads are held up like that, and what has not come back is not asked
/// again before it does, so that a network mount whose server is gone costs one thread and, once, the deadline. The
/// threads end with the last clone, those held up when the kernel lets them.
///
/// ```
/// use wellkept_telemetry::system::{System, SystemOptions};
///
/// let system = System::new(&SystemOptions::default());
/// let readings = system.read();
/// if let Some(memory) = readings.memory {
///     assert!(memory.available <= memory.total);
/// }
/// ```
#[derive(Debug, Clone)]
pub struct System(Arc<Owner>);

/// Ends the helper when nobody reads any more.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().is_closing = true;
        self.0.wanted.notify_all();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells helpers that there is something to read, or that they are to end.
    wanted: Condvar,
    /// Tells readers that something has been read.
    done: Condvar,
    deadline: Duration,
    stale_after: Duration,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has been read. What is `None` or empty could not be, or is not there.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Readings {
    /// The processors.
    pub cpu: Option<CpuFigures>,
    /// Memory and swap space.
    pub memory: Option<MemoryFigures>,
    /// Disks: at most 64 of the machine, and of the control group those that it has used.
    pub disks: Vec<DiskIo>,
    /// Interfaces that can be seen from here, at most 64, without the near ends of containers' (`veth…`).
    pub interfaces: Vec<Interface>,
    /// Processes and threads.
    pub processes: Option<ProcessFigures>,
    /// Time lost to waiting.
    pub pressure: Vec<Stalled>,
    /// Files that the machine has open.
    pub descriptors: Option<Descriptors>,
    /// This process.
    pub process: Option<Process>,
    /// File systems that hold files, at most 32, each once.
    pub filesystems: Vec<Filesystem>,
    /// How each of these came.
    pub states: Vec<ReadingState>,
}

/// How one reading comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadingState {
    /// `cpu`, `memory`, `disks`, `network`, `processes`, `pressure`, `descriptors`, `process`, `filesystems`, or `groups` for
    /// which control groups there are.
    pub reading: &'static str,
    /// How old it is: of file systems, the oldest. `None` before the first.
    pub age: Option<Duration>,
    /// How often it was asked for and failed or was late.
    pub errors: u64,
}

impl System {
    /// Opens nothing yet and starts no thread.
    pub fn new(options: &SystemOptions) -> Self {
        let units = readers::all(&options.root).into_iter().map(|(name, reader)| Unit::new(name, reader)).collect();
        Self(Arc::new(Owner(Arc::new(Shared {
            state: Mutex::new(State { units, ..State::default() }),
            wanted: Condvar::new(),
            done: Condvar::new(),
            deadline: options.deadline,
            stale_after: options.stale_after,
        }))))
    }

    /// Reads everything anew. Blocks: as a rule a fraction of a millisecond, one deadline for each reading that hangs for the first
    /// time, and two seconds at most. Must not be called on a thread that runs tasks.
    pub fn read(&self) -> Readings {
        self.read_some(|_| true)
    }

    /// All but this process.
    pub(super) fn read_machine(&self) -> Readings {
        self.read_some(|reading| reading != readers::PROCESS)
    }

    fn read_some(&self, is_wanted: fn(&str) -> bool) -> Readings {
        let shared = &self.0.0;
        let gives_up = Instant::now() + PATIENCE;
        let mut state = shared.lock();
        state.want(is_wanted);
        loop {
            if state.is_idle() {
                break;
            }
            if !state.has_helper {
                self.start_helper(&mut state);
                continue;
            }
            let now = Instant::now();
            if now >= gives_up {
                state.abandon_wanted();
                break;
            }
            let late = match state.current() {
                Some((unit, since)) if now >= since + shared.deadline => {
                    state.hold_up(unit);
                    continue;
                }
                Some((_, since)) => since + shared.deadline,
                // The helper is about to take the next.
                None => now + shared.deadline,
            };
            shared.wanted.notify_one();
            let patience = late.min(gives_up).saturating_duration_since(now);
            state = shared.done.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.readings(shared.stale_after, is_wanted)
    }

    /// Where none can be started, nothing is read.
    fn start_helper(&self, state: &mut State) {
        let shared = Arc::clone(&self.0.0);
        let may_start = state.held_up() < MOST_HELD_UP;
        let started = may_start
            && std::thread::Builder::new().name("wellkept-system".into()).spawn(move || work(&shared)).is_ok();
        if started {
            state.has_helper = true;
        } else {
            state.abandon_wanted();
        }
    }
}

#[cfg(test)]
mod tests;
