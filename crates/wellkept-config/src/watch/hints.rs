//! What the kernel tells of files, by inotify: hints to look again, and nothing that is relied upon.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::sync::Notify;

use super::route::{Place, route};

/// Least time between two readings of what the kernel tells: a folder on the way may be a busy one.
const BREATH: Duration = Duration::from_millis(20);
/// Most of it read at once: what is more is a hint as well.
const MAX_READ: usize = 1024;

/// The watches in force, and the thread that listens. Without them it never hints.
#[derive(Debug)]
pub(super) struct Hints {
    start: fn() -> io::Result<Listener>,
    listener: Option<Listener>,
    /// Whether it was said that something can't be watched.
    told: bool,
}

#[derive(Debug)]
struct Listener {
    shared: Arc<Shared>,
    /// Ends the thread when dropped.
    _alive: PipeWriter,
}

#[derive(Debug)]
struct Shared {
    inotify: OwnedFd,
    /// By the kernel's numbers for them.
    places: Mutex<HashMap<i32, Place>>,
    heard: Notify,
}

/// The means to set the watches anew, on a thread that may block.
#[derive(Debug)]
pub(super) struct Arming(io::Result<Arc<Shared>>);

/// What can't be watched, and why.
pub(super) type Trouble = Option<(PathBuf, io::Error)>;

impl Hints {
    /// Without watches yet.
    pub(super) fn open() -> Self {
        Self { start: Listener::start, listener: None, told: false }
    }

    /// Never hints, as where the kernel has nothing to give.
    #[cfg(test)]
    pub(super) fn deaf() -> Self {
        Self { start: || Err(Errno::MFILE.into()), ..Self::open() }
    }

    pub(super) fn arming(&mut self) -> Arming {
        if let Some(listener) = &self.listener {
            return Arming(Ok(Arc::clone(&listener.shared)));
        }
        // Tried each time: what the user may have was perhaps used up for a while only.
        Arming((self.start)().map(|listener| Arc::clone(&self.listener.insert(listener).shared)))
    }

    /// Logs what can't be watched, when it begins.
    pub(super) fn armed(&mut self, trouble: &Trouble) {
        if let Some((path, error)) = trouble
            && !self.told
        {
            tracing::warn!(
                target: "wellkept::config", path = %path.display(), %error,
                "changes of files can't be heard of at once: they are only looked at regularly \
                 (see fs.inotify.max_user_watches and fs.inotify.max_user_instances)"
            );
        }
        self.told = trouble.is_some();
    }

    /// Waits until something happened that may be a change. Cancel-safe, and without an end where nothing is heard.
    pub(super) async fn next(&self) {
        match &self.listener {
            Some(listener) => listener.shared.heard.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Listener {
    fn start() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let shared = Arc::new(Shared { inotify, places: Mutex::default(), heard: Notify::new() });
        let (ended, alive) = io::pipe()?;
        let listening = Arc::clone(&shared);
        std::thread::Builder::new().name("wk-watch".to_owned()).spawn(move || listening.listen(&ended))?;
        Ok(Self { shared, _alive: alive })
    }
}

impl Shared {
    /// Listens until the other end of `ended` is closed.
    fn listen(&self, ended: &PipeReader) {
        let breath = Timespec::try_from(BREATH).ok();
        while !closed(ended, self.inotify.as_fd(), None) {
            if self.drain() {
                self.heard.notify_one();
            }
            if closed(ended, ended.as_fd(), breath.as_ref()) {
                return;
            }
        }
    }

    /// Reads what the kernel tells: whether there is anything of interest in it.
    fn drain(&self) -> bool {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut heard = false;
        for _ in 0..MAX_READ {
            let Ok(event) = reader.next() else { return heard };
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            heard |= match places.get(&event.wd()) {
                Some(place) => place.is_of_interest(name),
                // One that is being set at this moment, or more was to tell than the kernel could keep. But the end of
                // a watch is no news: what ended it was told before.
                None => !event.events().contains(ReadFlags::IGNORED),
            };
        }
        true
    }
}

/// Waits until there is something to read from `other`, and says whether the other end of `ended` is closed.
fn closed(ended: &PipeReader, other: BorrowedFd<'_>, timeout: Option<&Timespec>) -> bool {
    let mut both = [PollFd::new(ended, PollFlags::empty()), PollFd::from_borrowed_fd(other, PollFlags::IN)];
    match poll(&mut both, timeout) {
        Ok(_) | Err(Errno::INTR) => {}
        // For want of memory: nothing is heard any more, and the files are polled.
        Err(_) => return true,
    }
    let [ended, _] = both;
    ended.revents().contains(PollFlags::HUP)
}

impl Arming {
    /// Watches the way to each path as it is now, and nothing else any more. Blocks on the file system.
    pub(super) fn arm(self, paths: &[PathBuf]) -> Trouble {
        let shared = match self.0 {
            Ok(shared) => shared,
            Err(error) => return Some((paths.first().cloned().unwrap_or_default(), error)),
        };
        let (mut places, mut trouble) = (HashMap::new(), None);
        for (path, place) in route(paths) {
            // A folder that was replaced is watched anew; one that is watched already keeps its number.
            match inotify::add_watch(&shared.inotify, &path, events(&place)) {
                Ok(number) => drop(places.insert(number, place)),
                // It went away since: its own folder tells.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                // Who may pass a folder need not be allowed to list it, and what is in it is watched all the same.
                Err(Errno::ACCESS) if matches!(place, Place::Passed(_)) => {}
                Err(error) => trouble = trouble.or(Some((path, error.into()))),
            }
        }
        let mut former = shared.places.lock().unwrap_or_else(PoisonError::into_inner);
        for number in former.keys().filter(|&number| !places.contains_key(number)) {
            // Fails for one whose folder is gone.
            inotify::remove_watch(&shared.inotify, *number).ok();
        }
        *former = places;
        trouble
    }
}

/// What is heard of a place. Files that are being written count when they are closed, not before.
fn events(place: &Place) -> WatchFlags {
    let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
    let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::DONT_FOLLOW;
    let written = WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
    match place {
        Place::Passed(_) => names | itself | WatchFlags::ONLYDIR,
        Place::Holds(_) | Place::Whole => names | itself | written | WatchFlags::ONLYDIR,
        Place::File => itself | written,
    }
}
