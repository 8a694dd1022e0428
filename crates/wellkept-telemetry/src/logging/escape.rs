//! Escaping, so that no value can forge a line, an escape sequence or the end of a string; and the one look at each
//! byte that says whether a value needs it, or has to be searched for secrets.

use super::buffer::Buffer;

/// What a text is escaped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Between quotes: quotes and backslashes are escaped too.
    Quoted,
    /// As it is, for people.
    Bare,
}

/// What a text holds somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    const CONTROL: u8 = 1;
    const QUOTE: u8 = 2;
    /// The first byte of a character that may be dangerous, of which only the rest says whether it is.
    const LEAD: u8 = 4;
    /// What every name with its value, every URL and every JSON Web Token holds.
    const NAMED: u8 = 8;
    /// What `Bearer` and `Basic` begin with.
    const SCHEME: u8 = 16;
    const DIGIT: u8 = 32;
    const SPACE: u8 = 64;

    /// Looks at each byte once.
    #[inline]
    pub(super) fn of(text: &[u8]) -> Self {
        Self(text.iter().fold(0, |marks, &byte| marks | MARKS[usize::from(byte)]))
    }

    /// Whether something has to be escaped, in quotes or not.
    #[inline]
    pub(super) fn needs_escape(self) -> bool {
        self.0 & (Self::CONTROL | Self::QUOTE | Self::LEAD) != 0
    }

    /// Whether there may be a secret: without these marks there is none.
    #[inline]
    pub(super) fn may_be_secret(self, length: usize) -> bool {
        self.0 & Self::NAMED != 0
            || self.0 & (Self::SCHEME | Self::SPACE) == Self::SCHEME | Self::SPACE
            || (self.0 & Self::DIGIT != 0 && length >= 13)
    }
}

const MARKS: [u8; 256] = {
    let mut marks = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        marks[byte] = Marks::CONTROL;
        byte += 1;
    }
    marks[0x7f] = Marks::CONTROL;
    marks[b'"' as usize] = Marks::QUOTE;
    marks[b'\\' as usize] = Marks::QUOTE;
    // C1 controls; separators and marks of direction; the mark of a byte order.
    marks[0xc2] = Marks::LEAD;
    marks[0xd8] = Marks::LEAD;
    marks[0xe2] = Marks::LEAD;
    marks[0xef] = Marks::LEAD;
    marks[b':' as usize] = Marks::NAMED;
    marks[b'=' as usize] = Marks::NAMED;
    marks[b'J' as usize] = Marks::NAMED;
    marks[b'b' as usize] = Marks::SCHEME;
    marks[b'B' as usize] = Marks::SCHEME;
    marks[b' ' as usize] = Marks::SPACE;
    byte = b'0' as usize;
    while byte <= b'9' as usize {
        marks[byte] = Marks::DIGIT;
        byte += 1;
    }
    marks
};

/// Appends `text` up to the buffer's limit. Returns false when it had to be cut.
pub(super) fn push(out: &mut Buffer, text: &str, style: Style) -> bool {
    let bytes = text.as_bytes();
    let escaped = match style {
        Style::Quoted => Marks::CONTROL | Marks::QUOTE | Marks::LEAD,
        Style::Bare => Marks::CONTROL | Marks::LEAD,
    };
    let (mut copied, mut next) = (0, 0);
    while let Some(offset) = bytes[next..].iter().position(|&byte| MARKS[usize::from(byte)] & escaped != 0) {
        let index = next + offset;
        next = index + 1;
        let (letter, length) = match MARKS[usize::from(bytes[index])] {
            Marks::LEAD => match text.get(index..).and_then(|rest| rest.chars().next()) {
                Some(letter) if is_dangerous(letter) => (letter, letter.len_utf8()),
                _ => continue,
            },
            _ => (char::from(bytes[index]), 1),
        };
        if !push_plain(out, &text[copied..index]) || !push_escape(out, letter) {
            return false;
        }
        copied = index + length;
        next = copied;
    }
    push_plain(out, &text[copied..])
}

/// The first `length` bytes, fewer where a character would be split.
pub(super) fn prefix(text: &str, length: usize) -> &str {
    let longest = length.min(text.len());
    let end = (0..=longest).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// C1 controls, line and paragraph separators, the marks that turn the direction of what follows, the mark of a byte
/// order, and those around annotations.
fn is_dangerous(letter: char) -> bool {
    matches!(
        letter,
        '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    )
}

/// Appends all of the escape, or nothing.
fn push_escape(out: &mut Buffer, letter: char) -> bool {
    match letter {
        '\n' => out.push(b"\\n"),
        '\r' => out.push(b"\\r"),
        '\t' => out.push(b"\\t"),
        '"' => out.push(b"\\\""),
        '\\' => out.push(b"\\\\"),
        _ => {
            // None of those above is beyond the basic plane.
            let digit =
                |shift: u32| b"0123456789abcdef"[usize::try_from(u32::from(letter) >> shift & 0xf).unwrap_or(0)];
            out.push(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)])
        }
    }
}

/// Appends what needs no escape, as much as there is room for.
pub(super) fn push_plain(out: &mut Buffer, text: &str) -> bool {
    if out.push(text.as_bytes()) {
        return true;
    }
    let room = out.room();
    out.push(prefix(text, room).as_bytes());
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str, style: Style) -> String {
        let mut out = Buffer::new(8 * text.len() + 8);
        assert!(push(&mut out, text, style));
        if style == Style::Quoted && !Marks::of(text.as_bytes()).needs_escape() {
            assert_eq!(out.bytes(), text.as_bytes(), "what is said to need no escape has none");
        }
        String::from_utf8(out.bytes().to_vec()).unwrap()
    }

    #[test]
    fn control_characters_of_all_kinds_are_escaped() {
        let text = "a\nb\r\t\0\x1b[31m\x7f\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{200f}\u{feff}\u{61c}ü—ظ\"\\";
        insta::assert_snapshot!(
            escaped(text, Style::Quoted),
            @r#"a\nb\r\t\u0000\u001b[31m\u007f\u0085\u009b\u2028\u2029\u202e\u200f\ufeff\u061cü—ظ\"\\"#
        );
        insta::assert_snapshot!(
            escaped(text, Style::Bare),
            @r#"a\nb\r\t\u0000\u001b[31m\u007f\u0085\u009b\u2028\u2029\u202e\u200f\ufeff\u061cü—ظ"\"#
        );
    }

    proptest! {
        #[test]
        fn quoted_text_is_a_json_string_of_the_same_value(text in any::<String>()) {
            let json = format!("\"{}\"", escaped(&text, Style::Quoted));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn no_style_lets_a_control_character_through(text in "[\\x00-\\u{a0}\\u{600}-\\u{620}\\u{2000}-\\u{2070}\\u{fef0}-\\u{ffff}]*") {
            for style in [Style::Quoted, Style::Bare] {
                prop_assert!(!escaped(&text, style).chars().any(|it| it.is_control() || is_dangerous(it)));
            }
        }

        #[test]
        fn a_limit_is_never_passed_and_never_splits_an_escape(text in any::<String>(), limit in 0_usize..64) {
            let mut out = Buffer::new(limit);
            let whole = push(&mut out, &text, Style::Quoted);
            prop_assert!(out.len() <= limit);
            prop_assert_eq!(whole, out.bytes() == escaped(&text, Style::Quoted).as_bytes());
            let json = format!("\"{}\"", String::from_utf8(out.bytes().to_vec()).unwrap());
            prop_assert!(text.starts_with(&serde_json::from_str::<String>(&json).unwrap()));
        }
    }
}
