//! The reference as a JSON Schema.

use serde_json::{Map, Value, json};

use super::{Entry, Presence, Reference, Shape};
use crate::schema::Schema;

pub(super) fn schema(reference: &Reference, title: &str, id: &str) -> String {
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    if !id.is_empty() {
        root.insert("$id".to_owned(), json!(id));
    }
    root.insert("title".to_owned(), json!(title));
    root.extend(Writer { reference }.section(""));
    serde_json::to_string_pretty(&root).expect("a tree of text and numbers can be written")
}

struct Writer<'r> {
    reference: &'r Reference,
}

impl Writer<'_> {
    /// The mapping whose keys begin with `above`, which ends in a dot or is empty.
    fn section(&self, above: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for entry in &self.reference.entries {
            let Some(name) = entry.path.strip_prefix(above).filter(|name| !name.contains('.')) else { continue };
            properties.insert(name.to_owned(), self.entry(entry));
            // What is said to be required may be so only with or without another key; what the code requires always is.
            if entry.presence == Presence::Required && !self.is_alternative(above, name) {
                required.push(name);
            }
        }
        let mut schema = Map::new();
        // A key without a value is an empty mapping.
        schema.insert("type".to_owned(), if above.is_empty() { json!("object") } else { json!(["object", "null"]) });
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        let alternatives: Vec<Value> = self
            .reference
            .alternatives
            .iter()
            .filter(|(section, _)| section == above)
            .map(
                |(_, keys)| json!({ "oneOf": keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() }),
            )
            .collect();
        if !alternatives.is_empty() {
            schema.insert("allOf".to_owned(), json!(alternatives));
        }
        schema.insert("additionalProperties".to_owned(), json!(false));
        schema
    }

    fn is_alternative(&self, above: &str, name: &str) -> bool {
        let mut all = self.reference.alternatives.iter();
        all.any(|(section, keys)| section == above && keys.iter().any(|key| key == name))
    }

    fn entry(&self, entry: &Entry) -> Value {
        let shape = match &entry.shape {
            Shape::Value { schema, .. } => within(schema.to_json(), entry),
            Shape::Section => Value::Object(self.section(&format!("{}.", entry.path))),
            Shape::Sections => {
                let items = self.section(&format!("{}[].", entry.path));
                json!({ "type": ["array", "null"], "items": items })
            }
            Shape::Mapping => {
                let free = format!("{}.<name>", entry.path);
                let value = self.reference.entry(&free).map_or_else(|| json!(true), |entry| self.entry(entry));
                json!({ "type": ["object", "null"], "additionalProperties": value })
            }
            Shape::Anything => json!({}),
        };
        let shape = match entry.also.as_slice() {
            [] => shape,
            also => {
                let also = also.iter().map(|(schema, _)| schema.to_json());
                json!({ "anyOf": also.chain([shape]).collect::<Vec<_>>() })
            }
        };
        let Value::Object(shape) = shape else { return shape };
        let mut described = Map::new();
        let description = description(entry);
        if !description.is_empty() {
            described.insert("description".to_owned(), json!(description));
        }
        if let (Presence::Default(default), Shape::Value { schema, .. }, false) =
            (&entry.presence, &entry.shape, entry.secret)
            && let Some(default) = typed(default, schema)
        {
            described.insert("default".to_owned(), default);
        }
        described.extend(shape);
        Value::Object(described)
    }
}

fn description(entry: &Entry) -> String {
    let mut text = entry.description.clone();
    let mut add = |sentence: &str| {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(sentence);
    };
    if let Presence::Said(default) = &entry.presence {
        add(&format!("Default: {default}."));
    }
    if entry.restart {
        add("A change waits for a restart.");
    }
    text
}

/// The default as JSON: a number where a number is one, else text as it would be written.
fn typed(default: &str, schema: &Schema) -> Option<Value> {
    match schema {
        Schema::Boolean | Schema::Whole { .. } | Schema::Number { .. } => serde_json::from_str(default).ok(),
        Schema::Any if default == "\"\"" => Some(json!("")),
        Schema::Any | Schema::Text { .. } | Schema::Words(_) | Schema::Either(_) => Some(json!(default)),
        Schema::List(_) => None,
    }
}

/// With the limits of the reader's own, where they are whole numbers.
fn within(mut schema: Value, entry: &Entry) -> Value {
    let Some(object) = schema.as_object_mut().filter(|object| object.contains_key("minimum")) else { return schema };
    for (keyword, limit) in [("minimum", &entry.least), ("maximum", &entry.most)] {
        if let Some(limit) = limit.as_ref().and_then(|limit| serde_json::from_str(limit).ok()).filter(Value::is_number)
        {
            object.insert(keyword.to_owned(), limit);
        }
    }
    schema
}
