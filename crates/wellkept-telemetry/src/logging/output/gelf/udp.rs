//! GELF over UDP: each line compressed, and cut into chunks where it does not fit into one datagram.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::dial::{Dialer, Dialled};
use super::{GLANCE, GelfOptions};
use crate::logging::books::Loss;
use crate::logging::output::compression::{Compression, Compressor};
use crate::logging::output::trouble::Trouble;
use crate::logging::output::{Destination, Written};

/// What a chunk begins with, before its id, its number and how many there are.
const MAGIC: [u8; 2] = [0x1e, 0x0f];
const CHUNK_HEADER: usize = 12;
/// Most chunks that a receiver puts together.
const MAX_CHUNKS: usize = 128;
/// How often the receiver's name is looked up again.
const RESOLVE: Duration = Duration::from_secs(60);
/// How long one datagram waits for room in the kernel.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Datagrams {
    dialer: Dialer<UdpSocket>,
    socket: Option<UdpSocket>,
    /// When the name was looked up.
    resolved: Instant,
    compressor: Compressor,
    datagram: usize,
    /// A chunk with its header.
    chunk: Vec<u8>,
    trouble: Trouble,
}

/// What became of one message.
enum Sent {
    Away,
    /// An answer says that a message did not arrive: this one or one before it.
    Refused(io::Error),
    TooLarge,
    /// It has not gone out, or not whole.
    Not(io::Error),
}

impl Datagrams {
    pub(super) fn new(options: &GelfOptions, compression: Compression, datagram: usize) -> Self {
        let mut dialer = Dialer::new(options, open);
        // The name is looked up before the first line comes.
        dialer.poll();
        Self {
            dialer,
            socket: None,
            resolved: Instant::now(),
            compressor: Compressor::new(compression),
            datagram,
            chunk: Vec::new(),
            trouble: Trouble::of(options),
        }
    }

    /// Takes a socket that has come. Returns for how long there is none.
    fn connect(&mut self) -> Option<Duration> {
        if self.socket.is_some() && self.resolved.elapsed() < RESOLVE {
            return None;
        }
        match self.dialer.poll() {
            Dialled::Connected(socket) => {
                self.resolved = Instant::now();
                // The same address keeps its socket, and the answers that are on their way to it.
                let peer = |socket: &UdpSocket| socket.peer_addr().ok();
                if self.socket.as_ref().is_none_or(|before| peer(before) != peer(&socket)) {
                    self.socket = Some(socket);
                }
                None
            }
            // A receiver that was found before stays where it was.
            Dialled::Failed(_) | Dialled::Waiting(_) if self.socket.is_some() => None,
            Dialled::Waiting(pause) => Some(pause),
            Dialled::Failed(error) => {
                self.trouble.met(&error, "lines wait");
                Some(GLANCE)
            }
        }
    }

    fn send(&mut self, line: &[u8]) -> Sent {
        let Some(socket) = &self.socket else { return Sent::Not(ErrorKind::NotConnected.into()) };
        let message = self.compressor.apply(line);
        let sent = if message.len() <= self.datagram {
            send_one(socket, message)
        } else {
            let room = self.datagram - CHUNK_HEADER;
            let count = message.len().div_ceil(room);
            let Some(count) = u8::try_from(count).ok().filter(|_| count <= MAX_CHUNKS) else { return Sent::TooLarge };
            let id = fastrand::u64(..).to_be_bytes();
            (0..count).zip(message.chunks(room)).try_for_each(|(number, part)| {
                self.chunk.clear();
                self.chunk.extend_from_slice(&MAGIC);
                self.chunk.extend_from_slice(&id);
                self.chunk.extend_from_slice(&[number, count]);
                self.chunk.extend_from_slice(part);
                send_one(socket, &self.chunk)
            })
        };
        match sent {
            Ok(()) => match socket.take_error() {
                Ok(Some(error)) => Sent::Refused(error),
                _ => Sent::Away,
            },
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => Sent::TooLarge,
            Err(error) => Sent::Not(error),
        }
    }

    /// The lines behind it wait; the receiver may have moved meanwhile.
    fn pause(&mut self, error: &io::Error) -> Duration {
        self.trouble.met(error, "lines wait");
        self.socket = None;
        self.dialer.rest()
    }
}

impl Destination for Datagrams {
    fn write(&mut self, lines: &[u8]) -> Written {
        let (mut bytes, mut failed, mut why) = (0, 0, None);
        let mut again = self.connect();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if again.is_some() {
                break;
            }
            let mut sent = self.send(line.strip_suffix(b"\n").unwrap_or(line));
            // The kernel tells of an earlier datagram instead of sending this one.
            let told = match &sent {
                Sent::Not(error) if is_an_answer(error) => {
                    sent = self.send(line.strip_suffix(b"\n").unwrap_or(line));
                    true
                }
                _ => false,
            };
            match sent {
                Sent::Away if !told => self.works(),
                Sent::Away => {
                    (failed, why) = (failed + 1, Some(Loss::OutputFailed));
                    again = Some(self.pause(&ErrorKind::ConnectionRefused.into()));
                }
                Sent::Refused(error) => {
                    (failed, why) = (failed + 1, Some(Loss::OutputFailed));
                    again = Some(self.pause(&error));
                }
                Sent::TooLarge => {
                    // One reason for each return: the writer counts them apart.
                    bytes += line.len();
                    return Written { bytes, failed: failed + 1, why: Some(Loss::TooLarge), again: None };
                }
                Sent::Not(error) if error.kind() == ErrorKind::WouldBlock => {
                    again = Some(PATIENCE);
                    break;
                }
                Sent::Not(error) => {
                    again = Some(self.pause(&error));
                    break;
                }
            }
            bytes += line.len();
        }
        Written { bytes, failed, why, again }
    }

    fn tend(&mut self) {
        self.connect();
    }
}

impl Datagrams {
    fn works(&mut self) {
        self.dialer.works();
        self.trouble.is_over();
    }
}

fn send_one(socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    loop {
        match socket.send(datagram) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

/// Whether an error is about a datagram that went out before.
fn is_an_answer(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}

/// A socket that hears of answers from this address only.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }?;
    socket.connect(address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}
