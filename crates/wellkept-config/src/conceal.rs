//! What of a value may be shown to operators when nobody said that it is a secret: secrets are told by the names of
//! their keys and by how they look, as they are in a log. Rather a word too many is hidden than a secret shown.

use std::ops::Range;

use crate::control::ShownValue;

mod address;

/// What stands in place of what is hidden.
const HIDDEN: &str = "…";

/// The letters by which secrets inside a text show themselves.
const BEGINS: [bool; 256] = {
    let mut begins = [false; 256];
    let letters = b":=bBJ";
    let mut index = 0;
    while index < letters.len() {
        begins[letters[index] as usize] = true;
        index += 1;
    }
    begins
};

/// A value of this path, as written before interpolation.
pub(crate) fn shown(path: &str, written: &str) -> ShownValue {
    if is_reference(written) {
        return ShownValue::Written(written.to_owned());
    }
    if is_telling_path(path) || is_private_key(written) {
        return ShownValue::Secret;
    }
    if address::is_one(written) {
        // Blanks and quotes in a password end it no earlier, and any name in a query may be that of a secret.
        let whole = Word { end: written.len(), last_at: written.rfind('@') };
        return ShownValue::Written(address::without_values(&masked_from(written, whole)));
    }
    ShownValue::Written(masked(written))
}

/// The value of this path, which is a secret, as written before interpolation. Of an address with a host it is shown where
/// it leads to, and a reference is the file's own text.
pub(crate) fn secret(path: &str, written: &str) -> ShownValue {
    if is_reference(written) {
        return ShownValue::Written(written.to_owned());
    }
    let place = if is_telling_path(path) { None } else { address::place(written) };
    place.map_or(ShownValue::Secret, ShownValue::Written)
}

/// Whether an argument of a command announces that the next one is a secret, as `--password` does.
pub(crate) fn announces_secret(argument: &str) -> bool {
    argument.starts_with('-') && is_telling(argument.trim_start_matches('-'))
}

/// What is shown of an argument that is a secret.
pub(crate) fn argument(written: &str) -> &str {
    if is_reference(written) { written } else { HIDDEN }
}

/// The text with what looks like a secret hidden. Takes time in proportion to the text, whatever it holds.
pub(crate) fn masked(text: &str) -> String {
    masked_from(text, Word::default())
}

fn masked_from(text: &str, mut url: Word) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut next) = (0, 0);
    let bytes = text.as_bytes();
    while let Some(offset) = bytes[next..].iter().position(|byte| BEGINS[usize::from(*byte)]) {
        let index = next + offset;
        next = index + 1;
        let hidden = match bytes[index] {
            b':' if bytes[index..].starts_with(b"://") => url.userinfo(text, index + 3),
            b':' | b'=' => value_of_name(text, index),
            b'J' => text[..index].strip_suffix("ey").and_then(|before| web_token(text, before.len())),
            _ => credentials(text, index),
        };
        let Some(mut hidden) = hidden.filter(|hidden| !hidden.is_empty() && hidden.start >= copied) else { continue };
        next = next.max(hidden.end);
        if is_reference(&text[hidden.clone()]) {
            continue;
        }
        if bytes[index..].starts_with(b"://")
            && let Some(name) = address::before_reference(&text[hidden.clone()])
        {
            hidden.end = hidden.start + name;
            if hidden.is_empty() {
                continue;
            }
        }
        out.push_str(&text[copied..hidden.start]);
        out.push_str(HIDDEN);
        copied = hidden.end;
    }
    out.push_str(&text[copied..]);
    out
}

/// Whether the whole text is one `${…}` that holds no default, which is a text of the file's own.
fn is_reference(text: &str) -> bool {
    let inside = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    inside.is_some_and(|inside| !inside.contains(['{', '}', '$']) && !inside.contains(":-"))
}

/// Whether the last name of a path tells of a secret, or one above it that holds several: `api_key`, `tokens[0]`,
/// `passwords.alice`.
fn is_telling_path(path: &str) -> bool {
    let mut names = path.rsplit('.').map(|name| name.split_once('[').map_or(name, |(name, _)| name));
    names.next().is_some_and(is_telling) || names.any(|name| name.ends_with(['s', 'S']) && is_telling(name))
}

fn is_telling(name: &str) -> bool {
    let name = name.trim_end_matches(is_separator);
    // `password_credential` is the name of one, but this is one itself.
    ends_tellingly(name)
        || name.strip_suffix(['s', 'S']).is_some_and(ends_tellingly)
        || name.eq_ignore_ascii_case("credential")
}

fn ends_tellingly(name: &str) -> bool {
    match name.as_bytes() {
        [.., before, last] => telling([before.to_ascii_lowercase(), last.to_ascii_lowercase()])
            .iter()
            .any(|telling| ends_with(name, telling)),
        _ => false,
    }
}

/// Names whose values are secrets, without separators and in lower case. A name that ends with one counts too, in the
/// plural as well: `db_password`, `X-Api-Key`, `accessTokens`. They are found by their last two letters, since each value
/// of a configuration is asked for them.
fn telling(last_letters: [u8; 2]) -> &'static [&'static str] {
    match &last_letters {
        b"en" => &["token"],
        b"er" => &["cardnumber"],
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

fn is_separator(letter: char) -> bool {
    matches!(letter, '_' | '-' | '.' | ' ')
}

/// Whether `name` ends with `suffix`, which is in lower case, when case and separators don't count.
fn ends_with(name: &str, suffix: &str) -> bool {
    let mut letters = name.bytes().rev().filter(|letter| !is_separator(char::from(*letter)));
    suffix.bytes().rev().all(|wanted| letters.next().is_some_and(|letter| letter.eq_ignore_ascii_case(&wanted)))
}

fn is_private_key(text: &str) -> bool {
    text.contains("-----BEGIN") && text.contains("PRIVATE KEY")
}

/// How far the URL reaches that was looked at last, so that no text makes it be read again and again.
#[derive(Debug, Default)]
struct Word {
    end: usize,
    last_at: Option<usize>,
}

impl Word {
    /// The userinfo of a URL whose authority begins at `start`.
    fn userinfo(&mut self, text: &str, start: usize) -> Option<Range<usize>> {
        if start >= self.end {
            self.end = until(text, start, |letter| letter.is_whitespace() || "\"'`<>".contains(letter));
            self.last_at = text[start..self.end].rfind('@').map(|at| start + at);
        }
        let last_at = self.last_at.filter(|at| *at >= start)?;
        let authority = until(&text[..self.end], start, |letter| "/?#".contains(letter));
        if text[start..authority].contains('@') {
            // A password may hold a bare slash as well; a path with an at sign is hidden along with it.
            let path = until(&text[..self.end], start, |letter| "?#".contains(letter));
            return text[start..path].rfind('@').map(|at| start..start + at);
        }
        // A password with a bare slash ends the authority too early; then no port follows the colon.
        let colon = start + text[start..authority].find(':')?;
        let is_port = text[colon + 1..authority].bytes().all(|byte| byte.is_ascii_digit());
        let is_ipv6 = text[start..].starts_with('[');
        (!is_port && !is_ipv6).then_some(start..last_at)
    }
}

/// The value after the `:` or `=` at `separator`, when the name before it is a telling one.
fn value_of_name(text: &str, separator: usize) -> Option<Range<usize>> {
    let before = text[..separator].trim_end_matches([' ', '"', '\'', '\\']);
    let is_of_name = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    let start = before
        .rfind(|letter| !is_of_name(letter))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let name = &before[start..];
    if !is_telling(name) {
        return None;
    }
    let value = separator + 1;
    let value = value + (text[value..].len() - text[value..].trim_start_matches([' ', '\\']).len());
    if let Some(quote) = text[value..].chars().next().filter(|letter| matches!(letter, '"' | '\'')) {
        return Some(value + 1..until(text, value + 1, |letter| letter == quote));
    }
    // These hold blanks and commas of their own.
    let is_header = ends_with(name, "authorization") || ends_with(name, "cookie");
    let ends = |letter: char| match letter {
        '"' | '\'' | '\n' | '\r' => true,
        _ => !is_header && (letter.is_whitespace() || ",;&<>".contains(letter)),
    };
    Some(value..until(text, value, ends))
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
    let token = start + length;
    let end = until(text, token, |letter| letter.is_whitespace() || "\"'`,;<>".contains(letter));
    (begins_word(text, start) && end - token >= least).then_some(token..end)
}

/// A JSON Web Token at `start`: parts with points between, of which the first is an object (RFC 7519).
fn web_token(text: &str, start: usize) -> Option<Range<usize>> {
    if !text[start..].starts_with("eyJ") || !begins_word(text, start) {
        return None;
    }
    let end = until(text, start, |letter| !letter.is_ascii_alphanumeric() && !"-_.=".contains(letter));
    text[start..end].contains('.').then_some(start..end)
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

    #[test]
    fn values_of_telling_names_are_secrets_whatever_they_look_like() {
        for path in [
            "password",
            "orders.db_password",
            "checks.a.http.headers.X-Api-Key",
            "admin.accessToken",
            "tokens[0]",
            "passwords.alice",
            "clients.Secrets.a.b",
            "credential",
            "aws.secret_access_key",
        ] {
            assert_eq!(shown(path, "hunter2"), ShownValue::Secret, "{path}");
        }
        for path in ["token_file", "password_credential", "service.name", "secret.rotation", "tokenizer", "monkey", ""]
        {
            assert_eq!(shown(path, "hunter2"), ShownValue::Written("hunter2".into()), "{path}");
        }
    }

    #[test]
    fn a_reference_is_shown_and_one_with_a_default_is_not() {
        for reference in ["${DB_PASSWORD}", "${file:/run/secrets/db}", "${credential:db}"] {
            assert_eq!(shown("db.password", reference), ShownValue::Written(reference.into()));
            assert_eq!(masked(&format!("user=app password={reference}")), format!("user=app password={reference}"));
        }
        for text in ["${DB:-hunter2}", "hunter2${DB}", "${A}hunter2${B}", "${hunter2"] {
            assert_eq!(shown("db.password", text), ShownValue::Secret, "{text}");
        }
        assert_eq!(shown("url", "${URL:-redis://u:p@h/1}"), ShownValue::Written("${URL:-redis://…@h/1}".into()));
    }

    #[test]
    fn an_address_is_shown_without_who_asks_and_the_values_of_its_query_whatever_letters_they_hold() {
        for (text, expected) in [
            ("http://app:hunter 2@api/x", "http://…@api/x"),
            ("http://app:hunter'2@api/x?sig=hunter2&full&a=${A}#b", "http://…@api/x?sig=…&…&a=${A}#…"),
            ("http://app:hunter?2@api", "http://…@api"),
            ("redis://app:${credential:db}@cache/1", "redis://…:${credential:db}@cache/1"),
            ("http://api/x", "http://api/x"),
        ] {
            assert_eq!(shown("url", text), ShownValue::Written(expected.into()));
            assert_eq!(shown("url", expected), ShownValue::Written(expected.into()), "hidden for good");
        }
    }

    #[test]
    fn a_secret_is_shown_where_it_leads_to_but_never_under_a_telling_name() {
        let address = "redis://app:hunter2@cache:6379/0";
        assert_eq!(secret("checks.a.redis.url", address), ShownValue::Written("redis://…@cache:6379/…".into()));
        assert_eq!(secret("url", "${DATABASE_URL}"), ShownValue::Written("${DATABASE_URL}".into()));
        for (path, text) in [("db.password", address), ("url", "hunter2"), ("url", "${URL:-redis://hunter2@a}")] {
            assert_eq!(secret(path, text), ShownValue::Secret, "{path}");
        }
    }

    #[test]
    fn secrets_inside_texts_are_hidden_and_the_rest_is_not() {
        for (text, expected) in [
            ("redis://app:hunter2@cache:6379/0", "redis://…@cache:6379/0"),
            ("amqp://:p@ss/word@mq/v", "amqp://…@mq/v"),
            (
                "postgres://db/app?user=app&password=hunter2&sslmode=require",
                "postgres://db/app?user=app&password=…&sslmode=require",
            ),
            ("https://api/?Access-Token=a.b-c#x", "https://api/?Access-Token=…"),
            ("host=db password='hunter 2' user=app", "host=db password='…' user=app"),
            (r#"{"client_secret": "a\"b", "n": 1}"#, r#"{"client_secret": "…"b", "n": 1}"#),
            ("Authorization: Digest a=b, c=d", "Authorization: …"),
            ("Bearer abc.def", "Bearer …"),
            ("x-header: basic dXNlcjpwYXNzd29yZA==", "x-header: basic …"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "…"),
            ("a redis://u:p@one and redis://u:p@two", "a redis://…@one and redis://…@two"),
        ] {
            assert_eq!(masked(text), expected);
        }
        assert_eq!(shown("tls.key", "-----BEGIN EC PRIVATE KEY-----\nabc"), ShownValue::Secret);
        for plain in [
            "https://orders.example:8443/health?mail=a@b.example",
            "http://[::1]:8080/@x",
            "basic auth is off",
            "5s",
            "10:30 daily",
            "eyJ",
            "Straße: ümlaut",
            "",
        ] {
            assert_eq!(masked(plain), plain);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_a_password_in_a_url_never_shown(
            before in r#"[a-zA-Z0-9:/@=" ü]{0,30}"#, after in r"[^@]{0,40}", password in "[A-Z]{12}",
        ) {
            let text = format!("{before} redis://app:{password}@host {after}");
            prop_assert!(!masked(&text).contains(&password), "{}", masked(&text));
        }

        #[test]
        fn what_is_masked_is_masked_for_good(text in r#"[a-z:/@=" ?&]{0,60}"#) {
            let once = masked(&text);
            prop_assert_eq!(masked(&once), once);
        }
    }
}
