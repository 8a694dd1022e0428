//! `wellkept check --kind KIND --KEY VALUE …`: the words of a command line as a kind's section of a configuration.
//!
//! What is said about a mistake never holds a value: it may be a secret, and what stands in the wrong place may be one.

use std::ffi::OsString;
use std::fmt::Write as _;

use wellkept::checks::{Key, Reference, kinds, reference};
use wellkept::config::{Diagnostics, codes, nearest, quoted};
use wellkept::health::Component;
use wellkept::program::Configuration;

use crate::exit::{Exit, Failure};

/// How wide help is, in columns.
const WIDTH: usize = 100;

/// What the words ask for.
#[derive(Debug)]
pub(super) enum Asked {
    /// The keys of a kind.
    Help(String),
    /// One run of this.
    Check(Box<Component>),
}

/// Reads the words after `check`, among which is `--kind`.
pub(super) fn read(words: &[OsString], environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Asked, Failure> {
    let words = Words::read(words).map_err(usage)?;
    let reference = reference(&words.kind);
    if words.help {
        return match reference {
            Some(reference) => Ok(Asked::Help(help(&words.kind, reference))),
            None => Err(usage(format!("kinds: {}", names().join(", ")))),
        };
    }
    let keys = reference.map(|reference| reference.keys()).unwrap_or_default();
    let written = Written::of(&words, &keys).map_err(usage)?;
    let configuration = Configuration::parse("command line", &written.text, environment)
        .map_err(|wrong| usage(written.explain(&wrong, &words.kind)))?;
    let check = configuration.checks.into_iter().next().map(|check| check.component);
    check.map(|check| Asked::Check(Box::new(check))).ok_or_else(|| usage("there is no check".to_owned()))
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn names() -> Vec<&'static str> {
    kinds().iter().map(|kind| kind.name).collect()
}

/// The words, taken apart.
#[derive(Debug, Default)]
struct Words {
    kind: String,
    timeout: Option<String>,
    help: bool,
    /// In the order given; a key given twice is a list.
    settings: Vec<(String, String)>,
}

impl Words {
    fn read(words: &[OsString]) -> Result<Self, String> {
        let mut read = Self::default();
        let mut kind = None;
        let mut words = words.iter().enumerate().map(|(index, word)| (index + 1, word.to_str())).peekable();
        while let Some((number, word)) = words.next() {
            let word = word.ok_or_else(|| not_utf8(number))?;
            let option = if word == "-h" { Some("help") } else { word.strip_prefix("--") };
            let Some(option) = option.filter(|option| !option.is_empty()) else {
                return Err(format!("word {number} after `check` belongs to no key: write --KEY VALUE"));
            };
            let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
            if !is_word(key.split('.').next().unwrap_or_default()) {
                return Err(format!("word {number} after `check` is no key: a key holds letters, digits and _"));
            }
            if matches!(key, "help" | "json" | "nagios") {
                if value.is_some() {
                    return Err(format!("--{key} takes no value"));
                }
                read.help |= key == "help";
                continue;
            }
            let following = |(_, word): &(usize, Option<&str>)| word.is_none_or(|word| !word.starts_with("--"));
            let value = match value {
                Some(value) => value,
                None => match words.next_if(following) {
                    Some((number, word)) => word.ok_or_else(|| not_utf8(number))?,
                    None if key == "kind" => "",
                    None => {
                        let message = "the value is missing; one that begins with -- is written";
                        return Err(format!("--{key}: {message} --{key}=VALUE"));
                    }
                },
            };
            let before = match key {
                "kind" => kind.replace(value.to_owned()),
                "timeout" => read.timeout.replace(value.to_owned()),
                _ => {
                    read.settings.push((key.to_owned(), value.to_owned()));
                    None
                }
            };
            if before.is_some() {
                return Err(format!("--{key} is given twice"));
            }
        }
        read.kind = kind.unwrap_or_default();
        if !is_word(&read.kind) {
            return Err(format!("--kind: expected one of {}", names().join(", ")));
        }
        Ok(read)
    }
}

fn not_utf8(number: usize) -> String {
    format!("word {number} after `check` is not UTF-8")
}

/// Whether it can be shown: it is neither a URL nor anything else that holds a secret by mistake.
fn is_word(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    !text.is_empty() && text.len() <= 64 && text.chars().all(is_plain)
}

/// The configuration that the words amount to, one value in each line.
struct Written {
    text: String,
    /// The option that each line comes from, by the line's number from 1.
    options: Vec<Option<String>>,
}

impl Written {
    fn of(words: &Words, keys: &[Key]) -> Result<Self, String> {
        let mut tree = Tree::default();
        for (key, value) in &words.settings {
            let (key, value) = in_a_file(key, value, keys);
            tree.insert(&segments(&key, keys), value, &key)?;
        }
        let mut written = Self { text: String::new(), options: vec![None] };
        written.line("checks:", None);
        written.line(&format!("- name: {}", json(&words.kind)), Some("kind"));
        if let Some(timeout) = &words.timeout {
            written.line(&format!("  timeout: {}", json(timeout)), Some("timeout"));
        }
        written.line(&format!("  {}:", json(&words.kind)), Some("kind"));
        written.section(&tree, "", 4, keys);
        Ok(written)
    }

    fn line(&mut self, text: &str, option: Option<&str>) {
        self.text.push_str(text);
        self.text.push('\n');
        self.options.push(option.map(|option| format!("--{option}")));
    }

    fn section(&mut self, tree: &Tree, above: &str, depth: usize, keys: &[Key]) {
        let indent = " ".repeat(depth);
        for (key, entry) in &tree.entries {
            let path = format!("{above}{key}");
            let name = json(key);
            match entry {
                Entry::Values(values) => {
                    if let [value] = values.as_slice() {
                        self.line(&format!("{indent}{name}: {}", json(value)), Some(&path));
                        continue;
                    }
                    self.line(&format!("{indent}{name}:"), Some(&path));
                    for value in values {
                        self.line(&format!("{indent}- {}", json(value)), Some(&path));
                    }
                }
                Entry::Section(below) => {
                    self.line(&format!("{indent}{name}:"), Some(&path));
                    // A list of sections has one item here: more of them are what files are for.
                    if keys.iter().any(|key| key.path == path && key.is_section() && key.expected != "section") {
                        self.line(&format!("{indent}-"), Some(&path));
                    }
                    self.section(below, &format!("{path}."), depth + 2, keys);
                }
            }
        }
    }

    /// What is wrong in the words of a configuration, with the option in place of line and column.
    fn explain(&self, wrong: &Diagnostics, kind: &str) -> String {
        let mut text = String::new();
        for diagnostic in wrong {
            let line = usize::try_from(diagnostic.position.line).unwrap_or(usize::MAX);
            // What is missing stands nowhere: the section's place is that of its first key.
            let is_there = diagnostic.code != codes::MISSING_KEY;
            let option = self.options.get(line).and_then(Option::as_deref).filter(|_| is_there);
            let option = option.map(|option| format!("{option}: "));
            let hint = diagnostic.suggestion.as_ref().map(|word| format!(", did you mean {}?", quoted(word)));
            // Writing to a String can't fail.
            let _ = writeln!(text, "{}{}{}", option.unwrap_or_default(), diagnostic.message, hint.unwrap_or_default());
        }
        if names().contains(&kind) {
            let _ = writeln!(text, "`wellkept check --kind {kind} --help` lists its keys");
        } else if nearest(kind, names()).is_none() {
            let _ = writeln!(text, "kinds: {}", names().join(", "));
        }
        text
    }
}

/// Keys and values below one section, in the order given.
#[derive(Debug, Default)]
struct Tree {
    entries: Vec<(String, Entry)>,
}

#[derive(Debug)]
enum Entry {
    Values(Vec<String>),
    Section(Tree),
}

impl Tree {
    fn insert(&mut self, segments: &[String], value: String, option: &str) -> Result<(), String> {
        let clash = || format!("--{option}: a key has either a value or keys below it");
        let Some((first, rest)) = segments.split_first() else { return Ok(()) };
        let index = self.entries.iter().position(|(key, _)| key == first);
        if rest.is_empty() {
            match index.and_then(|index| self.entries.get_mut(index)).map(|(_, entry)| entry) {
                Some(Entry::Values(values)) => values.push(value),
                Some(Entry::Section(_)) => return Err(clash()),
                None => self.entries.push((first.clone(), Entry::Values(vec![value]))),
            }
            return Ok(());
        }
        if index.is_none() {
            self.entries.push((first.clone(), Entry::Section(Self::default())));
        }
        let index = index.unwrap_or(self.entries.len() - 1);
        match self.entries.get_mut(index) {
            Some((_, Entry::Section(below))) => below.insert(rest, value, option),
            _ => Err(clash()),
        }
    }
}

/// `--url @/run/secrets/url` is `url_file: /run/secrets/url` where the kind has such a key.
fn in_a_file(key: &str, value: &str, keys: &[Key]) -> (String, String) {
    let file_key = format!("{key}_file");
    match value.strip_prefix('@').filter(|_| keys.iter().any(|key| key.path == file_key)) {
        Some(path) => (file_key, path.to_owned()),
        None => (key.to_owned(), value.to_owned()),
    }
}

/// `expect.json.$.status` is `expect`, `json` and `$.status`: what is below a mapping is one free key, dots and all.
fn segments(path: &str, keys: &[Key]) -> Vec<String> {
    let mut segments = Vec::new();
    let mut rest = path;
    while let Some((first, below)) = rest.split_once('.') {
        segments.push(first.to_owned());
        rest = below;
        let known = segments.join(".");
        if keys.iter().any(|key| key.path == known && key.is_mapping()) {
            break;
        }
    }
    segments.push(rest.to_owned());
    segments
}

/// A string of JSON is one of YAML as well, whatever is in it.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn help(kind: &str, reference: Reference) -> String {
    let about = reference.about().split("\n\n").next().unwrap_or_default();
    let mut text = wrapped(about, 0);
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "\nUsage: wellkept check --kind {kind} [--KEY VALUE]... [--timeout DURATION] [--json | --nagios]\n"
    );
    text += "Keys, as below the kind in a configuration:\n";
    for key in reference.keys().iter().filter(|key| !key.is_section()) {
        let free = if key.is_mapping() { ".NAME" } else { "" };
        let default =
            if key.default == "required" { "required".to_owned() } else { format!("default: {}", key.default) };
        let _ = writeln!(text, "  --{}{free} VALUE", key.path);
        text += &wrapped(&format!("{} ({}; {default})", key.what, key.expected), 6);
    }
    text += "  --timeout DURATION\n      How long it may take. (duration such as 10s or 250ms; default: 2s)\n";
    for heading in ["Rights", "Cost"] {
        text += "\n";
        text += &wrapped(&format!("{heading}: {}", reference.section(heading)), 0);
    }
    let _ = writeln!(text, "\nThe same in a configuration:\n\n{}", reference.example());
    text
}

/// One paragraph, in lines of at most [`WIDTH`] columns.
fn wrapped(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column == 0 || column + 1 + width > WIDTH {
            out += if column == 0 { "" } else { "\n" };
            out += &margin;
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += width;
    }
    out + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn said(line: &str) -> String {
        match read(&words(line), &|name| (name == "WORD").then(|| "hunter2-planted".into())) {
            Err(failure) => failure.message,
            Ok(asked) => format!("{asked:?}"),
        }
    }

    #[test]
    fn keys_become_the_section_that_a_file_has() {
        let line = "--kind http --url http://h/ --expect.status 200 --expect.status 204 --expect.json.$.a.b=1 \
                    --headers.x-key ${WORD} --timeout=5s";
        let read = Words::read(&words(line)).unwrap();
        let written = Written::of(&read, &reference("http").unwrap().keys()).unwrap();
        insta::assert_snapshot!(written.text, @r#"
        checks:
        - name: "http"
          timeout: "5s"
          "http":
            "url": "http://h/"
            "expect":
              "status":
              - "200"
              - "204"
              "json":
                "$.a.b": "1"
            "headers":
              "x-key": "${WORD}"
        "#);
        let Ok(Asked::Check(check)) = super::read(&words(line), &|_| Some("value".into())) else {
            panic!("{}", said(line))
        };
        assert_eq!((check.name(), check.run_timeout().as_secs()), ("http", 5));
    }

    #[test]
    fn what_stands_in_a_file_is_named_with_an_at_where_the_kind_can_read_one() {
        let keys = reference("files").unwrap().keys();
        let file = |key, value| in_a_file(key, value, &keys);
        assert_eq!(file("pid", "@/run/app.pid"), ("pid_file".to_owned(), "/run/app.pid".to_owned()));
        assert_eq!(file("of", "@machine"), ("of".to_owned(), "@machine".to_owned()));
        assert!(matches!(read(&words("--kind files --pid @/run/app.pid"), &|_| None), Ok(Asked::Check(_))));
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_a_configuration() {
        for (line, message) in [
            (
                "--kind http --ulr http://h/",
                "missing key `url` in `http`: expected a URL such as https://example.com/health\n--ulr: unknown key `ulr` in `http`, did you mean `url`?",
            ),
            (
                "--kind http --url http://h/ --expect.status 2000",
                "--expect.status: expected a status such as 200, or a class such as 2xx, found `2000` (from 100 to 599, or from 1xx to 5xx)",
            ),
            (
                "--kind http --url http://h/ --timeout 5",
                "--timeout: expected a duration such as 10s or 250ms, found `5` (add a unit: 5s?)",
            ),
            (
                "--kind http --url http://h/ --expect x --expect.body y",
                "--expect.body: a key has either a value or keys below it",
            ),
            ("--kind tpc --address a:1", "--kind: unknown check kind `tpc`, did you mean `tcp`?"),
            (
                "--kind tcp --address ${NOT_SET}",
                "--address: the variable `NOT_SET` is not set: set it, or write ${NOT_SET:-default}",
            ),
            (
                "--kind tcp --address",
                "--address: the value is missing; one that begins with -- is written --address=VALUE",
            ),
            ("--kind tcp --kind tcp", "--kind is given twice"),
            ("--kind", "--kind: expected one of "),
        ] {
            let said = said(line);
            assert!(said.starts_with(message), "{line}\n{said}");
        }
        assert!(said("--kind http --ulr x").ends_with("\n`wellkept check --kind http --help` lists its keys\n"));
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        const URL: &str = "postgres://app:hunter2-planted@db/orders";
        for line in [
            "--kind postgres URL",
            "--kind postgres --URL",
            "--kind postgres --url:URL x",
            "--kind URL",
            "--kind=URL --url x",
            "--kind postgres --json=URL",
            "--kind postgres --url mysql://app:hunter2-planted@db",
            "--kind http --url URL",
            "--kind http --url http://app:hunter2-planted@",
            "--kind http --url http://h/ --headers.a\tb hunter2-planted",
            "--kind tcp --address ${WORD}",
            "--kind http --url http://h/ --expect.status ${WORD}",
            "--kind disk --path / --degraded_below ${WORD}",
            "--kind redis --url redis://:hunter2-planted@h/notanumber",
        ] {
            let line = line.replace("URL", URL);
            let said = said(&line);
            assert!(!said.contains("hunter2"), "{line}\n{said}");
        }
    }

    #[test]
    fn no_kind_has_a_key_that_the_command_takes_for_itself() {
        for kind in kinds() {
            for key in reference(kind.name).unwrap().keys() {
                assert!(
                    !["kind", "timeout", "json", "nagios", "help"].contains(&key.path.as_str()),
                    "{}: {}",
                    kind.name,
                    key.path
                );
            }
        }
    }

    #[test]
    fn every_kind_has_help_with_all_its_keys() {
        for kind in kinds() {
            for line in [format!("--kind {} --help", kind.name), format!("--help --kind {}", kind.name)] {
                let Ok(Asked::Help(text)) = read(&words(&line), &|_| None) else { panic!("{line}") };
                for key in reference(kind.name).unwrap().keys().iter().filter(|key| !key.is_section()) {
                    assert!(text.contains(&format!("\n  --{}", key.path)), "{text}");
                }
                let (keys, _) = text.split_once("\nThe same in a configuration").unwrap();
                assert!(keys.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
            }
        }
    }
}
