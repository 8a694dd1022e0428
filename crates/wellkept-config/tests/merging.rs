//! What holds for any files that are merged, and for anything that is laid over them: a small model says what must come
//! out, and every value stands where it says that it comes from.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use wellkept_config::{Assignment, Document, Node, Origin, Sources, Value};

/// A tree to be merged; a mapping's keys in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tree {
    Nothing,
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

fn key() -> impl Strategy<Value = String> {
    "[a-c]|[a-c]-[a-c]"
}

fn text() -> impl Strategy<Value = Tree> {
    "[ -~é]{0,8}".prop_filter("nothing is filled in", |text| !text.contains('$')).prop_map(Tree::Text)
}

fn map() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![4 => text(), 1 => Just(Tree::Nothing)];
    let tree = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..3).prop_map(Tree::List),
            3 => btree_map(key(), inner, 0..4).prop_map(Tree::Map),
        ]
    });
    btree_map(key(), tree, 0..5).prop_map(Tree::Map)
}

/// In flow style, each value on a line of its own.
fn write(tree: &Tree, into: &mut String) {
    match tree {
        Tree::Nothing => into.push_str("null"),
        Tree::Text(text) => into.extend(["'", &text.replace('\'', "''"), "'"]),
        Tree::List(items) => {
            into.push_str("[\n");
            for item in items {
                write(item, into);
                into.push_str(",\n");
            }
            into.push(']');
        }
        Tree::Map(entries) => {
            into.push_str("{\n");
            for (key, value) in entries {
                into.extend([key, ": "]);
                write(value, into);
                into.push_str(",\n");
            }
            into.push('}');
        }
    }
}

fn written(tree: &Tree) -> String {
    let mut text = String::new();
    write(tree, &mut text);
    text
}

/// What must come out: mappings key by key, nothing over a mapping changes nothing, everything else replaces.
fn model(base: Tree, over: Tree) -> Tree {
    match (base, over) {
        (Tree::Map(mut base), Tree::Map(over)) => {
            for (key, above) in over {
                let merged = match base.remove(&key) {
                    Some(below) => model(below, above),
                    None => above,
                };
                base.insert(key, merged);
            }
            Tree::Map(base)
        }
        (base @ Tree::Map(_), Tree::Nothing) => base,
        (_, over) => over,
    }
}

/// A value put at a path, through anything that is there.
fn put(tree: &mut Tree, path: &[String], value: &str) {
    let Some((step, rest)) = path.split_first() else {
        *tree = Tree::Text(value.to_owned());
        return;
    };
    if !matches!(tree, Tree::Map(_)) {
        *tree = Tree::Map(BTreeMap::new());
    }
    let Tree::Map(entries) = tree else { return };
    put(entries.entry(step.clone()).or_insert(Tree::Nothing), rest, value);
}

fn found(node: &Node) -> Tree {
    match node.value() {
        Value::Scalar(_) if node.is_null() => Tree::Nothing,
        Value::Scalar(scalar) => Tree::Text(scalar.text().to_owned()),
        Value::Sequence(items) => Tree::List(items.iter().map(found).collect()),
        Value::Mapping(entries) => {
            Tree::Map(entries.iter().map(|(key, value)| (key.text().to_owned(), found(value))).collect())
        }
    }
}

fn sources(files: &[Tree]) -> Sources {
    files.iter().enumerate().fold(Sources::new().variables(|_| None), |sources, (number, tree)| {
        sources.text(format!("{number}.yaml"), written(tree))
    })
}

fn merged(sources: &Sources) -> Document {
    sources.document(&sources.content().expect("within bounds")).expect("mappings")
}

/// Every value of a file is found in this file at the line and column that its origin names.
fn stands_where_it_says(document: &Document, node: &Node, files: &[Tree]) -> Result<(), TestCaseError> {
    match node.value() {
        Value::Scalar(scalar) => {
            let Origin::File { name, line, column } = document.origin(node.position()) else {
                return Err(TestCaseError::fail("a value of a file comes from nowhere"));
            };
            let number: usize = name.trim_end_matches(".yaml").parse().expect("the file's number");
            let text = written(files.get(number).expect("one of the files"));
            let line = text.lines().nth(line as usize - 1).expect("a line of the file");
            let there: String = line.chars().skip(column as usize - 1).collect();
            let expected = if node.is_null() { "null".to_owned() } else { written(&found(node)) };
            prop_assert!(there.starts_with(&expected), "{scalar:?} is not at {name}:{line}: {there}");
        }
        Value::Sequence(items) => items.iter().try_for_each(|item| stands_where_it_says(document, item, files))?,
        Value::Mapping(entries) => {
            entries.iter().try_for_each(|(_, value)| stands_where_it_says(document, value, files))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_merge_key_by_key_and_every_value_keeps_its_place(files in vec(map(), 1..5)) {
        let document = merged(&sources(&files));
        let expected = files.iter().cloned().reduce(model).expect("at least one");
        prop_assert_eq!(found(document.root()), expected);
        stands_where_it_says(&document, document.root(), &files)?;
    }

    #[test]
    fn a_file_laid_over_itself_changes_nothing(file in map()) {
        prop_assert_eq!(found(merged(&sources(&[file.clone(), file.clone()])).root()), file);
    }

    #[test]
    fn arguments_end_up_where_their_keys_say_whatever_the_files_hold(
        file in map(),
        arguments in vec((vec(key(), 1..4), "[ -~]{0,6}"), 0..6),
    ) {
        let given = arguments.iter().map(|(path, value)| Assignment::new(&path.join("."), value.clone()).expect("a key"));
        let sources = sources(std::slice::from_ref(&file)).arguments(given);
        let mut expected = file;
        let mut refused = 0;
        for (path, value) in &arguments {
            if reaches_into_a_list(&expected, path) {
                refused += 1;
            } else {
                put(&mut expected, path, value);
            }
        }
        let document = merged(&sources);
        prop_assert_eq!(found(document.root()), expected);
        let reported = document.read(|root| {
            root.known(&["a", "b", "c", "a-a", "a-b", "a-c", "b-a", "b-b", "b-c", "c-a", "c-b", "c-c"]);
            Some(())
        });
        prop_assert_eq!(reported.err().map_or(0, |wrong| wrong.total()) > 0, refused > 0);
    }

    #[test]
    fn variables_end_up_where_arguments_of_the_same_keys_would(
        file in map(),
        variables in btree_map("[a-c](__[a-c]){0,2}", "[ -~]{1,6}", 0..2),
    ) {
        // Keys of the files that differ only in what a variable's name can't hold are not told apart: plain ones here.
        prop_assume!(!written(&file).contains("-a:") && !written(&file).contains("-b:") && !written(&file).contains("-c:"));
        let files = sources(&[file]);
        let names = variables.iter().map(|(name, value)| (format!("app_{}", name.to_uppercase()), value.clone()));
        let by_variables = merged(&files.clone().environment_of("APP_", names));
        let paths = variables.iter().map(|(name, value)| Assignment::new(&name.replace("__", "."), value.clone()));
        let by_arguments = merged(&files.arguments(paths.map(|argument| argument.expect("a key"))));
        if !variables.keys().any(|name| variables.keys().any(|other| other.starts_with(&format!("{name}__")))) {
            prop_assert_eq!(found(by_variables.root()), found(by_arguments.root()));
        }
    }

    #[test]
    fn lists_that_join_hold_all_items_in_the_order_of_the_files(files in vec(vec("[a-e]", 0..4), 1..4)) {
        let tree = |names: &Vec<String>| {
            let item = |name: &String| Tree::Map(BTreeMap::from([("name".to_owned(), Tree::Text(name.clone()))]));
            Tree::Map(BTreeMap::from([("list".to_owned(), Tree::List(names.iter().map(item).collect()))]))
        };
        let trees: Vec<_> = files.iter().map(tree).collect();
        let document = merged(&sources(&trees).joining(&[("list", "name")]));
        let mut expected: Vec<(usize, &str)> = Vec::new();
        for (number, names) in files.iter().enumerate() {
            let earlier: Vec<&str> = expected.iter().map(|(_, name)| *name).collect();
            expected.extend(names.iter().filter(|name| !earlier.contains(&name.as_str())).map(|name| (number, name.as_str())));
        }
        let all: usize = files.iter().map(Vec::len).sum();
        let names = document.read(|root| root.list("list", |item| item.required::<String>("name")));
        match names {
            Ok(names) => {
                prop_assert_eq!(all, expected.len());
                prop_assert_eq!(names, expected.iter().map(|(_, name)| *name).collect::<Vec<_>>());
            }
            Err(wrong) => prop_assert_eq!(wrong.total(), all - expected.len()),
        }
    }
}

fn reaches_into_a_list(tree: &Tree, path: &[String]) -> bool {
    match (tree, path.split_first()) {
        (Tree::List(_), Some(_)) => true,
        (Tree::Map(entries), Some((step, rest))) => {
            entries.get(step).is_some_and(|below| reaches_into_a_list(below, rest))
        }
        _ => false,
    }
}
