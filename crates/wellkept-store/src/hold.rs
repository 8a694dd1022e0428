//! Who may write to a store's file: one process at a time.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::StoreError;

/// The right to write to a store's file, shared by all who write to it in this process. It is a lock on a file beside
/// it, `….lock`, which the system takes back when the process ends, however it ends. The file itself stays, for
/// whoever removed it could remove one that another process has just locked.
///
/// The store's own file can't bear the lock: closing a file that SQLite has open gives up SQLite's locks on it.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Locked for as long as it is open.
    _file: File,
    /// Whether what an earlier process left has been seen to.
    taken_over: Mutex<bool>,
}

/// Which file it is: device and inode.
pub(crate) type Identity = (u64, u64);

/// What this process holds. An entry whose file is still open is not mistaken: its inode can't be another file's.
static HELD: Mutex<Option<HashMap<Identity, Weak<Hold>>>> = Mutex::new(None);

impl Hold {
    /// Takes the right to write, or a share of it when this process has it. Waits for nobody.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it, or as the lock's file can't be made.
    pub(crate) fn take(path: &Path) -> Result<Arc<Self>, StoreError> {
        let failed = |error: io::Error| StoreError::io(path, &error);
        // One file has one lock, whatever links lead to it.
        let beside = beside(&path.canonicalize().map_err(failed)?);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&beside).map_err(|error| StoreError::io(&beside, &error))?;
        let found = file.metadata().map_err(failed)?;
        let identity = (found.dev(), found.ino());

        let mut books = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let books = books.get_or_insert_default();
        books.retain(|_, hold| hold.strong_count() > 0);
        if let Some(hold) = books.get(&identity).and_then(Weak::upgrade) {
            return Ok(hold);
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::io(&beside, &error)),
        }
        let hold = Arc::new(Self { _file: file, taken_over: Mutex::new(false) });
        books.insert(identity, Arc::downgrade(&hold));
        Ok(hold)
    }

    /// Sees to what an earlier process left: once, before anyone in this process writes. Who comes meanwhile waits.
    pub(crate) fn take_over<E>(&self, see_to_it: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut taken_over = self.taken_over.lock().unwrap_or_else(PoisonError::into_inner);
        if !*taken_over {
            see_to_it()?;
            *taken_over = true;
        }
        Ok(())
    }
}

/// Which file is there now, if one is.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// The lock's file.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    PathBuf::from(name)
}
