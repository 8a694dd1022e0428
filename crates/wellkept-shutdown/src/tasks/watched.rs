//! A task's future, watched from outside: whether it is being polled, and since when; a panic is an end like any other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::BoxFuture;
use crate::closer::panic_text;

/// Since when a task holds its thread, readable from any other thread.
#[derive(Debug)]
pub(super) struct Held {
    began: Instant,
    /// Milliseconds since `began`, plus one; 0 while it is not polled.
    since: AtomicU64,
}

impl Held {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), since: AtomicU64::new(0) }
    }

    /// For how long it has been polled without a pause.
    pub(super) fn lasts(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    fn begin(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.since.store(now + 1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.since.store(0, Ordering::Relaxed);
    }
}

pub(super) struct Watched<'h> {
    future: BoxFuture<'static, Result<(), String>>,
    held: &'h Held,
}

impl<'h> Watched<'h> {
    /// Begins the task here and now; a panic on the way is its end.
    pub(super) fn begin(held: &'h Held, begin: impl FnOnce() -> BoxFuture<'static, Result<(), String>>) -> Self {
        held.begin();
        let future = catch_unwind(AssertUnwindSafe(begin));
        held.end();
        let future = future.unwrap_or_else(|payload| Box::pin(std::future::ready(Err(panicked(&*payload)))));
        Self { future, held }
    }
}

impl Future for Watched<'_> {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.held.begin();
        let polled = catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(context)));
        self.held.end();
        polled.unwrap_or_else(|payload| Poll::Ready(Err(panicked(&*payload))))
    }
}

fn panicked(payload: &(dyn Any + Send)) -> String {
    format!("panicked: {}", panic_text(payload))
}
