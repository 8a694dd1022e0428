//! `If-Match`: a change that is meant for the configuration that its caller has seen (RFC 9110, section 13.1.1).

use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};
use wellkept_config::{ContentHash, Rejection};

use crate::error::Refusal;

/// The hash that must still be the running one when the change begins; `None` when the caller does not mind.
///
/// Errors: 412 when another one runs already, 400 when the header is neither `*` nor a list of entity tags.
pub(super) fn expected(headers: &HeaderMap, running: ContentHash) -> Result<Option<ContentHash>, Refusal> {
    let mut is_named = None;
    for value in headers.get_all(IF_MATCH) {
        let value = value.as_bytes();
        if value.trim_ascii() == b"*" {
            return Ok(None);
        }
        let found = names(value, running).ok_or_else(unreadable)?;
        is_named = Some(is_named.unwrap_or(false) || found);
    }
    match is_named {
        None => Ok(None),
        Some(true) => Ok(Some(running)),
        Some(false) => Err((&Rejection::Stale).into()),
    }
}

/// Whether a list of entity tags has that of a hash: compared strongly, so that a weak one never is. `None` when it is
/// no such list.
fn names(mut list: &[u8], hash: ContentHash) -> Option<bool> {
    let mut is_named = false;
    let mut count = 0;
    loop {
        list = list.trim_ascii_start();
        if let Some(rest) = list.strip_prefix(b",") {
            // Empty elements are none (section 5.6.1.2).
            list = rest;
            continue;
        }
        if list.is_empty() {
            return (count > 0).then_some(is_named);
        }
        let (is_weak, tag) = list.strip_prefix(b"W/").map_or((false, list), |tag| (true, tag));
        let tag = tag.strip_prefix(b"\"")?;
        let end = tag.iter().position(|byte| *byte == b'"')?;
        let (opaque, rest) = tag.split_at_checked(end)?;
        let is_this = std::str::from_utf8(opaque).ok().and_then(|text| text.parse().ok()) == Some(hash);
        is_named |= is_this && !is_weak;
        count += 1;
        list = rest.strip_prefix(b"\"")?.trim_ascii_start();
        if !list.is_empty() && !list.starts_with(b",") {
            return None;
        }
    }
}

fn unreadable() -> Refusal {
    let message = "If-Match is `*` or the ETag of a configuration, in its quotes";
    Refusal::new(StatusCode::BAD_REQUEST, "http.if_match", message)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const RUNNING: ContentHash = ContentHash([0xab; 32]);

    fn of(values: &[&str]) -> Result<Option<ContentHash>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_MATCH, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        expected(&headers, RUNNING).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn a_change_for_the_running_configuration_goes_on_and_one_for_another_does_not() {
        let (this, other) = (format!("\"{RUNNING}\""), format!("\"{}\"", ContentHash([1; 32])));
        assert_eq!(of(&[]), Ok(None), "nobody minds");
        assert_eq!(of(&["*"]), Ok(None));
        assert_eq!(of(&[&this]), Ok(Some(RUNNING)));
        assert_eq!(of(&[&format!(" , {other},,{this} ,")]), Ok(Some(RUNNING)), "one of a list");
        assert_eq!(of(&[&other, &this]), Ok(Some(RUNNING)), "a list over two lines");
        for stale in [other.as_str(), "\"\"", "\"a, b\"", &format!("W/{this}"), "\"\u{e9}\""] {
            assert_eq!(of(&[stale]), Err(412), "{stale}");
        }
        for wrong in ["", ",", "abc", "\"abc", &this[1..], &format!("{this}{this}"), &format!("w/{this}"), "*, *"] {
            assert_eq!(of(&[wrong]), Err(400), "{wrong}");
        }
    }
}
