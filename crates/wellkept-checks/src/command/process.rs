//! One process: started, listened to, and gone with all of its group when nobody waits for it any more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use secrecy::ExposeSecret;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Options;

/// Most that may be printed, on both outputs together, in bytes.
const MOST_OUTPUT: usize = 1024 * 1024;
const AT_ONCE: usize = 8192;

/// How it ended, and what it had printed.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) ended: Ended,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
}

/// Why there is no end to tell of.
#[derive(Debug)]
pub(super) enum Failed {
    Late,
    TooLong,
    StillThere,
    NotFound,
    NotExecutable(String),
    NoPlace(String),
    NotStarted(String),
}

/// Where a check's process runs: there is one at a time, also of those that nobody waits for any more.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Semaphore>);

impl Place {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// Runs the program until it ends, or until `deadline`. Cancel-safe: when it is dropped, the process group is killed.
pub(super) async fn run(options: &Arc<Options>, place: &Place, deadline: Instant) -> Result<Finished, Failed> {
    let taken = timeout_at(deadline, Arc::clone(&place.0).acquire_owned()).await.map_err(|_late| Failed::StillThere)?;
    // Nobody closes it.
    let taken = taken.map_err(|_closed| Failed::StillThere)?;
    let (tell, started) = oneshot::channel();
    let wanted = Arc::clone(options);
    let named = thread::Builder::new().name("check command".to_owned());
    let spawned = named.spawn(move || attend(&wanted, taken, tell));
    spawned.map_err(|error| not_run(&error))?;
    let told = timeout_at(deadline, started).await.map_err(|_late| Failed::Late)?;
    let mut running = told.map_err(|_lost| Failed::NotStarted("its thread has ended".to_owned()))??;
    running.finish(deadline).await
}

/// Starts the process and waits for its end, on a thread of its own: a program on a mount that hangs hangs whoever starts
/// it, and one that can't be killed hangs whoever waits for it.
fn attend(options: &Options, taken: OwnedSemaphorePermit, tell: oneshot::Sender<Result<Running, Failed>>) {
    let mut child = match prepared(options).spawn() {
        Ok(child) => child,
        Err(error) => return drop(tell.send(Err(not_started(options, &error)))),
    };
    let group = Group(Arc::new(Mutex::new(Some(Pid::from_child(&child)))));
    let (tell_end, end) = oneshot::channel();
    let (stdout, stderr) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    // When nobody waits any more, what is told is dropped, and the group killed.
    drop(tell.send(Ok(Running { group: group.clone(), outputs: Some((stdout, stderr)), end })));
    let status = group.wait(child);
    drop(taken);
    drop(tell_end.send(status));
}

/// A process group, as long as its number is its own: until its first process has been waited for.
#[derive(Debug, Clone)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    /// Ends all of it.
    fn kill(&self) {
        if let Some(group) = *self.number() {
            // An error says that nothing is left of it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits until the first process ends, and ends what is left of the others.
    fn wait(&self, mut child: Child) -> io::Result<ExitStatus> {
        let process = WaitId::Pid(Pid::from_child(&child));
        let ended = || waitid(process.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        while matches!(ended(), Err(Errno::INTR)) {}
        self.kill();
        let mut number = self.number();
        let status = child.wait();
        *number = None;
        status
    }

    fn number(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that runs. Dropping it kills it with its group.
struct Running {
    group: Group,
    outputs: Option<(Option<OwnedFd>, Option<OwnedFd>)>,
    end: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Running {
    async fn finish(&mut self, deadline: Instant) -> Result<Finished, Failed> {
        let (stdout, stderr) = self.outputs.take().unwrap_or_default();
        let internal = |error: io::Error| not_run(&error);
        let (mut stdout, mut stderr) = (Output::of(stdout).map_err(internal)?, Output::of(stderr).map_err(internal)?);
        let listening = async {
            loop {
                tokio::select! {
                    end = &mut self.end => return end.map_err(|_lost| Failed::NotStarted("its thread has ended".to_owned())),
                    read = stdout.read() => read.map_err(internal)?,
                    read = stderr.read() => read.map_err(internal)?,
                }
                if stdout.text.len() + stderr.text.len() > MOST_OUTPUT {
                    return Err(Failed::TooLong);
                }
            }
        };
        let status = timeout_at(deadline, listening).await.map_err(|_late| Failed::Late)??.map_err(internal)?;
        stdout.rest();
        stderr.rest();
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, signal) => Ended::Signal(signal.unwrap_or_default()),
        };
        Ok(Finished { ended, stdout: stdout.text, stderr: stderr.text })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.kill();
    }
}

/// One of the two outputs.
struct Output {
    pipe: Option<pipe::Receiver>,
    text: Vec<u8>,
}

impl Output {
    fn of(pipe: Option<OwnedFd>) -> io::Result<Self> {
        Ok(Self { pipe: pipe.map(pipe::Receiver::from_owned_fd).transpose()?, text: Vec::new() })
    }

    /// Reads what there is, and waits for good once it was closed.
    async fn read(&mut self) -> io::Result<()> {
        match &mut self.pipe {
            None => std::future::pending().await,
            Some(pipe) => {
                self.text.reserve(AT_ONCE);
                if pipe.read_buf(&mut self.text).await? == 0 {
                    self.pipe = None;
                }
                Ok(())
            }
        }
    }

    /// Reads what is left in the pipe, without waiting for whoever may still hold its other end.
    fn rest(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let mut buffer = [0; AT_ONCE];
        while let Ok(length @ 1..) = rustix::io::read(pipe.as_fd(), &mut buffer) {
            self.text.extend_from_slice(buffer.get(..length).unwrap_or_default());
            if self.text.len() > MOST_OUTPUT {
                break;
            }
        }
    }
}

fn prepared(options: &Options) -> std::process::Command {
    let (program, arguments) = options.run.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let mut command = std::process::Command::new(program);
    command.args(arguments).current_dir(&options.directory).env_clear().process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(options.inherit.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(options.environment.iter().map(|(name, value)| (name, value.expose_secret())));
    if let Some(user) = options.user {
        command.gid(user.group).uid(user.id);
    }
    command
}

/// The kernel says the same of a program and of its folder.
fn not_started(options: &Options, error: &io::Error) -> Failed {
    let program = options.run.first().map(std::path::Path::new);
    if !options.directory.is_dir() {
        return Failed::NoPlace("the folder that it should run in is not there".to_owned());
    }
    match error.kind() {
        io::ErrorKind::NotFound if program.is_some_and(std::path::Path::exists) => {
            Failed::NotExecutable("its interpreter is not there".to_owned())
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failed::NotFound,
        // Taking another user without the right to, which nothing else here needs.
        io::ErrorKind::PermissionDenied if is_user_refused(error) => Failed::NoPlace(error.to_string()),
        _ if is_exhausted(error) => not_run(error),
        _ => Failed::NotExecutable(error.to_string()),
    }
}

fn not_run(error: &io::Error) -> Failed {
    Failed::NotStarted(error.to_string())
}

fn is_user_refused(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::PERM)
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}
