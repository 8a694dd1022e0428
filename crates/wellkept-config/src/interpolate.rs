//! Variables in values: `${NAME}`, `${NAME:-default}` and `$$`. Works on the parsed tree, so that what a variable
//! holds can't become structure.

use crate::diagnostics::{Diagnostic, Reported, codes, quoted};
use crate::parse::MAX_TEXT_BYTES;
use crate::tree::{Interpolation, Node, Style, Value};

/// Fills in every value below `root`. What can't be filled in is reported, and its value marked as failed.
pub(crate) fn fill_in(root: &mut Node, lookup: &dyn Fn(&str) -> Option<String>, reported: &mut Reported) {
    Filler { lookup, reported, left: Some(MAX_TEXT_BYTES) }.node(root);
}

struct Filler<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    reported: &'a mut Reported,
    /// How many bytes may still be filled in, `None` once there was too much, which is said only once. Without it,
    /// many references to one long variable would fill the memory.
    left: Option<usize>,
}

/// A stable code and a message.
type Fault = (&'static str, String);

impl Filler<'_> {
    /// Recursion is bounded by the depth of a document.
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Mapping(entries) => entries.iter_mut().for_each(|(_, value)| self.node(value)),
            Value::Scalar(scalar) if scalar.written.contains('$') && scalar.style != Style::Given => {
                scalar.interpolation = match self.text(&scalar.written) {
                    Ok(text) if text == scalar.written => Interpolation::AsWritten,
                    Ok(text) => Interpolation::Filled(text),
                    Err(fault) => {
                        if let Some((code, message)) = fault {
                            self.reported.push(Diagnostic::new(node.position, code, message));
                        }
                        Interpolation::Failed
                    }
                };
            }
            Value::Scalar(_) => {}
        }
    }

    /// `Err(None)` is a fault that has been reported before.
    fn text(&mut self, written: &str) -> Result<String, Option<Fault>> {
        let mut text = String::new();
        let mut rest = written;
        while let Some((before, from_dollar)) = rest.split_once('$') {
            self.append(&mut text, before)?;
            rest = if let Some(after) = from_dollar.strip_prefix('$') {
                self.append(&mut text, "$")?;
                after
            } else if let Some(inside) = from_dollar.strip_prefix('{') {
                let (reference, after) = Reference::parse(inside).map_err(Some)?;
                let value = reference.resolve(self.lookup).map_err(Some)?;
                self.append(&mut text, &value)?;
                after
            } else {
                self.append(&mut text, "$")?;
                from_dollar
            };
        }
        self.append(&mut text, rest)?;
        Ok(text)
    }

    fn append(&mut self, text: &mut String, more: &str) -> Result<(), Option<Fault>> {
        let left = self.left.ok_or(None)?;
        self.left = left.checked_sub(more.len());
        if self.left.is_none() {
            let message = format!("too large: more than {MAX_TEXT_BYTES} bytes of text, variables filled in");
            return Err(Some((codes::TOO_LARGE, message)));
        }
        text.push_str(more);
        Ok(())
    }
}

struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
}

impl<'t> Reference<'t> {
    /// Parses what follows `${`; returns what follows the closing brace as well.
    fn parse(inside: &'t str) -> Result<(Self, &'t str), Fault> {
        let fault = |message: String| (codes::INTERPOLATION, message);
        let (content, after) = inside.split_once('}').ok_or_else(|| {
            fault(format!(
                "{} is not closed: write ${{NAME}}, or $$ for a dollar sign",
                quoted(&format!("${{{inside}"))
            ))
        })?;
        let whole = || quoted(&format!("${{{content}}}"));
        let (name, default) = match content.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (content, None),
        };
        if default.is_some_and(|default| default.contains("${")) {
            return Err(fault(format!("{}…: a default can't hold another variable", whole())));
        }
        let mut letters = name.bytes();
        let begins_well = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !begins_well || !letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(fault(format!(
                "expected a variable such as ${{NAME}} or ${{NAME:-default}}, found {} ($$ is a dollar sign)",
                whole()
            )));
        }
        Ok((Self { name, default }, after))
    }

    /// The meaning of `:-` is that of a POSIX shell (2.6.2): the default stands in for unset and for empty.
    fn resolve(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, Fault> {
        match (lookup(self.name), self.default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => {
                let message = format!(
                    "the variable {} is not set: set it, or write ${{{}:-default}}",
                    quoted(self.name),
                    self.name.chars().take(60).collect::<String>()
                );
                Err((codes::MISSING_VARIABLE, message))
            }
        }
    }
}
