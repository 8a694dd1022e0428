//! GELF over TCP: frames that end with a zero byte, in order, on a connection that is made again when it breaks.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv, sockopt};

use super::GelfOptions;
use super::dial::{Dialer, Dialled};
use crate::logging::output::trouble::Trouble;
use crate::logging::output::{Destination, Written};

/// How long connecting to one address may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one write waits for a receiver that takes nothing.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a receiver that takes nothing keeps its connection.
const STALLED: Duration = Duration::from_secs(60);
/// Most that the kernel keeps of what the receiver has not taken: so much is lost when the connection breaks. The
/// kernel doubles it for its own books.
const KERNEL_BYTES: usize = 64 << 10;
/// How long the end of a connection waits for the receiver to have read everything.
const FAREWELL: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct TcpFrames {
    dialer: Dialer<TcpStream>,
    stream: Option<TcpStream>,
    /// The line of which the receiver has got a part on this connection, and how much of it.
    begun: Vec<u8>,
    sent: usize,
    /// The lines with zero bytes for their ends.
    frames: Vec<u8>,
    trouble: Trouble,
}

impl TcpFrames {
    pub(super) fn new(options: &GelfOptions) -> Self {
        let mut dialer = Dialer::new(options, open);
        dialer.poll();
        let trouble = Trouble::of(options);
        Self { dialer, stream: None, begun: Vec::new(), sent: 0, frames: Vec::new(), trouble }
    }

    /// Takes a connection that has come. Returns for how long there is none.
    fn connect(&mut self) -> Option<Duration> {
        if let Some(stream) = &self.stream {
            match has_ended(stream) {
                Ok(false) => return None,
                Ok(true) => return Some(self.broken(&"the receiver has closed the connection")),
                Err(error) => return Some(self.broken(&error)),
            }
        }
        match self.dialer.poll() {
            Dialled::Connected(stream) => {
                self.stream = Some(stream);
                None
            }
            Dialled::Waiting(pause) => Some(pause),
            Dialled::Failed(error) => {
                self.trouble.met(&error, "lines wait");
                Some(super::GLANCE)
            }
        }
    }

    /// Gives the connection up. The line that was begun goes to the next one from its start.
    fn broken(&mut self, error: &dyn std::fmt::Display) -> Duration {
        self.trouble.met(error, "lines wait");
        self.stream = None;
        self.begun.clear();
        self.sent = 0;
        self.dialer.rest()
    }

    /// Sends what is left of a line that was begun and is no longer the first that waits, so that no frame is torn.
    fn finish(&mut self) -> Result<(), io::Error> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while let Some(rest) = self.begun.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += stream.write(rest)?;
        }
        self.begun.clear();
        self.sent = 0;
        Ok(())
    }

    /// Sends frames; returns how many bytes of whole lines the kernel has now.
    fn send(&mut self, lines: &[u8]) -> (usize, Option<io::Error>) {
        self.frames.clear();
        self.frames.extend(lines.iter().map(|byte| if *byte == b'\n' { 0 } else { *byte }));
        if !self.frames.starts_with(&self.begun)
            && let Err(error) = self.finish()
        {
            return (0, Some(error));
        }
        let Some(stream) = &mut self.stream else { return (0, Some(ErrorKind::NotConnected.into())) };
        let mut sent = self.sent;
        let error = loop {
            let Some(rest) = self.frames.get(sent..).filter(|rest| !rest.is_empty()) else { break None };
            match stream.write(rest) {
                Ok(0) => break Some(ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        let is_end = |byte: &u8| *byte == 0;
        let whole = self.frames.get(..sent).and_then(|it| it.iter().rposition(is_end)).map_or(0, |end| end + 1);
        let rest = self.frames.get(whole..).unwrap_or_default();
        let first = rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
        self.begun.clear();
        self.sent = sent - whole;
        if self.sent > 0 {
            self.begun.extend_from_slice(rest.get(..first).unwrap_or_default());
        }
        (whole, error)
    }
}

impl Destination for TcpFrames {
    fn write(&mut self, lines: &[u8]) -> Written {
        if let Some(again) = self.connect() {
            return Written::later(again);
        }
        let (bytes, error) = self.send(lines);
        if bytes > 0 {
            self.dialer.works();
            self.trouble.is_over();
        }
        let again = error.map(|error| match error.kind() {
            // It takes nothing at the moment.
            ErrorKind::WouldBlock | ErrorKind::TimedOut if !is_over(&error) => PATIENCE,
            _ => self.broken(&error),
        });
        Written { bytes, failed: 0, why: None, again }
    }

    fn tend(&mut self) {
        self.connect();
    }

    fn close(&mut self, deadline: Instant) {
        let Some(stream) = &mut self.stream else { return };
        if stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // A receiver closes its end when it has read everything; the kernel goes on to send where that takes longer.
        let end = deadline.min(Instant::now() + FAREWELL);
        let mut ignored = [0; 512];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
                return;
            }
            if !matches!(stream.read(&mut ignored), Ok(1..)) {
                return;
            }
        }
    }
}

/// Whether the kernel has given the connection up, which is a time-out as well.
fn is_over(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::TIMEDOUT.raw_os_error())
}

/// Whether the receiver has closed its end: what is written then comes back as an error when it is too late. What it
/// says otherwise is read and ignored.
fn has_ended(stream: &TcpStream) -> io::Result<bool> {
    let mut ignored = [0; 512];
    match recv(stream, &mut ignored, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Ok(true),
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    sockopt::set_socket_send_buffer_size(&stream, KERNEL_BYTES)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, STALLED / 2)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(&stream, u32::try_from(STALLED.as_millis()).unwrap_or(u32::MAX))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}
