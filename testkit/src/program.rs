//! A driven process: started, read, signalled, awaited with deadlines, killed when dropped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::poll;

/// Most output kept, in bytes; the oldest lines go first.
const KEPT: usize = 4 << 20;
/// Longest line kept whole, in bytes; a longer one is split.
const LINE: u64 = 256 << 10;

/// A real process under a test's control. Both of its outputs are read all the time, so it never blocks on them.
///
/// ```
/// use std::process::Command;
/// use std::time::Duration;
/// use wellkept_testkit::{Program, Signal};
///
/// let mut program = Program::spawn(Command::new("sh").args(["-c", "echo ready; exec sleep 60"]));
/// program.wait_for_line(|line| line == "ready", Duration::from_secs(10));
/// program.signal(Signal::TERM);
/// let status = program.wait(Duration::from_secs(10));
/// assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
/// ```
#[derive(Debug)]
pub struct Program {
    child: Child,
    name: String,
    output: Arc<Output>,
}

impl Program {
    /// Starts the command with its arguments, environment and folder as given; standard input is empty.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with(Stdio::null(), command)
    }

    /// As [`Program::spawn`], with this as its standard input, which a shell can make another descriptor of.
    ///
    /// # Panics
    /// When it can't be started.
    #[track_caller]
    pub fn spawn_with(input: impl Into<Stdio>, command: &mut Command) -> Self {
        let name = command.get_program().display().to_string();
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        let output = Arc::new(Output::default());
        output.change(|lines| lines.open_streams = 2);
        read(child.stdout.take().expect("standard output is piped"), Stream::Output, &output);
        read(child.stderr.take().expect("standard error is piped"), Stream::Errors, &output);
        Self { child, name, output }
    }

    /// Starts a program that prints `listening on PORT` once it does, on 127.0.0.1.
    ///
    /// # Panics
    /// With all output when it has not done so at the deadline.
    #[track_caller]
    pub fn listening(command: &mut Command, deadline: Duration) -> (Self, SocketAddr) {
        const LISTENS: &str = "listening on ";
        let program = Self::spawn(command);
        let line = program.wait_for_line(|line| line.starts_with(LISTENS), deadline);
        let port = line.strip_prefix(LISTENS).and_then(|port| port.trim().parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("no port in `{line}`"));
        (program, (Ipv4Addr::LOCALHOST, port).into())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of either output, also among those already written, and returns the first one that fits.
    ///
    /// # Panics
    /// With all output when the deadline has passed or both outputs have ended.
    #[track_caller]
    pub fn wait_for_line(&self, fits: impl Fn(&str) -> bool, deadline: Duration) -> String {
        match self.output.wait(fits, deadline) {
            Ok(line) => line,
            Err(why) => panic!("{}: {why}; its output:\n{}", self.name, self.output()),
        }
    }

    /// Sends a signal. Does nothing when the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        // A reaped process's id may be another's by now.
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_process(Pid::from_child(&self.child), signal).ok();
        }
    }

    /// Waits for the end of the process, and of its outputs.
    ///
    /// # Panics
    /// With all output when the deadline has passed.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        let Some(status) = poll(deadline, || self.child.try_wait().ok().flatten()) else {
            panic!("{} did not end within {deadline:?}; its output:\n{}", self.name, self.output());
        };
        // What it started may hold the pipes open for longer: that is no reason to fail.
        let patience =
            end.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(100), Duration::from_secs(2));
        self.output.wait(|_| false, patience).ok();
        status
    }

    /// The exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Everything it has written so far, in the order read.
    pub fn output(&self) -> String {
        self.output.collect(|_| true)
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.output.collect(|stream| stream == Stream::Output)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.output.collect(|stream| stream == Stream::Errors)
    }

    /// Kills it and waits.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Errors,
}

#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<(Stream, String)>,
    bytes: usize,
    /// Lines dropped from the front: the number of the first one kept.
    first: usize,
    open_streams: usize,
}

impl Output {
    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn push(&self, stream: Stream, line: String) {
        self.change(|lines| {
            lines.bytes += line.len();
            lines.kept.push_back((stream, line));
            while lines.bytes > KEPT
                && let Some((_, oldest)) = lines.kept.pop_front()
            {
                lines.bytes -= oldest.len();
                lines.first += 1;
            }
        });
    }

    fn wait(&self, fits: impl Fn(&str) -> bool, deadline: Duration) -> Result<String, String> {
        let end = Instant::now() + deadline;
        let mut next = 0;
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let unseen = next.max(lines.first) - lines.first;
            if let Some((_, line)) = lines.kept.iter().skip(unseen).find(|(_, line)| fits(line)) {
                return Ok(line.clone());
            }
            next = lines.first + lines.kept.len();
            if lines.open_streams == 0 {
                return Err("the outputs ended without the awaited line".into());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("the awaited line did not come within {deadline:?}"));
            }
            lines = self.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn collect(&self, wanted: impl Fn(Stream) -> bool) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (_, line) in lines.kept.iter().filter(|(stream, _)| wanted(*stream)) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

fn read(pipe: impl Read + Send + 'static, stream: Stream, output: &Arc<Output>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!((&mut pipe).take(LINE).read_until(b'\n', &mut bytes), Ok(1..)) {
            let line = String::from_utf8_lossy(&bytes);
            output.push(stream, line.strip_suffix('\n').unwrap_or(&line).to_owned());
            bytes.clear();
        }
        output.change(|lines| lines.open_streams -= 1);
    });
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Program {
        Program::spawn(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn both_outputs_are_read_and_told_apart() {
        let mut program = shell("echo one; echo two >&2; exit 3");
        assert_eq!(program.wait_for_line(|line| line.starts_with('t'), SOON), "two");
        assert_eq!(program.wait(SOON).code(), Some(3));
        assert_eq!((program.stdout().as_str(), program.stderr().as_str()), ("one\n", "two\n"));
    }

    #[test]
    fn a_line_written_before_it_is_awaited_is_found() {
        let mut program = shell("echo early");
        program.wait(SOON);
        assert_eq!(program.wait_for_line(|line| line == "early", SOON), "early");
    }

    #[test]
    fn a_line_that_never_comes_is_a_panic_that_shows_the_output() {
        let program = shell("echo something else");
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            program.wait_for_line(|line| line == "ready", SOON);
        }))
        .unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("something else"));
    }

    #[test]
    fn a_signal_reaches_the_process() {
        let mut program = shell("trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.01; done");
        program.wait_for_line(|line| line == "ready", SOON);
        program.signal(Signal::TERM);
        assert_eq!(program.wait(SOON).code(), Some(5));
        assert!(program.output().contains("caught"));
    }

    #[test]
    fn dropping_kills() {
        let program = shell("exec sleep 60");
        let path = format!("/proc/{}", program.pid());
        drop(program);
        assert!(!Path::new(&path).exists());
    }

    #[test]
    fn endless_output_is_bounded_and_the_newest_is_kept() {
        let mut program = shell("yes 0123456789abcdef | head -n 1000000; echo last");
        assert!(program.wait(Duration::from_secs(60)).success());
        assert_eq!(program.wait_for_line(|line| line == "last", SOON), "last");
        assert!(program.output().len() <= KEPT + KEPT / 8);
    }

    #[test]
    fn a_killed_process_says_so() {
        let mut program = shell("exec sleep 60");
        program.signal(Signal::KILL);
        assert_eq!(program.wait(SOON).signal(), Some(9));
    }
}
