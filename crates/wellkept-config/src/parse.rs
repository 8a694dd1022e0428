//! From the parser's events to the tree, within limits. Knows nothing of types or variables.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::diagnostics::{Diagnostic, Reported, codes, quoted};
use crate::tree::{Interpolation, Key, Node, Position, Scalar, SourceId, Spelling, Style, Value, saturating};

mod explain;

/// The largest file that is read: 1 MiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The deepest nesting of lists and mappings, after aliases are expanded.
pub const MAX_DEPTH: usize = 32;

/// The most nodes in a document, keys included, after aliases are expanded.
pub const MAX_NODES: usize = 100_000;

/// The most text in all values of a document, after aliases are expanded and variables are filled in: 8 MiB.
pub const MAX_TEXT_BYTES: usize = 8 << 20;

/// Reads one document, which is this source. What leaves the tree readable (a key given twice) goes to `reported`, and
/// the walk can go on; what does not is returned as the error. `size` is what other files of the same configuration hold
/// already, and grows by what this one holds.
pub(crate) fn parse(
    text: &str,
    source: SourceId,
    size: &mut Size,
    reported: &mut Reported,
) -> Result<Node, Diagnostic> {
    let start = Position::START.within(source);
    if text.len() > MAX_FILE_BYTES {
        return Err(too_large(start, &format!("the file is larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    refuse_control_characters(text, source)?;
    let mut builder = Builder::new(source, *size, reported);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| explain::syntax(text, source, &error))?;
        builder.take(event, span)?;
    }
    *size = builder.size;
    match builder.root {
        Some(root) if !root.is_null() => Ok(root),
        _ => Err(Diagnostic::new(start, codes::EMPTY, "the file is empty: it sets nothing")),
    }
}

/// A list or mapping that has begun and not ended.
struct Open {
    position: Position,
    anchor: usize,
    /// What had been counted before it began.
    before: Size,
    /// How deep the deepest collection inside it is, relative to this one.
    depth: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Key, Node)>, known: HashMap<String, Position>, pending: Pending },
}

/// Where a mapping is between a key and its value.
enum Pending {
    /// A key comes next.
    Nothing,
    /// The value of this key comes next.
    Value(Key),
    /// The value of a refused key comes next, and is dropped.
    Refused,
}

/// What is held in memory: counted while it is read, so that it ends in time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Size {
    nodes: usize,
    bytes: usize,
}

struct Anchor {
    node: Node,
    size: Size,
    depth: usize,
}

struct Builder<'r> {
    source: SourceId,
    reported: &'r mut Reported,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchor>,
    size: Size,
    documents: usize,
    root: Option<Node>,
}

impl<'r> Builder<'r> {
    fn new(source: SourceId, size: Size, reported: &'r mut Reported) -> Self {
        Self { source, reported, stack: Vec::new(), anchors: HashMap::new(), size, documents: 0, root: None }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        let position = position(&span.start, self.source);
        if let Event::Scalar(_, _, _, Some(tag))
        | Event::SequenceStart(_, Some(tag))
        | Event::MappingStart(_, Some(tag)) = &event
        {
            let name = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
            let message = format!("tags such as {} are not supported: remove it", quoted(&name));
            self.reported.push(Diagnostic::new(position, codes::TAG, message));
        }
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here (`---`): a file holds one";
                    return Err(Diagnostic::new(position, codes::SEVERAL_DOCUMENTS, message));
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let before = self.size;
                self.count(position, Size { nodes: 1, bytes: text.len() })?;
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                let scalar = Scalar { written: text.into_owned(), interpolation: Interpolation::AsWritten, style };
                let node = Node { position: self.place_of_value(position, &scalar), value: Value::Scalar(scalar) };
                self.finish(node, anchor, before, 0)?;
            }
            Event::SequenceStart(anchor, _) => self.open(position, anchor, Content::Sequence(Vec::new()))?,
            Event::MappingStart(anchor, _) => {
                let (entries, known, pending) = (Vec::new(), HashMap::new(), Pending::Nothing);
                self.open(position, anchor, Content::Mapping { entries, known, pending })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => self.expand(anchor, position)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// The parser places an empty value behind the colon, where there is nothing to see; its key is better.
    fn place_of_value(&self, position: Position, scalar: &Scalar) -> Position {
        match self.stack.last() {
            Some(Open { content: Content::Mapping { pending: Pending::Value(key), .. }, .. })
                if scalar.style == Style::Plain && scalar.written.is_empty() =>
            {
                key.position
            }
            _ => position,
        }
    }

    fn open(&mut self, position: Position, anchor: usize, content: Content) -> Result<(), Diagnostic> {
        let before = self.size;
        self.count(position, Size { nodes: 1, bytes: 0 })?;
        self.refuse_depth(position, 1)?;
        self.stack.push(Open { position, anchor, before, depth: 1, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(Open { position, anchor, before, depth, content }) = self.stack.pop() else {
            return Ok(());
        };
        let value = match content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Mapping { entries, .. } => Value::Mapping(entries),
        };
        self.finish(Node { position, value }, anchor, before, depth)
    }

    fn expand(&mut self, anchor: usize, position: Position) -> Result<(), Diagnostic> {
        let Some(Anchor { node, size, depth }) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside the value that it refers to";
            return Err(Diagnostic::new(position, codes::ALIAS, message));
        };
        let (size, depth, before) = (*size, *depth, self.size);
        refuse_size(position, before, size)?;
        let node = Node { position, value: node.value.clone() };
        self.size = Size { nodes: before.nodes + size.nodes, bytes: before.bytes + size.bytes };
        self.refuse_depth(position, depth)?;
        self.finish(node, 0, before, depth)
    }

    /// Puts a complete node where it belongs. `depth` counts the collections in it, itself included.
    fn finish(&mut self, node: Node, anchor: usize, before: Size, depth: usize) -> Result<(), Diagnostic> {
        if anchor != 0 {
            let size = Size { nodes: self.size.nodes - before.nodes, bytes: self.size.bytes - before.bytes };
            // The copy kept for aliases counts as well, or nested anchors would multiply what is held in memory.
            self.count(node.position, size)?;
            self.anchors.insert(anchor, Anchor { node: node.clone(), size, depth });
        }
        let Some(parent) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.depth = parent.depth.max(depth + 1);
        match &mut parent.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping { entries, known, pending } => {
                *pending = match std::mem::replace(pending, Pending::Nothing) {
                    Pending::Nothing => match accept_key(node, known) {
                        Ok(key) => Pending::Value(key),
                        Err(diagnostic) => {
                            self.reported.push(diagnostic);
                            Pending::Refused
                        }
                    },
                    Pending::Value(key) => {
                        entries.push((key, node));
                        Pending::Nothing
                    }
                    Pending::Refused => Pending::Nothing,
                };
            }
        }
        Ok(())
    }

    fn count(&mut self, position: Position, more: Size) -> Result<(), Diagnostic> {
        refuse_size(position, self.size, more)?;
        self.size = Size { nodes: self.size.nodes + more.nodes, bytes: self.size.bytes + more.bytes };
        Ok(())
    }

    fn refuse_depth(&self, position: Position, more: usize) -> Result<(), Diagnostic> {
        if self.stack.len() + more > MAX_DEPTH {
            return Err(too_large(position, &format!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }
}

/// A key is text that is not there yet. `known` remembers it.
fn accept_key(node: Node, known: &mut HashMap<String, Position>) -> Result<Key, Diagnostic> {
    let position = node.position;
    let is_null = node.is_null();
    let kind = node.kind();
    let scalar = match node.value {
        Value::Scalar(scalar) if !is_null => scalar,
        _ => {
            let message = format!("expected a key, as text, found {kind}");
            return Err(Diagnostic::new(position, codes::KEY_TYPE, message));
        }
    };
    if scalar.style == Style::Plain && scalar.written == "<<" {
        let message = "merge keys (`<<`) are not supported: write the keys out, or use an alias for the whole mapping";
        return Err(Diagnostic::new(position, codes::MERGE_KEY, message));
    }
    if let Some(first) = known.get(&scalar.written) {
        let message = format!("{} is given twice, first on line {}", quoted(&scalar.written), first.line);
        return Err(Diagnostic::new(position, codes::DUPLICATE_KEY, message));
    }
    known.insert(scalar.written.clone(), position);
    Ok(Key { text: scalar.written, position, spelling: Spelling::Exact })
}

fn refuse_size(position: Position, size: Size, more: Size) -> Result<(), Diagnostic> {
    if size.nodes + more.nodes > MAX_NODES {
        return Err(too_large(position, &format!("more than {MAX_NODES} keys and values, aliases expanded")));
    }
    if size.bytes + more.bytes > MAX_TEXT_BYTES {
        return Err(too_large(position, &format!("more than {MAX_TEXT_BYTES} bytes of text, aliases expanded")));
    }
    Ok(())
}

pub(crate) fn too_large(position: Position, what: &str) -> Diagnostic {
    Diagnostic::new(position, codes::TOO_LARGE, format!("too large: {what}"))
}

/// YAML 1.2 (5.1) forbids them, and the parser would take a NUL for the end of the file.
fn refuse_control_characters(text: &str, source: SourceId) -> Result<(), Diagnostic> {
    let forbidden =
        |character: char| matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}');
    let Some((offset, character)) = text.char_indices().find(|(_, character)| forbidden(*character)) else {
        return Ok(());
    };
    let position = Position::of_byte(text, offset).within(source);
    if character == '\0' && offset < 2 && text.as_bytes().get(offset + 1).is_some_and(|byte| *byte != 0) {
        return Err(Diagnostic::new(position, codes::ENCODING, "the file looks like UTF-16: save it as UTF-8"));
    }
    let message = format!("the control character U+{:04X} is not allowed here", u32::from(character));
    Err(Diagnostic::new(position, codes::SYNTAX, message))
}

fn position(marker: &Marker, source: SourceId) -> Position {
    Position::new(saturating(marker.line()), saturating(marker.col() + 1)).within(source)
}
