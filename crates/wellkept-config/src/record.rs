//! What a walk is asked for, kept while it goes on: the keys and what they take, or the values and where they come from.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::conceal;
use crate::control::Shown;
use crate::from_node::FromNode;
use crate::origin::{Origin, Places};
use crate::reference::{Entry, Presence, Shape};
use crate::schema::Schema;
use crate::tree::{Interpolation, Node, Position, Scalar, Style, Value};

/// What of a walk is kept.
#[derive(Debug)]
pub(crate) enum Record {
    /// Nothing: the walk costs nothing but itself.
    Off,
    /// The paths of all keys.
    Asked(RefCell<BTreeSet<String>>),
    /// Everything there is to know of the keys; the document is empty.
    Keys(Box<Keys>),
    /// The values, as they may be shown.
    Values(Values),
}

impl Record {
    pub(crate) fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }

    pub(crate) fn keys(&self) -> Option<&Keys> {
        match self {
            Self::Keys(keys) => Some(keys),
            _ => None,
        }
    }

    pub(crate) fn values(&self) -> Option<&Values> {
        match self {
            Self::Values(values) => Some(values),
            _ => None,
        }
    }
}

/// How many mappings with free keys one description may hold.
const MOST_FREE: usize = 256;

/// The keys that a walk over an empty document is asked for.
#[derive(Debug)]
pub(crate) struct Keys {
    book: RefCell<Book>,
    /// What stands for the values of mappings whose keys are free, each at an address of its own.
    stand_ins: Vec<Node>,
    taken: Cell<usize>,
    nothing: Node,
}

#[derive(Debug, Default)]
struct Book {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
    descriptions: HashMap<String, String>,
    restart: Vec<String>,
    at_once: BTreeSet<String>,
    concealed: BTreeSet<String>,
    alternatives: Vec<(String, Vec<String>)>,
    free: HashMap<*const Node, String>,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            book: RefCell::default(),
            stand_ins: (0..MOST_FREE).map(|_| Node::empty()).collect(),
            taken: Cell::new(0),
            nothing: Node::empty(),
        }
    }

    /// A value is asked for. `default` is what holds without it; `None` when it must be there.
    pub(crate) fn value<T: FromNode>(&self, path: String, presence: Presence) {
        let shape = Shape::Value { schema: T::schema(), expected: T::EXPECTED };
        self.add(path, shape, presence, T::SECRET);
    }

    /// Whatever else is asked for. A key that is asked for twice keeps what tells more.
    pub(crate) fn add(&self, path: String, shape: Shape, presence: Presence, secret: bool) {
        let book = &mut *self.book.borrow_mut();
        if let Some(entry) = book.places.get(&path).and_then(|index| book.entries.get_mut(*index)) {
            entry.merge(shape, presence, secret);
            return;
        }
        book.places.insert(path.clone(), book.entries.len());
        book.entries.push(Entry::new(path, shape, presence, secret));
    }

    /// A single value may stand there instead of what else does.
    pub(crate) fn also(&self, path: &str, schema: Schema, expected: &'static str) {
        self.add(path.to_owned(), Shape::Anything, Presence::Optional, false);
        let book = &mut *self.book.borrow_mut();
        if let Some(entry) = book.places.get(path).and_then(|index| book.entries.get_mut(*index)) {
            entry.also.push((schema, expected));
        }
    }

    pub(crate) fn describe(&self, path: &str, description: String) {
        self.book.borrow_mut().descriptions.insert(path.replace("[]", ""), description);
    }

    pub(crate) fn restart(&self, path: String) {
        self.book.borrow_mut().restart.push(path);
    }

    pub(crate) fn at_once(&self, path: String) {
        self.book.borrow_mut().at_once.insert(path);
    }

    pub(crate) fn conceal(&self, path: String) {
        self.book.borrow_mut().concealed.insert(path);
    }

    pub(crate) fn alternatives(&self, section: &str, keys: Vec<String>) {
        self.book.borrow_mut().alternatives.push((section.to_owned(), keys));
    }

    pub(crate) fn within(&self, path: &str, least: Option<String>, most: Option<String>) {
        let book = &mut *self.book.borrow_mut();
        if let Some(entry) = book.places.get(path).and_then(|index| book.entries.get_mut(*index)) {
            entry.least = least;
            entry.most = most;
        }
    }

    /// What stands for a section or an item: nothing, which is an empty mapping.
    pub(crate) fn nothing(&self) -> &Node {
        &self.nothing
    }

    /// What stands for the value of a free key at `path`.
    pub(crate) fn free_stand_in(&self, path: &str) -> Option<&Node> {
        let node = self.stand_ins.get(self.taken.replace(self.taken.get() + 1))?;
        self.book.borrow_mut().free.insert(std::ptr::from_ref(node), path.to_owned());
        Some(node)
    }

    pub(crate) fn path_of(&self, node: &Node) -> Option<String> {
        self.book.borrow().free.get(&std::ptr::from_ref(node)).cloned()
    }

    /// The keys in the order in which they were asked for, and which of them exclude each other.
    pub(crate) fn finish(self) -> (Vec<Entry>, Vec<(String, Vec<String>)>) {
        let Book { mut entries, descriptions, restart, at_once, concealed, alternatives, .. } = self.book.into_inner();
        for entry in &mut entries {
            let plain = entry.path.replace("[]", "");
            entry.describe(descriptions.get(&plain).map(String::as_str).unwrap_or_default());
            entry.secret |= concealed.contains(&entry.path);
            entry.restart = !at_once.contains(&entry.path)
                && restart.iter().any(|key| {
                    plain == *key || plain.strip_prefix(key.as_str()).is_some_and(|below| below.starts_with('.'))
                });
        }
        (entries, alternatives)
    }
}

/// The values that a walk came by.
#[derive(Debug)]
pub(crate) struct Values {
    places: Arc<Places>,
    book: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    values: Vec<Shown>,
    places: HashMap<String, usize>,
    /// Values that are handed out as nodes, whose type is known only later.
    handed_out: HashMap<*const Node, String>,
    concealed: BTreeSet<String>,
}

impl Values {
    pub(crate) fn new(places: &Arc<Places>) -> Self {
        Self { places: Arc::clone(places), book: RefCell::default() }
    }

    /// The value of `node`, which is read as a type that is secret or not.
    pub(crate) fn value(&self, path: String, node: &Node, secret: bool) {
        let (Some(written), Some(filled)) = (shown_text(node), text(node, Scalar::text)) else { return };
        let secret = self.is_secret(&path, secret);
        let origin = self.origin(node);
        // What the environment or an argument gives is not filled in: there `${…}` is part of the secret.
        let is_given = node.scalar().is_some_and(|scalar| scalar.style == Style::Given);
        self.put(if secret && is_given && written.contains("${") {
            Shown::secret(path, &filled, origin)
        } else if secret {
            Shown::secret_as_written(path, &written, &filled, origin)
        } else {
            Shown::written(path, &written, &filled, origin)
        });
    }

    /// The default that holds because there is no value. A secret one isn't shown; neither is what can't be written.
    pub(crate) fn default(&self, path: String, written: Option<String>, secret: bool) {
        let secret = self.is_secret(&path, secret);
        let origin = Origin::Default.to_string();
        match written {
            written if secret => self.put(Shown::secret(path, &written.unwrap_or_default(), origin)),
            Some(written) => self.put(Shown::written(path, &written, &written, origin)),
            None => {}
        }
    }

    /// A node that the reader gets as it is. It is shown as written, unless it turns out to be a secret.
    pub(crate) fn hand_out(&self, path: String, node: &Node) {
        self.book.borrow_mut().handed_out.insert(std::ptr::from_ref(node), path.clone());
        self.value(path, node, false);
    }

    pub(crate) fn path_of(&self, node: &Node) -> Option<String> {
        self.book.borrow().handed_out.get(&std::ptr::from_ref(node)).cloned()
    }

    pub(crate) fn conceal(&self, path: String) {
        self.book.borrow_mut().concealed.insert(path);
    }

    /// In the order in which they were asked for.
    pub(crate) fn finish(self) -> Vec<Shown> {
        self.book.into_inner().values
    }

    /// What was once known to be a secret stays one, whoever asks for it next.
    fn is_secret(&self, path: &str, secret: bool) -> bool {
        let concealed = &mut self.book.borrow_mut().concealed;
        if secret && !concealed.contains(path) {
            concealed.insert(path.to_owned());
        }
        secret || concealed.contains(path)
    }

    fn put(&self, shown: Shown) {
        let book = &mut *self.book.borrow_mut();
        if let Some(known) = book.places.get(&shown.path).and_then(|index| book.values.get_mut(*index)) {
            *known = shown;
            return;
        }
        book.places.insert(shown.path.clone(), book.values.len());
        book.values.push(shown);
    }

    fn origin(&self, node: &Node) -> String {
        self.places.origin(node.position).to_string()
    }
}

/// What the file says before interpolation, without the arguments that others announce as secrets.
fn shown_text(node: &Node) -> Option<String> {
    let Value::Sequence(items) = &node.value else { return text(node, Scalar::written) };
    let mut announced = false;
    let mut shown = Vec::with_capacity(items.len());
    for item in items {
        let written = text(item, Scalar::written)?;
        let is_secret = std::mem::replace(&mut announced, conceal::announces_secret(&written));
        shown.push(if is_secret { conceal::argument(&written).to_owned() } else { written });
    }
    Some(format!("[{}]", shown.join(", ")))
}

/// What the file says, before or after interpolation: of a single value, or of a list of such. What holds mappings is
/// shown key by key.
fn text(node: &Node, of: fn(&Scalar) -> &str) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) if scalar.style == Style::Quoted && of(scalar).is_empty() => Some("\"\"".to_owned()),
        Value::Scalar(scalar) => Some(of(scalar).to_owned()),
        Value::Sequence(items) => {
            let items = items.iter().map(|item| text(item, of)).collect::<Option<Vec<_>>>()?;
            Some(format!("[{}]", items.join(", ")))
        }
        Value::Mapping(_) => None,
    }
}

impl Node {
    /// Nothing, at the beginning of no file.
    pub(crate) fn empty() -> Self {
        let scalar = Scalar { written: String::new(), interpolation: Interpolation::AsWritten, style: Style::Plain };
        Self { position: Position::NOWHERE, value: Value::Scalar(scalar) }
    }
}
