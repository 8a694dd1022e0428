//! When the runtime of the checks counts as stalled, and what happens then: the section `liveness`.

use std::time::Duration;

use wellkept_config::{FromNode, Schema, Section, one_of, word_of};
use wellkept_health::{OnStall, WatchOptions};

/// A shorter one would take a busy machine for a stalled process; a longer one says nothing to anybody in time.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// `liveness: { stalled_after: 5s, on_stall: report }`
pub(super) fn read(section: &mut Section<'_>) -> WatchOptions {
    section.describe(&[
        ("stalled_after", "How long the runtime of the checks may stand still before the liveness probe fails, from 1s to 1h."),
        ("on_stall", "What happens then: `report` says so in the log and leaves the process alone, `exit` ends it after as long again."),
    ]);
    let default = WatchOptions::default();
    let limit = section.or("stalled_after", default.limit);
    let word = section.or("on_stall", Word::Report);
    section.complete();
    if !(SHORTEST..=LONGEST).contains(&limit) {
        let at = section.position_of("stalled_after");
        section.report(at, "config.range", "a stall must be from 1s to 1h long");
    }
    let on_stall = match word {
        Word::Report => OnStall::Tell,
        Word::Exit => OnStall::Exit { after: limit },
    };
    WatchOptions { limit, on_stall, ..default }
}

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Report,
    Exit,
}

const WORDS: [(&str, Word); 2] = [("report", Word::Report), ("exit", Word::Exit)];

impl FromNode for Word {
    const EXPECTED: &'static str = "report or exit";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn written(&self) -> Option<String> {
        word_of(self, &WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}
