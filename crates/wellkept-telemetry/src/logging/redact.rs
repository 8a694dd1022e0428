//! What must not be read in a log: values of fields with telling names, and secrets inside any text.

use std::ops::Range;

/// What is masked before a line is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redaction {
    /// Whether anything is masked at all. Default: yes.
    pub secrets: Secrets,
    /// Names of one's own, besides the built-in ones, whose values are secrets. Case and `_`, `-`, `.` don't count, and
    /// a name that ends with one counts too: `tax_number` covers `customerTaxNumber`.
    pub names: Vec<String>,
    /// Regular expressions of one's own; what they match is masked.
    pub patterns: Vec<String>,
}

/// Whether secrets are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Secrets {
    /// They are.
    #[default]
    Masked,
    /// They are not: for a log that nobody else reads.
    Shown,
}

/// What stands in place of a secret.
pub(crate) const MASK: &str = "***";

/// Names whose values are secrets, without separators and in lower case. A name that ends with one counts too:
/// `db_password`, `X-Api-Key`, `accessToken`. They are found by their last two letters, since this is asked of the name
/// of every field that is logged.
fn names(last_letters: [u8; 2]) -> &'static [&'static str] {
    match &last_letters {
        b"al" => &["credential"],
        b"en" => &["token"],
        b"et" => &["secret"],
        b"ey" => &["apikey", "accesskey", "privatekey", "secretkey", "signingkey", "encryptionkey"],
        b"id" => &["sessionid"],
        b"ie" => &["cookie"],
        b"ls" => &["credentials"],
        b"on" => &["authorization"],
        b"rd" => &["password"],
        b"se" => &["passphrase"],
        b"wd" => &["passwd", "pwd"],
        b"wt" => &["jwt"],
        _ => &[],
    }
}

/// Whether values under this name are secrets.
pub(crate) fn is_secret(name: &str) -> bool {
    match name.trim_end_matches(is_separator).as_bytes() {
        [.., before, last] => {
            names([before.to_ascii_lowercase(), last.to_ascii_lowercase()]).iter().any(|secret| ends_with(name, secret))
        }
        _ => false,
    }
}

fn is_separator(letter: char) -> bool {
    matches!(letter, '_' | '-' | '.' | ' ')
}

/// Whether `name` ends with `suffix` when case and separators don't count.
fn ends_with(name: &str, suffix: &str) -> bool {
    let mut letters = name.bytes().rev().filter(|&byte| !is_separator(char::from(byte)));
    suffix.bytes().rev().all(|wanted| letters.next().is_some_and(|letter| letter.eq_ignore_ascii_case(&wanted)))
}

/// Copies `text` to `out` with its secrets masked. Returns false, and copies nothing, when there are none.
///
/// Masked are passwords in URLs, tokens after `Bearer` and `Basic`, JSON Web Tokens, and the values of telling names
/// in `name=value`, `"name": "value"` and `Name: value`. Rather a word too many than a secret.
pub(crate) fn redact(text: &str, out: &mut String) -> bool {
    out.clear();
    let bytes = text.as_bytes();
    let (mut copied, mut next) = (0, 0);
    // Every secret shows itself by one of a few rare letters.
    while let Some(offset) = bytes[next..].iter().position(|&byte| matches!(byte, b':' | b'=' | b'b' | b'B' | b'J')) {
        let index = next + offset;
        next = index + 1;
        let secret = match bytes[index] {
            b':' if bytes[index..].starts_with(b"://") => userinfo(text, index + 3),
            b':' | b'=' => value_of_name(text, index),
            b'J' => text[..index].strip_suffix("ey").and_then(|before| web_token(text, before.len())),
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

/// The password of a URL whose authority begins at `start`.
fn userinfo(text: &str, start: usize) -> Option<Range<usize>> {
    let word = until(text, start, |letter| letter.is_whitespace() || "\"'`<>".contains(letter));
    let authority = until(&text[..word], start, |letter| "/?#".contains(letter));
    let Some(at) = text[start..authority].rfind('@').map(|at| start + at) else {
        // A password with a bare slash ends the authority too early; then no port follows the colon.
        let colon = start + text[start..authority].find(':')?;
        let is_port = text[colon + 1..authority].bytes().all(|byte| byte.is_ascii_digit());
        let is_ipv6 = text[start..].starts_with('[');
        let at = start + text[start..word].rfind('@')?;
        return (!is_port && !is_ipv6).then_some(colon + 1..at);
    };
    match text[start..at].find(':') {
        Some(colon) => Some(start + colon + 1..at),
        // A user without a password may be a token, which nobody's name is as long as.
        None => (at - start >= 20).then_some(start..at),
    }
}

/// The value after the `:` or `=` at `separator`, when the name before it is a telling one.
fn value_of_name(text: &str, separator: usize) -> Option<Range<usize>> {
    let before = text[..separator].trim_end_matches(' ');
    let unquoted = before.trim_end_matches(['"', '\'', '\\']);
    let is_quoted_name = unquoted.len() < before.len();
    let start = unquoted
        .rfind(|it: char| !it.is_ascii_alphanumeric() && !"_-.".contains(it))
        .map_or(0, |at| at + unquoted[at..].chars().next().map_or(1, char::len_utf8));
    let name = &unquoted[start..];
    if !is_secret(name) {
        return None;
    }
    let mut value = separator + 1;
    value += text[value..].len() - text[value..].trim_start_matches(' ').len();
    // An optional value as Rust's Debug prints it.
    if text[value..].starts_with("Some(") {
        value += "Some(".len();
    }
    let escaped = text[value..].starts_with('\\');
    let quote_at = value + usize::from(escaped);
    if let Some(quote @ (b'"' | b'\'')) = text.as_bytes().get(quote_at) {
        let content = quote_at + 1;
        return Some(content..closing_quote(text, content, *quote, escaped));
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

/// Where the string that begins at `start` ends: before its closing quote, or at the end of the text.
fn closing_quote(text: &str, start: usize, quote: u8, is_escaped: bool) -> usize {
    let bytes = text.as_bytes();
    let mut index = start;
    while let Some(&byte) = bytes.get(index) {
        match byte {
            // Within an escaped string `\"` is its end; within a plain one it is a letter of it.
            b'\\' if is_escaped && bytes.get(index + 1) == Some(&quote) => return index,
            b'\\' => index += 2,
            _ if byte == quote => return index,
            _ => index += 1,
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

/// A JSON Web Token at `start`: three parts, of which the first two are objects.
fn web_token(text: &str, start: usize) -> Option<Range<usize>> {
    if !text[start..].starts_with("eyJ") || !begins_word(text, start) {
        return None;
    }
    let end = until(text, start, |letter| !letter.is_ascii_alphanumeric() && !"-_.=".contains(letter));
    let mut parts = text[start..end].split('.');
    let is_token =
        parts.next().is_some_and(|part| part.len() >= 10) && parts.next().is_some_and(|part| part.len() >= 2);
    is_token.then_some(start..end)
}

fn begins_word(text: &str, start: usize) -> bool {
    !text[..start].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
}

/// Where the first letter at or after `start` for which `ends` holds stands, or the text's end.
fn until(text: &str, start: usize, ends: impl Fn(char) -> bool) -> usize {
    text[start..].find(ends).map_or(text.len(), |at| start + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(text: &str) -> String {
        let mut out = String::new();
        if redact(text, &mut out) { out } else { text.to_owned() }
    }

    #[test]
    fn telling_names_are_known_in_any_spelling() {
        for name in [
            "password",
            "db.password",
            "DB_PASSWORD",
            "accessToken",
            "x-api-key",
            "api_key",
            "Set-Cookie",
            "pwd",
            "token_",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["passwords_changed", "tokens", "token_file", "key", "id", "", "component", "secretary"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        for (text, masked) in [
            ("postgres://app:hunter2@db:5432/x", "postgres://app:***@db:5432/x"),
            ("redis://:hunter2@cache/0 is down", "redis://:***@cache/0 is down"),
            ("a http://u:p@h/ and b http://u:q@h/", "a http://u:***@h/ and b http://u:***@h/"),
            ("postgres://u:p@h1:1,h2:2/x", "postgres://u:***@h1:1,h2:2/x"),
            ("postgres://u:p/a@ss@h/x", "postgres://u:***@h/x"),
            ("https://ghp_0123456789abcdefghij@github.com", "https://***@github.com"),
            ("Authorization: Bearer abc.def", "Authorization: ***"),
            ("got bearer abc, retrying", "got bearer ***, retrying"),
            ("Basic dXNlcjpwYXNzd29yZA==", "Basic ***"),
            ("host=db password=hunter2 port=1", "host=db password=*** port=1"),
            ("password = 'a \\' b' x", "password = '***' x"),
            ("GET /?token=abc&x=1", "GET /?token=***&x=1"),
            (r#"{"password": "a\"b", "x": 1}"#, r#"{"password": "***", "x": 1}"#),
            (r#"{"inner": "{\"api_key\":\"abc\",\"x\":1}"}"#, r#"{"inner": "{\"api_key\":\"***\",\"x\":1}"}"#),
            (r#"{"token":12345}"#, r#"{"token":***}"#),
            (r#"Settings { password: Some("a b"), user: "u" }"#, r#"Settings { password: Some("***"), user: "u" }"#),
            ("Cookie=a=b; c=d", "Cookie=***"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_ ok", "*** ok"),
            ("password=ü", "password=***"),
            ("ü password: x", "ü password: ***"),
        ] {
            assert_eq!(redacted(text), masked, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_left_alone() {
        for text in [
            "http://127.0.0.1:8080/a@b",
            "http://[::1]:8080/x",
            "postgres://app@db/x",
            "invalid token: unexpected end",
            "a basic check",
            "10:30:00",
            "a=b c:d",
            "the bearer",
            "eyes",
            "",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in any::<String>()) {
            redacted(&text);
        }

        #[test]
        fn any_text_of_the_dangerous_letters_is_survived(text in "(://|:|=|@|password|token|\"|'|\\\\|Some\\(|bearer |basic |eyJ|\\.|ü| |/|a|\\[)*") {
            redacted(&text);
        }

        #[test]
        fn a_password_is_never_read_again(password in "[A-Za-z0-9!$%^*+~.-]{6,40}", tail in "( [a-z]+)*") {
            for text in [
                format!("connect postgres://app:{password}@db:5432/orders failed{tail}"),
                format!("host=db password={password}{tail}"),
                format!("{{\"db_password\":\"{password}\"}}{tail}"),
                format!("Config {{ api_key: \"{password}\" }}{tail}"),
                format!("Authorization: Bearer {password}"),
            ] {
                prop_assert!(!redacted(&text).contains(&password), "{}", redacted(&text));
            }
        }
    }
}
