//! Variables, files and credentials in values: `${NAME}`, `${file:PATH}`, `${credential:NAME}`, each with `:-default`,
//! and `$$`. Works on the parsed tree, so that what they hold can't become structure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::diagnostics::{Diagnostic, Reported, codes, quoted};
use crate::named::NamedFiles;
use crate::parse::MAX_TEXT_BYTES;
use crate::secret::{CREDENTIALS_DIRECTORY, read_credential, read_secret};
use crate::tree::{Interpolation, Node, Style, Value};

/// Fills in every value below `root` that a file holds. What can't be filled in is reported, and its value marked as
/// failed. Returns the folder of the service's credentials, and the files that were read.
pub(crate) fn fill_in(
    root: &mut Node,
    lookup: &dyn Fn(&str) -> Option<String>,
    reported: &mut Reported,
) -> (Option<PathBuf>, NamedFiles) {
    let credentials = lookup(CREDENTIALS_DIRECTORY).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let left = Some(MAX_TEXT_BYTES);
    let mut filler = Filler {
        lookup,
        credentials: credentials.as_deref(),
        read: HashMap::new(),
        named: NamedFiles::default(),
        reported,
        left,
    };
    filler.node(root);
    let named = filler.named;
    (credentials, named)
}

struct Filler<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    credentials: Option<&'a Path>,
    /// What was read from files, by what is between the braces: each is read once, so that it is the same everywhere.
    /// Bounded as `left` is.
    read: HashMap<String, Result<String, Fault>>,
    /// The files among them.
    named: NamedFiles,
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
                let value = self.resolve(&reference)?;
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

    /// The meaning of `:-` is that of a POSIX shell (2.6.2): the default stands in for unset and for empty.
    fn resolve(&mut self, reference: &Reference<'_>) -> Result<String, Option<Fault>> {
        self.left.ok_or(None)?;
        let found = match reference.kind {
            Kind::Variable => (self.lookup)(reference.name).ok_or_else(|| reference.unset()),
            Kind::File | Kind::Credential => self.read(reference),
        };
        match (found, reference.default) {
            (Ok(value), None) => Ok(value),
            (Ok(value), Some(_)) if !value.is_empty() => Ok(value),
            // A file that is there and can't be read is a mistake that no default may hide.
            (Ok(_) | Err((codes::MISSING_VARIABLE | codes::NOT_FOUND, _)), Some(default)) => Ok(default.to_owned()),
            (Err(fault), _) => Err(Some(fault)),
        }
    }

    fn read(&mut self, reference: &Reference<'_>) -> Result<String, Fault> {
        if let Some(known) = self.read.get(reference.whole) {
            return known.clone();
        }
        let read = match reference.kind {
            Kind::Credential => read_credential(reference.name, self.credentials, &mut self.named),
            Kind::File | Kind::Variable => read_secret(Path::new(reference.name), &mut self.named),
        };
        self.read.insert(reference.whole.to_owned(), read.clone());
        read
    }
}

/// What is between the braces.
struct Reference<'t> {
    whole: &'t str,
    kind: Kind,
    name: &'t str,
    default: Option<&'t str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Variable,
    File,
    Credential,
}

impl<'t> Reference<'t> {
    /// Parses what follows `${`; returns what follows the closing brace as well.
    fn parse(inside: &'t str) -> Result<(Self, &'t str), Fault> {
        let fault = |message: String| (codes::INTERPOLATION, message);
        let (whole, after) = inside.split_once('}').ok_or_else(|| {
            fault(format!(
                "{} is not closed: write ${{NAME}}, or $$ for a dollar sign",
                quoted(&format!("${{{inside}"))
            ))
        })?;
        let shown = || quoted(&format!("${{{whole}}}"));
        let (name, default) = match whole.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (whole, None),
        };
        if default.is_some_and(|default| default.contains("${")) {
            return Err(fault(format!("{}…: a default can't hold another variable", shown())));
        }
        let (kind, name) = match name.split_once(':') {
            Some(("file", path)) => (Kind::File, path),
            Some(("credential", name)) => (Kind::Credential, name),
            _ => (Kind::Variable, name),
        };
        let mut letters = name.bytes();
        let begins_well = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let is_variable = begins_well && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match kind {
            Kind::Variable if !is_variable => Err(fault(format!(
                "expected a variable such as ${{NAME}} or ${{NAME:-default}}, found {} ($$ is a dollar sign)",
                shown()
            ))),
            Kind::File | Kind::Credential if name.is_empty() || name.contains(['$', '\0']) => {
                Err(fault(format!("expected ${{file:/path/of/it}} or ${{credential:NAME}}, found {}", shown())))
            }
            _ => Ok((Self { whole, kind, name, default }, after)),
        }
    }

    fn unset(&self) -> Fault {
        let short = self.name.chars().take(60).collect::<String>();
        let message = format!("the variable {} is not set: set it, or write ${{{short}:-default}}", quoted(self.name));
        (codes::MISSING_VARIABLE, message)
    }
}
