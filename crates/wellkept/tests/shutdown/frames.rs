//! An HTTP/2 client that does what it is told to and nothing by itself: it acknowledges nothing and answers no PING.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::driven::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` in the static table of HPACK (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;
/// More than a stream's window, so that a body of `/big` gets nowhere.
const LARGEST: usize = 1 << 20;

/// One connection.
pub(crate) struct Http2 {
    socket: TcpStream,
    answers_pings: bool,
}

/// A frame (RFC 9113, section 4.1).
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends_stream(&self) -> bool {
        (self.kind == DATA || self.kind == HEADERS) && self.flags & END_STREAM != 0
    }

    pub(crate) fn is_answer_with_200(&self) -> bool {
        self.kind == HEADERS && self.payload.first() == Some(&STATUS_200)
    }
}

impl Http2 {
    /// Says the preface and no more.
    pub(crate) fn preface(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(PREFACE).expect("it takes the preface");
        Self { socket, answers_pings: false }
    }

    /// With settings, so that requests can be sent.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut connection = Self::preface(address);
        connection.send(SETTINGS, 0, 0, &[]);
        connection
    }

    /// From now on, as a client should.
    pub(crate) fn answer_pings(mut self) -> Self {
        self.answers_pings = true;
        self
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // It may be gone already, which shows when its answers are read.
        let _ = self.socket.write_all(&frame);
    }

    pub(crate) fn get(&mut self, stream: u32, path: &str) {
        self.ask(stream, 0x82, path, END_STREAM);
    }

    /// A request whose body is to come.
    pub(crate) fn post(&mut self, stream: u32, path: &str) {
        self.ask(stream, 0x83, path, 0);
    }

    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.send(DATA, 0, stream, bytes);
    }

    pub(crate) fn last_data(&mut self, stream: u32, bytes: &[u8]) {
        self.send(DATA, END_STREAM, stream, bytes);
    }

    fn ask(&mut self, stream: u32, method: u8, path: &str, flags: u8) {
        // `:method` and `:scheme` from the static table, `:path` and `:authority` in letters.
        let mut block = vec![method, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend(path.as_bytes());
        block.extend(b"\x01\x04test");
        self.send(HEADERS, END_HEADERS | flags, stream, &block);
    }

    /// The next frame, or none at the end of the connection.
    pub(crate) fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read_exactly(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        assert!(length <= LARGEST, "a frame of {length} bytes");
        let mut payload = vec![0; length];
        self.read_exactly(&mut payload)?;
        let frame = Frame { kind, flags, stream: u32::from_be_bytes(stream), payload };
        if frame.kind == PING && frame.flags & ACK == 0 && self.answers_pings {
            self.send(PING, ACK, 0, &frame.payload.clone());
        }
        Some(frame)
    }

    /// Reads to the next frame of this kind.
    #[track_caller]
    pub(crate) fn read_until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.read().unwrap_or_else(|| panic!("it ended without a frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Reads to the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.read()).collect()
    }

    fn read_exactly(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.socket.read_exact(bytes) {
            Ok(()) => Some(()),
            // A reset is an end too.
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
            Err(error) => panic!("it neither says anything nor ends: {error}"),
        }
    }
}
