//! What only the operating system can do for a hand-over: a socket that nobody else may speak to, who is at its other
//! end, and descriptors that travel.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use crate::server::PeerProcess;

/// How many descriptors travel in one message: far below what any system allows (Linux: 253).
const BATCH: usize = 32;
/// What each such message says beside them, for one without any bytes does not arrive.
const CARRIER: u8 = b'+';

/// A listening socket that only this user may connect to, and its file, which goes when this is dropped, unless another
/// process has put its own in its place.
#[derive(Debug)]
pub(super) struct PrivateSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    file: Option<(u64, u64)>,
}

impl PrivateSocket {
    /// Listens at `path`, in a folder that is made where it is missing. A socket that is there is replaced in one step:
    /// whoever connects reaches the old one or the new one.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let folder = prepare(path)?;
        // Under another name until its mode is right.
        let unfinished = folder.join(format!(".{}", std::process::id()));
        drop(fs::remove_file(&unfinished));
        let listener = UnixListener::bind(&unfinished)?;
        let finished = fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::symlink_metadata(&unfinished))
            .and_then(|file| fs::rename(&unfinished, path).map(|()| (file.dev(), file.ino())));
        let file = finished.inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
        Ok(Self { listener, path: path.to_owned(), file: Some(file) })
    }

    /// Leaves the file to another process, which is about to put its own there.
    pub(super) fn leave_file(&mut self) {
        self.file = None;
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        // Nobody comes between the look and the removal: who takes over is left the file before.
        if self.file.is_some()
            && self.file == fs::symlink_metadata(&self.path).ok().map(|there| (there.dev(), there.ino()))
        {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether a socket can be bound at this path. Makes the folder where it is missing, for this user alone, and refuses one
/// that others may write to: they could put a socket of theirs in the place of ours. Returns the folder.
pub(super) fn prepare(path: &Path) -> io::Result<PathBuf> {
    if path.file_name().is_none() {
        return Err(io::Error::other("a file's name is missing"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let there = fs::metadata(folder)?;
    if !there.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    if !is_trusted(there.uid()) || there.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to its folder: name one that only this user may write to"));
    }
    if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return Err(io::Error::other("something that is no socket has this name"));
    }
    SocketAddr::from_pathname(path)?;
    Ok(folder.to_owned())
}

/// Who is at the other end, as the system knows it (`SO_PEERCRED`).
pub(super) fn peer(stream: &UnixStream) -> io::Result<PeerProcess> {
    stream.peer_cred().map(|peer| PeerProcess { user: peer.uid(), id: peer.pid() })
}

/// A process that can be told from any later one of its number.
#[derive(Debug)]
pub(super) struct Process(OwnedFd);

impl Process {
    /// `None` where the system can't (`pidfd_open(2)`), or does not show us that process.
    pub(super) fn open(id: i32) -> Option<Self> {
        pidfd_open(Pid::from_raw(id)?, PidfdFlags::empty()).ok().map(Self)
    }

    /// Whether it has ended, and what it held is free.
    pub(super) fn has_ended(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&at_once)) != Ok(0)
    }
}

/// Whether this user may be given our sockets, and may give us some: ourselves, and root.
pub(super) fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Sends descriptors, as many messages as it takes. Not cancel-safe.
pub(super) async fn send(stream: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    for batch in sockets.chunks(BATCH) {
        let batch: Vec<BorrowedFd<'_>> = batch.iter().map(OwnedFd::as_fd).collect();
        stream
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !control.push(SendAncillaryMessage::ScmRights(&batch)) {
                    return Err(io::Error::other("the descriptors do not fit"));
                }
                Ok(sendmsg(stream, &[IoSlice::new(&[CARRIER])], &mut control, SendFlags::NOSIGNAL)?)
            })
            .await?;
    }
    Ok(())
}

/// Receives so many descriptors, none of which a child inherits. Those that came before an error are closed. Not
/// cancel-safe.
pub(super) async fn receive(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut received = Vec::new();
    while received.len() < count {
        let batch = stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut carrier = [0];
                let heard =
                    recvmsg(stream, &mut [IoSliceMut::new(&mut carrier)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
                let mut batch = Vec::new();
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                        batch.extend(descriptors);
                    }
                }
                if heard.bytes == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if heard.flags.contains(ReturnFlags::CTRUNC) {
                    return Err(io::Error::other("not all descriptors arrived: too many files are open here"));
                }
                Ok(batch)
            })
            .await?;
        if batch.is_empty() {
            return Err(super::wire::rubbish("a message without the descriptors that it stands for"));
        }
        received.extend(batch);
    }
    if received.len() > count {
        return Err(super::wire::rubbish("more descriptors than were announced"));
    }
    Ok(received)
}
