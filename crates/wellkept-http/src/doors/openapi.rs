//! `GET /openapi.json`: what this door answers, made from the descriptions that the routes are mounted with.

use bytes::Bytes;
use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::routes::{Needs, Operation, Place, Routes};
use super::{NoBody, answer};

/// These routes and one more: the description of them all, for whoever `guard` lets in.
pub(super) fn with_description(routes: Routes, guard: impl Fn(Routes) -> Routes) -> Routes {
    let own = guard(route(Bytes::new()));
    let document = of(routes.operations().iter().chain(own.operations()));
    routes.merge(guard(route(Bytes::from(document.to_string()))))
}

fn route(document: Bytes) -> Routes {
    let operation = Operation::get("/openapi.json", "This description, in OpenAPI 3.1.");
    let handler = async move |_: NoBody| answer(StatusCode::OK, "application/json", document.clone());
    Routes::new().route(operation.json::<Map<String, Value>>(&[200]), handler)
}

/// The document (OpenAPI 3.1.0). Schemas are those of what is written, as the types' own serializers write it.
pub(super) fn of<'o>(operations: impl Iterator<Item = &'o Operation>) -> Value {
    let mut written = generator(false);
    let mut read = generator(true);
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[method(operation)] = described(operation, &mut written, &mut read);
    }
    let schemas = written.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Wellkept",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What this door answers. Every GET is answered to HEAD too, without the body.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// Schemas of what is written refer to one another; those of what is read stand where they are used, for one type may
/// be read otherwise than it is written.
fn generator(reads: bool) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = "/components/schemas".into();
        settings.inline_subschemas = reads;
    });
    if reads { settings.into_generator() } else { settings.for_serialize().into_generator() }
}

fn described(operation: &Operation, written: &mut SchemaGenerator, read: &mut SchemaGenerator) -> Value {
    let parameters: Vec<_> = operation
        .parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "in": match parameter.place {
                    Place::Path => "path",
                    Place::Query => "query",
                    Place::Header => "header",
                },
                "required": parameter.place == Place::Path,
                "description": parameter.description,
                "schema": (parameter.schema)(read),
            })
        })
        .collect();
    let mut described = json!({
        "operationId": id(operation),
        "summary": operation.summary,
        "responses": responses(operation, written),
    });
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = operation.body {
        described["requestBody"] = json!({ "content": { "application/json": { "schema": body(read) } } });
    }
    if operation.needs == Needs::Operator {
        // A caller straight on a loopback listener needs no token.
        described["security"] = json!([{ "token": [] }, {}]);
    }
    described
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for answer in &operation.answers {
        let schema: Schema = (answer.schema)(generator);
        let reason = answer.status.canonical_reason().unwrap_or_default();
        let told = answer.error.map_or_else(|| reason.to_owned(), |error| format!("{reason}: {error}"));
        let response =
            responses.entry(answer.status.as_str()).or_insert_with(|| json!({ "description": told, "content": {} }));
        // What is described twice is either; errors of one code all look the same.
        let known = &mut response["content"][answer.kind]["schema"];
        *known = match known.take() {
            Value::Null => schema.to_value(),
            known if known == *schema.as_value() => known,
            mut known if known["anyOf"].is_array() => {
                known["anyOf"].as_array_mut().into_iter().for_each(|any| any.push(schema.as_value().clone()));
                known
            }
            known => json!({ "anyOf": [known, schema] }),
        };
    }
    Value::Object(responses)
}

/// `get_health_ready` for `GET /health/ready`.
fn id(operation: &Operation) -> String {
    let words = operation.path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method(operation).as_str()).chain(words).collect::<Vec<_>>().join("_")
}

fn method(operation: &Operation) -> String {
    operation.method.as_str().to_ascii_lowercase()
}
