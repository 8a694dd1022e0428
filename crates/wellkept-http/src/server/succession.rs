//! What a server does for the process after it: shares its listening socket, and leaves it to that process alone.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use wellkept_shutdown::BoxFuture;

use super::listen::Listener;
use super::{Address, ServerHandle};
use crate::sockets::{Listening, SharedSocket};

/// How far a server is on its way out of a listening socket that is another's, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Stays,
    Asked,
    Left,
}

/// The part of a server's state that a hand-over is about.
#[derive(Debug)]
pub(super) struct Succession {
    /// The listening socket once more, for as long as it is open.
    socket: Mutex<Option<OwnedFd>>,
    managed: AtomicBool,
    file_is_anothers: AtomicBool,
    step: watch::Sender<Step>,
}

impl Default for Succession {
    fn default() -> Self {
        Self {
            socket: Mutex::default(),
            managed: AtomicBool::new(false),
            file_is_anothers: AtomicBool::new(false),
            step: watch::Sender::new(Step::Stays),
        }
    }
}

impl Succession {
    /// Keeps what is needed to share this socket.
    pub(super) fn keep(&self, listener: &Listener) {
        self.managed.store(listener.is_managed(), Ordering::SeqCst);
        // Where it fails for want of descriptors, sharing it fails later, and says so.
        *self.socket() = listener.as_fd().try_clone_to_owned().ok();
    }

    /// Ends when the server shall leave the socket to another process. Cancel-safe.
    pub(super) async fn asked(&self) {
        self.until(Step::Asked).await;
    }

    /// Whether the file of a Unix socket belongs to another process.
    pub(super) fn file_is_anothers(&self) -> bool {
        self.file_is_anothers.load(Ordering::SeqCst)
    }

    /// Closes what was kept.
    pub(super) fn close(&self) {
        drop(self.socket().take());
    }

    /// The socket is closed in this process.
    pub(super) fn left(&self) {
        self.step.send_replace(Step::Left);
    }

    fn ask(&self) {
        self.file_is_anothers.store(true, Ordering::SeqCst);
        self.step.send_if_modified(|step| {
            let stays = *step == Step::Stays;
            *step = (*step).max(Step::Asked);
            stays
        });
    }

    async fn until(&self, wanted: Step) {
        // It can't end early: the sender is here.
        drop(self.step.subscribe().wait_for(|step| *step >= wanted).await);
    }

    fn share(&self, address: &Address) -> io::Result<SharedSocket> {
        let socket = self.socket();
        let socket = socket.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "it is closed"))?;
        Ok(SharedSocket {
            address: address.clone(),
            managed: self.managed.load(Ordering::SeqCst),
            socket: socket.try_clone()?,
        })
    }

    fn socket(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening for ServerHandle {
    fn share(&self) -> io::Result<SharedSocket> {
        self.shared.succession.share(&self.shared.bound)
    }

    fn leave_file(&self) {
        self.shared.succession.file_is_anothers.store(true, Ordering::SeqCst);
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.shared.succession.ask();
            self.shared.succession.until(Step::Left).await;
        })
    }
}
