//! What of an address may be shown: of one that is a secret where it leads to, of any other all but who asks, and with
//! what.

use url::Url;

use super::{HIDDEN, is_reference, masked};

/// A longer address is not looked into.
const LONGEST: usize = 4096;

/// An address of which only scheme, host and port are shown, and references such as `${PASSWORD}`: what else it has is
/// `…`. `None` when it has no host, or when it can't be told for certain which part of it that is.
pub(super) fn place(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    if text.starts_with("sqlite:") {
        return (!text.contains('@') && masked(text) == text).then(|| without_values(text));
    }
    let (scheme, rest) = split(text)?;
    let end = outside(rest, "/?#").first().copied().unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    // Then a bare slash in a password may have ended the authority too early.
    if !outside(after, "@").is_empty() {
        return None;
    }
    let (asker, host) = match outside(authority, "@").last() {
        Some(at) => (asker(&authority[..*at]), &authority[at + 1..]),
        None => (String::new(), authority),
    };
    if !is_host(scheme, host) {
        return None;
    }
    let mut shown = format!("{scheme}://{asker}{host}");
    let mut rest = after;
    while let Some(sign) = rest.chars().next() {
        let ends = if sign == '/' { "?#" } else { "#" };
        let end = 1 + outside(&rest[1..], ends).first().copied().unwrap_or(rest.len() - 1);
        shown.push(sign);
        shown.push_str(part(&rest[1..end]));
        rest = &rest[end..];
    }
    Some(shown)
}

/// Whether the whole text is an address, so that blanks and quotes in it don't end it.
pub(super) fn is_one(text: &str) -> bool {
    split(text).is_some()
}

/// The address with what is asked for in its query hidden, and its fragment. References are shown.
pub(super) fn without_values(text: &str) -> String {
    let Some(begin) = outside(text, "?#").first().copied() else { return text.to_owned() };
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => format!("{name}={}", part(value)),
        None => part(pair).to_owned(),
    };
    let (before, rest) = text.split_at(begin);
    let Some(query) = rest.strip_prefix('?') else { return format!("{before}#{}", part(&rest[1..])) };
    let (query, fragment) = match outside(query, "#").first() {
        Some(at) => (&query[..*at], format!("#{}", part(&query[at + 1..]))),
        None => (query, String::new()),
    };
    let pairs: Vec<_> = query.split('&').map(pair).collect();
    format!("{before}?{}{fragment}", pairs.join("&"))
}

/// How many bytes at the beginning of a userinfo come before a password that is a reference, the colon not counted.
pub(super) fn before_reference(userinfo: &str) -> Option<usize> {
    let (name, password) = userinfo.split_once(':')?;
    is_reference(password).then_some(name.len())
}

/// The scheme (RFC 3986, section 3.1), and what follows `://`.
fn split(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    is_scheme.then_some((scheme, rest))
}

fn asker(userinfo: &str) -> String {
    match before_reference(userinfo) {
        Some(name) => format!("{}{}@", part(&userinfo[..name]), &userinfo[name..]),
        None => format!("{}@", part(userinfo)),
    }
}

fn part(text: &str) -> &str {
    if text.is_empty() || is_reference(text) { text } else { HIDDEN }
}

/// Whether it is a host with at most a port; both may be filled in.
fn is_host(scheme: &str, host: &str) -> bool {
    let mut plain = String::new();
    let mut rest = host;
    while let Some(letter) = rest.chars().next() {
        let length = reference(rest);
        if length.is_some() {
            plain.push(if plain.ends_with(':') { '1' } else { 'x' });
        } else {
            plain.push(letter);
        }
        rest = &rest[length.unwrap_or(letter.len_utf8())..];
    }
    let is_plain = plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    is_plain && Url::parse(&format!("{scheme}://{plain}/")).is_ok_and(|url| url.has_host() && !plain.starts_with(':'))
}

/// Where these letters stand, but for those inside of references.
fn outside(text: &str, letters: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        if let Some(length) = reference(&text[at..]) {
            at += length;
            continue;
        }
        if letters.contains(letter) {
            found.push(at);
        }
        at += letter.len_utf8();
    }
    found
}

/// How long the reference is that the text begins with.
fn reference(text: &str) -> Option<usize> {
    let end = text.strip_prefix("${")?.bytes().take(LONGEST).position(|byte| byte == b'}')? + 3;
    is_reference(&text[..end]).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_address_it_is_shown_where_it_leads_to() {
        for (text, expected) in [
            ("redis://app:hunter2@cache:6379/0", "redis://…@cache:6379/…"),
            ("postgres://db.example/app?password=hunter2#x", "postgres://db.example/…?…#…"),
            ("postgres://a:p@ss@db", "postgres://…@db"),
            ("amqps://[::1]:5671", "amqps://[::1]:5671"),
            ("redis://:${PW}@cache/", "redis://:${PW}@cache/"),
            ("redis://app:${file:/run/pw}@${HOST}:${PORT}/${DB}", "redis://…:${file:/run/pw}@${HOST}:${PORT}/${DB}"),
            ("redis://${A}hunter2@db-${N}.example", "redis://…@db-${N}.example"),
            ("sqlite:///var/lib/a.db?key=hunter2", "sqlite:///var/lib/a.db?key=…"),
        ] {
            assert_eq!(place(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "redis://app:hunter/2@cache",
            "redis://app:6379/hunter2@cache",
            "redis://app:hunter?2@cache",
            "redis://app:hunter2",
            "redis:///hunter2",
            "redis://hunter 2",
            "redis://${HOST:-hunter2}",
            "x$hunter2://cache",
            "sqlite://a:hunter2@cache",
            "hunter2",
            "memory",
            "",
        ] {
            assert_eq!(place(text), None, "{text}");
        }
    }
}
