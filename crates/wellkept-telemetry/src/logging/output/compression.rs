//! Gzip and zlib of one message at a time, with one compressor that is used again.

use flate2::{Compress, Crc, FlushCompress, Status};

/// How a datagram of GELF is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// In the format of RFC 1952, which every receiver of GELF takes.
    #[default]
    Gzip,
    /// In the format of RFC 1950.
    Zlib,
}

/// The header of RFC 1952 for a stream without name and time, by the fastest method, of an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// Compresses messages, each on its own.
pub(super) struct Compressor {
    how: Compression,
    compress: Compress,
    out: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(how: Compression) -> Self {
        // Speed before size: the lines are short, and the writer has a queue behind it.
        let compress = Compress::new(flate2::Compression::fast(), how == Compression::Zlib);
        Self { how, compress, out: Vec::new() }
    }

    /// The message as it goes out.
    pub(super) fn apply<'a>(&'a mut self, message: &'a [u8]) -> &'a [u8] {
        self.out.clear();
        match self.how {
            Compression::None => return message,
            Compression::Zlib => self.deflate(message),
            Compression::Gzip => {
                self.out.extend_from_slice(&GZIP_HEADER);
                self.deflate(message);
                let mut sum = Crc::new();
                sum.update(message);
                self.out.extend_from_slice(&sum.sum().to_le_bytes());
                self.out.extend_from_slice(&sum.amount().to_le_bytes());
            }
        }
        &self.out
    }

    fn deflate(&mut self, message: &[u8]) {
        self.compress.reset();
        // What can't be compressed grows by a few bytes for each block of it.
        self.out.reserve(message.len() + message.len() / 1000 + 64);
        loop {
            let at = usize::try_from(self.compress.total_in()).unwrap_or(message.len());
            let rest = message.get(at..).unwrap_or_default();
            match self.compress.compress_vec(rest, &mut self.out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) | Err(_) => return,
                Ok(Status::Ok | Status::BufError) => self.out.reserve(1024),
            }
        }
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Compressor").field("how", &self.how).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::{GzDecoder, ZlibDecoder};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_compressed_is_read_by_another_decoder(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 1..4)) {
            let (mut gzip, mut zlib) = (Compressor::new(Compression::Gzip), Compressor::new(Compression::Zlib));
            for message in messages {
                let mut read = Vec::new();
                GzDecoder::new(gzip.apply(&message)).read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, &message);
                read.clear();
                ZlibDecoder::new(zlib.apply(&message)).read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, &message);
                let mut none = Compressor::new(Compression::None);
                prop_assert_eq!(none.apply(&message), &message);
            }
        }
    }
}
