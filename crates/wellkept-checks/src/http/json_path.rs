//! Where a value stands in a JSON document: the part of `JSONPath` (RFC 9535) that names exactly one.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

/// A path to one value: `$.components[0].status`, or `$['a key with spaces']`. Wildcards, slices and filters are not
/// part of it, since they name any number of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    written: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

impl JsonPath {
    /// The value that it names, if it is there.
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(document, |value, step| match step {
            Step::Name(name) => value.get(name),
            Step::Index(index) => value.get(index),
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.written)
    }
}

impl FromStr for JsonPath {
    type Err = InvalidJsonPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text.strip_prefix('$').ok_or(InvalidJsonPath::Root)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = next_step(rest).ok_or(InvalidJsonPath::Step)?;
            steps.push(step);
            rest = after;
        }
        Ok(Self { written: text.to_owned(), steps })
    }
}

/// Why a text is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidJsonPath {
    /// It does not begin with `$`.
    #[error("a path begins with $, as in $.status")]
    Root,
    /// After `$` comes something else than `.name`, `['name']` or `[0]`.
    #[error("a path is made of .name, ['name'] and [0], as in $.components[0].status")]
    Step,
}

impl InvalidJsonPath {
    /// The stable code: `json_path.root` or `json_path.step`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Root => "json_path.root",
            Self::Step => "json_path.step",
        }
    }
}

fn next_step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        // RFC 9535 allows letters, digits, `_` and all beyond ASCII; hyphens are common and mean nothing else here.
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-') || !letter.is_ascii();
        return (!name.is_empty() && name.chars().all(plain)).then(|| (Step::Name(name.to_owned()), after));
    }
    let rest = text.strip_prefix('[')?;
    if let Some(quote) = rest.chars().next().filter(|first| matches!(first, '\'' | '"')) {
        let (name, after) = rest.get(1..)?.split_once(quote)?;
        return Some((Step::Name(name.to_owned()), after.strip_prefix(']')?));
    }
    let (index, after) = rest.split_once(']')?;
    let is_index = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    Some((Step::Index(is_index.then(|| index.parse().ok()).flatten()?), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn find(path: &str) -> Option<Value> {
        let document = json!({
            "status": "healthy",
            "components": [{ "name": "db" }, { "name": "cache", "the state": { "é": 1 } }],
        });
        path.parse::<JsonPath>().unwrap().find(&document).cloned()
    }

    #[test]
    fn a_path_names_one_value() {
        assert_eq!(find("$.status"), Some(json!("healthy")));
        assert_eq!(find("$.components[1].name"), Some(json!("cache")));
        assert_eq!(find("$['components'][1][\"the state\"].é"), Some(json!(1)));
        assert_eq!(find("$.components[2].name"), None);
        assert_eq!(find("$.status.name"), None);
        assert!(find("$").unwrap().is_object());
    }

    #[test]
    fn what_could_name_more_than_one_value_is_refused() {
        for text in ["$..status", "$.*", "$[*]", "$[0:2]", "$[-1]", "$[?@.a]", "$.a b", "$.", "$[", "$['a", "$['a'", "$x"] {
            assert_eq!(text.parse::<JsonPath>(), Err(InvalidJsonPath::Step), "{text}");
        }
        assert_eq!("status".parse::<JsonPath>(), Err(InvalidJsonPath::Root));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in r"\$[.\[\]'a-cé0-9 ]{0,20}") {
            let _ = text.parse::<JsonPath>();
        }

        #[test]
        fn every_quoted_name_is_found(name in "[^']{0,12}") {
            let path: JsonPath = format!("$['{name}']").parse().unwrap();
            let document = json!({ name: 7 });
            prop_assert_eq!(path.find(&document), Some(&json!(7)));
        }
    }
}
