//! What holds for any text: it is read or refused, quickly, at the right place, and no variable changes its structure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use url::Url;
use wellkept_config::{Amount, ByteSize, Document, FromNode, MAX_FILE_BYTES, Node, Position, Ratio, Value};

/// A tree to be written down: text with or without quotes, lists and mappings in flow or block style.
#[derive(Debug, Clone)]
enum Tree {
    Text { text: String, quoted: bool },
    List { items: Vec<Tree>, flow: bool },
    Map { entries: Vec<((String, bool), Tree)>, flow: bool },
}

fn word() -> impl Strategy<Value = (String, bool)> {
    let plain = "[a-m][a-z0-9_]{0,8}".prop_map(|text| (text, false));
    let quoted = "[ -~é→🦀]{0,12}".prop_map(|text| (text, true));
    prop_oneof![plain, quoted]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = word().prop_map(|(text, quoted)| Tree::Text { text, quoted });
    let nested = leaf.prop_recursive(5, 40, 5, |inner| {
        let entries = btree_map("[ -~é→🦀]{1,8}", (any::<bool>(), inner.clone()), 0..5).prop_map(|entries| {
            entries
                .into_iter()
                .map(|(key, (quoted, value))| {
                    let is_plain = key.bytes().all(|byte| byte.is_ascii_lowercase());
                    ((key, quoted || !is_plain), value)
                })
                .collect()
        });
        prop_oneof![
            (vec(inner, 0..5), any::<bool>()).prop_map(|(items, flow)| Tree::List { items, flow }),
            (entries, any::<bool>()).prop_map(|(entries, flow)| Tree::Map { entries, flow }),
        ]
    });
    // At the top a plain text would be a document of its own kind; a mapping is what files hold.
    nested.prop_map(|value| Tree::Map { entries: vec![(("top".to_owned(), false), value)], flow: false })
}

/// Writes a tree down as YAML, and notes where it put everything.
#[derive(Default)]
struct Writer {
    text: String,
    noted: Vec<(Position, String)>,
}

impl Writer {
    fn note(&mut self, what: impl Into<String>) {
        let line = self.text.matches('\n').count() + 1;
        let column = self.text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |number| u32::try_from(number).expect("a short text");
        self.noted.push((Position::new(number(line), number(column)), what.into()));
    }

    fn word(&mut self, text: &str, quoted: bool) {
        self.note(text);
        if quoted {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            self.text.extend(["\"", &escaped, "\""]);
        } else {
            self.text.push_str(text);
        }
    }

    /// Lines after the first are indented by `indent`.
    fn flow(&mut self, tree: &Tree, indent: usize) {
        match tree {
            Tree::Text { text, quoted } => self.word(text, *quoted),
            Tree::List { items, .. } => {
                self.note("[");
                self.text.push('[');
                for item in items {
                    self.flow(item, indent);
                    self.text.extend([",\n", &" ".repeat(indent)]);
                }
                self.text.push(']');
            }
            Tree::Map { entries, .. } => {
                self.note("{");
                self.text.push_str("{ ");
                for ((key, quoted), value) in entries {
                    self.word(key, *quoted);
                    self.text.push_str(": ");
                    self.flow(value, indent);
                    self.text.push_str(", ");
                }
                self.text.push('}');
            }
        }
    }

    /// Writes a node whose first line has been indented already.
    fn block(&mut self, tree: &Tree, indent: usize) {
        let next = |writer: &mut Self, index: usize| {
            if index > 0 {
                writer.text.extend(["\n# a comment\n", &" ".repeat(indent)]);
            }
        };
        match tree {
            Tree::List { items, flow: false } if !items.is_empty() => {
                self.note("[");
                for (index, item) in items.iter().enumerate() {
                    next(self, index);
                    self.text.push_str("- ");
                    self.block(item, indent + 2);
                }
            }
            Tree::Map { entries, flow: false } if !entries.is_empty() => {
                self.note("{");
                for (index, ((key, quoted), value)) in entries.iter().enumerate() {
                    next(self, index);
                    self.word(key, *quoted);
                    self.text.extend([":\n", &" ".repeat(indent + 3)]);
                    self.block(value, indent + 3);
                }
            }
            _ => self.flow(tree, indent + 1),
        }
    }
}

fn noted(node: &Node, into: &mut Vec<(Position, String)>) {
    match node.value() {
        Value::Scalar(scalar) => into.push((node.position(), scalar.text().to_owned())),
        Value::Sequence(items) => {
            into.push((node.position(), "[".to_owned()));
            for item in items {
                noted(item, into);
            }
        }
        Value::Mapping(entries) => {
            into.push((node.position(), "{".to_owned()));
            for (key, value) in entries {
                into.push((key.position(), key.text().to_owned()));
                noted(value, into);
            }
        }
    }
}

/// Asks everything of a node, so that every reader sees every kind of text.
fn ask_everything(node: &Node) {
    fn ask<T: FromNode>(node: &Node) {
        if let Err(diagnostics) = T::from_node(node) {
            assert!(diagnostics.iter().all(|diagnostic| !diagnostic.message.contains(char::is_control)));
        }
    }
    let _ = node.fingerprint();
    ask::<bool>(node);
    ask::<u16>(node);
    ask::<i64>(node);
    ask::<f64>(node);
    ask::<Duration>(node);
    ask::<Ratio>(node);
    ask::<ByteSize>(node);
    ask::<Amount>(node);
    ask::<SocketAddr>(node);
    ask::<PathBuf>(node);
    ask::<Url>(node);
    ask::<Vec<String>>(node);
    match node.value() {
        Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter().for_each(ask_everything),
        Value::Mapping(entries) => entries.iter().for_each(|(_, value)| ask_everything(value)),
    }
}

/// Reads `text` every way there is; whatever is reported stands in the text, one line each.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let read = Document::parse_deferring("f", text).and_then(|document| {
        let document = document.interpolate_deferring(&|name| (name.len() > 1).then(|| format!("{name}: {{[")));
        ask_everything(document.root());
        document.read(|section| {
            let first = section.section("a", |inner| inner.required::<Duration>("b"));
            let second = section.list("b", |inner| inner.optional::<Vec<u16>>("a"));
            let third = section.entries("c").map(|entries| entries.len());
            Some((first?, second?, third?))
        })
    });
    let Err(diagnostics) = read else { return Ok(()) };
    let lines = u32::try_from(text.split(['\n', '\r']).count()).expect("a short text");
    for (diagnostic, line) in diagnostics.iter().zip(diagnostics.to_string().split('\n')) {
        let Position { line: number, column, .. } = diagnostic.position;
        prop_assert!((1..=lines + 1).contains(&number) && column >= 1, "{diagnostic:?}");
        prop_assert!(line.starts_with(&format!("f:{number}:{column}: ")), "{line:?}");
        prop_assert!(!line.contains(char::is_control), "{line:?}");
    }
    prop_assert!(diagnostics.total() >= 1);
    let excerpts = diagnostics.with_excerpts().to_string();
    prop_assert!(!excerpts.replace('\n', "").contains(char::is_control), "{excerpts:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        survives(&text)?;
    }

    #[test]
    fn any_text_that_looks_like_yaml_is_read_or_refused(
        text in "([-?:,\\[\\]{}#&*!|>'\"%@`$~<\t\n\r\\\\a-c0-2é ]|\n {0,6}|a: |b:\n|- |\\$\\{a|<<: |&a |\\*a |--- ){0,60}"
    ) {
        survives(&text)?;
    }

    #[test]
    fn any_scalar_is_understood_or_refused(text in "[-+.0-9%a-zA-Zµ:@/ \\[\\]?#_]{0,16}") {
        survives(&format!("a: {{ b: \"{text}\" }}\nc: '{text}'\nb: [{{ a: ['{text}'] }}]"))?;
    }

    #[test]
    fn every_key_and_value_stands_where_it_was_written(tree in tree()) {
        let mut writer = Writer::default();
        writer.block(&tree, 0);
        let document = Document::parse("f", &writer.text);
        let document = document.map_err(|error| TestCaseError::fail(format!("{error}\n{}", writer.text)))?;
        let mut found = Vec::new();
        noted(document.root(), &mut found);
        prop_assert_eq!(found, writer.noted, "{}", writer.text);
    }

    #[test]
    fn a_variable_never_changes_the_structure(
        value in "([:{}\\[\\],#&*!|>'\"%@$\n\r\t -]|\\$\\{B\\}|\nx: y|: |[a-z]){0,20}",
        name in "[A-Z_][A-Z0-9_]{0,8}",
    ) {
        let text = format!("a: ${{{name}}}\nb: {{ c: \"x${{{name}}}\", d: ['${{{name}:-}}'] }}\ne: |\n  ${{{name}}}\nf: last\n");
        let document = Document::parse("f", &text).expect("valid");
        let (mut before, mut after) = (Vec::new(), Vec::new());
        noted(document.root(), &mut before);
        let document = document.interpolate(&|asked| (asked == name).then(|| value.clone())).expect("set");
        noted(document.root(), &mut after);
        for (_, text) in &mut before {
            *text = text.replace(&format!("${{{name}}}"), &value).replace(&format!("${{{name}:-}}"), &value);
        }
        prop_assert_eq!(after, before);
    }

    #[test]
    fn a_value_that_a_variable_brought_in_is_never_shown(value in "hunter[a-z0-9:@/ ]{1,10}") {
        let document = Document::parse("f", "a: ${SECRET}\nb: ['x${SECRET}']\n").expect("valid");
        let document = document.interpolate(&|_| Some(value.clone())).expect("set");
        let debug = format!("{document:?} {:?}", document.root());
        let diagnostics = document.read(|section| {
            let wrong = (section.optional::<Duration>("a"), section.optional::<Url>("a"), section.optional::<Amount>("a"));
            let list = (section.optional::<Vec<u16>>("b"), section.optional::<SocketAddr>("a"), section.list("b", |_| Some(())));
            Some((wrong, list))
        }).expect_err("wrong");
        let shown = format!("{debug} {diagnostics} {diagnostics:?}");
        prop_assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn durations_are_what_their_units_say(parts in [0..900_u64, 0..24, 0..60, 0..60, 0..1000, 0..1000]) {
        const SECONDS: [u64; 4] = [86_400, 3_600, 60, 1];
        let [days, hours, minutes, seconds, millis, micros] = parts;
        let text = format!("{days}d{hours}h{minutes}m{seconds}s{millis}ms{micros}us");
        let whole: u64 = SECONDS.iter().zip(parts).map(|(unit, count)| unit * count).sum();
        let expected = Duration::from_secs(whole) + Duration::from_micros(millis * 1000 + micros);
        prop_assert_eq!(Duration::from_scalar(&text), Ok(expected));
        let decimal = format!("{seconds}.{millis:03}s");
        prop_assert_eq!(Duration::from_scalar(&decimal), Ok(Duration::from_millis(seconds * 1000 + millis)));
        prop_assert!(Duration::from_scalar(&seconds.to_string()).is_err_and(|hint| hint.contains("add a unit")));
    }

    #[test]
    fn ratios_are_the_same_in_percent_and_as_shown(hundredths in 0..=10_000_u32) {
        let percent = format!("{}.{:02}%", hundredths / 100, hundredths % 100);
        let ratio = Ratio::from_scalar(&percent).expect("in range");
        prop_assert!((ratio.as_f64() - f64::from(hundredths) / 10_000.0).abs() < 1e-12);
        let shown = Ratio::from_scalar(&ratio.to_string()).expect("in range");
        prop_assert!((shown.as_f64() - ratio.as_f64()).abs() < 1e-8, "{ratio}");
        let above = format!("{}%", hundredths + 101);
        prop_assert!(Ratio::from_scalar(&above).is_err());
    }
}

/// The parser looks ahead and remembers what may be a key: none of it may grow with the square of the file.
#[test]
fn the_largest_files_of_the_worst_kind_end_quickly() {
    for (start, repeated) in [
        ("[", "a: "),
        ("[", "{a: b},"),
        ("[", "${X}"),
        ("[", "!t "),
        ("", "["),
        ("", "? "),
        ("", "a: b\n"),
        ("a: ", "\\"),
        ("\"", "\n"),
        ("&a [", "*a,"),
    ] {
        let text = format!("{start}{}", repeated.repeat((MAX_FILE_BYTES - 8) / repeated.len()));
        let began = Instant::now();
        let _ = Document::parse("f", &text);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{start:?} and {repeated:?} took {took:?}");
    }
}
