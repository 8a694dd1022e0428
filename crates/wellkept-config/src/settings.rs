//! What a type must be able to do to be a configuration: be read from a section, and say what of it can't change at run
//! time.

use crate::section::Section;

/// A type that a section of a configuration is read as: the whole of an application's configuration, or a part of it.
///
/// It is read by asking a [`Section`] for its keys, which also tells what the keys are: the schema and the reference
/// come from the same questions.
///
/// Most types derive it. Each field is a key of its name, and its documentation is the key's description:
///
/// ```
/// use std::collections::BTreeMap;
/// use std::time::Duration;
/// use wellkept_config::{Document, Settings, Words};
///
/// #[derive(Debug, Settings)]
/// struct Intake {
///     /// How many documents are read at once.
///     #[setting(default = 4, range = 1..=64)]
///     workers: u32,
///     /// After which time one is given up.
///     #[setting(default = Duration::from_secs(30))]
///     timeout: Duration,
///     /// The folder that is looked into.
///     #[setting(restart)]
///     folder: std::path::PathBuf,
///     /// What is done with one that can't be read.
///     #[setting(default)]
///     broken: Broken,
///     /// How many of each tenant are read in a minute.
///     limits: BTreeMap<String, u32>,
/// }
///
/// #[derive(Debug, Default, Words)]
/// enum Broken {
///     #[default]
///     Refuse,
///     KeepAside,
/// }
///
/// let document = Document::parse("app.yaml", "folder: /srv/in\nbroken: keep_aside\nlimits: { acme: 60 }").unwrap();
/// let intake: Intake = document.read(Settings::read).unwrap();
/// assert_eq!((intake.workers, intake.limits["acme"]), (4, 60));
///
/// let wrong = Document::parse("app.yaml", "folder: /srv/in\nworkers: 65\nbroken: keep").unwrap();
/// assert_eq!(wrong.read(Intake::read).unwrap_err().to_string(), "\
/// app.yaml:2:10: `workers` must be from 1 to 64
/// app.yaml:3:9: expected refuse or keep_aside, found `keep`");
/// ```
///
/// A field's type is a [`FromNode`](crate::FromNode), or `Settings` for a section of its own; an `Option`, a `Vec` or a
/// `BTreeMap<String, _>` of either may be left out, all others must be there unless they have a default. A section that
/// is left out is read as an empty one. `#[setting(…)]` on a field takes
///
/// | | |
/// |---|---|
/// | `default`, `default = EXPRESSION` | what holds without the key: the type's default, or this |
/// | `range = RANGE` | refuses what is not within it, in the message and in the schema |
/// | `validate = FUNCTION` | `fn(&T) -> Result<(), impl Display>`: refuses what it refuses |
/// | `rename = "KEY"` | the key, where it is not the field's name |
/// | `restart` | a new value waits for a restart, and is told as such; compared by `!=` |
/// | `secret` | the value is shown to nobody, whatever its type |
///
/// and on the struct `default`, which takes all defaults from the struct's own, and `validate = FUNCTION` for what
/// hangs together. `#[derive(Words)]` reads an enum without fields from a word, `KeepAside` from `keep_aside`; a variant
/// takes `#[setting(rename = "WORD")]`.
pub trait Settings: Sized + Send + Sync + 'static {
    /// Reads the section. What is wrong is reported to it; `None` when there is no value because of that.
    fn read(section: &mut Section<'_>) -> Option<Self>;

    /// The keys, by their paths, whose new value waits for a restart; `started` is what the process was started with.
    /// What is not named here is applied while the process runs. Default: none.
    fn restart_required(started: &Self, new: &Self) -> Vec<String> {
        let _ = (started, new);
        Vec::new()
    }
}
