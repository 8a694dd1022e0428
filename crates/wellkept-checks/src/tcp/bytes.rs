//! Bytes as a configuration and a command line can write them.

use std::fmt;

use wellkept_config::FromNode;

/// Bytes, written as text in which `\r`, `\n`, `\t`, `\0`, `\\` and `\x7f` stand for what they do in most languages.
/// `Debug` does not show them: they may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// The bytes themselves.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether they are somewhere in these.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.is_empty() || bytes.windows(self.0.len()).any(|window| window == self.0)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bytes({})", self.0.len())
    }
}

impl FromNode for Bytes {
    const EXPECTED: &'static str = "a text such as PING\\r\\n";

    fn from_scalar(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(String::new());
        }
        let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
        while let Some((plain, escaped)) = rest.split_once('\\') {
            bytes.extend_from_slice(plain.as_bytes());
            let (byte, length) = escape(escaped).ok_or_else(|| "for a backslash write two".to_owned())?;
            bytes.push(byte);
            rest = escaped.get(length..).unwrap_or_default();
        }
        bytes.extend_from_slice(rest.as_bytes());
        Ok(Self(bytes))
    }

    fn shown(_written: &str) -> String {
        "a text that is not shown".to_owned()
    }
}

/// What stands behind a backslash, and its length.
fn escape(text: &str) -> Option<(u8, usize)> {
    Some(match text.as_bytes().first()? {
        b'r' => (b'\r', 1),
        b'n' => (b'\n', 1),
        b't' => (b'\t', 1),
        b'0' => (0, 1),
        b'\\' => (b'\\', 1),
        b'x' => {
            let digits = text.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            (u8::from_str_radix(digits, 16).ok()?, 3)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_cannot_be_written_is_escaped() {
        let read = |text: &str| Bytes::from_scalar(text).unwrap().0;
        assert_eq!(read(r"a\r\n\t\0\\\x00\xFFz"), b"a\r\n\t\0\\\x00\xffz");
        assert_eq!(read("é"), "é".as_bytes());
        for text in ["", r"\", r"a\q", r"\x", r"\x0", r"\xg0", r"\x+1", r"\xé"] {
            Bytes::from_scalar(text).expect_err(text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_written_and_no_text_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 1..40), text in r".{0,20}\\.{0,4}") {
            let written: Vec<_> = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            prop_assert_eq!(Bytes::from_scalar(&written.concat()).unwrap().0, bytes);
            let _ = Bytes::from_scalar(&text);
        }
    }
}
