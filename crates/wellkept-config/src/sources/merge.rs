//! A file laid over those before it: mappings key by key, lists that add up, everything else replaced.

use std::collections::HashMap;

use crate::diagnostics::{Diagnostic, Reported, codes, quoted};
use crate::origin::Places;
use crate::tree::{Key, Node, Position, Value};

/// A list that adds up over files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joining {
    path: Vec<String>,
    /// The key that an item's name is under.
    pub(super) item: String,
}

impl Joining {
    pub(super) fn new(path: &str, item: &str) -> Self {
        Self { path: path.split('.').map(str::to_owned).collect(), item: item.to_owned() }
    }

    /// The one for the list at this path.
    pub(super) fn at<'j, S: AsRef<str>>(all: &'j [Self], path: &[S]) -> Option<&'j Self> {
        all.iter().find(|joining| joining.path.iter().map(String::as_str).eq(path.iter().map(AsRef::as_ref)))
    }
}

/// Lays `over` over `base`. What is wrong is reported, and leaves `base` as it was there.
pub(super) fn merge(base: &mut Node, over: Node, joining: &[Joining], places: &Places, reported: &mut Reported) {
    Merger { joining, places, reported, path: Vec::new() }.node(base, over);
}

struct Merger<'m> {
    joining: &'m [Joining],
    places: &'m Places,
    reported: &'m mut Reported,
    path: Vec<String>,
}

impl Merger<'_> {
    /// Recursion is bounded by the depth of a document.
    fn node(&mut self, base: &mut Node, over: Node) {
        let joining = Joining::at(self.joining, &self.path);
        let is_null = over.is_null();
        match (&mut base.value, over.value) {
            (Value::Mapping(entries), Value::Mapping(more)) => self.entries(entries, more),
            (Value::Sequence(items), Value::Sequence(more)) if joining.is_some() => {
                self.join(items, more, joining.map(|joining| joining.item.as_str()).unwrap_or_default());
            }
            // A section without a value is an empty one, and so is a list that adds up.
            (Value::Mapping(_), Value::Scalar(_)) if is_null => {}
            (Value::Sequence(_), Value::Scalar(_)) if is_null && joining.is_some() => {}
            (_, value) => *base = Node { position: over.position, value },
        }
    }

    fn entries(&mut self, base: &mut Vec<(Key, Node)>, more: Vec<(Key, Node)>) {
        let index: HashMap<String, usize> =
            base.iter().enumerate().map(|(index, (key, _))| (key.text.clone(), index)).collect();
        for (key, node) in more {
            match index.get(&key.text).and_then(|index| base.get_mut(*index)) {
                Some((_, below)) => {
                    self.path.push(key.text);
                    self.node(below, node);
                    self.path.pop();
                }
                None => base.push((key, node)),
            }
        }
    }

    fn join(&mut self, base: &mut Vec<Node>, more: Vec<Node>, item: &str) {
        let mut known: HashMap<String, Position> =
            base.iter().filter_map(|node| name_of(node, item)).map(|(name, at)| (name.to_owned(), at)).collect();
        for node in more {
            if let Some((name, at)) = name_of(&node, item) {
                match known.get(name) {
                    // Twice in one file is for the reader of the list to judge, who sees both.
                    Some(first) if first.source() != at.source() => {
                        let message = format!("{} is there already, at {}", quoted(name), self.places.origin(*first));
                        self.reported.push(Diagnostic::new(at, codes::DUPLICATE_KEY, message));
                        continue;
                    }
                    Some(_) => {}
                    None => drop(known.insert(name.to_owned(), at)),
                }
            }
            base.push(node);
        }
    }
}

/// An item's name and where it stands.
pub(super) fn name_of<'n>(node: &'n Node, item: &str) -> Option<(&'n str, Position)> {
    let Value::Mapping(entries) = &node.value else { return None };
    let (_, name) = entries.iter().find(|(key, _)| key.text == item)?;
    Some((name.scalar().filter(|scalar| !scalar.is_null())?.written(), name.position))
}
