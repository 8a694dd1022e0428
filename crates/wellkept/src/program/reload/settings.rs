//! The section `reload`: when the configuration is read again, and how long that may take.

use std::ops::RangeInclusive;
use std::time::Duration;

use wellkept_config::{LiveOptions, Section, WatchOptions};

/// What the section says. `watch` and `poll` need a restart; the rest holds from the next reload on.
///
/// ```yaml
/// reload:
///   watch: true       # read again when a file changes
///   poll: 30s         # how often files are looked at besides, 1s to 1h
///   deadline: 30s     # of one reload, from its turn to its commit; 1s to 10m
///   versions: 50      # how many are kept, 1 to 1000
///   probation: 0s     # for how long a new one goes back by itself when readiness is lost; at most 1h
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadSettings {
    /// Whether a change of a file is a reload. Default yes.
    pub watch: Watch,
    /// How often files are looked at besides what the kernel tells of them. Default 30 s.
    pub poll: Duration,
    /// How long one reload may take from its turn to its commit. Default 30 s.
    pub deadline: Duration,
    /// How many versions are kept. Default 50.
    pub versions: usize,
    /// For how long a new configuration is on probation. Default 0: it is not.
    pub probation: Duration,
}

/// Whether a change of a file is a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// It is.
    On,
    /// It is not: a reload is asked for.
    Off,
}

impl Default for ReloadSettings {
    fn default() -> Self {
        Self {
            watch: Watch::On,
            poll: Duration::from_secs(30),
            deadline: Duration::from_secs(30),
            versions: 50,
            probation: Duration::ZERO,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const POLL: RangeInclusive<Duration> = SECOND..=HOUR;
const DEADLINE: RangeInclusive<Duration> = SECOND..=Duration::from_secs(600);
const VERSIONS: RangeInclusive<usize> = 1..=1000;
const PROBATION: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

impl ReloadSettings {
    /// Has the next change made as the section says.
    pub(in super::super) fn set(&self, options: &mut LiveOptions) {
        options.deadline = self.deadline;
        options.keep = self.versions;
        if let Some(probation) = &mut options.probation {
            probation.lasts = self.probation;
        }
    }

    /// How files are watched, if they are.
    pub(in super::super) fn watch(&self) -> Option<WatchOptions> {
        match self.watch {
            Watch::On => Some(WatchOptions { poll: self.poll, ..WatchOptions::default() }),
            Watch::Off => None,
        }
    }

    pub(in super::super) fn read(section: &mut Section<'_>) -> Self {
        section.describe(&[
            ("watch", "Whether it is read again when a file changes."),
            ("poll", "How often the files are looked at besides what the kernel tells of them, from 1s to 1h."),
            ("deadline", "How long one reload may take from its turn to its commit, from 1s to 10m."),
            ("versions", "How many versions are kept, from 1 to 1000."),
            ("probation", "For how long a new configuration goes back by itself when readiness is lost, at most 1h."),
        ]);
        let usual = Self::default();
        let settings = Self {
            watch: if section.or("watch", true) { Watch::On } else { Watch::Off },
            poll: section.or("poll", usual.poll),
            deadline: section.or("deadline", usual.deadline),
            versions: section.or("versions", usual.versions),
            probation: section.or("probation", usual.probation),
        };
        section.complete();
        for (key, fits, range) in [
            ("poll", POLL.contains(&settings.poll), "from 1s to 1h"),
            ("deadline", DEADLINE.contains(&settings.deadline), "from 1s to 10m"),
            ("versions", VERSIONS.contains(&settings.versions), "from 1 to 1000"),
            ("probation", PROBATION.contains(&settings.probation), "from 0s to 1h"),
        ] {
            if !fits {
                let at = section.position_of(key);
                section.report(at, "config.range", range);
            }
        }
        settings
    }
}
