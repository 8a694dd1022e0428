//! What a type must be able to do to be a configuration: be read from a section, and say what of it can't change at run
//! time.

use crate::section::Section;

/// A type that a section of a configuration is read as: the whole of an application's configuration, or a part of it.
///
/// It is read by asking a [`Section`] for its keys, which also tells what the keys are: the schema and the reference
/// come from the same questions.
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
