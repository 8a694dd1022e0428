//! The file of a Unix socket: made with its permissions, taken over from who is gone, removed if it is still the same.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen as listen_on, socket};

use super::address::Address;
use super::listen::{BACKLOG, BindError};

/// How long another process may hold the folder's lock.
const LOCK: Duration = Duration::from_secs(2);
const LOCK_AGAIN: Duration = Duration::from_millis(5);
/// All that permissions can say.
const PERMISSIONS: u32 = 0o777;

/// The file of a Unix socket that is ours. Removed when dropped, if the file of that name is still the same one.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: Arc<Path>,
    identity: Option<Identity>,
}

/// Device and inode.
type Identity = (u64, u64);

impl SocketFile {
    /// The file that is there now.
    pub(super) fn of(path: &Arc<Path>) -> io::Result<Self> {
        Ok(Self { path: Arc::clone(path), identity: Some(identity(path)?) })
    }

    /// Leaves it where it is.
    pub(super) fn leave(mut self) {
        self.identity = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some_and(|own| identity(&self.path).is_ok_and(|there| there == own))
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            tracing::warn!(target: "wellkept::http", %path, %error, "the file of the socket can't be removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// A Unix socket that listens and does not block, and its file.
pub(super) fn listen(path: &Arc<Path>, mode: u32) -> Result<(UnixListener, SocketFile), BindError> {
    let address = || Address::Unix(Arc::clone(path));
    let other = |source: io::Error| BindError::of(address(), source);
    let name = SocketAddrUnix::new(&**path).map_err(|_too_long| BindError::PathTooLong { address: address() })?;
    let _lock = lock_folder(path).map_err(other)?;
    make_room(path)?;
    let socket = open(&name, mode).map_err(other)?;
    let file = SocketFile::of(path).map_err(other)?;
    permit(path, mode).map_err(other)?;
    Ok((socket, file))
}

/// The name that a socket is bound to, as a path; `@` and the name for one in no folder.
pub(super) fn name(address: &SocketAddr) -> PathBuf {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt as _;
        if let Some(name) = address.as_abstract_name() {
            return PathBuf::from(format!("@{}", name.escape_ascii()));
        }
    }
    address.as_pathname().unwrap_or(Path::new("@")).to_owned()
}

/// Keeps others of this kind from doing the same in this folder; let go when dropped.
fn lock_folder(path: &Path) -> io::Result<impl Drop + use<>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = rustix::fs::open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let until = Instant::now() + LOCK;
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOCK_AGAIN),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes what is left of a socket that nobody listens on; anything else that is there is an error.
fn make_room(path: &Arc<Path>) -> Result<(), BindError> {
    let address = || Address::Unix(Arc::clone(path));
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::of(address(), error)),
    };
    let kind = there.file_type();
    let found = if kind.is_symlink() {
        Some("symbolic link")
    } else if kind.is_dir() {
        Some("folder")
    } else if kind.is_socket() {
        None
    } else {
        Some("file")
    };
    if let Some(found) = found {
        return Err(BindError::NotASocket { address: address(), found });
    }
    match is_listened_on(path) {
        Ok(true) => Err(BindError::InUse { address: address() }),
        Ok(false) => fs::remove_file(path).map_err(|error| BindError::of(address(), error)),
        Err(error) => Err(BindError::of(address(), error)),
    }
}

/// Whether somebody listens; a queue that is full has an owner too. Never waits.
fn is_listened_on(path: &Path) -> io::Result<bool> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    let socket = UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?).map_err(io::Error::from) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

fn open(name: &SocketAddrUnix, mode: u32) -> io::Result<UnixListener> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    // Linux gives the file the permissions that the socket has when it is bound, cut by the umask: there is no moment at
    // which it is open to more than it should be.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode & PERMISSIONS))?;
    bind(&socket, name)?;
    listen_on(&socket, BACKLOG)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Gives the file its permissions where the umask has cut them. The file is held by a descriptor while it is changed, for
/// a name may lead elsewhere a moment later.
#[cfg(target_os = "linux")]
fn permit(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd as _;

    let mode = mode & PERMISSIONS;
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fstat(&file)?.st_mode & PERMISSIONS == mode {
        return Ok(());
    }
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), fs::Permissions::from_mode(mode))
}

#[cfg(not(target_os = "linux"))]
fn permit(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode & PERMISSIONS))
}
