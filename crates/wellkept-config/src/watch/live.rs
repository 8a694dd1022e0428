//! Watching the files of a configuration that runs: what they come to is read as any reload is.

use std::path::PathBuf;

use crate::content::Content;
use crate::document::LoadError;
use crate::live::Live;
use crate::outcome::{Intent, Outcome, Rejection, Request};
use crate::settings::Settings;
use crate::versions::Trigger;

use super::{Look, Told, WatchOptions, Watched, Watching};

impl<T: Settings> Live<T> {
    /// Has the files reloaded when they change, until what is returned is dropped.
    ///
    /// A content that was refused is tried again when it changes, and one that is refused since a rollback is left
    /// alone. A file that stays away, or stays empty, for longer than [`WatchOptions::poll`] is tried as well, so that
    /// it is told; the configuration from before runs on. Sources that are no files are not watched.
    ///
    /// # Panics
    /// Outside a Tokio runtime whose time is enabled.
    pub fn watch(&self, options: WatchOptions) -> Watching {
        // How many files it was read from is not known any more: the first look finds out.
        let known = Look::Content { hash: self.running().hash, files: 0 };
        Watching::start(Files(self.clone()), known, options)
    }
}

struct Files<T>(Live<T>);

impl<T: Settings> Watched for Files<T> {
    fn paths(&self) -> Vec<PathBuf> {
        self.0.sources().watched()
    }

    fn look(&self) -> Look {
        match self.0.sources().content() {
            Ok(content) if has_empty_part(&content) => Look::Emptied(content.hash()),
            Ok(content) => Look::Content { hash: content.hash(), files: content.parts.len() },
            Err(error @ LoadError::Io { .. }) => Look::Gone(error.to_string()),
            Err(error @ LoadError::Rejected(_)) => Look::Broken(error.to_string()),
        }
    }

    async fn changed(&self, look: &Look) -> Told {
        let running = self.0.running();
        if let Look::Content { hash, .. } = look {
            // A signal, a request or the start was quicker.
            let runs = *hash == running.hash && running.last_rejection.is_empty();
            if runs || Some(*hash) == running.refuses {
                return Told::Taken;
            }
        }
        let request = Request { trigger: Trigger::Watch, author: String::new(), intent: Intent::Apply, expected: None };
        match self.0.reload(request).await.outcome {
            Outcome::Rejected(Rejection::Busy) => Told::Later,
            _ => Told::Taken,
        }
    }
}

fn has_empty_part(content: &Content) -> bool {
    content.parts.iter().any(|part| part.text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::live::LiveOptions;
    use crate::section::Section;
    use crate::sources::Sources;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// So that only what was heard can be the cause.
    const HEARING: WatchOptions = WatchOptions { poll: Duration::from_secs(3600), settle: Duration::from_millis(20) };

    struct Number(u64);

    impl Settings for Number {
        fn read(section: &mut Section<'_>) -> Option<Self> {
            let number = section.required("number");
            section.complete();
            number.map(Self)
        }
    }

    struct Scene {
        folder: tempfile::TempDir,
        live: Live<Number>,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("app.yaml");
            fs::write(&file, "number: 0").unwrap();
            let sources = Sources::new().file(file).folder(folder.path().join("conf.d"));
            Self { live: Live::load(sources, LiveOptions::default()).unwrap(), folder }
        }

        fn write(&self, text: &str) {
            fs::write(self.folder.path().join("app.yaml"), text).unwrap();
        }

        async fn until(&self, what: &str, condition: impl Fn(&Live<Number>) -> bool) {
            let waiting = async {
                while !condition(&self.live) {
                    // pace: between two polls of the condition.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
        }
    }

    #[tokio::test]
    async fn a_change_of_the_files_is_applied_and_what_was_refused_is_tried_again_when_it_changes() {
        let scene = Scene::new();
        let _watching = scene.live.watch(HEARING);
        scene.write("number: 1");
        scene.until("the first change", |live| live.current().0 == 1).await;
        assert_eq!(scene.live.running().trigger, Trigger::Watch);
        scene.write("number: one");
        scene.until("the refusal", |live| live.stats().rejected == 1).await;
        assert_eq!(scene.live.current().0, 1);
        scene.write("number: 2");
        scene.until("the repair", |live| live.current().0 == 2).await;
        assert_eq!((scene.live.stats().applied, scene.live.stats().rejected), (2, 1), "each was tried once");
        scene.write("number: two");
        scene.until("the next refusal", |live| live.stats().rejected == 2).await;
        scene.write("number: 2");
        scene.until("what ran all the time to be taken again", |live| live.stats().unchanged == 1).await;
        assert!(scene.live.running().last_rejection.is_empty());
    }

    #[tokio::test]
    async fn what_another_reload_has_applied_is_not_read_once_more() {
        let scene = Scene::new();
        scene.write("number: 1");
        let request = Request { trigger: Trigger::Code, author: String::new(), intent: Intent::Apply, expected: None };
        assert_eq!(scene.live.reload(request).await.outcome, Outcome::Applied);
        let files = Files(scene.live.clone());
        assert_eq!(files.changed(&files.look()).await, Told::Taken);
        assert_eq!((scene.live.stats().applied, scene.live.stats().unchanged), (1, 0));
        scene.write("number: 2");
        assert_eq!(files.changed(&files.look()).await, Told::Taken);
        assert_eq!((scene.live.stats().applied, scene.live.current().0), (2, 2));
    }

    #[tokio::test]
    async fn a_file_that_stays_away_is_told_once_and_the_old_one_runs_on() {
        let scene = Scene::new();
        let short = WatchOptions { poll: Duration::from_millis(60), ..HEARING };
        let _watching = scene.live.watch(short);
        let file = scene.folder.path().join("app.yaml");
        fs::rename(&file, file.with_extension("away")).unwrap();
        scene.until("the refusal", |live| live.stats().rejected == 1).await;
        assert!(scene.live.running().last_rejection[0].contains("can't read the configuration"));
        // pace: several times the time to poll, in which nothing more is told.
        tokio::time::sleep(short.poll * 4).await;
        assert_eq!((scene.live.current().0, scene.live.stats().rejected), (0, 1));
        fs::rename(file.with_extension("away"), &file).unwrap();
        scene.until("its return to be taken", |live| live.stats().unchanged == 1).await;
    }

    #[tokio::test]
    async fn a_file_of_the_folder_that_is_added_and_removed_is_applied() {
        let scene = Scene::new();
        let _watching = scene.live.watch(HEARING);
        let folder = scene.folder.path().join("conf.d");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("10.yaml"), "number: 10").unwrap();
        scene.until("the file", |live| live.current().0 == 10).await;
        fs::remove_file(folder.join("10.yaml")).unwrap();
        scene.until("its end", |live| live.current().0 == 0).await;
    }
}
