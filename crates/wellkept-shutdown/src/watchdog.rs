//! A thread outside the runtime that ends the process when the deadline has passed: the way out when a worker is wedged
//! or a blocking thread never returns.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::flush;
use crate::handle::{Alarm, Shared, Shutdown};
use crate::phase::Phase;

/// The exit code of a process forced by its deadline (`EX_TEMPFAIL`).
pub const EXIT_CODE: u8 = 75;

/// How long the last log line may take to leave.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How long after its turn the flush may begin, before the sequence is taken for stuck.
const LATE: Duration = Duration::from_millis(100);

/// Ends the process with 75 when `grace` (200 ms is sensible) has passed since the deadline of a triggered shutdown and
/// the process is still there, also when the sequence has ended but something keeps the process. Where the sequence has
/// not come to the flush in time, the watchdog [calls the flushes](Shutdown::on_flush) itself before. Dropping the
/// returned value calls it off. Its thread allocates nothing while nothing is asked for, and no runtime is needed.
pub fn arm(shutdown: &Shutdown, grace: Duration) -> io::Result<Watchdog> {
    arm_with(shutdown, grace, || {
        // The log may be what hangs, so it gets a thread and a moment.
        let words = std::thread::Builder::new().spawn(|| {
            tracing::error!(target: "wellkept::shutdown", "still here after the deadline: the process is ended");
        });
        if let Ok(words) = words {
            let until = Instant::now() + LAST_WORDS;
            while !words.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        std::process::exit(i32::from(EXIT_CODE));
    })
}

/// Keeps the watch; dropping it calls the watch off.
#[derive(Debug)]
#[must_use = "dropping the watchdog calls it off"]
pub struct Watchdog {
    shared: SharedAlarm,
    called_off: Arc<AtomicBool>,
}

impl Watchdog {
    /// Keeps the watch until the process is gone: for who has come to the end of the shutdown and leaves the process to
    /// others, who may wait for a thread that never ends.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let (alarm, changed) = &self.shared.0.alarm;
        // Under the lock, so that the thread is either before its look or inside its wait.
        let _held = alarm.lock().unwrap_or_else(PoisonError::into_inner);
        self.called_off.store(true, Ordering::SeqCst);
        changed.notify_all();
    }
}

struct SharedAlarm(Arc<Shared>);

impl std::fmt::Debug for SharedAlarm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("..")
    }
}

fn arm_with(shutdown: &Shutdown, grace: Duration, end: impl FnOnce() + Send + 'static) -> io::Result<Watchdog> {
    let shared = Arc::clone(shutdown.shared());
    let called_off = Arc::new(AtomicBool::new(false));
    let watchdog = Watchdog { shared: SharedAlarm(Arc::clone(&shared)), called_off: Arc::clone(&called_off) };
    std::thread::Builder::new().name("wellkept-watchdog".to_owned()).spawn(move || {
        if watch(&shared, grace, &called_off) == Watched::Overdue {
            end();
        }
    })?;
    Ok(watchdog)
}

#[derive(PartialEq, Eq)]
enum Watched {
    CalledOff,
    Overdue,
}

fn watch(shared: &Arc<Shared>, grace: Duration, called_off: &AtomicBool) -> Watched {
    let (alarm, changed) = &shared.alarm;
    let mut set = alarm.lock().unwrap_or_else(PoisonError::into_inner);
    let mut flush = Flush::IsDue;
    let mut stood_still = Duration::ZERO;
    loop {
        if called_off.load(Ordering::SeqCst) {
            return Watched::CalledOff;
        }
        let Some(Alarm { flush: flush_at, deadline }) = *set else {
            set = changed.wait(set).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let now = Instant::now();
        let until = match flush {
            Flush::IsDue => (flush_at + LATE).min(deadline + grace),
            Flush::IsDone => deadline + grace,
        } + stood_still;
        if now < until {
            set = changed.wait_timeout(set, until - now).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        if now > until + LATE {
            // The process as a whole did not run (SIGSTOP, a frozen group): the sequence is as late as this thread, and not
            // stuck. The flush has its time from now on.
            stood_still = now.saturating_duration_since(flush_at);
            continue;
        }
        if flush == Flush::IsDone {
            return Watched::Overdue;
        }
        flush = Flush::IsDone;
        drop(set);
        let stuck = Arc::clone(shared);
        // On a thread of its own: whatever it might meet, this one comes to the end.
        let flushing = std::thread::Builder::new().name("wellkept-watchdog-flush".to_owned());
        drop(flushing.spawn(move || flush_for_the_stuck(&stuck)));
        set = alarm.lock().unwrap_or_else(PoisonError::into_inner);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    IsDue,
    IsDone,
}

/// Has what is left of the time used for the flush, where the sequence has not come to it.
fn flush_for_the_stuck(shared: &Shared) {
    let flushes = flush::start_for_the_stuck(shared);
    let phase = shared.phase();
    if flushes == 0 && phase >= Phase::FlushingBuffers {
        return;
    }
    let blocking: Vec<_> =
        shared.suspects(LATE).into_iter().map(|(name, lasts)| format!("{name} for {lasts:.1?}")).collect();
    tracing::error!(
        target: "wellkept::shutdown",
        phase = phase.as_str(),
        flushes,
        blocking = blocking.join(", "),
        "the shutdown is stuck: its flushes are called from outside the runtime"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Cause, Hook, Settings};

    fn short() -> (Shutdown, crate::Sequence) {
        Shutdown::new(Settings { deadline: Duration::from_millis(10), ..Settings::default() })
    }

    #[test]
    fn it_ends_an_overdue_process_without_any_runtime() {
        let (shutdown, _sequence) = short();
        let (tell, told) = mpsc::channel();
        let _watchdog = arm_with(&shutdown, Duration::ZERO, move || tell.send(()).unwrap()).unwrap();
        shutdown.trigger(Cause::requested("test"));
        told.recv_timeout(Duration::from_secs(10)).expect("the end is called");
    }

    #[test]
    fn it_flushes_for_a_sequence_that_never_comes_to_it() {
        let (shutdown, _stuck) = short();
        let (flushed, told_of_flush) = mpsc::channel();
        shutdown.on_flush(Hook::new("logs", async move || flushed.send(()).unwrap()));
        let (ended, told_of_end) = mpsc::channel();
        let _watchdog = arm_with(&shutdown, Duration::from_secs(5), move || ended.send(()).unwrap()).unwrap();
        shutdown.trigger(Cause::requested("test"));
        told_of_flush.recv_timeout(Duration::from_secs(4)).expect("the flush is called before the end");
        assert_eq!(told_of_end.try_recv(), Err(mpsc::TryRecvError::Empty));
    }

    #[test]
    fn it_does_nothing_once_called_off() {
        let (shutdown, _sequence) = short();
        let (tell, told) = mpsc::channel::<()>();
        let watchdog = arm_with(&shutdown, Duration::ZERO, move || tell.send(()).unwrap()).unwrap();
        drop(watchdog);
        shutdown.trigger(Cause::requested("test"));
        // The sender goes away with the thread, unused.
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
