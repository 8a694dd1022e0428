//! The section `logging`: how the log looks, what goes into it, and where.

mod outputs;

use wellkept_config::{FromNode, Section, one_of};
use wellkept_telemetry::logging::{Format, Level, Options};

pub use self::outputs::{Outputs, StandardStream};

/// What the section says. Each key that is not there leaves its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoggingSettings {
    /// `json`, `gelf` or `text`. Default: text on a terminal, JSON elsewhere.
    pub format: Option<Format>,
    /// The least level that is logged. Default: info.
    pub level: Option<Level>,
    /// Where it goes.
    pub outputs: Outputs,
}

impl LoggingSettings {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let format = section.optional::<FormatWord>("format").map(|word| word.0);
        let level = section.optional::<LevelWord>("level").map(|word| word.0);
        let outputs = Outputs::read(section);
        section.complete();
        Self { format, level, outputs }
    }

    /// What the log is started with. `usual` is the format of the standard stream where none is named.
    pub fn options(&self, usual: Format) -> Options {
        Options {
            level: self.level.unwrap_or_default(),
            sinks: self.outputs.sinks(self.format.unwrap_or(usual)),
            ..Options::default()
        }
    }

    /// What is allowed and seldom meant, in words.
    pub fn warnings(&self) -> Vec<String> {
        self.outputs.warnings()
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
