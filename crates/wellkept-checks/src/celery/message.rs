//! What Celery's workers and their clients write to each other: commands, answers, events, and the envelope that they
//! have on Redis.
//!
//! A worker of Celery 5.3 ends when an envelope lacks its `delivery_tag` or is no object, so these are made here and
//! nowhere else.

use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Where workers send their answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplyTo<'a> {
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
}

/// The command that every worker answers at once, whatever its tasks do.
pub(super) fn ping(ticket: &str, reply_to: ReplyTo<'_>) -> String {
    let ReplyTo { exchange, routing_key } = reply_to;
    let reply_to = json!({ "exchange": exchange, "routing_key": routing_key });
    command(ticket, &Value::Null, &reply_to)
}

/// A command for a worker that does not exist: all others read it and do nothing, not even answer. Sending it tells
/// whether somebody listens.
pub(super) fn for_nobody(ticket: &str) -> String {
    command(ticket, &json!(["nobody@wellkept.invalid"]), &Value::Null)
}

fn command(ticket: &str, destination: &Value, reply_to: &Value) -> String {
    json!({
        "method": "ping",
        "arguments": {},
        "destination": destination,
        "pattern": null,
        "matcher": null,
        "ticket": ticket,
        "reply_to": reply_to,
    })
    .to_string()
}

/// A command as it travels over Redis.
pub(super) fn enveloped(body: &str, exchange: &str) -> String {
    json!({
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {
            "delivery_tag": unique(),
            "delivery_mode": 1,
            "delivery_info": { "exchange": exchange, "routing_key": "" },
            "priority": 0,
        },
    })
    .to_string()
}

/// What came in an envelope: the ticket that it answers to, and its body. `None` when it is not one.
pub(super) fn opened(envelope: &[u8]) -> Option<(Option<String>, Value)> {
    let envelope: Value = serde_json::from_slice(envelope).ok()?;
    let ticket = envelope["headers"]["ticket"].as_str().map(str::to_owned);
    let body = envelope["body"].as_str()?;
    let body = match envelope["properties"]["body_encoding"].as_str() {
        Some("base64") => serde_json::from_slice(&STANDARD.decode(body).ok()?),
        _ => serde_json::from_str(body),
    };
    Some((ticket, body.ok()?))
}

/// The names of the workers that an answer to a ping comes from: one, as all of them write it.
pub(super) fn answering(body: &Value) -> impl Iterator<Item = &str> {
    body.as_object().into_iter().flatten().filter(|(_, answer)| answer["ok"] == "pong").map(|(name, _)| name.as_str())
}

/// 128 random bits in hexadecimal digits.
pub(super) fn unique() -> String {
    // Each state has keys of its own, made from the system's randomness.
    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_has_what_a_worker_ends_without() {
        let envelope = enveloped(&ping("t", ReplyTo { exchange: "x", routing_key: "k" }), "celery.pidbox");
        let parsed: Value = serde_json::from_str(&envelope).unwrap();
        assert_eq!(parsed["properties"]["delivery_tag"].as_str().unwrap().len(), 32);
        assert_eq!(parsed["content-type"], "application/json");
        let body: Value = serde_json::from_str(parsed["body"].as_str().unwrap()).unwrap();
        insta::assert_snapshot!(body, @r#"{"method":"ping","arguments":{},"destination":null,"pattern":null,"matcher":null,"ticket":"t","reply_to":{"exchange":"x","routing_key":"k"}}"#);
    }

    #[test]
    fn answers_are_read_in_both_encodings_and_what_is_none_is_left() {
        let plain = br#"{"body": "{\"w1@h\": {\"ok\": \"pong\"}}", "headers": {"ticket": "t"}, "properties": {}}"#;
        let encoded = br#"{"body": "eyJ3MUBoIjogeyJvayI6ICJwb25nIn19", "headers": {"ticket": "t"},
            "properties": {"body_encoding": "base64"}}"#;
        for envelope in [&plain[..], &encoded[..]] {
            let (ticket, body) = opened(envelope).unwrap();
            assert_eq!(ticket.as_deref(), Some("t"));
            assert_eq!(answering(&body).collect::<Vec<_>>(), ["w1@h"]);
        }
        assert!(opened(b"[1,2]").is_none() && opened(b"\xff").is_none() && opened(b"{}").is_none());
        let refused = json!({ "w1@h": { "error": "KeyError('ping')" } });
        assert_eq!(answering(&refused).count(), 0);
    }

    #[test]
    fn no_two_tags_are_alike() {
        let tags: std::collections::HashSet<_> = (0..1000).map(|_| unique()).collect();
        assert_eq!(tags.len(), 1000);
    }
}
