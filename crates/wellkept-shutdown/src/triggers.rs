//! What ends a process besides signals and code.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};

use crate::cause::Cause;
use crate::handle::Shutdown;

/// Has the shutdown begin when the process that started this one ends, so that no worker outlives its master. A thread
/// sleeps until then; no runtime is needed. A parent that ended before this call is not noticed. Linux 5.3 or later.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] without a parent in sight (the first process of a container), or what the system says.
pub fn on_parent_exit(shutdown: &Shutdown) -> io::Result<()> {
    let parent = getppid().ok_or(io::ErrorKind::Unsupported)?;
    on_exit_of(parent, shutdown)
}

fn on_exit_of(process: Pid, shutdown: &Shutdown) -> io::Result<()> {
    // A descriptor, not a number: numbers are given out again.
    let process = pidfd_open(process, PidfdFlags::empty())?;
    let shutdown = shutdown.clone();
    std::thread::Builder::new().name("wellkept-parent".to_owned()).spawn(move || {
        loop {
            match poll(&mut [PollFd::new(&process, PollFlags::IN)], None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(target: "wellkept::shutdown", %error, "the parent process can't be watched");
                    return;
                }
            }
        }
        shutdown.trigger(Cause::ParentExit);
    })?;
    Ok(())
}
