//! That nothing is missing in what the configuration tells of itself.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use wellkept_config::{Document, Node, Style, Value};

use super::*;

#[test]
fn every_key_is_described_and_has_a_default_or_is_required() {
    let reference = Configuration::reference();
    let mut wrong = Vec::new();
    for entry in reference.entries() {
        // What stands under a free key is described with the mapping.
        let is_free = entry.path().ends_with(".<name>");
        if entry.description().is_empty() && !is_free {
            wrong.push(format!("{}: what is it for?", entry.path()));
        }
        let holds_others = is_section(entry);
        if !holds_others && !is_free && *entry.presence() == Presence::Optional {
            wrong.push(format!("{}: what holds without it?", entry.path()));
        }
        if *entry.shape() == Shape::Anything {
            wrong.push(format!("{}: what does it take?", entry.path()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(reference.entries().len() > 200, "the walk was not told everything: {}", reference.entries().len());
}

/// As a validator sees a file: by the core schema of YAML 1.2 (10.3.2).
fn as_json(node: &Node) -> Json {
    match node.value() {
        Value::Mapping(entries) => {
            Json::Object(entries.iter().map(|(key, node)| (key.text().to_owned(), as_json(node))).collect())
        }
        Value::Sequence(items) => Json::Array(items.iter().map(as_json).collect()),
        Value::Scalar(scalar) if scalar.is_null() => Json::Null,
        Value::Scalar(scalar) if scalar.style() == Style::Plain => match scalar.written() {
            "true" | "True" | "TRUE" => true.into(),
            "false" | "False" | "FALSE" => false.into(),
            text => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(whole), _) => whole.into(),
                (_, Ok(number))
                    if text.starts_with(['.', '-', '+', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) =>
                {
                    number.into()
                }
                _ => text.into(),
            },
        },
        Value::Scalar(scalar) => scalar.written().into(),
    }
}

fn validator() -> jsonschema::Validator {
    let schema: Json = serde_json::from_str(&Configuration::json_schema()).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// What the schema says against a text; nothing when it is good.
fn against(validator: &jsonschema::Validator, text: &str) -> Vec<String> {
    let document = Document::parse("example", text).unwrap();
    let json = as_json(document.root());
    validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The blocks of YAML in the documents that are a configuration of this program's, with where they stand.
fn examples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let reference = Configuration::reference();
    let mut found = Vec::new();
    let folders = ["docs", "docs/checks"].map(|folder| root.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    for file in files.chain([root.join("README.md")]).filter(|file| file.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&file).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
            let document = Document::parse("example", block).unwrap();
            let Value::Mapping(entries) = document.root().value() else { continue };
            if entries.iter().all(|(key, _)| reference.entry(key.text()).is_some()) {
                found.push((file.display().to_string(), block.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_example_of_a_configuration_fits_the_schema() {
    let validator = validator();
    let examples = examples();
    for (file, text) in &examples {
        assert_eq!(against(&validator, text), [""; 0], "{file}:\n{text}");
    }
    assert!(examples.len() > 40, "only {} examples were found", examples.len());
    let (file, whole) = examples.iter().find(|(file, _)| file.ends_with("docs/configuration.md")).unwrap();
    let read = Configuration::parse(file, whole, &|_| None).unwrap();
    assert_eq!((read.service.as_str(), read.checks.len(), read.maintenance.windows.len()), ("orders", 2, 1));
}

#[test]
fn what_the_reader_takes_fits_the_schema_and_what_is_refused_for_its_form_does_not() {
    let validator = validator();
    let good = [
        "service: { name: 7, version: 1.10 }",
        "http: { listen: ':8080', show_names: false }\nadmin:\ngrpc: { listen: \"[::1]:1\" }",
        "http: { listen: \"${LISTEN:-127.0.0.1:1}\", show_names: \"${SHOWN:-true}\" }",
        "haproxy: { degraded_weight: 0.5 }",
        "logging: { repeats: off, level: warning, modules: { a: debug }, file: { path: a.log, max_size: off, every: 1h30m } }",
        "logging: { repeats: { limit: 5 } }",
        "defaults: { interval: 1.5s, jitter: 10%, fall: \"3\", window: { failures: 5, of: 10 } }",
        "checks: [{ name: a, tcp: { address: 'h:1' }, groups: ready, depends_on: [] }]",
        "checks: [{ name: a, tls: { address: 'h:1', min_version: 1.2 } }]",
        "checks: [{ name: a, disk: { path: /, degraded_below: 10GiB }, circuit: }]",
        "checks:",
        "maintenance: { windows: [{ name: a, monthly: [1, last], at: \"2:30\", for: 1h }] }",
        "maintenance: { windows: [{ name: a, days: daily, at: \"02:30:00\", for: 1h, zone: Europe/Berlin }] }",
        "shutdown: { profile: docker, force_after_timeout: false, grace: 1m }",
        "otlp: { endpoint: 'http://h', headers: { a: \"${B:-c}\" } }",
    ];
    for text in good {
        assert_eq!(against(&validator, text), [""; 0], "{text}");
        let read = Configuration::parse("good", text, &|_| None);
        assert!(read.is_ok(), "{text}: {}", read.unwrap_err());
    }
    let bad = [
        "servise: { name: a }",
        "service: a",
        "service: { nmae: a }",
        "http: { listen: 8080 }",
        "http: { show_names: yes }",
        "http: { listen: \"127.0.0.1:1\", port: 1 }",
        "http: [a]",
        "history: { retention: 31 }",
        "history: { retention: 31 days }",
        "history: { budget: 256 }",
        "liveness: { on_stall: panic }",
        "logging: { level: trace }",
        "logging: { level: [info] }",
        "logging: { repeats: never }",
        "logging: { output: file }",
        "logging: { file: { format: json } }",
        "logging: { gelf: { url: 'http://a' } }",
        "metrics: { system: 1 }",
        "defaults: { fall: -1 }",
        "defaults: { fall: 1.5 }",
        "defaults: { jitter: 1.5 }",
        "defaults: { window: { failures: 5 } }",
        "checks: { name: a }",
        "checks: [{ name: a }]",
        "checks: [{ tcp: { address: 'h:1' } }]",
        "checks: [{ name: a, tcp: { address: 'h:1' }, dns: { name: a } }]",
        "checks: [{ name: a, tcp: { adress: 'h:1' } }]",
        "checks: [{ name: a, postgress: { url: a } }]",
        "checks: [{ name: a, tcp: { address: 'h:1' }, required: maybe }]",
        "maintenance: { windows: [{ name: a, at: \"02:30\", for: 1h }] }",
        "maintenance: { windows: [{ name: a, days: [monday], at: \"02:30\", for: 1h }] }",
        "maintenance: { windows: [{ name: a, monthly: 32, at: \"02:30\", for: 1h }] }",
        "maintenance: { windows: [{ name: a, date: 1.5.2026, at: \"02:30\", for: 1h }] }",
        "shutdown: { profile: nomad }",
        "shutdown: { deadline: }",
        "otlp: { interval: 5s }",
        "store: { uri: memory }",
    ];
    for text in bad {
        assert!(!against(&validator, text).is_empty(), "the schema takes {text}");
        assert!(Configuration::parse("bad", text, &|_| None).is_err(), "the reader takes {text}");
    }
}

/// A default that would be refused where it is written out is no default.
#[test]
fn every_default_fits_the_schema_and_the_reader() {
    let reference = Configuration::reference();
    let validator = validator();
    let mut tried = 0;
    for entry in reference.entries() {
        let Presence::Default(default) = entry.presence() else { continue };
        let Some((section, key)) = entry.path().rsplit_once('.').filter(|(section, _)| !section.contains(['[', '.']))
        else {
            continue;
        };
        // Next to what the section must have, its errors are about that.
        let text = format!(
            "{section}: {{ {key}: {} }}",
            if default.contains(':') { format!("'{default}'") } else { default.clone() }
        );
        let about_it = |line: &String| line.starts_with(&format!("/{section}/{key}"));
        let wrong: Vec<_> = against(&validator, &text).into_iter().filter(about_it).collect();
        assert_eq!(wrong, [""; 0], "{text}");
        if let Err(errors) = Configuration::parse("default", &text, &|_| None) {
            assert!(errors.iter().all(|error| error.code == "config.missing_key"), "{text}: {errors}");
        }
        tried += 1;
    }
    assert!(tried > 30, "only {tried} defaults");
}

#[test]
#[cfg(feature = "full")]
fn the_page_of_the_keys_is_what_the_code_tells() {
    let page = include_str!("../../../../../docs/configuration.md");
    let (_, made) = page.split_once(MARK).expect("the line that parts what is written from what is made");
    assert_eq!(made, Configuration::markdown(), "out of date: run `cargo xtask docs`");
}
