//! What is masked in the log, besides what always is: the section `redact` of `logging`.

use wellkept_config::{FromNode, Section};
use wellkept_telemetry::logging::{MAX_NAMES, MAX_PATTERNS, Redaction, RedactionError};

pub(super) fn read(section: &mut Section<'_>) -> Redaction {
    section.describe(&[
        (
            "names",
            "Names of fields whose values are masked, besides `password`, `token` and their like. Default: none.",
        ),
        ("patterns", "Regular expressions of what is masked wherever it stands. Default: none."),
    ]);
    let names = section.optional::<Vec<Name>>("names").unwrap_or_default();
    let patterns = section.optional::<Vec<Pattern>>("patterns").unwrap_or_default();
    for (what, found, most) in [("names", names.len(), MAX_NAMES), ("patterns", patterns.len(), MAX_PATTERNS)] {
        if found > most {
            let error = RedactionError::TooMany { what, most, found };
            section.report(section.position_of(what), error.code(), error.to_string());
        }
    }
    section.complete();
    Redaction {
        names: names.into_iter().map(|name| name.0).collect(),
        patterns: patterns.into_iter().map(|pattern| pattern.0).collect(),
        ..Redaction::default()
    }
}

struct Name(String);

impl FromNode for Name {
    const EXPECTED: &'static str = "a name such as tax_number";

    fn from_scalar(text: &str) -> Result<Self, String> {
        Redaction::check_name(text).map_err(hint)?;
        Ok(Self(text.to_owned()))
    }
}

struct Pattern(String);

impl FromNode for Pattern {
    const EXPECTED: &'static str = "a regular expression such as '\\bKD-\\d{6}\\b'";

    fn from_scalar(text: &str) -> Result<Self, String> {
        Redaction::check_pattern(text).map_err(hint)?;
        Ok(Self(text.to_owned()))
    }
}

/// Why, without the text, which stands before it.
fn hint(error: RedactionError) -> String {
    match error {
        RedactionError::Pattern { why, .. } => why,
        RedactionError::Empty(_) => "it matches where nothing is, so it would mask everywhere".into(),
        RedactionError::Name(_) => "it needs a letter or a digit".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::program::Configuration;

    fn parse(logging: &str) -> Result<Configuration, String> {
        let text = format!("logging:\n  redact:\n{logging}");
        Configuration::parse("app.yaml", &text, &|_| None).map_err(|errors| errors.to_string())
    }

    #[test]
    fn names_and_patterns_to_mask_are_read() {
        let redaction =
            parse("    names: [tax_number]\n    patterns: ['\\bKD-\\d{6}\\b']\n").unwrap().logging.redaction;
        assert_eq!((redaction.names, redaction.patterns), (vec!["tax_number".into()], vec![r"\bKD-\d{6}\b".into()]));
    }

    #[test]
    fn what_cannot_be_masked_is_refused_with_its_place() {
        insta::assert_snapshot!(parse("    patterns:\n      - 'KD-[0-9'\n      - '\\d*'\n").unwrap_err(), @r"
        app.yaml:4:9: expected a regular expression such as '\bKD-\d{6}\b', found `KD-[0-9` (unclosed character class, at character 4)
        app.yaml:5:9: expected a regular expression such as '\bKD-\d{6}\b', found `\d*` (it matches where nothing is, so it would mask everywhere)
        ");
        insta::assert_snapshot!(
            parse("    names: [_]\n").unwrap_err(),
            @"app.yaml:3:13: expected a name such as tax_number, found `_` (it needs a letter or a digit)"
        );
        let many = vec!["a"; 65].join(", ");
        insta::assert_snapshot!(
            parse(&format!("    names: [{many}]\n")).unwrap_err(),
            @"app.yaml:3:12: at most 64 names can be masked, not 65"
        );
    }
}
