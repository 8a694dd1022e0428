//! Kafka's protocol on the wire: its types, in the older form and in the flexible one with tagged fields.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest answer that is read, in bytes: a thousand members of a group, or as many partitions of a hundred topics.
pub(super) const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// How lengths are written, and whether tagged fields end each structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Flexible,
}

/// Reads one answer without its length. What is too long is `InvalidData`.
pub(super) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_i32().await?).ok();
    let length = length.filter(|length| *length <= LONGEST_ANSWER).ok_or(io::ErrorKind::InvalidData)?;
    // Room is made as bytes come, not as they are announced.
    let mut frame = Vec::new();
    let read = stream.take(length as u64).read_to_end(&mut frame).await?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(frame) }
}

/// A message being written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    form: Form,
}

impl Writer {
    /// Begins with these bytes.
    pub(super) fn new(bytes: Vec<u8>, form: Form) -> Self {
        Self { bytes, form }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn int8(&mut self, value: i8) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn int16(&mut self, value: i16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn int32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn int64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.raw(&[u8::from(value)])
    }

    pub(super) fn no_uuid(&mut self) -> &mut Self {
        self.raw(&[0; 16])
    }

    /// A text of 32,767 bytes at most, which all that are sent are.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        match self.form {
            Form::Plain => self.int16(i16::try_from(text.len()).unwrap_or(i16::MAX)),
            Form::Flexible => self.compact(Some(text.len())),
        };
        self.raw(text.as_bytes())
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(Some(bytes.len())).raw(bytes)
    }

    pub(super) fn array<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.count(Some(items.len()));
        for item in items {
            write(self, item);
        }
        self
    }

    /// No array at all, which mostly means "all".
    pub(super) fn no_array(&mut self) -> &mut Self {
        self.count(None)
    }

    /// The end of a structure: no tagged fields.
    pub(super) fn end(&mut self) -> &mut Self {
        if self.form == Form::Flexible { self.raw(&[0]) } else { self }
    }

    fn count(&mut self, count: Option<usize>) -> &mut Self {
        match self.form {
            Form::Plain => {
                self.int32(count.map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX)))
            }
            Form::Flexible => self.compact(count),
        }
    }

    /// One more than the number, in groups of seven bits; nothing is 0.
    fn compact(&mut self, number: Option<usize>) -> &mut Self {
        let mut left = number.map_or(0, |number| number.saturating_add(1));
        while left > 0x7f {
            self.bytes.push(u8::try_from(left & 0x7f).unwrap_or_default() | 0x80);
            left >>= 7;
        }
        self.bytes.push(u8::try_from(left).unwrap_or_default());
        self
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }
}

/// What is left to be read of a message. Whatever asks for more than there is gives nothing.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    form: Form,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8], form: Form) -> Self {
        Self { bytes, form }
    }

    pub(super) fn int8(&mut self) -> Option<i8> {
        self.raw().map(i8::from_be_bytes)
    }

    pub(super) fn int16(&mut self) -> Option<i16> {
        self.raw().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Option<i32> {
        self.raw().map(i32::from_be_bytes)
    }

    pub(super) fn int64(&mut self) -> Option<i64> {
        self.raw().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Option<[u8; 16]> {
        self.raw()
    }

    /// A text; one that is null is empty.
    pub(super) fn text(&mut self) -> Option<String> {
        let length = match self.form {
            Form::Plain => usize::try_from(self.int16()?).unwrap_or(0),
            Form::Flexible => self.compact()?,
        };
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    /// Bytes; those that are null are none.
    pub(super) fn blob(&mut self) -> Option<&'b [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    /// An array; one that is null is empty. As many items as are announced are never made room for ahead of them.
    pub(super) fn array<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        for _ in 0..self.count()? {
            // Each item has a byte at least, so that what is announced can't keep anyone busy for long.
            if self.bytes.is_empty() {
                return None;
            }
            items.push(read(self)?);
        }
        Some(items)
    }

    /// The end of a structure: passes over its tagged fields.
    pub(super) fn end(&mut self) -> Option<()> {
        if self.form == Form::Plain {
            return Some(());
        }
        for _ in 0..self.number()? {
            let _tag = self.number()?;
            let length = usize::try_from(self.number()?).ok()?;
            self.take(length)?;
        }
        Some(())
    }

    fn count(&mut self) -> Option<usize> {
        match self.form {
            Form::Plain => Some(usize::try_from(self.int32()?).unwrap_or(0)),
            Form::Flexible => self.compact(),
        }
    }

    /// One less than the number; nothing is 0, as none.
    fn compact(&mut self) -> Option<usize> {
        usize::try_from(self.number()?.saturating_sub(1)).ok()
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.raw()?;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, left) = self.bytes.split_at_checked(length)?;
        self.bytes = left;
        Some(taken)
    }

    fn raw<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, left) = self.bytes.split_first_chunk()?;
        self.bytes = left;
        Some(*taken)
    }
}
