//! What the model checker goes through: every interleaving of a few threads, as the memory model allows them.

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use super::Refused;
use super::counts::Counts;

/// Bugs of this kind show with two or three unlucky switches between threads; all of them together would take hours.
const SWITCHES: usize = 3;

fn check(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(SWITCHES);
    model.check(run);
}

#[test]
fn a_wait_after_the_stop_ends_and_then_nothing_that_was_let_in_is_there() {
    check(|| {
        let counts = Arc::new(Counts::new(10));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let counts = Arc::clone(&counts);
                thread::spawn(move || match counts.begin() {
                    Ok(()) => counts.end(),
                    Err(refused) => assert_eq!(refused, Refused::Draining),
                })
            })
            .collect();
        counts.stop();
        block_on(counts.until(|counts| counts.requests() == 0));
        assert_eq!(counts.begin(), Err(Refused::Draining));
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(counts.requests(), 0);
    });
}

#[test]
fn a_request_that_was_let_in_before_the_stop_is_waited_for() {
    check(|| {
        let counts = Arc::new(Counts::new(10));
        let done = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let worker = thread::spawn({
            let (counts, done) = (Arc::clone(&counts), Arc::clone(&done));
            move || {
                let begun = counts.begin().is_ok();
                if begun {
                    done.store(true, std::sync::atomic::Ordering::Relaxed);
                    counts.end();
                }
                begun
            }
        });
        counts.stop();
        block_on(counts.until(|counts| counts.requests() == 0));
        let seen = done.load(std::sync::atomic::Ordering::Relaxed);
        // Either its work was done when the wait ended, or it is refused.
        assert_eq!(worker.join().unwrap(), seen);
    });
}

#[test]
fn the_last_of_requests_and_connections_ends_the_wait_for_both() {
    check(|| {
        let counts = Arc::new(Counts::new(10));
        counts.begin().unwrap();
        counts.connect();
        let request = thread::spawn({
            let counts = Arc::clone(&counts);
            move || counts.end()
        });
        let connection = thread::spawn({
            let counts = Arc::clone(&counts);
            move || counts.disconnect()
        });
        block_on(counts.until(|counts| counts.requests() == 0 && counts.connections() == 0));
        request.join().unwrap();
        connection.join().unwrap();
    });
}

#[test]
fn a_cut_reaches_whoever_waits_for_it() {
    check(|| {
        let counts = Arc::new(Counts::new(10));
        let holder = thread::spawn({
            let counts = Arc::clone(&counts);
            move || block_on(counts.until_cut())
        });
        counts.cut();
        holder.join().unwrap();
    });
}
