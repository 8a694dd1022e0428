//! The atomics and the bell as the model checker sees them.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::sync::Mutex;
pub(in crate::tracker) use loom::sync::atomic::Ordering;
use loom::sync::atomic::fence;

/// The checker takes `SeqCst` on an access for acquire and release only; with a fence on each side it is what it says.
macro_rules! atomics {
    ($($name:ident: $value:ty;)*) => {$(
        #[derive(Debug)]
        pub(in crate::tracker) struct $name(loom::sync::atomic::$name);

        impl $name {
            pub(in crate::tracker) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub(in crate::tracker) fn load(&self, ordering: Ordering) -> $value {
                fenced(ordering, || self.0.load(ordering))
            }
        }
    )*};
}

atomics! {
    AtomicBool: bool;
    AtomicUsize: usize;
    AtomicU64: u64;
}

impl AtomicBool {
    pub(in crate::tracker) fn store(&self, value: bool, ordering: Ordering) {
        fenced(ordering, || self.0.store(value, ordering));
    }
}

impl AtomicUsize {
    pub(in crate::tracker) fn store(&self, value: usize, ordering: Ordering) {
        fenced(ordering, || self.0.store(value, ordering));
    }

    pub(in crate::tracker) fn fetch_add(&self, value: usize, ordering: Ordering) -> usize {
        fenced(ordering, || self.0.fetch_add(value, ordering))
    }

    pub(in crate::tracker) fn fetch_sub(&self, value: usize, ordering: Ordering) -> usize {
        fenced(ordering, || self.0.fetch_sub(value, ordering))
    }
}

impl AtomicU64 {
    pub(in crate::tracker) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        fenced(ordering, || self.0.fetch_add(value, ordering))
    }
}

fn fenced<T>(ordering: Ordering, access: impl FnOnce() -> T) -> T {
    if ordering != Ordering::SeqCst {
        return access();
    }
    fence(Ordering::SeqCst);
    let value = access();
    fence(Ordering::SeqCst);
    value
}

#[derive(Debug)]
pub(in crate::tracker) struct Bell(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rings: usize,
    waiting: Vec<Waker>,
}

impl Bell {
    pub(in crate::tracker) fn new() -> Self {
        Self(Mutex::new(State::default()))
    }

    pub(in crate::tracker) fn rung(&self) -> Rung<'_> {
        Rung { bell: self, enlisted: None }
    }

    pub(in crate::tracker) fn enlist(mut rung: Pin<&mut Rung<'_>>) {
        let rings = rung.bell.0.lock().unwrap().rings;
        rung.enlisted = Some(rings);
    }

    pub(in crate::tracker) fn ring(&self) {
        let mut state = self.0.lock().unwrap();
        state.rings += 1;
        state.waiting.drain(..).for_each(Waker::wake);
    }
}

pub(in crate::tracker) struct Rung<'b> {
    bell: &'b Bell,
    enlisted: Option<usize>,
}

impl Future for Rung<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.bell.0.lock().unwrap();
        if self.enlisted != Some(state.rings) {
            return Poll::Ready(());
        }
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }
}
