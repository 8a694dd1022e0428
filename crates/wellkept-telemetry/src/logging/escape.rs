//! Escaping, so that no value can forge a line, an escape sequence or the end of a string.

/// What a text is escaped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Between quotes: quotes and backslashes are escaped too.
    Quoted,
    /// As it is, for people.
    Bare,
}

const PLAIN: u8 = 0;
const CONTROL: u8 = 1;
const QUOTE: u8 = 2;
/// First byte of a sequence that may hold a control character beyond ASCII.
const LEAD: u8 = 3;

const KIND: [u8; 256] = {
    let mut kind = [PLAIN; 256];
    let mut byte = 0;
    while byte < 0x20 {
        kind[byte] = CONTROL;
        byte += 1;
    }
    kind[0x7f] = CONTROL;
    kind[b'"' as usize] = QUOTE;
    kind[b'\\' as usize] = QUOTE;
    kind[0xc2] = LEAD;
    kind[0xe2] = LEAD;
    kind
};

/// Appends `text` until `out` is `limit` bytes long. Returns false when it had to be cut.
pub(super) fn push(out: &mut String, text: &str, style: Style, limit: usize) -> bool {
    let bytes = text.as_bytes();
    let (mut copied, mut next) = (0, 0);
    while let Some(offset) = bytes[next..].iter().position(|&byte| KIND[usize::from(byte)] != PLAIN) {
        let index = next + offset;
        let byte = bytes[index];
        next = index + 1;
        let (escaped, length) = match KIND[usize::from(byte)] {
            QUOTE if style == Style::Bare => continue,
            LEAD => match text.get(index..).and_then(|rest| rest.chars().next()) {
                Some(letter) if is_dangerous(letter) => (letter, letter.len_utf8()),
                _ => continue,
            },
            _ => (char::from(byte), 1),
        };
        if !copy(out, &text[copied..index], limit) || out.len() + 6 > limit {
            return false;
        }
        push_escape(out, escaped);
        copied = index + length;
        next = copied;
    }
    copy(out, &text[copied..], limit)
}

/// The first `length` bytes, fewer where a character would be split.
pub(super) fn prefix(text: &str, length: usize) -> &str {
    let longest = length.min(text.len());
    let end = (0..=longest).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}

/// C1 controls, line and paragraph separators, and the marks that turn the direction of what follows.
fn is_dangerous(letter: char) -> bool {
    matches!(letter, '\u{80}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push_escape(out: &mut String, letter: char) {
    match letter {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        _ => {
            let code = u32::from(letter);
            out.push_str("\\u");
            for shift in [12, 8, 4, 0] {
                out.push(char::from_digit((code >> shift) & 0xf, 16).expect("four bits are one digit"));
            }
        }
    }
}

fn copy(out: &mut String, text: &str, limit: usize) -> bool {
    let room = limit.saturating_sub(out.len());
    if text.len() <= room {
        out.push_str(text);
        return true;
    }
    out.push_str(prefix(text, room));
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str, style: Style) -> String {
        let mut out = String::new();
        assert!(push(&mut out, text, style, usize::MAX));
        out
    }

    #[test]
    fn control_characters_of_all_kinds_are_escaped() {
        let text = "a\nb\r\t\0\x1b[31m\x7f\u{85}\u{9b}\u{2028}\u{2029}\u{202e}ü—\"\\";
        insta::assert_snapshot!(
            escaped(text, Style::Quoted),
            @r#"a\nb\r\t\u0000\u001b[31m\u007f\u0085\u009b\u2028\u2029\u202eü—\"\\"#
        );
        insta::assert_snapshot!(
            escaped(text, Style::Bare),
            @r#"a\nb\r\t\u0000\u001b[31m\u007f\u0085\u009b\u2028\u2029\u202eü—"\"#
        );
    }

    proptest! {
        #[test]
        fn quoted_text_is_a_json_string_of_the_same_value(text in any::<String>()) {
            let json = format!("\"{}\"", escaped(&text, Style::Quoted));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn no_style_lets_a_control_character_through(text in "[\\x00-\\u{a0}\\u{2020}-\\u{2070}]*") {
            for style in [Style::Quoted, Style::Bare] {
                prop_assert!(!escaped(&text, style).chars().any(|it| it.is_control() || is_dangerous(it)));
            }
        }

        #[test]
        fn a_limit_is_never_passed_and_never_splits_an_escape(text in any::<String>(), limit in 0_usize..64) {
            let mut out = String::new();
            let whole = push(&mut out, &text, Style::Quoted, limit);
            prop_assert!(out.len() <= limit);
            prop_assert_eq!(whole, out == escaped(&text, Style::Quoted));
            let json = format!("\"{out}\"");
            prop_assert!(text.starts_with(&serde_json::from_str::<String>(&json).unwrap()));
        }
    }
}
