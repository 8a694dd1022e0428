//! The environment and the command line, laid over the files: one value each, at the place that its path names.

use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Reported, codes, nearest, quoted};
use crate::origin::{Place, Places};
use crate::parse::{self, MAX_DEPTH, Size, too_large};
use crate::tree::{Interpolation, Key, Node, Position, Scalar, SourceId, Spelling, Style, Value};

use super::assignment::Assignment;
use super::environment::Environment;
use super::merge::{Joining, name_of};

/// Lays the variables and then the arguments over `root`. What leads nowhere is reported.
pub(super) fn lay(
    root: &mut Node,
    environment: &[Environment],
    arguments: &[Assignment],
    joining: &[Joining],
    places: &mut Places,
    reported: &mut Reported,
) {
    let mut layer = Layer { joining, places, reported };
    for variable in environment.iter().flat_map(Environment::read) {
        let Some(at) = layer.place(Place::Environment { name: variable.name }) else { return };
        match variable.value {
            Ok(value) => layer.put(root, &variable.path, variable.spelling, at, value),
            Err((code, message)) => layer.reported.push(Diagnostic::new(at, code, message)),
        }
    }
    for (path, value, name) in arguments.iter().map(Assignment::parts) {
        let Some(at) = layer.place(Place::Argument { name: Arc::clone(name) }) else { return };
        layer.put(root, path, Spelling::Exact, at, value.to_owned());
    }
}

/// The list `[one, two]` that a variable or an argument gave: single values only. `None` when it is none.
pub(crate) fn given_list(scalar: &Scalar, at: Position) -> Option<Node> {
    let mut reported = Reported::default();
    let node = parse::parse(&scalar.written, at.source(), &mut Size::default(), &mut reported).ok()?;
    let Value::Sequence(items) = node.value else { return None };
    let is_list = reported.is_empty() && items.iter().all(|item| item.scalar().is_some());
    let items = items.into_iter().map(|item| Node { position: at, ..item }).collect();
    is_list.then_some(Node { position: at, value: Value::Sequence(items) })
}

struct Layer<'l> {
    joining: &'l [Joining],
    places: &'l mut Places,
    reported: &'l mut Reported,
}

impl Layer<'_> {
    fn place(&mut self, place: Place) -> Option<Position> {
        let source = self.places.add(place);
        if source.is_none() {
            self.reported.push(too_large(Position::NOWHERE, "too many variables and arguments"));
        }
        source.map(|source: SourceId| Position::START.within(source))
    }

    fn put(&mut self, root: &mut Node, path: &[String], spelling: Spelling, at: Position, value: String) {
        if path.len() > MAX_DEPTH {
            self.reported.push(too_large(at, &format!("nested more than {MAX_DEPTH} levels deep")));
            return;
        }
        let scalar = Scalar { written: value, interpolation: Interpolation::AsWritten, style: Style::Given };
        let value = Node { position: at, value: Value::Scalar(scalar) };
        match self.find(root, path, spelling, at) {
            Ok(node) if spelling != Spelling::Exact && is_given(node) => {
                let message = format!("set already, by {}", self.places.origin(node.position));
                self.reported.push(Diagnostic::new(at, codes::DUPLICATE_KEY, message));
            }
            Ok(node) => *node = value,
            Err(diagnostic) => self.reported.push(*diagnostic),
        }
    }

    /// The node at the path, made where there is none.
    fn find<'n>(
        &self,
        root: &'n mut Node,
        path: &[String],
        spelling: Spelling,
        at: Position,
    ) -> Result<&'n mut Node, Box<Diagnostic>> {
        let mut node = root;
        // The path in the keys' own spelling.
        let mut walked: Vec<String> = Vec::new();
        for step in path {
            let key = Key { text: step.clone(), position: at, spelling };
            let joining = Joining::at(self.joining, &walked);
            if joining.is_some() && !matches!(node.value, Value::Sequence(_)) {
                return item(&mut [], &key, joining, &walked);
            }
            if matches!(node.value, Value::Scalar(_)) {
                // A file's single value gives way, and so does what an argument overrules; of two variables neither is
                // the right one.
                if spelling != Spelling::Exact && is_given(node) {
                    let (path, other) = (quoted(&walked.join(".")), self.places.origin(node.position));
                    let message = format!("{path} is a single value already, by {other}");
                    return Err(Box::new(Diagnostic::new(at, codes::WRONG_TYPE, message)));
                }
                *node = Node { position: at, value: Value::Mapping(Vec::new()) };
            }
            node = match &mut node.value {
                Value::Sequence(items) => {
                    let below = item(items, &key, joining, &walked)?;
                    walked.push(step.clone());
                    below
                }
                Value::Mapping(entries) => {
                    let (key, below) = entry(entries, key);
                    walked.push(key.text.clone());
                    below
                }
                Value::Scalar(_) => unreachable!("a single value was made a mapping above"),
            };
        }
        Ok(node)
    }
}

fn is_given(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| scalar.style == Style::Given)
}

/// The entry of this key, by its exact name first, put in where there is none.
fn entry(entries: &mut Vec<(Key, Node)>, key: Key) -> &mut (Key, Node) {
    let exact = entries.iter().position(|(known, _)| known.text == key.text);
    let index = exact.or_else(|| entries.iter().position(|(known, _)| key.is(&known.text)));
    let index = index.unwrap_or_else(|| {
        // Nothing yet, which every reader takes for an empty section or list.
        let nothing = Scalar { written: String::new(), interpolation: Interpolation::AsWritten, style: Style::Plain };
        let value = Node { position: key.position, value: Value::Scalar(nothing) };
        entries.push((key, value));
        entries.len() - 1
    });
    entries.get_mut(index).expect("it was found or put in just now")
}

/// The item that goes by this name, by its exact name first.
fn item<'n>(
    items: &'n mut [Node],
    key: &Key,
    joining: Option<&Joining>,
    list: &[String],
) -> Result<&'n mut Node, Box<Diagnostic>> {
    let wrong = |message: String| Box::new(Diagnostic::new(key.position, codes::UNKNOWN_KEY, message));
    let list = quoted(&list.join("."));
    let Some(Joining { item, .. }) = joining else {
        return Err(wrong(format!("{list} is a list: it can only be set as a whole")));
    };
    let place =
        |is: &dyn Fn(&str) -> bool| items.iter().position(|node| name_of(node, item).is_some_and(|(name, _)| is(name)));
    if let Some(index) = place(&|name| name == key.text).or_else(|| place(&|name| key.is(name))) {
        return Ok(items.get_mut(index).expect("it was found just now"));
    }
    let names = items.iter().filter_map(|node| name_of(node, item)).map(|(name, _)| name);
    let suggestion = nearest(&key.text, names);
    Err(Box::new(wrong(format!("there is no {} in {list}", quoted(&key.text))).suggesting(suggestion)))
}
