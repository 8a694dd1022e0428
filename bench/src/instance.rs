//! A server in a process of its own: started from this executable, signalled, and timed to its end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::serve::System;

/// When to do what at the end; only Wellkept has such times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) delay: Duration,
    pub(crate) announce: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { delay: Duration::ZERO, announce: Duration::from_millis(300) }
    }
}

/// A server that runs. It is killed when dropped.
pub(crate) struct Instance {
    pid: Pid,
    output: BufReader<ChildStdout>,
    ended: Receiver<(Instant, ExitStatus)>,
    address: SocketAddr,
    gone: bool,
}

/// How one ended.
pub(crate) struct Ended {
    pub(crate) at: Instant,
    /// Whether it did so by itself, in the time that it had, and well.
    pub(crate) cleanly: bool,
    /// Connections that it took, where it counts them.
    pub(crate) accepted: u64,
}

impl Instance {
    /// Starts one and returns when it listens. Port 0 takes any free port.
    pub(crate) fn start(system: System, port: u16, times: Times) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = std::env::current_exe().expect("a running program has a path");
        let mut child = Command::new(program)
            .args(["serve", system.word(), &address.to_string()])
            .args([times.delay, times.announce].map(|time| time.as_millis().to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be run again");
        let pid = Pid::from_child(&child);
        let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let (tell, ended) = mpsc::channel();
        // Waits for nothing else, so that the end is known to the microsecond.
        thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            // Nobody listens any more where the instance was dropped.
            let _ = tell.send((Instant::now(), status));
        });
        let mut line = String::new();
        output.read_line(&mut line).expect("its output can be read");
        let port = line.strip_prefix("listening on ").and_then(|port| port.trim().parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("{} does not listen: {line:?}", system.word()));
        Self { pid, output, ended, address: (Ipv4Addr::LOCALHOST, port).into(), gone: false }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Tells it to end, and when that was.
    pub(crate) fn terminate(&self) -> Instant {
        let now = Instant::now();
        kill_process(self.pid, Signal::TERM).expect("it runs");
        now
    }

    /// Waits for its end, and kills it when it takes longer than this.
    pub(crate) fn ended(mut self, patience: Duration) -> Ended {
        self.wait(patience)
    }

    /// As [`ended`](Self::ended), for one that is replaced.
    pub(crate) fn wait(&mut self, patience: Duration) -> Ended {
        let ended = self.ended.recv_timeout(patience);
        let in_time = ended.is_ok();
        let (at, status) = ended.unwrap_or_else(|_| self.kill());
        self.gone = true;
        let mut said = String::new();
        self.output.read_to_string(&mut said).expect("its output can be read");
        let accepted = said.trim().strip_prefix("accepted ").and_then(|count| count.parse().ok()).unwrap_or(0);
        Ended { at, cleanly: in_time && status.success(), accepted }
    }

    fn kill(&self) -> (Instant, ExitStatus) {
        // It may have ended at this very moment.
        let _ = kill_process(self.pid, Signal::KILL);
        self.ended.recv().expect("what is killed ends")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.gone {
            self.kill();
        }
    }
}
