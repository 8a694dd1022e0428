//! Secrets inside a text: each shows itself by one of a few letters, where it is looked at closer.

use std::ops::Range;

use super::MASK;
use super::card::card;
use super::names::{Names, ends_with};

/// Copies `text` to `out` with its secrets masked. Returns false when there are none.
///
/// Masked are passwords in URLs, tokens after `Bearer` and `Basic`, JSON Web Tokens, card numbers, and the values of
/// telling names in `name=value`, `"name": "value"` and `Name: value`. Rather a word too many than a secret. Takes time in
/// proportion to the text, whatever it holds.
pub(super) fn redact(text: &str, names: &Names, out: &mut String) -> bool {
    out.clear();
    let bytes = text.as_bytes();
    let mut words = Words::default();
    let (mut copied, mut next) = (0, 0);
    while let Some(offset) = bytes[next..].iter().position(|&byte| BEGINS[usize::from(byte)]) {
        let index = next + offset;
        next = index + 1;
        let secret = match bytes[index] {
            b':' if bytes[index..].starts_with(b"://") => words.userinfo(text, index + 3),
            b':' | b'=' => value_of_name(text, index, names),
            b'J' => text[..index].strip_suffix("ey").and_then(|before| words.web_token(text, before.len())),
            b'0'..=b'9' => {
                // The rest of this run of digits begins no card number.
                next += bytes[next..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                if bytes.len() - index >= 13 { card(bytes, index) } else { None }
            }
            _ => credentials(text, index),
        };
        let Some(secret) = secret.filter(|secret| !secret.is_empty() && secret.start >= copied) else { continue };
        out.push_str(&text[copied..secret.start]);
        out.push_str(MASK);
        copied = secret.end;
        next = next.max(copied);
    }
    if copied > 0 {
        out.push_str(&text[copied..]);
    }
    copied > 0
}

/// The letters by which secrets show themselves.
const BEGINS: [bool; 256] = {
    let mut begins = [false; 256];
    let letters = b":=bBJ0123456789";
    let mut index = 0;
    while index < letters.len() {
        begins[letters[index] as usize] = true;
        index += 1;
    }
    begins
};

/// How far the words reach that were looked at last, so that no text makes the same word be read again and again.
#[derive(Debug, Default)]
struct Words {
    /// The end of the URL, and its last `@`.
    url: (usize, Option<usize>),
    /// The end of the token.
    token: usize,
}

impl Words {
    /// The password of a URL whose authority begins at `start`.
    fn userinfo(&mut self, text: &str, start: usize) -> Option<Range<usize>> {
        if start >= self.url.0 {
            let end = until(text, start, |letter| letter.is_whitespace() || "\"'`<>".contains(letter));
            self.url = (end, text[start..end].rfind('@').map(|at| start + at));
        }
        let (word, last_at) = (self.url.0, self.url.1.filter(|at| *at >= start)?);
        let authority = until(&text[..word], start, |letter| "/?#".contains(letter));
        let Some(at) = text[start..authority].rfind('@').map(|at| start + at) else {
            // A password with a bare slash ends the authority too early; then no port follows the colon.
            let colon = start + text[start..authority].find(':')?;
            let is_port = text[colon + 1..authority].bytes().all(|byte| byte.is_ascii_digit());
            let is_ipv6 = text[start..].starts_with('[');
            return (!is_port && !is_ipv6).then_some(colon + 1..last_at);
        };
        match text[start..at].find(':') {
            Some(colon) => Some(start + colon + 1..at),
            // A user without a password may be a token, which nobody's name is as long as.
            None => (at - start >= 20).then_some(start..at),
        }
    }

    /// A JSON Web Token at `start`: three parts, of which the first two are objects.
    fn web_token(&mut self, text: &str, start: usize) -> Option<Range<usize>> {
        if !begins_word(text, start) {
            return None;
        }
        if start >= self.token {
            self.token = until(text, start, |letter| !letter.is_ascii_alphanumeric() && !"-_.=".contains(letter));
        }
        let mut parts = text[start..self.token].split('.');
        let is_token =
            parts.next().is_some_and(|part| part.len() >= 10) && parts.next().is_some_and(|part| part.len() >= 2);
        is_token.then_some(start..self.token)
    }
}

/// The value after the `:` or `=` at `separator`, when the name before it is a telling one.
fn value_of_name(text: &str, separator: usize, names: &Names) -> Option<Range<usize>> {
    let before = text[..separator].trim_end_matches(' ');
    let unquoted = before.trim_end_matches(['"', '\'', '\\']);
    let is_quoted_name = unquoted.len() < before.len();
    let start = unquoted
        .rfind(|it: char| !it.is_alphanumeric() && !"_-.".contains(it))
        .map_or(0, |at| at + unquoted[at..].chars().next().map_or(1, char::len_utf8));
    let name = &unquoted[start..];
    if !names.hold(name) {
        return None;
    }
    let mut value = separator + 1;
    value += text[value..].len() - text[value..].trim_start_matches(' ').len();
    // An optional value as Rust's Debug prints it.
    if text[value..].starts_with("Some(") {
        value += "Some(".len();
    }
    let escapes = text[value..].bytes().take_while(|byte| *byte == b'\\').count();
    let quote_at = value + escapes;
    if let Some(quote @ (b'"' | b'\'')) = text.as_bytes().get(quote_at) {
        let content = quote_at + 1;
        return Some(content..closing_quote(text, content, *quote, escapes));
    }
    if let Some(end) = enclosed(text, value) {
        return Some(value..end);
    }
    let is_prose = ["token", "secret", "cookie", "credential", "credentials"].iter().any(|it| ends_with(name, it));
    if text.as_bytes()[separator] == b':' && is_prose && !is_quoted_name && !ends_with(name, "setcookie") {
        return None;
    }
    // These hold blanks and commas of their own.
    let is_header = ends_with(name, "authorization") || ends_with(name, "cookie");
    let ends = |letter: char| match letter {
        '"' | '\'' | '\n' | '\r' => true,
        _ => !is_header && (letter.is_whitespace() || ",;&)]}<>".contains(letter)),
    };
    Some(value..until(text, value, ends))
}

/// The end of a list, an object or a structure at `start`, as JSON and Rust's Debug write them: `[1, 2]`, `{"a": 1}`,
/// `Token("x")`, `Token { value: "x" }`.
fn enclosed(text: &str, start: usize) -> Option<usize> {
    let name = until(text, start, |letter| !letter.is_ascii_alphanumeric() && !"_:".contains(letter));
    // A name without brackets is a value, or the first word of a sentence.
    let is_struct = name > start && text[name..].starts_with(" {");
    let opening = name + usize::from(is_struct);
    if !matches!(text.as_bytes().get(opening), Some(b'[' | b'{' | b'(')) {
        return None;
    }
    let mut depth = 0_u32;
    for (at, byte) in text.bytes().enumerate().skip(opening) {
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

/// Where the string that begins at `start` ends: before its closing quote, or at the end of the text. `escapes` is how
/// many backslashes stand before its quotes: a string within a string within a string has three.
fn closing_quote(text: &str, start: usize, quote: u8, escapes: usize) -> usize {
    let bytes = text.as_bytes();
    let mut run = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'\\' => run += 1,
            // A quote of the string's own has more before it; one with fewer ends a string around it.
            _ if byte == quote && (run < escapes || run % (2 * (escapes + 1)) == escapes) => {
                return at - run.min(escapes);
            }
            _ => run = 0,
        }
    }
    text.len()
}

/// The credentials after `Bearer ` or `Basic ` at `start`.
fn credentials(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text.as_bytes()[start..];
    let scheme = |name: &str| rest.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    // "basic" is an everyday word, so what follows must be as long as credentials are.
    let (length, least) = if scheme("bearer ") {
        (7, 1)
    } else if scheme("basic ") {
        (6, 12)
    } else {
        return None;
    };
    if !begins_word(text, start) {
        return None;
    }
    let token = start + length;
    let end = until(text, token, |letter| !letter.is_ascii_alphanumeric() && !"-._~+/=:".contains(letter));
    (end - token >= least).then_some(token..end)
}

fn begins_word(text: &str, start: usize) -> bool {
    !text[..start].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
}

/// Where the first letter at or after `start` for which `ends` holds stands, or the text's end.
fn until(text: &str, start: usize, ends: impl Fn(char) -> bool) -> usize {
    text[start..].find(ends).map_or(text.len(), |at| start + at)
}
