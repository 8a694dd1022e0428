//! What readers, subscribers and those who reload see, step by step.

use std::fmt;
use std::io;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::control::Control as _;
use crate::outcome::{Outcome, Rejection};
use crate::section::Section;
use crate::sources::Source;
use crate::versions::{OutcomeKind, Trigger};

mod changes;
mod model;
mod trials;
mod turns;
mod versions;

/// A number twice, so that a torn read would show, and what subscribers do about it.
#[derive(Debug, PartialEq)]
pub(super) struct App {
    number: u64,
    twin: u64,
    port: u16,
    fate: String,
}

impl Settings for App {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let number = section.required("number");
        let port = section.or("port", 1);
        let fate = section.optional::<String>("fate").unwrap_or_default();
        section.complete();
        assert_ne!(fate, "panic in read");
        let number = number?;
        Some(Self { number, twin: number, port, fate })
    }

    fn restart_required(started: &Self, new: &Self) -> Vec<String> {
        assert_ne!(new.fate, "panic in restart_required");
        if started.port == new.port { Vec::new() } else { vec!["port".to_owned()] }
    }
}

/// A text that a test changes, and may keep from being read.
#[derive(Clone, Default)]
pub(super) struct Text {
    says: Arc<Mutex<String>>,
    gate: Gate,
}

/// What passes waits while it is shut, as for a disk that does not answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn shut(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |shut| *shut).unwrap());
    }
}

impl Text {
    fn new(text: &str) -> Self {
        let says = Self::default();
        says.set(text);
        says
    }

    fn set(&self, text: &str) {
        text.clone_into(&mut self.says.lock().unwrap());
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Text")
    }
}

impl Source for Text {
    fn name(&self) -> &'static str {
        "app.yaml"
    }

    fn read(&self) -> io::Result<Option<String>> {
        self.gate.pass();
        Ok(Some(self.says.lock().unwrap().clone()))
    }
}

impl Text {
    fn live(&self) -> Live<App> {
        Live::load(Sources::new().source(self.clone()), LiveOptions::default()).unwrap()
    }

    fn live_with(&self, options: LiveOptions, store: impl VersionStore) -> Live<App> {
        Live::load_with(Sources::new().source(self.clone()), options, store).unwrap()
    }
}

pub(super) fn by_code() -> Request {
    Request::new(Trigger::Code)
}

pub(super) fn rejection(report: &Report) -> &Rejection {
    match &report.outcome {
        Outcome::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

/// A subscriber that writes down what happens to it, and does what the new configuration's `fate` says, where that
/// begins with its name.
#[derive(Clone, Default)]
pub(super) struct Recorder {
    name: &'static str,
    events: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Recorder {
    fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn note(&self, event: impl Into<String>) {
        self.events.lock().unwrap().push(event.into());
    }

    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Subscriber<App> for Recorder {
    async fn prepare(&self, old: &Arc<App>, new: &Arc<App>) -> Result<Prepared, Refusal> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let fate = new.fate.strip_prefix(self.name).map(|fate| fate.trim().to_owned()).unwrap_or_default();
        let undo = self.clone();
        let (commit, retire, from, to) = (self.clone(), self.clone(), old.number, new.number);
        let panics = fate == "panic in commit";
        let prepared = Prepared::new(move || {
            assert!(!panics, "as the test wants it");
            commit.note(format!("{from} -> {to}"));
            vec![("told", crate::outcome::Effect::Count(1))]
        });
        let prepared = prepared.undo(move || undo.note(format!("not {to}")));
        match fate.as_str() {
            "refuse" => return Err(Refusal::new("it won't do")),
            "panic" => panic!("as the test wants it"),
            "hang" => std::future::pending().await,
            // pace: on a paused clock only.
            "late" => tokio::time::sleep(Duration::from_secs(29)).await,
            _ => {}
        }
        Ok(prepared.retire(move || async move { retire.note(format!("retired {from}")) }))
    }

    fn is_stale(&self, _: &Arc<App>, read_again: &Arc<App>) -> bool {
        assert_ne!(read_again.fate, "panic in is_stale");
        read_again.fate == "stale"
    }
}
