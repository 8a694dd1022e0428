//! What readers, subscribers and those who reload see, step by step.

use std::sync::Mutex as Plain;

use super::*;
use crate::outcome::{Intent, Outcome, Rejection};
use crate::section::Section;
use crate::versions::Trigger;

/// A number twice, so that a torn read would show.
#[derive(Debug, PartialEq)]
struct App {
    number: u64,
    twin: u64,
    port: u16,
}

impl Settings for App {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let number = section.required("number");
        let port = section.or("port", 1);
        section.complete();
        let number = number?;
        Some(Self { number, twin: number, port })
    }

    fn restart_required(started: &Self, new: &Self) -> Vec<String> {
        if started.port == new.port { Vec::new() } else { vec!["port".to_owned()] }
    }
}

struct Place {
    _folder: tempfile::TempDir,
    file: std::path::PathBuf,
}

impl Place {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.yaml");
        std::fs::write(&file, text).unwrap();
        Self { _folder: folder, file }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    fn live(&self) -> Live<App> {
        Live::load(Sources::new().file(&self.file), LiveOptions::default()).unwrap()
    }
}

fn request() -> Request {
    Request { trigger: Trigger::Code, author: String::new(), intent: Intent::Apply, expected: None }
}

#[tokio::test]
async fn a_reload_applies_whole_and_what_is_wrong_leaves_the_old_one() {
    let place = Place::new("number: 1");
    let live = place.live();
    let number = live.handle(|app| &app.number);
    assert_eq!(live.reload(request()).await.outcome, Outcome::Unchanged);
    place.write("number: 2");
    assert_eq!(live.reload(request()).await.outcome, Outcome::Applied);
    assert_eq!((*number.read(), live.current().twin), (2, 2));
    place.write("number: two");
    let report = live.reload(request()).await;
    let Outcome::Rejected(rejection @ Rejection::Invalid { .. }) = &report.outcome else { panic!("{report:?}") };
    assert!(rejection.to_string().contains("app.yaml:1:9"), "{rejection}");
    assert_eq!((*number.read(), live.stats().rejected), (2, 1));
    place.write("number: 3\nport: 2");
    let report = live.reload(request()).await;
    assert_eq!(report.outcome, Outcome::RestartRequired { keys: vec!["port".to_owned()] });
    assert_eq!(*number.read(), 3);
}

#[tokio::test]
async fn subscribers_are_told_the_old_and_the_new_and_a_refusal_gives_back_what_others_prepared() {
    let place = Place::new("number: 1");
    let live = place.live();
    let told = Arc::new(Plain::new(Vec::new()));
    let told_by_first = Arc::clone(&told);
    let _first = live.subscribe("first", move |old: Arc<App>, new: Arc<App>| {
        let (told, undone) = (Arc::clone(&told_by_first), Arc::clone(&told_by_first));
        async move {
            let numbers = (old.number, new.number);
            Ok(Prepared::new(move || {
                told.lock().unwrap().push(format!("{numbers:?}"));
                Vec::new()
            })
            .undo(move || undone.lock().unwrap().push("given back".to_owned())))
        }
    });
    let second = live.subscribe("second", |_: Arc<App>, new: Arc<App>| async move {
        if new.number > 5 { Err(Refusal::new("too much")) } else { Ok(Prepared::nothing()) }
    });
    place.write("number: 2");
    assert_eq!(live.reload(request()).await.outcome, Outcome::Applied);
    place.write("number: 6");
    let refused = Rejection::Refused { who: "second".to_owned(), why: "too much".to_owned() };
    assert_eq!(live.reload(request()).await.outcome, Outcome::Rejected(refused));
    assert_eq!(live.current().number, 2);
    drop(second);
    assert_eq!(live.reload(request()).await.outcome, Outcome::Applied);
    assert_eq!(*told.lock().unwrap(), ["(1, 2)", "given back", "(2, 6)"]);
}
