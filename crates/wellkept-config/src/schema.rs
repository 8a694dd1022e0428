//! What a single value may look like, for editors and validators: the small language in which types describe themselves.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// The looks of a single value. [`FromNode::schema`](crate::FromNode::schema) gives that of a type.
///
/// It is what JSON Schema and YAML's core schema can tell of it: everything that is accepted fits, and some of what is
/// refused may fit as well. Wherever a single value stands, a `${…}` may stand too, whatever this says.
#[derive(Debug, Clone, PartialEq)]
pub enum Schema {
    /// Any single value: text, a number or a boolean, since `version: 1.10` may well mean a text.
    Any,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Whole {
        /// The least.
        least: i64,
        /// The greatest.
        most: u64,
    },
    /// A number.
    Number {
        /// The least; none when it is infinite.
        least: f64,
        /// The greatest; none when it is infinite.
        most: f64,
    },
    /// Text of a certain form.
    Text {
        /// A regular expression of ECMA 262, for the whole text, without anchors.
        pattern: &'static str,
        /// What it may look like.
        examples: &'static [&'static str],
    },
    /// One of these words.
    Words(Vec<Cow<'static, str>>),
    /// A list of such values, or one of them alone.
    List(Box<Self>),
    /// Any of these.
    Either(Vec<Self>),
}

/// Matches a text with a variable in it.
const VARIABLE: &str = r"\$\{";

impl Schema {
    /// The words of a table as [`one_of`](crate::one_of) takes it.
    pub fn words<T>(choices: &[(&'static str, T)]) -> Self {
        Self::Words(choices.iter().map(|(word, _)| Cow::Borrowed(*word)).collect())
    }

    /// In JSON Schema, draft 2020-12.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Any => json!({ "type": ["string", "number", "boolean"] }),
            Self::Boolean => json!({
                "type": ["boolean", "string"],
                "pattern": or_variable("true|True|TRUE|false|False|FALSE"),
            }),
            Self::Whole { least, most } => json!({
                "type": ["integer", "string"],
                "minimum": least,
                "maximum": most,
                "pattern": or_variable("-?(0|[1-9][0-9]*)"),
            }),
            Self::Number { least, most } => {
                let mut schema = Map::new();
                schema.insert("type".to_owned(), json!(["number", "string"]));
                for (keyword, limit) in [("minimum", least), ("maximum", most)] {
                    if limit.is_finite() {
                        schema.insert(keyword.to_owned(), json!(limit));
                    }
                }
                schema.insert("pattern".to_owned(), json!(or_variable("[-+]?[0-9.]+([eE][-+]?[0-9]+)?")));
                Value::Object(schema)
            }
            Self::Text { pattern, examples } => json!({
                "type": "string",
                "pattern": or_variable(pattern),
                "examples": examples,
            }),
            Self::Words(words) => {
                // Who asks for the word `1.2` takes the number too, which is how a reader of YAML sees it.
                let numbers = words.iter().filter_map(|word| serde_json::from_str::<Value>(word).ok());
                let all: Vec<Value> = words.iter().map(|word| json!(word)).chain(numbers).collect();
                json!({ "anyOf": [{ "enum": all }, { "type": "string", "pattern": VARIABLE }] })
            }
            Self::List(item) => {
                let item = item.to_json();
                json!({ "anyOf": [{ "type": "array", "items": item }, item] })
            }
            Self::Either(ways) => json!({ "anyOf": ways.iter().map(Self::to_json).collect::<Vec<_>>() }),
        }
    }
}

fn or_variable(pattern: &str) -> String {
    format!("^(?:{pattern})$|{VARIABLE}")
}
