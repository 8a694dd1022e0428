//! The section `logging`: how the log looks, what goes into it, and where.

mod outputs;
mod redact;

use std::path::PathBuf;

use wellkept_config::{ByteSize, FromNode, Schema, Section, one_of, word_of};
use wellkept_telemetry::logging::{
    Format, Level, LevelError, MAX_MODULES, Options, Redaction, RepeatLimit, SpillOptions, check_module,
};

pub use self::outputs::{Outputs, StandardStream};

/// What the section says. Each key that is not there leaves its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingSettings {
    /// `json`, `gelf` or `text`. Default: text on a terminal, JSON elsewhere.
    pub format: Option<Format>,
    /// The least level that is logged. Default: info.
    pub level: Option<Level>,
    /// Where it goes.
    pub outputs: Outputs,
    /// Where important lines are put aside while an output takes none. Default: nowhere.
    pub spill: Option<SpillOptions>,
    /// What is masked besides what always is. Default: nothing.
    pub redaction: Redaction,
    /// Levels of modules, by how their targets begin; the longest that fits counts. Default: none.
    pub modules: Vec<(String, Level)>,
    /// How often the same line is written. Default: 100 times within 10 s; `off` is as often as it comes.
    pub repeats: Option<RepeatLimit>,
}

impl Default for LoggingSettings {
    fn default() -> Self {
        Self {
            format: None,
            level: None,
            outputs: Outputs::default(),
            spill: None,
            redaction: Redaction::default(),
            modules: Vec::new(),
            repeats: Some(RepeatLimit::default()),
        }
    }
}

impl LoggingSettings {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        section.describe(&[
            ("format", "How lines look on the standard stream. Default: text on a terminal, json elsewhere."),
            ("level", "The least level that is logged. Default: info."),
            ("redact", "What is masked besides what always is."),
            ("spill", "Where important lines are put aside while an output takes none. Default: nowhere."),
            ("modules", "Levels of modules, by how their targets begin; the longest that fits counts."),
            ("modules.<name>", "The least level that is logged of it. Default: that of the whole log."),
            ("repeats", "How often the same line is written; `off` is as often as it comes."),
        ]);
        let format = section.optional::<FormatWord>("format").map(|word| word.0);
        let level = section.optional::<LevelWord>("level").map(|word| word.0);
        let outputs = Outputs::read(section);
        let redaction = section.section("redact", |section| Some(redact::read(section))).unwrap_or_default();
        let spill = section.section("spill", read_spill);
        let modules = read_modules(section);
        let repeats = read_repeats(section);
        section.complete();
        Self { format, level, outputs, spill, redaction, modules, repeats }
    }

    /// What the log is started with. `usual` is the format of the standard stream where none is named.
    pub fn options(&self, usual: Format) -> Options {
        let mut sinks = self.outputs.sinks(self.format.unwrap_or(usual));
        for sink in &mut sinks {
            sink.important.spill.clone_from(&self.spill);
        }
        Options {
            level: self.level.unwrap_or_default(),
            sinks,
            modules: self.modules.clone(),
            repeats: self.repeats,
            redaction: self.redaction.clone(),
            ..Options::default()
        }
    }

    /// What is allowed and seldom meant, in words.
    pub fn warnings(&self) -> Vec<String> {
        self.outputs.warnings()
    }
}

fn read_modules(section: &mut Section<'_>) -> Vec<(String, Level)> {
    let entries = section.entries("modules").unwrap_or_default();
    if entries.len() > MAX_MODULES {
        let at = section.position_of("modules");
        let error = LevelError::TooManyModules;
        section.report(at, error.code(), error.to_string());
        return Vec::new();
    }
    let mut modules = Vec::with_capacity(entries.len());
    for (module, position, node) in entries {
        if let Err(error) = check_module(&module) {
            section.report(position, error.code(), error.to_string());
        }
        modules.extend(section.value::<LevelWord>(node).map(|level| (module, level.0)));
    }
    modules
}

fn read_repeats(section: &mut Section<'_>) -> Option<RepeatLimit> {
    if section.is_word("repeats", "off") {
        return None;
    }
    let usual = RepeatLimit::default();
    let limit = section.section("repeats", |section| {
        section.describe(&[
            ("limit", "How many times a line is written within the time, at least once."),
            ("within", "The time, from 1s to 1h. What is left out is counted, and told of at its end."),
        ]);
        let limit = RepeatLimit { lines: section.or("limit", usual.lines), within: section.or("within", usual.within) };
        section.complete();
        let times = RepeatLimit::SHORTEST..=RepeatLimit::LONGEST;
        for (key, fits, range) in [
            ("limit", limit.lines > 0, "the limit is at least 1; `repeats: off` writes every line"),
            ("within", times.contains(&limit.within), "the time is 1s to 1h"),
        ] {
            if !fits {
                let at = section.position_of(key);
                section.report(at, "config.range", range);
            }
        }
        Some(limit)
    });
    Some(limit.unwrap_or(usual))
}

/// Smallest file of what is put aside: some lines of the longest.
const SMALLEST_SPILL: u64 = 64 << 10;

fn read_spill(section: &mut Section<'_>) -> Option<SpillOptions> {
    section.describe(&[
        ("folder", "The folder that they are put into."),
        ("max_size", "How large what is put aside may become, at least 64KiB."),
    ]);
    let folder = section.required::<PathBuf>("folder");
    let max_size = section.or("max_size", ByteSize(SpillOptions::new("").max_bytes)).as_u64();
    section.complete();
    if max_size < SMALLEST_SPILL {
        let at = section.position_of("max_size");
        section.report(at, "config.range", "at least 64KiB");
    }
    let mut spill = SpillOptions::new(folder?);
    spill.max_bytes = max_size;
    Some(spill)
}

struct FormatWord(Format);

const FORMATS: [(&str, Format); 3] = [("json", Format::Json), ("gelf", Format::Gelf), ("text", Format::Text)];

impl FromNode for FormatWord {
    const EXPECTED: &'static str = "json, gelf or text";

    fn schema() -> Schema {
        Schema::words(&FORMATS)
    }

    fn written(&self) -> Option<String> {
        word_of(&self.0, &FORMATS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &FORMATS).map(Self)
    }
}

struct LevelWord(Level);

impl FromNode for LevelWord {
    const EXPECTED: &'static str = "debug, info, warning, error or critical";

    fn schema() -> Schema {
        Schema::words(&Level::ALL.map(|level| (level.as_str(), level))[1..])
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        let levels = Level::ALL.map(|level| (level.as_str(), level));
        // Not offered: what the program traces is for whoever works on it.
        one_of(text, &levels[1..]).map(Self)
    }
}
