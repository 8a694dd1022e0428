//! Watching the files of a configuration that runs: what they come to is read as any reload is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::content::ContentHash;
use crate::document::LoadError;
use crate::live::{Live, Seen};
use crate::named::Named;
use crate::outcome::{Intent, Outcome, Rejection, Request};
use crate::settings::Settings;
use crate::versions::Trigger;

use super::{Look, Told, WatchOptions, Watched, Watching};

impl<T: Settings> Live<T> {
    /// Has the files reloaded when they change, until what is returned is dropped.
    ///
    /// Files that it names and whose content belongs to it ([`Section::file`](crate::Section::file),
    /// [`Section::secret`](crate::Section::secret), `${file:…}`) are watched with it. A content that was refused is tried
    /// again when it changes, and one that is refused since a rollback is left alone. A file that stays away, or stays
    /// empty, for longer than [`WatchOptions::poll`] is tried as well, so that it is told; the configuration from before
    /// runs on. Sources that are no files are not watched.
    ///
    /// # Panics
    /// Outside a Tokio runtime whose time is enabled.
    pub fn watch(&self, options: WatchOptions) -> Watching {
        let files = Files { live: self.clone(), content: Mutex::new(None) };
        // How many files it was read from is not known any more: the first look finds out.
        let known = match self.seen().imprint() {
            Some(hash) => Look::Content { hash, files: 0 },
            None => Look::Gone(String::new()),
        };
        Watching::start(files, known, options)
    }
}

struct Files<T> {
    live: Live<T>,
    /// The hash of the latest look's content.
    content: Mutex<Option<ContentHash>>,
}

impl<T: Settings> Watched for Files<T> {
    fn paths(&self) -> Vec<PathBuf> {
        let named = self.live.seen().named;
        let named = named.iter().map(|named| named.path.to_path_buf());
        self.live.sources().watched().into_iter().chain(named).collect()
    }

    fn look(&self) -> Look {
        let content = match self.live.sources().content() {
            Ok(content) => content,
            Err(error @ LoadError::Io { .. }) => return Look::Gone(error.to_string()),
            Err(error @ LoadError::Rejected(_)) => return Look::Broken(error.to_string()),
        };
        let hash = content.hash();
        *self.content.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
        let before = self.live.seen().named;
        let named: Vec<_> = before.iter().map(|named| Named::look(Arc::clone(&named.path))).collect();
        let went = before.iter().zip(&named).find(|(before, now)| before.says.is_some() && now.says.is_none());
        if let Some((_, went)) = went {
            return Look::Gone(went.path.display().to_string());
        }
        let hash = imprint(hash, &named);
        if content.parts.iter().any(|part| part.text.trim().is_empty()) {
            return Look::Emptied(hash);
        }
        Look::Content { hash, files: content.parts.len() }
    }

    async fn changed(&self, look: &Look) -> Told {
        if let Look::Content { hash, .. } = look {
            // A signal, a request or the start was quicker.
            let seen = self.live.seen().imprint() == Some(*hash);
            let content = *self.content.lock().unwrap_or_else(PoisonError::into_inner);
            if seen || content.is_some() && content == self.live.running().refuses {
                return Told::Taken(look.clone());
            }
        }
        let request = Request { trigger: Trigger::Watch, author: String::new(), intent: Intent::Apply, expected: None };
        match (self.live.reload(request).await.outcome, look) {
            (Outcome::Rejected(Rejection::Busy), _) => Told::Later,
            (_, &Look::Content { files, .. }) => match self.live.seen().imprint() {
                // Other files may be named now.
                Some(hash) => Told::Taken(Look::Content { hash, files }),
                // They went away in between.
                None => Told::Later,
            },
            _ => Told::Taken(look.clone()),
        }
    }
}

impl Seen {
    /// One hash of all that was seen; `None` when it could not be.
    fn imprint(&self) -> Option<ContentHash> {
        self.hash.map(|hash| imprint(hash, &self.named))
    }
}

fn imprint(content: ContentHash, named: &[Named]) -> ContentHash {
    if named.is_empty() {
        return content;
    }
    let mut hasher = Sha256::new();
    hasher.update(content.0);
    for named in named {
        let path = named.path.as_os_str().as_encoded_bytes();
        hasher.update((path.len() as u64).to_le_bytes());
        hasher.update(path);
        hasher.update([u8::from(named.says.is_some())]);
        hasher.update(named.says.unwrap_or_default().to_le_bytes());
    }
    ContentHash(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::live::LiveOptions;
    use crate::section::Section;
    use crate::sources::Sources;

    const PATIENCE: Duration = Duration::from_secs(20);
    /// So that only what was heard can be the cause.
    const HEARING: WatchOptions = WatchOptions { poll: Duration::from_secs(3600), settle: Duration::from_millis(20) };

    struct Number(u64, String);

    impl Settings for Number {
        fn read(section: &mut Section<'_>) -> Option<Self> {
            let number = section.required("number");
            let greeting = section.optional::<String>("greeting");
            let password = section.secret("password").map(|password| password.expose_secret().to_owned());
            section.complete();
            Some(Self(number?, greeting.or(password).unwrap_or_default()))
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

        /// Waits until this was counted, which is when a change is over: no more was tried than that.
        async fn until_counted(&self, applied: u64, rejected: u64) {
            self.until("the books", |live| live.stats().applied == applied).await;
            assert_eq!((self.live.stats().applied, self.live.stats().rejected), (applied, rejected));
        }
    }

    #[tokio::test]
    async fn a_change_of_the_files_is_applied_and_what_was_refused_is_tried_again_when_it_changes() {
        let scene = Scene::new();
        let _watching = scene.live.watch(HEARING);
        scene.write("number: 1");
        scene.until("the first change", |live| live.current().0 == 1).await;
        scene.until_counted(1, 0).await;
        assert_eq!(scene.live.running().trigger, Trigger::Watch);
        scene.write("number: one");
        scene.until("the refusal", |live| live.stats().rejected == 1).await;
        assert_eq!(scene.live.current().0, 1);
        scene.write("number: 2");
        scene.until("the repair", |live| live.current().0 == 2).await;
        scene.until_counted(2, 1).await;
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
        let files = Files { live: scene.live.clone(), content: Mutex::new(None) };
        assert_eq!(files.changed(&files.look()).await, Told::Taken(files.look()));
        assert_eq!((scene.live.stats().applied, scene.live.stats().unchanged), (1, 0));
        scene.write("number: 2");
        assert_eq!(files.changed(&files.look()).await, Told::Taken(files.look()));
        assert_eq!((scene.live.stats().applied, scene.live.current().0), (2, 2));
    }

    #[tokio::test]
    async fn a_secret_that_is_renewed_is_taken_up_and_one_that_comes_late_is_waited_for() {
        let scene = Scene::new();
        let [password, greeting] = ["password", "greeting"].map(|name| scene.folder.path().join(name));
        fs::write(&password, "first").unwrap();
        scene.write(&format!("number: 1\npassword_file: {}", password.display()));
        let _watching = scene.live.watch(HEARING);
        scene.until("the first secret", |live| live.current().1 == "first").await;
        fs::write(&password, "second").unwrap();
        scene.until("the second secret", |live| live.current().1 == "second").await;
        scene.until_counted(2, 0).await;

        scene.write(&format!("number: 2\ngreeting: '${{file:{}}}'", greeting.display()));
        scene.until("the refusal", |live| live.stats().rejected == 1).await;
        fs::write(&greeting, "hello").unwrap();
        scene.until("the file", |live| live.current().1 == "hello").await;
        fs::write(&greeting, "hello again").unwrap();
        scene.until("the file's change", |live| live.current().1 == "hello again").await;
        scene.until_counted(4, 1).await;
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
