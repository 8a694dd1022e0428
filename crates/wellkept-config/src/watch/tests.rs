//! Watching real files, as they are replaced by Kubernetes, by editors, by hand, and by accident.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::*;

/// Nothing here takes so long but what fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// So that only what was heard can be the cause.
const HEARING: WatchOptions = WatchOptions { poll: Duration::from_secs(3600), settle: Duration::from_millis(30) };
/// So that a file that is gone counts soon.
const POLLING: WatchOptions = WatchOptions { poll: Duration::from_millis(150), settle: Duration::from_millis(20) };

#[derive(Debug)]
struct Files {
    paths: Vec<PathBuf>,
    told: mpsc::UnboundedSender<Look>,
}

impl Watched for Files {
    fn paths(&self) -> Vec<PathBuf> {
        self.paths.clone()
    }

    fn look(&self) -> Look {
        look_at(&self.paths)
    }

    async fn changed(&self, look: &Look) -> Told {
        drop(self.told.send(look.clone()));
        Told::Taken(look.clone())
    }
}

fn look_at(paths: &[PathBuf]) -> Look {
    let mut texts = Vec::new();
    for path in paths {
        if path.extension() == Some("d".as_ref()) {
            let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut entries: Vec<_> = entries.filter(|path| path.extension() == Some("yaml".as_ref())).collect();
            entries.sort();
            texts.extend(entries.iter().filter_map(|path| fs::read_to_string(path).ok()));
        } else {
            match fs::read_to_string(path) {
                Ok(text) => texts.push(text),
                Err(error) => return Look::Gone(error.kind().to_string()),
            }
        }
    }
    if texts.iter().any(String::is_empty) { Look::Emptied(hash(&texts)) } else { content(&texts) }
}

fn hash(texts: &[impl AsRef<str>]) -> ContentHash {
    ContentHash(Sha256::digest(texts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n---\n")).into())
}

fn content(texts: &[impl AsRef<str>]) -> Look {
    Look::Content { hash: hash(texts), files: texts.len() }
}

/// A folder with files in it that are watched.
struct Scene {
    folder: tempfile::TempDir,
    told: mpsc::UnboundedReceiver<Look>,
    watching: Option<Watching>,
}

impl Scene {
    fn new() -> Self {
        let (_, told) = mpsc::unbounded_channel();
        Self { folder: tempfile::tempdir().unwrap(), told, watching: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Watches from now on; what is there is known.
    fn watch(&mut self, names: &[&str], options: WatchOptions) {
        let (sender, told) = mpsc::unbounded_channel();
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path(name)).collect();
        let known = look_at(&paths);
        self.told = told;
        self.watching = Some(Watching::start(Files { paths, told: sender }, known, options));
    }

    /// Waits until the watches are set, by a change that is undone again: each test begins with it.
    async fn warm_up(&mut self, name: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        self.write(name, "warming up");
        self.told_one().await;
        self.write(name, &text);
        self.told_one().await;
    }

    async fn told_one(&mut self) -> Look {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.expect("a change is told").expect("it is watched")
    }

    async fn told(&mut self, texts: &[&str]) {
        assert_eq!(self.told_one().await, content(texts), "expected {texts:?}");
    }
}

#[tokio::test]
async fn ten_swaps_as_kubernetes_does_them_are_told_one_by_one() {
    let mut scene = Scene::new();
    let stamped = |number: u32| format!("..2026_11_22_18_00_{number:02}.123456789");
    let fill = |scene: &Scene, number: u32| {
        fs::create_dir(scene.path(&stamped(number))).unwrap();
        scene.write(&format!("{}/app.yaml", stamped(number)), &format!("number: {number}"));
    };
    fill(&scene, 0);
    symlink(stamped(0), scene.path("..data")).unwrap();
    symlink("..data/app.yaml", scene.path("app.yaml")).unwrap();
    scene.watch(&["app.yaml"], HEARING);
    for number in 1..=10 {
        fill(&scene, number);
        symlink(stamped(number), scene.path("..data_tmp")).unwrap();
        scene.rename("..data_tmp", "..data");
        fs::remove_dir_all(scene.path(&stamped(number - 1))).unwrap();
        scene.told(&[&format!("number: {number}")]).await;
    }
}

#[tokio::test]
async fn an_editor_that_renames_what_it_saved_is_heard_each_time() {
    let mut scene = Scene::new();
    scene.write("app.yaml", "a: 0");
    scene.watch(&["app.yaml"], HEARING);
    scene.warm_up("app.yaml").await;
    for number in 1..=5 {
        // As vim does: a file to see whether the folder can be written to, a backup by renaming, the new file in place.
        scene.write("4913", "");
        fs::remove_file(scene.path("4913")).unwrap();
        scene.rename("app.yaml", "app.yaml~");
        scene.write("app.yaml", &format!("a: {number}"));
        fs::remove_file(scene.path("app.yaml~")).unwrap();
        scene.told(&[&format!("a: {number}")]).await;
        // As most others do.
        scene.write(".app.yaml.swp", &format!("b: {number}"));
        scene.rename(".app.yaml.swp", "app.yaml");
        scene.told(&[&format!("b: {number}")]).await;
    }
}

#[tokio::test]
async fn a_file_that_is_written_in_two_pieces_is_told_when_it_is_whole() {
    let mut scene = Scene::new();
    scene.write("app.yaml", "a: 0\nb: 0\n");
    scene.watch(&["app.yaml"], HEARING);
    scene.warm_up("app.yaml").await;
    let mut file = File::create(scene.path("app.yaml")).unwrap();
    file.write_all(b"a: 1\n").unwrap();
    file.sync_all().unwrap();
    // pace: the writer's pause, longer than the time to settle.
    tokio::time::sleep(HEARING.settle * 3).await;
    file.write_all(b"b: 1\n").unwrap();
    drop(file);
    scene.told(&["a: 1\nb: 1\n"]).await;
}

#[tokio::test]
async fn a_file_that_was_emptied_counts_when_it_says_something_again() {
    let mut scene = Scene::new();
    scene.write("app.yaml", "a: 0");
    scene.watch(&["app.yaml"], HEARING);
    scene.warm_up("app.yaml").await;
    scene.write("app.yaml", "");
    // pace: the writer's pause between the two, longer than the time to settle.
    tokio::time::sleep(HEARING.settle * 3).await;
    scene.write("app.yaml", "a: 1");
    scene.told(&["a: 1"]).await;
}

#[tokio::test]
async fn a_file_that_is_gone_for_a_moment_changes_nothing_and_one_that_stays_so_is_told_once() {
    let mut scene = Scene::new();
    scene.write("app.yaml", "a: 0");
    scene.watch(&["app.yaml"], WatchOptions { poll: Duration::from_secs(2), ..POLLING });
    scene.warm_up("app.yaml").await;
    fs::remove_file(scene.path("app.yaml")).unwrap();
    // pace: it is gone for longer than the time to settle, and shorter than that to poll.
    tokio::time::sleep(POLLING.settle * 5).await;
    scene.write("app.yaml", "a: 0");
    scene.write("app.yaml", "a: 1");
    scene.told(&["a: 1"]).await;

    scene.watch(&["app.yaml"], POLLING);
    fs::remove_file(scene.path("app.yaml")).unwrap();
    assert!(matches!(scene.told_one().await, Look::Gone(_)));
    // pace: several times the time to poll, in which nothing more is told.
    tokio::time::sleep(POLLING.poll * 3).await;
    scene.write("app.yaml", "a: 1");
    scene.told(&["a: 1"]).await;
    assert!(scene.told.try_recv().is_err());
}

#[tokio::test]
async fn a_folder_on_the_way_that_is_replaced_or_linked_elsewhere_is_followed() {
    let mut scene = Scene::new();
    for (folder, text) in [("conf", "a: 0"), ("new", "a: 1"), ("other", "a: 2")] {
        fs::create_dir_all(scene.path(folder).join("deep")).unwrap();
        scene.write(&format!("{folder}/deep/app.yaml"), text);
    }
    scene.watch(&["conf/deep/app.yaml"], HEARING);
    scene.warm_up("conf/deep/app.yaml").await;
    scene.rename("conf", "old");
    scene.rename("new", "conf");
    scene.told(&["a: 1"]).await;
    scene.write("conf/deep/app.yaml", "a: 3");
    scene.told(&["a: 3"]).await;

    fs::remove_dir_all(scene.path("conf")).unwrap();
    symlink("other", scene.path("conf")).unwrap();
    scene.told(&["a: 2"]).await;
    scene.write("old/deep/app.yaml", "not watched any more");
    scene.write("other/deep/app.yaml", "a: 4");
    scene.told(&["a: 4"]).await;
    symlink("old", scene.path("retargeted")).unwrap();
    scene.rename("retargeted", "conf");
    scene.told(&["not watched any more"]).await;
}

#[tokio::test]
async fn a_folder_tells_of_files_added_renamed_and_removed() {
    let mut scene = Scene::new();
    scene.write("app.yaml", "main");
    scene.watch(&["app.yaml", "conf.d"], HEARING);
    scene.warm_up("app.yaml").await;
    fs::create_dir(scene.path("conf.d")).unwrap();
    scene.write("conf.d/10-a.yaml", "a");
    scene.told(&["main", "a"]).await;
    scene.write("conf.d/20-b.yaml", "b");
    scene.told(&["main", "a", "b"]).await;
    scene.rename("conf.d/20-b.yaml", "conf.d/05-b.yaml");
    scene.told(&["main", "b", "a"]).await;
    scene.write("elsewhere", "c");
    symlink("../elsewhere", scene.path("conf.d/30-c.yaml")).unwrap();
    scene.told(&["main", "b", "a", "c"]).await;
    scene.write("elsewhere", "cc");
    scene.told(&["main", "b", "a", "cc"]).await;
    fs::remove_dir_all(scene.path("conf.d")).unwrap();
    scene.told(&["main"]).await;
}

#[tokio::test]
async fn a_file_written_to_by_another_name_is_heard_as_one_that_is_mounted_alone_would_be() {
    let mut scene = Scene::new();
    fs::create_dir(scene.path("host")).unwrap();
    fs::create_dir(scene.path("container")).unwrap();
    scene.write("host/app.yaml", "a: 0");
    fs::hard_link(scene.path("host/app.yaml"), scene.path("container/app.yaml")).unwrap();
    scene.watch(&["container/app.yaml"], HEARING);
    scene.warm_up("container/app.yaml").await;
    scene.write("host/app.yaml", "a: 1");
    scene.told(&["a: 1"]).await;
}

#[tokio::test]
async fn without_hints_a_change_is_found_by_polling() {
    let scene = Scene::new();
    scene.write("app.yaml", "a: 0");
    let (sender, mut told) = mpsc::unbounded_channel();
    let paths = vec![scene.path("app.yaml")];
    let known = look_at(&paths);
    let files = Arc::new(Files { paths, told: sender });
    let task = tokio::spawn(watch(files, known, POLLING, Hints::deaf()));
    for text in ["a: 1", "a: 2"] {
        scene.write("app.yaml", text);
        let look = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        assert_eq!(look, content(&[text]));
    }
    task.abort();
}

#[tokio::test]
async fn what_changed_before_it_was_watched_is_told() {
    let mut scene = Scene::new();
    scene.write("app.yaml", "a: 1");
    let (sender, told) = mpsc::unbounded_channel();
    let files = Files { paths: vec![scene.path("app.yaml")], told: sender };
    scene.told = told;
    let _watching = Watching::start(files, content(&["a: 0"]), HEARING);
    scene.told(&["a: 1"]).await;
}

#[tokio::test]
async fn a_watch_that_is_dropped_ends() {
    let mut scene = Scene::new();
    scene.write("app.yaml", "a: 0");
    scene.watch(&["app.yaml"], HEARING);
    scene.warm_up("app.yaml").await;
    scene.watching = None;
    // The task held the only sender.
    assert_eq!(tokio::time::timeout(PATIENCE, scene.told.recv()).await.unwrap(), None);
}

/// A folder that is on the way and busy with other things: its events are read, at most fifty times a second, and no
/// file is read because of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_busy_folder_on_the_way_costs_no_looks() {
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Counted(PathBuf, Arc<AtomicU32>);
    impl Watched for Counted {
        fn paths(&self) -> Vec<PathBuf> {
            vec![self.0.clone()]
        }
        fn look(&self) -> Look {
            self.1.fetch_add(1, Ordering::Relaxed);
            look_at(std::slice::from_ref(&self.0))
        }
        async fn changed(&self, look: &Look) -> Told {
            Told::Taken(look.clone())
        }
    }
    let scene = Scene::new();
    scene.write("app.yaml", "a: 0");
    let looks = Arc::new(AtomicU32::new(0));
    let path = scene.path("app.yaml");
    let watching = Watching::start(Counted(path, Arc::clone(&looks)), content(&["a: 0"]), HEARING);
    until(|| looks.load(Ordering::Relaxed) == 1).await;
    for number in 0..500 {
        scene.write(&format!("log.{number}"), "busy");
    }
    scene.write("app.yaml", "a: 1");
    until(|| looks.load(Ordering::Relaxed) >= 3).await;
    // Two of the change, and up to two more, since it was created anew and closed.
    assert!(looks.load(Ordering::Relaxed) <= 5, "{looks:?}");
    drop(watching);
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            // pace: between two polls of the condition.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the condition comes to hold");
}
