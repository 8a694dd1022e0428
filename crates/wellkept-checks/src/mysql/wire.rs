//! MySQL's protocol on the wire ("MySQL Source Code Documentation", "Client/Server Protocol"): packets, what stands in
//! them, and how a password is proved without being sent.

use std::io;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What is kept of one packet. A value that is longer is cut, and what is cut off is read and dropped.
const MOST_KEPT: usize = 64 * 1024;
/// Longer ones go on in the next packet.
const LONGEST: usize = 0xff_ffff;

/// What both sides can do.
pub(super) mod capability {
    pub(crate) const LONG_PASSWORD: u32 = 1;
    pub(crate) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    pub(crate) const TLS: u32 = 1 << 11;
    pub(crate) const TRANSACTIONS: u32 = 1 << 13;
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(crate) const MULTI_STATEMENTS: u32 = 1 << 16;
    pub(crate) const MULTI_RESULTS: u32 = 1 << 17;
    pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(crate) const CONNECT_ATTRIBUTES: u32 = 1 << 20;
}

/// One packet's payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) sequence: u8,
    /// Of all of it, also of what is not kept.
    pub(super) length: usize,
    pub(super) payload: Vec<u8>,
}

impl Packet {
    /// Reads one. `most` is how long it may be; a longer one is `InvalidData`.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Self> {
        let mut packet = Self { sequence: 0, length: 0, payload: Vec::new() };
        loop {
            let header = stream.read_u32_le().await?;
            let length = header as usize & LONGEST;
            packet.sequence = header.to_le_bytes()[3];
            packet.length = packet.length.saturating_add(length);
            if packet.length > most {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let kept = length.min(MOST_KEPT - packet.payload.len());
            let from = packet.payload.len();
            packet.payload.resize(from + kept, 0);
            stream.read_exact(packet.payload.get_mut(from..).unwrap_or_default()).await?;
            let rest = (length - kept) as u64;
            let dropped = tokio::io::copy(&mut (&mut *stream).take(rest), &mut tokio::io::sink()).await?;
            if dropped < rest {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if length < LONGEST {
                return Ok(packet);
            }
        }
    }

    /// What begins it, which says what it is.
    pub(super) fn first(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// Whether it is the packet that ends a list, which no row is as short as.
    pub(super) fn is_end(&self) -> bool {
        self.first() == Some(0xfe) && self.length < 9
    }
}

/// A payload as it goes out.
pub(super) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() < LONGEST, "what is sent is short");
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = (length | u32::from(sequence) << 24).to_le_bytes().to_vec();
    bytes.extend(payload);
    bytes
}

/// Takes a payload apart. Nothing comes when it ends too early.
#[derive(Debug)]
pub(super) struct Reader<'p>(pub(super) &'p [u8]);

impl<'p> Reader<'p> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    /// Up to a zero, which is taken too, or to the end.
    pub(super) fn until_zero(&mut self) -> &'p [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        taken
    }

    /// A number in one to nine bytes.
    pub(super) fn number(&mut self) -> Option<u64> {
        let width = match self.octet()? {
            short @ 0..=0xfa => return Some(u64::from(short)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            _ => return None,
        };
        let mut bytes = [0; 8];
        bytes.get_mut(..width)?.copy_from_slice(self.take(width)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// A text with its length before it, in so far as it was kept; nothing for `NULL`.
    pub(super) fn text(&mut self) -> Option<String> {
        // `NULL` stands where a length would, and is none.
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let text = self.take(length.min(self.0.len()))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// What a server says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: String,
    pub(super) capabilities: u32,
    /// What a password is mixed with.
    pub(super) nonce: Vec<u8>,
    /// How the server would have a password proved.
    pub(super) plugin: String,
}

impl Greeting {
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        if reader.octet()? != 10 {
            return None;
        }
        let version = String::from_utf8_lossy(reader.until_zero()).into_owned();
        let _connection = reader.take(4)?;
        let mut nonce = reader.take(8)?.to_vec();
        reader.octet()?;
        let lower = reader.short()?;
        let (_charset, _status) = (reader.octet()?, reader.short()?);
        let upper = reader.short()?;
        let nonce_length = usize::from(reader.octet()?);
        reader.take(10)?;
        let rest = reader.take(nonce_length.saturating_sub(8).max(13).min(reader.0.len()))?;
        // A zero ends it, and is not part of it.
        nonce.extend(rest.strip_suffix(&[0]).unwrap_or(rest));
        let plugin = String::from_utf8_lossy(reader.until_zero()).into_owned();
        Some(Self { version, capabilities: u32::from(lower) | u32::from(upper) << 16, nonce, plugin })
    }
}

/// What a server refuses with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    /// The SQLSTATE; nothing before the login.
    pub(super) state: String,
    pub(super) message: String,
}

impl Refusal {
    /// Of a payload that begins with 0xff.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload.strip_prefix(&[0xff])?);
        let code = reader.short()?;
        let state = match reader.0.strip_prefix(b"#") {
            Some(_) => String::from_utf8_lossy(reader.take(6)?.get(1..)?).into_owned(),
            None => String::new(),
        };
        Some(Self { code, state, message: String::from_utf8_lossy(reader.0).into_owned() })
    }
}

/// Whether more answers follow, by what ends one.
pub(super) fn more_follow(status: u16) -> bool {
    const MORE_RESULTS: u16 = 8;
    status & MORE_RESULTS != 0
}

/// The name of a column, by its description.
pub(super) fn column_name(payload: &[u8]) -> Option<String> {
    let mut reader = Reader(payload);
    // Before it stand the catalog, the schema, the table's name here and there.
    for _ in 0..4 {
        reader.text()?;
    }
    reader.text()
}

/// The proof of a password for `mysql_native_password`.
pub(super) fn native_proof(password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha1::digest(password);
    let mixed = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize();
    once.iter().zip(mixed).map(|(one, other)| one ^ other).collect()
}

/// The proof of a password for `caching_sha2_password`.
pub(super) fn sha2_proof(password: &str, nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha256::digest(password);
    let mixed = Sha256::new().chain_update(Sha256::digest(once)).chain_update(nonce).finalize();
    once.iter().zip(mixed).map(|(one, other)| one ^ other).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn a_long_value_is_cut_and_what_follows_it_is_still_found() {
        let long = vec![b'x'; LONGEST + 5];
        let mut bytes = [&[0xff, 0xff, 0xff, 1], &long[..LONGEST], &[5, 0, 0, 2], &long[LONGEST..]].concat();
        bytes.extend(packet(3, b"next"));
        let mut stream = bytes.as_slice();
        let cut = Packet::read(&mut stream, usize::MAX).await.unwrap();
        assert_eq!((cut.sequence, cut.length, cut.payload.len()), (2, LONGEST + 5, MOST_KEPT));
        assert_eq!(Packet::read(&mut stream, 4).await.unwrap().payload, b"next");
        // What begins such a row is what begins the end of all rows, which is shorter.
        let row = Packet { sequence: 1, length: 9, payload: vec![0xfe; 9] };
        assert!(!row.is_end() && Packet { length: 5, ..row }.is_end());
        assert_eq!(Packet::read(&mut packet(0, b"12345").as_slice(), 4).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(Packet::read(&mut &bytes[..9], 9).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let broken = Packet::read(&mut &bytes[..100_000], usize::MAX).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn numbers_have_one_to_nine_bytes_and_null_is_no_text() {
        for (bytes, number) in [
            (&[0xfa][..], Some(250)),
            (&[0xfc, 1, 2], Some(0x201)),
            (&[0xfd, 1, 2, 3], Some(0x30201)),
            (&[0xfe, 1, 0, 0, 0, 0, 0, 0, 1], Some(0x0100_0000_0000_0001)),
            (&[0xfb], None),
            (&[0xfc, 1], None),
        ] {
            assert_eq!(Reader(bytes).number(), number, "{bytes:?}");
        }
        let mut reader = Reader(&[0xfb, 0, 9, b'c', b'u', b't']);
        let texts: Vec<_> = (0..4).map(|_| reader.text()).collect();
        assert_eq!(texts, [None, Some(String::new()), Some("cut".to_owned()), None]);
    }

    /// By the implementation of others.
    #[test]
    fn proofs_are_those_that_servers_expect() {
        let nonce = b"0123456789abcdefghij";
        for password in ["x", "correct horse", "pässwörd"] {
            let native = mysql_common::scramble::scramble_native(nonce, password.as_bytes()).unwrap();
            assert_eq!(native_proof(password, nonce), native);
            let sha2 = mysql_common::scramble::scramble_sha256(nonce, password.as_bytes()).unwrap();
            assert_eq!(sha2_proof(password, nonce), sha2);
        }
        assert!(native_proof("", nonce).is_empty() && sha2_proof("", nonce).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_make_a_reader_fall(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Greeting::of(&bytes), Refusal::of(&bytes), column_name(&bytes));
            let mut greeting = vec![10];
            greeting.extend(&bytes);
            let _ = Greeting::of(&greeting);
            let mut refusal = vec![0xff];
            refusal.extend(&bytes);
            let _ = Refusal::of(&refusal);
        }
    }
}
