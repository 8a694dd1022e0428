//! Hands the listening sockets to the next process of the same service, which must say that it is ready before this one
//! leaves.
//!
//! The running process ([`Handover`]) listens at a private Unix socket. The next one ([`TakeOver`]) connects, each looks
//! who the other is, and the sockets travel. Both may accept then, and nothing that waits in a queue is lost, whoever
//! ends. Only when the next one is ready does the first one end; when it is not, the first one goes on as it was.

mod system;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use wellkept_shutdown::systemd::Systemd;
use wellkept_shutdown::{Cause, Shutdown};

use crate::server::{BindError, Listener, PeerProcess};
use crate::sockets::{Listening, SharedSocket, Sockets};
use system::{PrivateSocket, Process};
use wire::{Offered, Predecessor, Successor, VERSION, hear, tamed, tell};

/// How long one message may take that the other end has no reason to wait with.
const A_WORD: Duration = Duration::from_secs(5);
/// How long the next process may take to say what it wants.
const FIRST_WORD: Duration = Duration::from_secs(2);
/// How long the servers may take to stop accepting; they have no reason to wait.
const LEAVING: Duration = Duration::from_secs(1);
/// How often it is looked whether the process before has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Most sockets that are handed over.
const MAX_SOCKETS: usize = 256;

/// What a [`Handover`] may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandoverOptions {
    /// Within which time the next process must be ready. Default 30 s.
    pub patience: Duration,
}

impl Default for HandoverOptions {
    fn default() -> Self {
        Self { patience: Duration::from_secs(30) }
    }
}

/// Why nobody can take over.
#[derive(Debug, thiserror::Error)]
#[error("nobody can take over at {}: {source}", path.display())]
pub struct HandoverError {
    path: PathBuf,
    source: io::Error,
}

impl HandoverError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        "handover.cannot_listen"
    }
}

/// The side of the process that serves: waits for the next one.
#[derive(Debug)]
pub struct Handover {
    socket: PrivateSocket,
    options: HandoverOptions,
    before: Option<Before>,
}

impl Handover {
    /// Whether [`Handover::bind`] could succeed, before a start that takes long. Makes the folder of `path` where it is
    /// missing.
    pub fn check(path: &Path) -> Result<(), HandoverError> {
        system::prepare(path).map(drop).map_err(|source| HandoverError { path: path.to_owned(), source })
    }

    /// Listens at `path`, a Unix socket with mode 0600, in place of the process before. Its folder is made where it is
    /// missing, and must be one that only this user (or root) may write to. The file goes when this is dropped, unless the
    /// next process has put its own there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(path: &Path, options: HandoverOptions) -> Result<Self, HandoverError> {
        let socket = PrivateSocket::bind(path).map_err(|source| HandoverError { path: path.to_owned(), source })?;
        Ok(Self { socket, options, before: None })
    }

    /// Refuses everybody until the process before this one has ended: three that share a service share a store, too.
    #[must_use]
    pub fn after(mut self, before: Before) -> Self {
        self.before = Some(before);
        self
    }

    /// Waits for the next process, hands it what `listening` holds, and triggers the shutdown with [`Cause::HandedOver`]
    /// when it is ready. `is_ready` is asked whether this process is: then the next one has to be, too. Until then
    /// everything is served as before, and whatever goes wrong is logged and changes nothing.
    ///
    /// One at a time: another one that comes meanwhile is refused. Ends with the beginning of the shutdown, whatever
    /// triggered it; one who is just taking over hears of it and serves on.
    pub async fn run(
        mut self,
        shutdown: Shutdown,
        listening: Vec<Arc<dyn Listening>>,
        is_ready: impl Fn() -> bool + Send + Sync,
    ) {
        loop {
            let listener = &self.socket.listener;
            let accepted = tokio::select! {
                biased;
                () = shutdown.begun() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted.and_then(|(stream, _)| system::peer(&stream).map(|peer| (stream, peer)))
            {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(target: "wellkept::handover", %error, "the next process can't be heard");
                    // Most likely descriptors are short, which does not pass at once.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if self.before.as_ref().is_some_and(|before| !before.has_ended()) {
                refuse(stream, "the process before this one has not ended yet").await;
                continue;
            }
            let talk = self.talk(stream, peer, &shutdown, &listening, is_ready());
            let ended = tokio::select! {
                ended = talk => ended,
                never = refuse_others(listener, peer) => match never {},
            };
            match ended {
                Ok(stream) => {
                    tracing::info!(target: "wellkept::handover", pid = peer.id, "handed over");
                    self.socket.leave_file();
                    tokio::select! {
                        _ = shutdown.finished() => {}
                        // Until the next one listens in its place.
                        never = refuse_others(&self.socket.listener, peer) => match never {},
                    }
                    // Its end tells that this process has ended, where the system does not.
                    return drop(stream);
                }
                // It was told that all is its own, and is about to listen there.
                Err(Failed::Ending) => return self.socket.leave_file(),
                Err(failed) => {
                    let code = failed.code();
                    tracing::warn!(
                        target: "wellkept::handover", code, pid = peer.id, uid = peer.user,
                        "not handed over, everything goes on as it was: {failed}"
                    );
                }
            }
        }
    }

    /// One conversation. After an error nothing has changed.
    async fn talk(
        &self,
        mut stream: UnixStream,
        peer: PeerProcess,
        shutdown: &Shutdown,
        listening: &[Arc<dyn Listening>],
        ready: bool,
    ) -> Result<UnixStream, Failed> {
        let ends = Instant::now() + self.options.patience;
        let talking = self.offer(&mut stream, peer, listening, ready);
        let offered = tokio::select! {
            biased;
            () = shutdown.begun() => Err(Failed::Ending),
            offered = timeout_at(ends, talking) => offered.unwrap_or(Err(Failed::Late(self.options.patience))),
        };
        let farewell = match &offered {
            Ok(()) => Predecessor::Yours,
            Err(Failed::Ending) => Predecessor::Ending,
            Err(failed @ (Failed::Stranger | Failed::Version(_))) => {
                Predecessor::refused(failed.code(), failed.to_string())
            }
            Err(failed) => Predecessor::Withdrawn { reason: failed.to_string() },
        };
        if matches!(offered, Err(Failed::Ending)) {
            for one in listening {
                one.leave_file();
            }
        }
        let told = timeout(A_WORD, tell(&mut stream, &farewell)).await;
        offered?;
        // It may have died between its word and ours. Nothing has been given up so far.
        told.map_err(|_| Failed::Silent)?.map_err(Failed::Broken)?;
        let left = async {
            for one in listening {
                one.leave().await;
            }
        };
        // The end stops them too; this is only sooner.
        drop(timeout(LEAVING, left).await);
        // By this process, while it is the one that systemd knows: what the next one says of itself may come after this one's
        // end, which would then be the unit's.
        if let (Some(id), Some(systemd)) = (peer.id, Systemd::from_environment()) {
            systemd.main_process(id);
        }
        shutdown.trigger(Cause::HandedOver);
        Ok(stream)
    }

    async fn offer(
        &self,
        stream: &mut UnixStream,
        peer: PeerProcess,
        listening: &[Arc<dyn Listening>],
        ready: bool,
    ) -> Result<(), Failed> {
        if !system::is_trusted(peer.user) {
            return Err(Failed::Stranger);
        }
        match timeout(FIRST_WORD, hear(stream)).await.map_err(|_| Failed::Silent)?.map_err(Failed::Broken)? {
            Successor::Take { version: VERSION } => {}
            Successor::Take { version } => return Err(Failed::Version(version)),
            Successor::Ready | Successor::Failed { .. } => return Err(Failed::Broken(wire::rubbish("out of turn"))),
        }
        tracing::info!(target: "wellkept::handover", pid = peer.id, "another process takes over");
        let (mut offered, mut sockets) = (Vec::new(), Vec::new());
        for one in listening.iter().take(MAX_SOCKETS) {
            let SharedSocket { address, managed, socket } = one.share().map_err(Failed::Own)?;
            offered.push(Offered { name: one.name().to_owned(), address: address.to_string(), managed });
            sockets.push(socket);
        }
        let offer = Predecessor::offer(offered, ready, self.options.patience);
        tell(stream, &offer).await.map_err(Failed::Broken)?;
        system::send(stream, &sockets).await.map_err(Failed::Broken)?;
        drop(sockets);
        match hear(stream).await.map_err(Failed::Broken)? {
            Successor::Ready => Ok(()),
            Successor::Failed { reason } => Err(Failed::GaveUp(tamed(&reason))),
            Successor::Take { .. } => Err(Failed::Broken(wire::rubbish("out of turn"))),
        }
    }
}

/// Tells all others that one is at it.
async fn refuse_others(listener: &tokio::net::UnixListener, first: PeerProcess) -> std::convert::Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let first = first.id.map_or_else(String::new, |pid| format!(" {pid}"));
                refuse(stream, &format!("process{first} is just taking over")).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn refuse(mut stream: UnixStream, reason: &str) {
    let refusal = Predecessor::refused("handover.busy", reason);
    // Short enough for the socket's buffer, so this does not wait.
    drop(timeout(Duration::from_millis(100), tell(&mut stream, &refusal)).await);
}

/// Why a conversation did not end with a hand-over.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it belongs to another user")]
    Stranger,
    #[error("it speaks version {0} of the protocol, and this process version {VERSION}")]
    Version(u32),
    #[error("it says nothing")]
    Silent,
    #[error("it was not ready within {0:?}")]
    Late(Duration),
    #[error("it gave up: {0}")]
    GaveUp(String),
    #[error("{}", broken(.0))]
    Broken(io::Error),
    #[error("a socket can't be shared: {0}")]
    Own(io::Error),
    #[error("this process ends")]
    Ending,
}

impl Failed {
    const fn code(&self) -> &'static str {
        match self {
            Self::Stranger => "handover.identity",
            Self::Version(_) => "handover.version",
            Self::Silent | Self::Late(_) => "handover.late",
            Self::GaveUp(_) => "handover.failed",
            Self::Broken(_) => "handover.broken",
            Self::Own(_) => "handover.sockets",
            Self::Ending => "handover.ending",
        }
    }
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "it has gone".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The side of the next process: has the sockets, and is not yet the one that serves.
///
/// Dropped before [`TakeOver::ready`], it leaves everything to the process before.
#[derive(Debug)]
pub struct TakeOver {
    stream: UnixStream,
    process: Option<Process>,
    must_be_ready: bool,
    ends: Instant,
}

/// What became of the process before while this one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It ends or is gone already: the sockets are this process's, and nobody else serves.
    Alone,
    /// It goes on, and this process must not serve.
    Withdrawn {
        /// Why, in its words.
        reason: String,
    },
}

/// The process whose place was taken, which may still be busy ending. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Before {
    has_gone: watch::Receiver<bool>,
}

impl Before {
    /// Ends when that process has ended, and what it held, such as locks, is free. Cancel-safe.
    pub async fn ended(&mut self) {
        // Where the runtime ends before it, so does this.
        drop(self.has_gone.wait_for(|gone| *gone).await);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.has_gone.borrow()
    }
}

/// Why the sockets can't be taken over. The program's exit code for it is 69.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeOverError {
    /// The process there may not be trusted with what comes in, as it belongs to another user.
    #[error("the process at {} belongs to another user (uid {uid})", path.display())]
    Stranger {
        /// Where it listens.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The process before said no: another one is taking over, or it speaks another version.
    #[error("the process before refuses: {reason}")]
    Refused {
        /// The stable code.
        code: String,
        /// Why, in its words.
        reason: String,
    },
    /// The process before took it back.
    #[error("the process before goes on: {reason}")]
    Withdrawn {
        /// Why, in its words.
        reason: String,
    },
    /// The process before does not answer.
    #[error("the process at {} does not answer", path.display())]
    Silent {
        /// Where it listens.
        path: PathBuf,
    },
    /// What came was of no use.
    #[error("nothing can be taken over at {}: {source}", path.display())]
    Broken {
        /// Where it listens.
        path: PathBuf,
        /// What the system or the protocol said.
        source: io::Error,
    },
}

impl TakeOverError {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Stranger { .. } => "handover.identity",
            Self::Refused { code, .. } => code,
            Self::Withdrawn { .. } => "handover.withdrawn",
            Self::Silent { .. } => "handover.late",
            Self::Broken { .. } => "handover.broken",
        }
    }
}

impl TakeOver {
    /// Asks the process at `path` for its sockets. `None` if nobody listens there: then this one is the first. Takes 5 s at
    /// most. Not cancel-safe, but harmless when dropped: everything is left to the process before.
    pub async fn ask(path: &Path) -> Result<Option<(Self, Sockets)>, TakeOverError> {
        let silent = || TakeOverError::Silent { path: path.to_owned() };
        timeout(A_WORD, Self::begin(path)).await.map_err(|_| silent())?
    }

    async fn begin(path: &Path) -> Result<Option<(Self, Sockets)>, TakeOverError> {
        let broken = |source| TakeOverError::Broken { path: path.to_owned(), source };
        let mut stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(broken(error)),
        };
        let peer = system::peer(&stream).map_err(broken)?;
        if !system::is_trusted(peer.user) {
            return Err(TakeOverError::Stranger { path: path.to_owned(), uid: peer.user });
        }
        let process = peer.id.and_then(Process::open);
        let asked = tell(&mut stream, &Successor::Take { version: VERSION }).await;
        // A refusal is there to be read even if nobody heard the question.
        let (offered, must_be_ready, within_ms) = match hear(&mut stream).await {
            Ok(Predecessor::Offer { sockets, ready, within_ms }) => (sockets, ready, within_ms),
            Ok(Predecessor::Refused { code, reason }) => {
                return Err(TakeOverError::Refused { code: tamed(&code), reason: tamed(&reason) });
            }
            // It is on its way out, and what it listens on goes with it.
            Ok(Predecessor::Ending) => return Ok(None),
            Ok(Predecessor::Withdrawn { reason }) => {
                return Err(TakeOverError::Withdrawn { reason: tamed(&reason) });
            }
            Ok(Predecessor::Yours) => return Err(broken(wire::rubbish("out of turn"))),
            Err(error) => return Err(broken(asked.err().unwrap_or(error))),
        };
        if offered.len() > MAX_SOCKETS {
            return Err(broken(wire::rubbish("too many sockets")));
        }
        let received = system::receive(&stream, offered.len()).await.map_err(broken)?;
        let sockets = offered.into_iter().zip(received).map(|(offered, socket)| {
            let listener = Listener::from_fd(socket)?;
            let listener = if offered.managed { listener.managed() } else { listener };
            Ok((tamed(&offered.name), listener))
        });
        let sockets =
            sockets.collect::<Result<Vec<_>, BindError>>().map_err(|error| broken(io::Error::other(error)))?;
        let ends = Instant::now() + Duration::from_millis(within_ms);
        Ok(Some((Self { stream, process, must_be_ready, ends }, Sockets::of(sockets))))
    }

    /// Whether the process before is ready itself. Then this one should not take its place before it is.
    pub fn must_be_ready(&self) -> bool {
        self.must_be_ready
    }

    /// Ends when the process before has something to say, or is gone. To be waited for while this process starts.
    /// Cancel-safe.
    pub async fn news(&mut self) -> News {
        // One byte of a message that is still under way is enough to wait for the rest of it.
        match self.told().await {
            Ok(0) | Err(_) => News::Alone,
            Ok(_) => self.word().await,
        }
    }

    /// Says that this process is ready, and waits to be told that the sockets are its own. Then, or when the process
    /// before is gone, it serves. Takes 5 s at most.
    ///
    /// # Errors
    /// When the process before has taken it back: it goes on, and this one must not serve.
    pub async fn ready(mut self) -> Result<Before, TakeOverError> {
        // If nobody hears it, what was said before is still there to be read.
        drop(timeout(A_WORD, tell(&mut self.stream, &Successor::Ready)).await);
        match self.word().await {
            News::Alone => Ok(self.alone()),
            News::Withdrawn { reason } => Err(TakeOverError::Withdrawn { reason }),
        }
    }

    /// After the news that this process is alone: how the end of the one before is waited for.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn alone(self) -> Before {
        let (gone, has_gone) = watch::channel(false);
        tokio::spawn(async move {
            match self.process {
                // To wait for such a descriptor takes unsafe code in tokio, and it takes long in any case.
                Some(process) => {
                    while !process.has_ended() {
                        tokio::time::sleep(LOOK).await;
                    }
                }
                // All that it may still say is the end.
                None => {
                    while matches!(self.stream.readable().await, Ok(())) {
                        match self.stream.try_read(&mut [0; 64]) {
                            Ok(0) => break,
                            Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                            _ => {}
                        }
                    }
                }
            }
            gone.send_replace(true);
        });
        Before { has_gone }
    }

    /// Leaves everything to the process before, and tells it why.
    pub async fn give_up(mut self, reason: &str) {
        drop(timeout(A_WORD, tell(&mut self.stream, &Successor::Failed { reason: tamed(reason) })).await);
    }

    /// When the patience of the process before ends.
    pub fn ends(&self) -> Instant {
        self.ends
    }

    /// Waits for a byte without taking it; none is the end.
    async fn told(&self) -> io::Result<usize> {
        let peek = || Ok(recv(&self.stream, &mut [0], RecvFlags::PEEK)?.0);
        self.stream.async_io(Interest::READABLE, peek).await
    }

    async fn word(&mut self) -> News {
        match timeout(A_WORD, hear(&mut self.stream)).await {
            Ok(Ok(Predecessor::Withdrawn { reason } | Predecessor::Refused { reason, .. })) => {
                News::Withdrawn { reason: tamed(&reason) }
            }
            // It has said so, it is gone, or it is stuck: in each case nobody else takes what comes in.
            Ok(_) | Err(_) => News::Alone,
        }
    }
}
