//! The sending end of the queue, and what it has in common with the writer's thread: whoever logs only ever copies a
//! line into memory, and waits, within a bound, for important ones alone.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::block::Block;
use super::books::Books;
use super::encode::{Encoder, Line};
use super::options::Important;
use super::output::{Destination, Written};
use super::queue::{Class, Queue, State, WriterState};
use super::spill::{Aside, Keeper};
use super::upkeep::Upkeep;
use super::writer::Writer;

/// How long the writer stays awake after a line. Who logs within that time need not wake it, which costs a system call.
const LINGER: Duration = Duration::from_millis(1);
/// The longest that an output is left alone while somebody waits for it.
const HURRIED_PAUSE: Duration = Duration::from_millis(20);
/// Stands for a deadline past the end of time.
const FOREVER: Duration = Duration::from_secs(86_400);

/// The sending end. Dropping the last one lets the writer finish what waits, and end.
pub(super) struct Sink {
    shared: Arc<Shared>,
}

/// What the sending end, the writer's thread and the spill's have in common.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// A line has come for the writer, or an order.
    arrived: Condvar,
    /// Lines have been settled or put aside, or all is over.
    progressed: Condvar,
    /// There is something to do for the spill's thread.
    put_aside: Condvar,
    name: String,
    wait: Duration,
}

/// What the writer is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// To write the block.
    Lines,
    /// Nothing for now.
    Idle,
    Reopen,
    /// To say goodbye and to end.
    End,
}

impl Sink {
    /// Starts the writer's thread, and the spill's if there is to be one.
    pub(super) fn start(
        name: &str,
        destination: Box<dyn Destination>,
        encoder: Encoder,
        important: Important,
        upkeep: Arc<Upkeep>,
    ) -> io::Result<Self> {
        let aside = important.spill.is_some().then(Aside::default);
        let shared = Arc::new(Shared::new(name, important.wait, aside));
        if let Some(options) = important.spill {
            let mut keeper = Keeper::new(Arc::clone(&shared), options);
            thread::Builder::new().name("wellkept-spill".into()).spawn(move || keeper.run())?;
        }
        let mut writer = Writer::new(Arc::clone(&shared), destination, encoder, upkeep);
        let writing = thread::Builder::new().name("wellkept-log".into()).spawn(move || writer.run());
        if writing.is_err() {
            shared.end();
        }
        writing.map(|_| Self { shared })
    }

    /// Queues a line, or drops and counts it. Only an important one waits for room, and within a bound.
    pub(super) fn push(&self, line: Line<'_>) {
        let class = Class::of(&line);
        let mut queue = self.shared.lock();
        queue.books.accepted += 1;
        queue.books.truncated += u64::from(line.is_truncated);
        if queue.state != State::Open {
            queue.drop_at_end();
            return;
        }
        let text = line.text;
        if !queue.admit(text, class) {
            let admitted;
            (queue, admitted) = self.shared.insist(queue, text, class);
            if !admitted {
                if queue.refuse(text, class) {
                    self.shared.put_aside.notify_one();
                }
                return;
            }
        }
        let wake = queue.writer == WriterState::Asleep;
        if wake {
            queue.writer = WriterState::Awake;
        }
        drop(queue);
        if wake {
            self.shared.arrived.notify_one();
        }
    }

    /// Waits until all that was taken in before has left the queue and what was put aside, at most for `deadline`.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let end = Instant::now().checked_add(deadline);
        let mut queue = self.shared.lock();
        let awaited = queue.admitted;
        let awaited_aside = queue.aside.as_ref().map_or(0, |aside| aside.entered);
        queue.hurried += 1;
        self.shared.arrived.notify_one();
        let is_settled = |queue: &Queue| {
            queue.settled >= awaited && queue.aside.as_ref().is_none_or(|aside| aside.left >= awaited_aside)
        };
        let is_over = |queue: &Queue| is_settled(queue) || queue.writer == WriterState::Ended;
        let (mut queue, _) = self.shared.wait_for(queue, end, is_over);
        queue.hurried -= 1;
        is_settled(&queue)
    }

    /// Takes no further line, and has the writer finish until `end`.
    pub(super) fn begin_to_close(&self, end: Option<Instant>) {
        let now = Instant::now();
        let end = end.unwrap_or_else(|| now + FOREVER);
        // The last eighth is for what can't be written: to put it aside, and to say so.
        let until = now + end.saturating_duration_since(now) / 8 * 7;
        let mut queue = self.shared.lock();
        if queue.state == State::Open {
            queue.state = State::Closing { until, end };
        }
        drop(queue);
        self.shared.arrived.notify_one();
    }

    /// Waits for the writer to finish until `end`; what can't be written then is put aside or dropped. Returns whether
    /// everything was written.
    pub(super) fn close(&self, end: Option<Instant>) -> bool {
        self.begin_to_close(end);
        let mut queue = self.shared.lock();
        let (until, end) = match queue.state {
            State::Closing { until, end } => (Some(until), Some(end)),
            State::Open | State::Closed => (end, end),
        };
        (queue, _) = self.shared.wait_for(queue, until, |queue| queue.writer == WriterState::Ended);
        queue.abandon(None);
        queue.state = State::Closed;
        self.shared.put_aside.notify_one();
        let is_over = |queue: &Queue| {
            queue.writer == WriterState::Ended && queue.aside.as_ref().is_none_or(|aside| aside.is_released)
        };
        let (queue, is_over) = self.shared.wait_for(queue, end, is_over);
        is_over && queue.is_settled() && !queue.is_abandoned
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    /// Has the destination opened anew what it writes to.
    pub(super) fn reopen(&self) {
        self.shared.lock().wants_reopen = true;
        self.shared.arrived.notify_one();
    }

    pub(super) fn books(&self) -> Books {
        self.shared.books()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.begin_to_close(None);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sink").field("name", &self.name()).field("books", &self.books()).finish()
    }
}

impl Shared {
    pub(super) fn new(name: &str, wait: Duration, aside: Option<Aside>) -> Self {
        Self {
            queue: Mutex::new(Queue::new(aside)),
            arrived: Condvar::new(),
            progressed: Condvar::new(),
            put_aside: Condvar::new(),
            name: name.to_owned(),
            wait,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn books(&self) -> Books {
        self.lock().books()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for progress until the condition holds or the end has come; without an end as long as it takes.
    fn wait_for<'q>(
        &self,
        mut queue: MutexGuard<'q, Queue>,
        end: Option<Instant>,
        holds: impl Fn(&Queue) -> bool,
    ) -> (MutexGuard<'q, Queue>, bool) {
        while !holds(&queue) {
            let left = end.map_or(FOREVER, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return (queue, false);
            }
            queue = self.progressed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        (queue, true)
    }

    /// An important line found no room: waits for some, unless another has waited in vain before.
    fn insist<'q>(&self, mut queue: MutexGuard<'q, Queue>, line: &[u8], class: Class) -> (MutexGuard<'q, Queue>, bool) {
        if !class.is_important() || self.wait.is_zero() {
            return (queue, false);
        }
        let end = Instant::now() + self.wait;
        while !queue.is_stuck && queue.state == State::Open {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                queue.is_stuck = true;
                break;
            }
            queue = self.progressed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            if queue.state != State::Closed && queue.admit(line, class) {
                return (queue, true);
            }
        }
        (queue, false)
    }

    /// For the writer: waits for lines, an order or the end, at most for `patience`.
    pub(super) fn next(&self, block: &mut Block, patience: Duration) -> Next {
        let mut queue = self.lock();
        // First a moment awake, in which nobody need wake it.
        if !has_work(&queue) {
            queue = self.arrived.wait_timeout(queue, LINGER).unwrap_or_else(PoisonError::into_inner).0;
        }
        if !has_work(&queue) {
            queue.writer = WriterState::Asleep;
            queue = self.wait_for_order(queue, patience);
            queue.writer = WriterState::Awake;
        }
        if std::mem::take(&mut queue.wants_reopen) {
            Next::Reopen
        } else if is_over(&queue) {
            Next::End
        } else if queue.take(block) {
            Next::Lines
        } else {
            Next::Idle
        }
    }

    fn wait_for_order<'q>(&self, queue: MutexGuard<'q, Queue>, patience: Duration) -> MutexGuard<'q, Queue> {
        let patience = match queue.state {
            State::Closing { until, .. } => patience.min(until.saturating_duration_since(Instant::now())),
            State::Open | State::Closed => patience,
        };
        let wait = self.arrived.wait_timeout_while(queue, patience, |queue| !has_work(queue));
        wait.unwrap_or_else(PoisonError::into_inner).0
    }

    /// For the writer: enters what became of the block's front. Returns false when nothing is to be written any more.
    pub(super) fn settle(&self, block: &mut Block, written: Written) -> bool {
        let mut queue = self.lock();
        queue.settle(block, written);
        let goes_on = !is_out_of_time(&queue);
        let has_spill = queue.aside.is_some();
        drop(queue);
        self.progressed.notify_all();
        if has_spill {
            self.put_aside.notify_one();
        }
        goes_on
    }

    /// For the writer: leaves the output alone for that time, or for less when somebody waits for it.
    pub(super) fn pause(&self, pause: Duration) {
        let end = Instant::now() + pause.min(FOREVER);
        let mut queue = self.lock();
        loop {
            let mut left = end.saturating_duration_since(Instant::now());
            let is_hurried = queue.hurried > 0 || queue.state != State::Open;
            if is_hurried {
                left = left.min(HURRIED_PAUSE);
            }
            if left.is_zero() {
                return;
            }
            let waited;
            (queue, waited) = self.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner);
            if is_hurried && waited.timed_out() {
                return;
            }
        }
    }

    /// For the writer: gives back what can't be written any more, together with what waits in the queue.
    pub(super) fn abandon(&self, block: &mut Block) {
        self.lock().abandon(Some(block));
        self.put_aside.notify_one();
    }

    /// For the writer: the output is broken for good. What is pending is given back, and what comes is lost.
    pub(super) fn fail(&self, block: &mut Block) {
        self.lock().fail(block);
        self.put_aside.notify_one();
    }

    /// For the writer: the time by which all must be over.
    pub(super) fn end_of_closing(&self) -> Instant {
        match self.lock().state {
            State::Closing { end, .. } => end,
            State::Open | State::Closed => Instant::now(),
        }
    }

    /// For the writer: it has ended.
    pub(super) fn end(&self) {
        let mut queue = self.lock();
        queue.state = State::Closed;
        queue.writer = WriterState::Ended;
        drop(queue);
        self.progressed.notify_all();
        self.put_aside.notify_one();
    }

    /// For the spill: waits for something to do.
    pub(super) fn wait_for_aside<'q>(&self, queue: MutexGuard<'q, Queue>) -> MutexGuard<'q, Queue> {
        self.put_aside.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }

    /// For the spill: lines are offered.
    pub(super) fn wake_writer(&self) {
        self.arrived.notify_one();
    }

    /// For the spill: lines are safe, or lost.
    pub(super) fn tell_progress(&self) {
        self.progressed.notify_all();
    }
}

/// Whether the writer has something to do.
fn has_work(queue: &Queue) -> bool {
    queue.wants_reopen || queue.has_lines() || is_over(queue)
}

/// Whether the writer is to end.
fn is_over(queue: &Queue) -> bool {
    is_out_of_time(queue) || (queue.state != State::Open && queue.is_settled())
}

fn is_out_of_time(queue: &Queue) -> bool {
    match queue.state {
        State::Open => false,
        State::Closing { until, .. } => Instant::now() >= until,
        State::Closed => true,
    }
}

#[cfg(test)]
mod tests;
