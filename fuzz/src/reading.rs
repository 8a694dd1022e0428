//! What every target does with a document: everything that a program may ask of it, and what must hold of the errors.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use wellkept_config::{Amount, ByteSize, Diagnostics, Document, Node, Ratio, Section, Value};

/// What variables bring in, which no message may show.
pub const SECRET: &str = "hunter2";

/// A variable's value: what is in it must stay one value and be shown nowhere.
pub fn variable(name: &str) -> Option<String> {
    match name {
        "A" => Some(format!("{SECRET}: {{[\n- ")),
        "B" => Some(String::new()),
        "C" => Some(SECRET.to_owned()),
        _ => None,
    }
}

/// Walks the document as programs do.
pub fn read(document: &Document) -> Result<(), Diagnostics> {
    ask(document.root());
    document.read(|root| {
        root.section("a", section);
        root.list("b", section);
        root.section("service", section);
        root.list("checks", section);
        root.complete();
        Some(())
    })
}

/// What holds of any errors.
pub fn judge(wrong: &Diagnostics, secret: &str) {
    let told = wrong.to_string();
    let shown = wrong.with_excerpts().to_string();
    assert!(wrong.total() >= 1 && !told.is_empty());
    for text in [&told, &shown, &format!("{wrong:?}")] {
        assert!(secret.is_empty() || !text.contains(secret), "{text}");
    }
    assert!(!shown.contains(|letter: char| letter.is_control() && letter != '\n'), "{shown:?}");
    assert!(told.lines().count() <= wrong.total() + 1);
}

fn section(section: &mut Section<'_>) -> Option<()> {
    section.required::<String>("name");
    section.optional::<Duration>("a");
    section.optional::<Vec<u16>>("b");
    section.optional::<SocketAddr>("listen");
    section.secret("password");
    for (_, _, node) in section.entries("headers").unwrap_or_default() {
        section.value::<String>(node);
    }
    section.complete();
    Some(())
}

/// Asks every value as every kind.
fn ask(node: &Node) {
    let _ = node.fingerprint();
    match node.value() {
        Value::Scalar(_) => {
            Document::parse("x", "a: 1")
                .expect("valid")
                .read(|section| {
                    section.value::<bool>(node);
                    section.value::<i64>(node);
                    section.value::<f64>(node);
                    section.value::<Duration>(node);
                    section.value::<Ratio>(node);
                    section.value::<ByteSize>(node);
                    section.value::<Amount>(node);
                    section.value::<SocketAddr>(node);
                    section.value::<PathBuf>(node);
                    section.value::<Vec<String>>(node)
                })
                .ok();
        }
        Value::Sequence(items) => items.iter().for_each(ask),
        Value::Mapping(entries) => entries.iter().for_each(|(_, value)| ask(value)),
    }
}
