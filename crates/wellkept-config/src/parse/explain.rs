//! What the parser could not read, in words for who wrote it: its own are for those who know the grammar.

use saphyr_parser::ScanError;

use super::{position, too_large};
use crate::diagnostics::{Diagnostic, codes, escaped};
use crate::tree::SourceId;

/// What the parser says, by its beginning, and what is said instead.
const EXPLAINED: [(&str, &str); 29] = [
    ("mapping values are not allowed", OUT_OF_PLACE),
    ("illegal placement of ':'", OUT_OF_PLACE),
    ("while parsing node, found unknown anchor", "an alias to an anchor that is not defined above it"),
    ("unexpected character", "a value can't begin with this character: put it in quotes"),
    ("simple key expect", "expected `key: value`"),
    ("while parsing a block mapping", "expected `key: value` here, or another indentation"),
    ("while parsing a block collection", "expected `- ` here, or another indentation"),
    ("block sequence entries are not allowed", "a list can't begin here: put it on a line of its own"),
    ("mapping keys are not allowed", "a `? ` can't stand here: put it in quotes"),
    ("invalid indentation", "the indentation does not fit the lines above"),
    ("wrongly indented line in block scalar", "the indentation does not fit the text that began above"),
    ("while parsing a node, did not find", "a value is missing here"),
    ("while parsing a flow mapping", "a comma or a `}` is missing"),
    ("while parsing a flow sequence", "a comma or a `]` is missing"),
    ("misplaced bracket", "a bracket is closed that was not opened"),
    ("while scanning a quoted scalar, found unexpected", "a quote is opened here and not closed"),
    ("invalid trailing content after double-quoted", "something stands behind the closing quote"),
    ("while parsing a quoted scalar", "a backslash that means nothing: write \\\\, or put the text in single quotes"),
    ("while scanning a block scalar", "expected nothing behind `|` or `>`: the text begins on the next line"),
    ("while scanning an anchor or alias", "a name is missing behind `&` or `*`: put a text that begins so in quotes"),
    ("while parsing anchor, found duplicated", "two anchors for one value"),
    ("comments must be separated", "a space is missing before `#`"),
    ("while scanning a plain scalar, found a tab", "a tab in a value: use spaces, or put it in quotes"),
    ("\"-\" is only valid inside a block", "a `-` out of place: put a text that begins so in quotes"),
    ("the handle wasn't declared", "tags are not supported: remove it, or put a text that begins with `!` in quotes"),
    ("did not find expected <document start>", "expected `key: value`, or the end of the file"),
    ("invalid content after document end marker", "something stands behind the end of the document (`...`)"),
    ("unexpected eof", "the file ends too early"),
    ("unexpected end of plain scalar", "the file ends too early"),
];

const OUT_OF_PLACE: &str =
    "a colon that is out of place: check the indentation, or put a value that contains `: ` in quotes";

/// Where it is, and what to do about it.
pub(super) fn syntax(text: &str, source: SourceId, error: &ScanError) -> Diagnostic {
    let position = position(error.marker(), source);
    let info = error.info();
    if info.contains("recursion limit") {
        return too_large(position, "nested too deep");
    }
    let line = text.lines().nth(position.line as usize - 1).unwrap_or_default();
    let indentation = &line[..line.len() - line.trim_start().len()];
    let known = || EXPLAINED.iter().find(|(theirs, _)| info.starts_with(theirs)).map(|(_, ours)| (*ours).to_owned());
    let explanation = if indentation.contains('\t') {
        "a tab in the indentation: use spaces".to_owned()
    } else if line.contains("${") {
        "put a value that contains `${` in quotes: \"${NAME}\"".to_owned()
    } else if line.contains("{{") || line.contains("{%") {
        "this looks like a template that was not filled in".to_owned()
    } else {
        known().unwrap_or_else(|| escaped(info, 200))
    };
    Diagnostic::new(position, codes::SYNTAX, format!("not valid YAML: {explanation}"))
}
