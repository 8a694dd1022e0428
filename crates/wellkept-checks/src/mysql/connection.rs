//! A connection to a MySQL server: what is asked over it, what comes back, and how it ends.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncWrite as _, AsyncWriteExt as _, BufReader};

use super::failure::Failure;
use super::wire::{self, Packet, Reader, Refusal};
use crate::reach::Stream;

/// Most that a server may say at once while it lets somebody in, in bytes. What is no MySQL shows itself by it.
pub(super) const MOST_AT_LOGIN: usize = 16 * 1024;
/// Columns that a table may have, and so an answer.
const MOST_COLUMNS: u64 = 4096;

const MALFORMED: Failure = Failure::Unexpected("a packet ends too early");

/// Dropping it closes it at once, with a word of farewell when it is idle: servers count and log those that go without.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    sequence: u8,
    phase: Phase,
    /// As the server tells it, for example `10.11.14-MariaDB-log`.
    pub(super) version: String,
}

/// What the server says next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Login,
    Idle,
    /// How a statement went.
    Statement,
    /// Rows of so many columns.
    Rows(usize),
}

/// What a server says to a message of statements.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Rows follow, with columns of these names.
    Columns(Vec<String>),
    Row(Vec<Option<String>>),
    /// The statement is through, and so are its rows. The next follows.
    Through,
    /// So was the last.
    End,
}

impl Connection {
    /// One over which nobody has logged in yet. `sequence` is the number of the next packet.
    pub(super) fn new(stream: Box<dyn Stream>, sequence: u8, version: &str) -> Self {
        // MariaDB says first what old replicas of MySQL want to hear.
        let version = version.strip_prefix("5.5.5-").unwrap_or(version).to_owned();
        Self { stream: BufReader::new(stream), sequence, phase: Phase::Login, version }
    }

    /// After a login, the server waits to be asked.
    pub(super) fn let_in(&mut self) {
        self.phase = Phase::Idle;
    }

    /// Sends statements, to which [`Connection::next`] gives the answers.
    pub(super) async fn ask(&mut self, statements: &str) -> Result<(), Failure> {
        const QUERY: u8 = 3;
        self.sequence = 0;
        self.phase = Phase::Statement;
        self.send(&[&[QUERY], statements.as_bytes()].concat()).await
    }

    /// After an error of the server's, what follows is not answered.
    pub(super) async fn next(&mut self) -> Result<Answer, Failure> {
        let packet = self.receive(usize::MAX).await?;
        let mut reader = Reader(&packet.payload);
        let ended = match (packet.first(), self.phase) {
            (Some(0xff), _) => {
                self.phase = Phase::Idle;
                return Err(refusal(&packet));
            }
            (Some(0), Phase::Statement) => {
                reader.octet();
                let (_affected, _inserted) = (reader.number(), reader.number());
                reader.short()
            }
            (_, Phase::Rows(_)) if packet.is_end() => {
                reader.octet();
                let _warnings = reader.short();
                reader.short()
            }
            (_, Phase::Rows(columns)) => {
                // Of a row that was cut, the columns that are left have no value.
                return Ok(Answer::Row((0..columns).map(|_| reader.text()).collect()));
            }
            _ => return self.columns(&mut reader).await,
        };
        if wire::more_follow(ended.ok_or(MALFORMED)?) {
            self.phase = Phase::Statement;
            return Ok(Answer::Through);
        }
        self.phase = Phase::Idle;
        Ok(Answer::End)
    }

    async fn columns(&mut self, reader: &mut Reader<'_>) -> Result<Answer, Failure> {
        let count = reader.number().filter(|count| (1..=MOST_COLUMNS).contains(count));
        let count = count.ok_or(Failure::Unexpected("an answer that is none to a query"))?;
        let mut names = Vec::new();
        for _ in 0..count {
            let packet = self.receive(usize::MAX).await?;
            names.push(wire::column_name(&packet.payload).ok_or(MALFORMED)?);
        }
        if !self.receive(usize::MAX).await?.is_end() {
            return Err(Failure::Unexpected("columns without an end"));
        }
        self.phase = Phase::Rows(names.len());
        Ok(Answer::Columns(names))
    }

    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let packet = wire::packet(self.sequence, payload);
        let written = async {
            self.stream.write_all(&packet).await?;
            self.stream.flush().await
        };
        match written.await {
            Ok(()) => Ok(()),
            // It may have said why before it hung up.
            Err(error) => match self.receive(MOST_AT_LOGIN).await {
                Ok(packet) if packet.first() == Some(0xff) => Err(refusal(&packet)),
                _ => Err(Failure::Broken(error)),
            },
        }
    }

    pub(super) async fn receive(&mut self, most: usize) -> Result<Packet, Failure> {
        let packet = Packet::read(&mut self.stream, most).await.map_err(not_read)?;
        self.sequence = packet.sequence.wrapping_add(1);
        Ok(packet)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        const QUIT: &[u8] = &[1, 0, 0, 0, 1];
        if self.phase != Phase::Idle {
            return;
        }
        // What can't be sent without waiting is left unsaid.
        let mut stream = Pin::new(&mut self.stream);
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(_)) = stream.as_mut().poll_write(&mut nobody, QUIT) {
            let _ = stream.as_mut().poll_flush(&mut nobody);
            let _ = stream.poll_shutdown(&mut nobody);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("version", &self.version).finish_non_exhaustive()
    }
}

pub(super) fn refusal(packet: &Packet) -> Failure {
    Refusal::of(&packet.payload).map_or(MALFORMED, Failure::Refused)
}

pub(super) fn not_read(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData if error.get_ref().is_none() => Failure::Unexpected("what came is no MySQL"),
        _ => Failure::Broken(error),
    }
}
