//! Any bytes as several files, variables and arguments, laid over one another. Parts end with a line `%%%`; one that
//! begins with `$` is a variable, one that begins with `=` is an argument.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wellkept_config::{Assignment, Content, Sources};
use wellkept_fuzz::{SECRET, judge, read, variable};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let secret = if text.contains(SECRET) { "" } else { SECRET };
    if text.contains("file:") || text.to_lowercase().contains("_file") {
        return;
    }
    let mut sources = Sources::new().variables(variable).joining(&[("b", "name"), ("checks", "name")]);
    let mut variables = Vec::new();
    for (number, part) in text.split("\n%%%\n").take(12).enumerate() {
        sources = match part.as_bytes() {
            [b'$', ..] => {
                let (name, value) = part[1..].split_once('=').unwrap_or((&part[1..], "x"));
                variables.push((format!("A_{name}"), value.to_owned()));
                sources
            }
            [b'=', ..] => match part[1..].parse::<Assignment>() {
                Ok(assignment) => sources.arguments([assignment]),
                Err(error) => {
                    assert!(!error.to_string().contains(char::is_control));
                    sources
                }
            },
            _ => sources.text(format!("{number}.yaml"), part),
        };
    }
    let sources = sources.environment_of("A_", variables);
    let content: Content = match sources.content() {
        Ok(content) => content,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let outcome = sources.document(&content);
    let again = sources.document(&content);
    match (outcome, again) {
        (Ok(document), Ok(again)) => {
            assert_eq!(document.root().fingerprint(), again.root().fingerprint(), "the same content is the same");
            if let Err(wrong) = read(&document) {
                judge(&wrong, secret);
            }
        }
        (Err(wrong), Err(again)) => {
            assert_eq!(wrong, again);
            judge(&wrong, secret);
        }
        _ => panic!("the same content is read once and refused once"),
    }
});
