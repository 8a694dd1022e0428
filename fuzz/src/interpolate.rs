//! Any text as a value with references, and any text as what they refer to. The two are told apart by a NUL.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wellkept_config::{Document, Value};
use wellkept_fuzz::{SECRET, judge};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (written, brought_in) = text.split_once('\0').unwrap_or((text, "x"));
    if written.contains("file:") || written.chars().any(|letter| letter.is_control() || letter == '\u{feff}') {
        return;
    }
    let quoted = written.replace('\\', "\\\\").replace('"', "\\\"");
    let Ok(document) = Document::parse("app.yaml", &format!("a: \"{quoted}\"\nb: last\n")) else { return };
    let before = document.clone();
    let value = format!("{SECRET}{brought_in}");
    let lookup = |name: &str| (name != "CREDENTIALS_DIRECTORY" && name.len() < 4).then(|| value.clone());
    match document.interpolate(&lookup) {
        Ok(document) => {
            let Value::Mapping(entries) = document.root().value() else { panic!("no mapping any more") };
            let [(_, a), (_, b)] = entries.as_slice() else { panic!("another structure") };
            let (a, b) = (a.scalar().expect("one value"), b.scalar().expect("one value"));
            assert_eq!((a.written(), b.text()), (written, "last"));
            assert_eq!(before.root().fingerprint() == document.root().fingerprint(), a.text() == written);
            if !written.contains('$') {
                assert_eq!(a.text(), written);
            }
        }
        Err(wrong) => {
            let secret = if written.contains(SECRET) { "" } else { SECRET };
            judge(&wrong, secret);
        }
    }
});
