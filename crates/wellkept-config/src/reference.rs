//! What a configuration can say: every key with its type, its default and what it is for, told by the code that reads it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::record::{Keys, Record};
use crate::schema::Schema;
use crate::section::{Section, Walk};
use crate::settings::Settings;
use crate::tree::{Node, Value};

mod json;

/// Every key that a configuration can have, in the order in which it is read.
///
/// It is made by the very code that reads a configuration, walking an empty one: what is not asked for is not in it, and
/// what is asked for can't be forgotten.
///
/// ```
/// use wellkept_config::{Reference, Section};
///
/// let reference = Reference::of(|section| {
///     section.describe(&[("port", "Where it listens.")]);
///     Some(section.or("port", 8080_u16))
/// });
/// let port = &reference.entries()[0];
/// assert_eq!((port.path(), port.default(), port.description()), ("port", Some("8080"), "Where it listens."));
/// ```
#[derive(Debug, Clone)]
pub struct Reference {
    entries: Vec<Entry>,
    /// The path of a section, with its dot, and keys of which it has exactly one.
    alternatives: Vec<(String, Vec<String>)>,
}

impl Reference {
    /// Of what `read` asks for. It walks an empty document: sections and one item of each list are entered, and whatever
    /// it reports is left aside.
    pub fn of<T>(read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Self {
        let walk = Walk {
            reported: RefCell::default(),
            record: Record::Keys(Box::new(Keys::new())),
            places: Arc::default(),
            credentials: None,
            named: RefCell::default(),
        };
        let root = Node { value: Value::Mapping(Vec::new()), ..Node::empty() };
        drop(Section::read_root(&root, &walk, read));
        let (entries, alternatives) = match walk.record {
            Record::Keys(keys) => keys.finish(),
            Record::Off | Record::Asked(_) | Record::Values(_) => Default::default(),
        };
        Self { entries, alternatives }
    }

    /// All keys, each section's own after the section.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The key at `path`, such as `http.listen` or `checks[].name`.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// As a JSON Schema, draft 2020-12: what editors complete and validate from. Unknown keys are refused, and a `${…}` is
    /// accepted wherever a single value is. `id` is its address, empty when it has none.
    pub fn json_schema(&self, title: &str, id: &str) -> String {
        json::schema(self, title, id)
    }
}

/// The reference of a type.
pub fn describe<T: Settings>() -> Reference {
    Reference::of(T::read)
}

/// The [JSON Schema](Reference::json_schema) of a type.
pub fn json_schema<T: Settings>(title: &str, id: &str) -> String {
    describe::<T>().json_schema(title, id)
}

/// One key.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(crate) path: String,
    pub(crate) description: String,
    pub(crate) shape: Shape,
    pub(crate) presence: Presence,
    /// Single values that may stand there instead, with what they are in words.
    pub(crate) also: Vec<(Schema, &'static str)>,
    pub(crate) least: Option<String>,
    pub(crate) most: Option<String>,
    pub(crate) secret: bool,
    pub(crate) restart: bool,
}

/// Whether a key must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not; without it this holds, as it would be written.
    Default(String),
    /// The description says what holds without it, in words.
    Said(String),
    /// It need not, and what holds then is not said.
    Optional,
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A single value, or a list of such.
    Value {
        /// What it looks like.
        schema: Schema,
        /// What it is in words: "a duration such as 10s".
        expected: &'static str,
    },
    /// A mapping with keys of its own, which come next: `http.listen` below `http`.
    Section,
    /// A list of such mappings: `checks[].name` below `checks`.
    Sections,
    /// A mapping with free keys; what they hold comes next: `modules.<name>` below `modules`.
    Mapping,
    /// Whatever the reader makes of it.
    Anything,
}

impl Entry {
    pub(crate) fn new(path: String, shape: Shape, presence: Presence, secret: bool) -> Self {
        let (description, also) = (String::new(), Vec::new());
        Self { path, description, shape, presence, also, least: None, most: None, secret, restart: false }
    }

    /// The same key, asked for again.
    pub(crate) fn merge(&mut self, shape: Shape, presence: Presence, secret: bool) {
        if self.shape == Shape::Anything {
            self.shape = shape;
        }
        if self.presence == Presence::Optional {
            self.presence = presence;
        }
        self.secret |= secret;
    }

    /// Takes a description, in which a sentence that begins with `Default` may say what no code tells, and the sentence
    /// `Required.` that it must be there unless something else is.
    pub(crate) fn describe(&mut self, said: &str) {
        let mut told = None;
        let mut sentences = Vec::new();
        for sentence in sentences_of(said) {
            let bare = sentence.trim_end_matches('.');
            match bare.strip_prefix("Default") {
                Some(default) if told.is_none() => {
                    told = Some(Presence::Said(default.trim_start_matches(':').trim().to_owned()));
                }
                None if bare == "Required" => told = Some(Presence::Said("required".to_owned())),
                _ => sentences.push(sentence),
            }
        }
        self.description = sentences.join(" ");
        if let (Presence::Optional, Some(told)) = (&self.presence, told) {
            self.presence = told;
        }
    }

    /// Where it is: `http.listen`, `checks[].name`, `logging.modules.<name>`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it is for; empty when nobody says so.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What stands under it.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What is expected, in words: `a duration such as 10s or 250ms`, `a section`, `off, or a section`.
    pub fn expected(&self) -> String {
        let shape = match &self.shape {
            Shape::Value { expected, .. } => expected,
            Shape::Section => "a section",
            Shape::Sections => "a list of sections",
            Shape::Mapping => "a mapping with free keys",
            Shape::Anything => "any value",
        };
        let range = match (&self.least, &self.most) {
            (Some(least), Some(most)) => format!(", from {least} to {most}"),
            (Some(least), None) => format!(", at least {least}"),
            (None, Some(most)) => format!(", at most {most}"),
            (None, None) => String::new(),
        };
        let also = self.also.iter().map(|(_, expected)| (*expected).to_owned());
        also.chain([format!("{shape}{range}")]).collect::<Vec<_>>().join(", or ")
    }

    /// Whether it must be there, and what holds if it is not.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// What holds without it, where that is known.
    pub fn default(&self) -> Option<&str> {
        match &self.presence {
            Presence::Default(default) | Presence::Said(default) => Some(default),
            Presence::Required | Presence::Optional => None,
        }
    }

    /// Whether it must be there.
    pub fn is_required(&self) -> bool {
        self.presence == Presence::Required
    }

    /// Whether its value is shown to nobody.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// Whether a new value waits for a restart of the process.
    pub fn needs_restart(&self) -> bool {
        self.restart
    }
}

fn sentences_of(text: &str) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut sentences = Vec::new();
    let mut rest = text.as_str();
    while let Some(end) = rest.find(". ") {
        let (sentence, after) = rest.split_at(end + 1);
        sentences.push(sentence.to_owned());
        rest = after.trim_start();
    }
    if !rest.is_empty() {
        sentences.push(rest.to_owned());
    }
    sentences
}
