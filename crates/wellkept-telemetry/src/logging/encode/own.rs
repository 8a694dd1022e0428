//! The fields that lines have besides those of their events and spans. `docs/logging.md` lists them from here.

use self::Namesake::{Renamed, Wins};

/// One of them: what it is called in each format, what it holds, and what happens to a field of an event or a span that
/// is called the same.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) json: &'static str,
    pub(super) gelf: &'static str,
    #[expect(dead_code, reason = "`docs/logging.md` is made from it")]
    text: &'static str,
    #[expect(dead_code, reason = "`docs/logging.md` is made from it")]
    holds: &'static str,
    pub(super) namesake: Namesake,
}

/// What happens to a field of an event or a span that has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namesake {
    /// It gets a `_` at its end.
    Renamed,
    /// It is written instead.
    Wins,
}

/// All of them, in the order of a JSON line; an empty name is none in that format.
pub(super) const OWN: [Own; 18] = [
    Own { json: "", gelf: "version", text: "", holds: "`1.1`", namesake: Wins },
    Own {
        json: "timestamp",
        gelf: "timestamp",
        text: "first",
        holds: "when it was logged: RFC 3339 in UTC with milliseconds; in GELF seconds since 1970 with three decimals",
        namesake: Renamed,
    },
    Own {
        json: "level",
        gelf: "level",
        text: "second",
        holds: "`trace` to `critical`; in GELF syslog's number, see below",
        namesake: Renamed,
    },
    Own {
        json: "target",
        gelf: "_target",
        text: "third",
        holds: "the module that logs, or what it calls itself",
        namesake: Renamed,
    },
    Own {
        json: "message",
        gelf: "short_message",
        text: "fourth",
        holds: "what happened; in GELF the target where an event says nothing, since it must not be empty",
        namesake: Renamed,
    },
    Own {
        json: "trace_id",
        gelf: "_trace_id",
        text: "trace_id",
        holds: "the trace of the work, 32 hexadecimal digits",
        namesake: Wins,
    },
    Own {
        json: "span_id",
        gelf: "_span_id",
        text: "span_id",
        holds: "its place in the trace, 16 hexadecimal digits",
        namesake: Wins,
    },
    Own {
        json: "correlation_id",
        gelf: "_correlation_id",
        text: "correlation_id",
        holds: "what the caller called the work, or its trace",
        namesake: Wins,
    },
    Own {
        json: "host",
        gelf: "host",
        text: "",
        holds: "the machine; in JSON only where one is configured",
        namesake: Wins,
    },
    Own { json: "service", gelf: "_service", text: "", holds: "the service, where one is configured", namesake: Wins },
    Own {
        json: "truncated",
        gelf: "_truncated",
        text: "truncated",
        holds: "`true` where something was cut or left out",
        namesake: Renamed,
    },
    Own { json: "", gelf: "_id", text: "", holds: "never written: servers refuse it", namesake: Renamed },
    Own { json: "", gelf: "_message", text: "", holds: "never written: the server's own", namesake: Renamed },
    Own { json: "", gelf: "_short_message", text: "", holds: "never written: the server drops it", namesake: Renamed },
    Own { json: "", gelf: "_host", text: "", holds: "never written: the server drops it", namesake: Renamed },
    Own { json: "", gelf: "_source", text: "", holds: "never written: the server's own", namesake: Renamed },
    Own { json: "", gelf: "_timestamp", text: "", holds: "never written: the server's own", namesake: Renamed },
    Own { json: "", gelf: "_level", text: "", holds: "never written: the server's own", namesake: Renamed },
];

/// Whether a field of that name has to be renamed in JSON, and in text.
pub(super) fn is_taken(name: &str) -> bool {
    OWN.iter().any(|own| own.namesake == Renamed && own.json == name)
}

/// Whether an additional field of that name, without its `_`, has to be renamed in GELF.
pub(super) fn is_taken_in_gelf(name: &str) -> bool {
    OWN.iter().any(|own| own.namesake == Renamed && own.gelf.strip_prefix('_') == Some(name))
}
