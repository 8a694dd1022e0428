//! How much room a file system has, and what may be done there.

use std::path::Path;

use rustix::fs::{Access, StatVfsMountFlags, access};

use super::{ReadingError, ratio};

/// The room on the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its size in bytes.
    pub total: u64,
    /// Bytes that are free, those reserved for root among them.
    pub free: u64,
    /// Bytes that are free for everyone.
    pub available: u64,
    /// Files it can hold; 0 where it has no fixed number of them (btrfs, some network file systems).
    pub inodes: u64,
    /// Files that can still be made by everyone.
    pub inodes_available: u64,
    /// It is mounted read-only, perhaps by the kernel after an error.
    pub read_only: bool,
}

impl Disk {
    /// Reads it. Blocks, on a network mount whose server is gone possibly for good.
    pub fn read(path: &Path) -> Result<Self, ReadingError> {
        let statistics = rustix::fs::statvfs(path)
            .map_err(|error| ReadingError::Io { path: path.to_owned(), source: error.into() })?;
        let bytes = |blocks: u64| blocks.saturating_mul(statistics.f_frsize);
        Ok(Self {
            total: bytes(statistics.f_blocks),
            free: bytes(statistics.f_bfree),
            available: bytes(statistics.f_bavail),
            inodes: statistics.f_files,
            inodes_available: statistics.f_favail,
            read_only: statistics.f_flag.contains(StatVfsMountFlags::RDONLY),
        })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.total.saturating_sub(self.free)
    }

    /// The used share, 0 to 1, as `df` shows it: of what is used and what everyone may still use, so that 1 means
    /// that nobody but root can write.
    pub fn usage(&self) -> f64 {
        let used = self.used() as f64;
        ratio(used, used + self.available as f64)
    }

    /// The share that everyone may still use, 0 to 1: what [`Disk::usage`] leaves. 1 on a file system of no size,
    /// which is never full (`/proc`).
    pub fn free_ratio(&self) -> f64 {
        1.0 - self.usage()
    }

    /// The share of files that can still be made, 0 to 1. `None` where there is no fixed number of them.
    pub fn inodes_free_ratio(&self) -> Option<f64> {
        (self.inodes > 0).then(|| ratio(self.inodes_available as f64, self.inodes as f64))
    }
}

/// What this process may do with a path, as the kernel judges it by permissions and mounts (access(2)). Nothing is
/// opened and nothing written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// To read a file, or to list a folder and reach what is in it.
    pub read: bool,
    /// To write a file, or to make files in a folder. False on what is mounted read-only.
    pub write: bool,
}

impl Permissions {
    /// Asks. Blocks, like [`Disk::read`].
    pub fn of(path: &Path) -> Self {
        let reach = if path.is_dir() { Access::EXEC_OK } else { Access::EXISTS };
        let may = |what| access(path, what | reach).is_ok();
        Self { read: may(Access::READ_OK), write: may(Access::WRITE_OK) }
    }
}
