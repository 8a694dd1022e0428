//! AMQP 0-9-1 on the wire: frames, and the arguments of methods.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What a client says first.
pub(super) const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// The largest frame that is agreed to, in bytes.
pub(super) const MAX_FRAME: u32 = 128 * 1024;
const FRAME_END: u8 = 0xce;

/// The kinds of frame.
pub(super) const METHOD: u8 = 1;
pub(super) const CONTENT_HEADER: u8 = 2;
pub(super) const CONTENT_BODY: u8 = 3;

/// A class of methods and a method in it, as the specification numbers them.
pub(crate) type Id = (u16, u16);

/// The methods that are sent or understood.
pub(crate) mod method {
    use super::Id;

    pub(crate) const CONNECTION_START: Id = (10, 10);
    pub(crate) const CONNECTION_START_OK: Id = (10, 11);
    pub(crate) const CONNECTION_TUNE: Id = (10, 30);
    pub(crate) const CONNECTION_TUNE_OK: Id = (10, 31);
    pub(crate) const CONNECTION_OPEN: Id = (10, 40);
    pub(crate) const CONNECTION_OPEN_OK: Id = (10, 41);
    pub(crate) const CONNECTION_CLOSE: Id = (10, 50);
    pub(crate) const CONNECTION_BLOCKED: Id = (10, 60);
    pub(crate) const CONNECTION_UNBLOCKED: Id = (10, 61);
    pub(crate) const CHANNEL_OPEN: Id = (20, 10);
    pub(crate) const CHANNEL_OPEN_OK: Id = (20, 11);
    pub(crate) const CHANNEL_CLOSE: Id = (20, 40);
    pub(crate) const CHANNEL_CLOSE_OK: Id = (20, 41);
    pub(crate) const QUEUE_DECLARE: Id = (50, 10);
    pub(crate) const QUEUE_DECLARE_OK: Id = (50, 11);
    pub(crate) const QUEUE_BIND: Id = (50, 20);
    pub(crate) const QUEUE_BIND_OK: Id = (50, 21);
    pub(crate) const BASIC_QOS: Id = (60, 10);
    pub(crate) const BASIC_QOS_OK: Id = (60, 11);
    pub(crate) const BASIC_CONSUME: Id = (60, 20);
    pub(crate) const BASIC_CONSUME_OK: Id = (60, 21);
    pub(crate) const BASIC_PUBLISH: Id = (60, 40);
    pub(crate) const BASIC_RETURN: Id = (60, 50);
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Reads one. What is too large, or does not end as a frame does, is `InvalidData`.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let kind = stream.read_u8().await?;
        // Heartbeats have 8. A server of another protocol shows itself by its first letter.
        if !matches!(kind, METHOD | CONTENT_HEADER | CONTENT_BODY | 8) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (channel, size) = (stream.read_u16().await?, stream.read_u32().await?);
        if size > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; size as usize];
        stream.read_exact(&mut payload).await?;
        match stream.read_u8().await? {
            FRAME_END => Ok(Self { kind, channel, payload }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Frames to be sent at once.
#[derive(Debug, Default)]
pub(crate) struct Batch(Vec<u8>);

impl Batch {
    pub(crate) fn method(&mut self, channel: u16, (class, method): Id, arguments: Arguments) -> &mut Self {
        let mut payload = Arguments::default().short(class).short(method).0;
        payload.extend(arguments.0);
        self.frame(METHOD, channel, &payload)
    }

    /// What follows a publish: JSON. At most as long as a frame.
    pub(crate) fn content(&mut self, channel: u16, body: &str) -> &mut Self {
        const CONTENT_TYPE: u16 = 1 << 15;
        let header = Arguments::default().short(60).short(0).longlong(body.len() as u64).short(CONTENT_TYPE);
        self.frame(CONTENT_HEADER, channel, &header.shortstr("application/json").0);
        self.frame(CONTENT_BODY, channel, body.as_bytes())
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) -> &mut Self {
        debug_assert!(payload.len() <= MAX_FRAME as usize, "what is sent is small");
        self.0.push(kind);
        self.0.extend(channel.to_be_bytes());
        self.0.extend(u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend(payload);
        self.0.push(FRAME_END);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A method's arguments, being written.
#[derive(Debug, Default)]
pub(crate) struct Arguments(Vec<u8>);

impl Arguments {
    pub(crate) fn octet(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn long(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn longlong(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// At most 255 bytes; the constructors of checks see to that.
    pub(crate) fn shortstr(mut self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        self.0.push(length);
        self.0.extend(bytes.iter().take(length.into()));
        self
    }

    pub(crate) fn longstr(self, bytes: &[u8]) -> Self {
        let mut written = self.long(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        written.0.extend(bytes);
        written
    }

    pub(crate) fn table(self, entries: &[(&str, Field<'_>)]) -> Self {
        let entries = entries.iter().fold(Self::default(), |table, (name, value)| {
            let table = table.shortstr(name);
            match value {
                Field::Text(text) => table.octet(b'S').longstr(text.as_bytes()),
                Field::True => table.octet(b't').octet(1),
                Field::Table(entries) => table.octet(b'F').table(entries),
            }
        });
        self.longstr(&entries.0)
    }
}

/// A value in a table that is sent.
#[derive(Debug)]
pub(crate) enum Field<'a> {
    Text(&'a str),
    True,
    Table(&'a [(&'a str, Field<'a>)]),
}

/// Arguments, being read. `None` where there is less than expected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn short(&mut self) -> Option<u16> {
        self.take(2)?.try_into().map(u16::from_be_bytes).ok()
    }

    pub(crate) fn long(&mut self) -> Option<u32> {
        self.take(4)?.try_into().map(u32::from_be_bytes).ok()
    }

    pub(crate) fn longlong(&mut self) -> Option<u64> {
        self.take(8)?.try_into().map(u64::from_be_bytes).ok()
    }

    /// Text that is not UTF-8 is shown as far as it is.
    pub(crate) fn shortstr(&mut self) -> Option<String> {
        let length = self.octet()?;
        Some(String::from_utf8_lossy(self.take(length.into())?).into_owned())
    }

    pub(crate) fn longstr(&mut self) -> Option<&'a [u8]> {
        let length = self.long()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// The texts of a table, by name; other values are left out.
    pub(crate) fn texts(&mut self) -> Option<Vec<(String, String)>> {
        let (mut table, mut texts) = (Self(self.longstr()?), Vec::new());
        while !table.0.is_empty() {
            let name = table.shortstr()?;
            let is_text = table.0.first() == Some(&b'S');
            let value = table.value()?;
            if is_text {
                texts.push((name, String::from_utf8_lossy(value).into_owned()));
            }
        }
        Some(texts)
    }

    /// Passes over a value. A table in a table is passed over whole.
    fn value(&mut self) -> Option<&'a [u8]> {
        let length = match self.octet()? {
            b'S' | b'x' | b'F' | b'A' => return self.longstr(),
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'V' => 0,
            _ => return None,
        };
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written_and_another_protocol_is_none() {
        let mut batch = Batch::default();
        batch.method(3, method::CHANNEL_OPEN, Arguments::default().shortstr(""));
        let frame = Frame::read(&mut batch.bytes()).await.unwrap();
        assert_eq!(frame, Frame { kind: METHOD, channel: 3, payload: vec![0, 20, 0, 10, 0] });
        for other in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"AMQP\0\0\x09\x01", b"\x01\0\0\xff\xff\xff\xff\0"] {
            assert_eq!(Frame::read(&mut &other[..]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let mut open = batch.bytes().to_vec();
        *open.last_mut().unwrap() = 0;
        assert_eq!(Frame::read(&mut &open[..]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_texts_of_a_table_are_found_among_other_values() {
        let capabilities = [("basic.nack", Field::True)];
        let table = Arguments::default().table(&[
            ("capabilities", Field::Table(&capabilities)),
            ("product", Field::Text("RabbitMQ")),
            ("yes", Field::True),
        ]);
        let texts = Reader(&table.0).texts().unwrap();
        assert_eq!(texts, [("product".to_owned(), "RabbitMQ".to_owned())]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Reader(&bytes).texts();
            let _ = Reader(&bytes).shortstr();
        }
    }
}
