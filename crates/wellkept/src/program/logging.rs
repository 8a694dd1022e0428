//! The section `logging`: how the log looks, what goes into it, and where.

use wellkept_config::{FromNode, Section, one_of};
use wellkept_telemetry::logging::{Format, Level};

/// What the section says. Each key that is not there leaves its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoggingSettings {
    /// `json`, `gelf` or `text`. Default: text on a terminal, JSON elsewhere.
    pub format: Option<Format>,
    /// The least level that is logged. Default: info.
    pub level: Option<Level>,
}

impl LoggingSettings {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let format = section.optional::<FormatWord>("format").map(|word| word.0);
        let level = section.optional::<LevelWord>("level").map(|word| word.0);
        section.complete();
        Self { format, level }
    }
}

struct FormatWord(Format);

impl FromNode for FormatWord {
    const EXPECTED: &'static str = "json, gelf or text";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &[("json", Format::Json), ("gelf", Format::Gelf), ("text", Format::Text)]).map(Self)
    }
}

struct LevelWord(Level);

impl FromNode for LevelWord {
    const EXPECTED: &'static str = "debug, info, warning, error or critical";

    fn from_scalar(text: &str) -> Result<Self, String> {
        let levels = Level::ALL.map(|level| (level.as_str(), level));
        // Not offered: what the program traces is for whoever works on it.
        one_of(text, &levels[1..]).map(Self)
    }
}
