//! Routes, each mounted together with its description: what is served is what the OpenAPI document says.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::Doors;
use crate::error::ApiError;

/// Routes with their descriptions. The only way by which the doors mount anything.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Doors>,
    operations: Vec<Operation>,
}

impl Routes {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Mounts a handler as it is described. GET answers HEAD too.
    pub(crate) fn route<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Doors>,
        T: 'static,
    {
        self.router = self.router.route(operation.path, on(filter(&operation.method), handler));
        self.operations.push(operation);
        self
    }

    /// All of these and all of those.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.operations.extend(other.operations);
        self
    }

    /// Puts a layer around all of these that lets operators in and answers others with 401.
    pub(crate) fn for_operators(self, layer: impl FnOnce(Router<Doors>) -> Router<Doors>) -> Self {
        let guarded = Self { router: layer(self.router), ..self };
        guarded.each(|operation| Operation { needs: Needs::Operator, ..operation }.error(ApiError::Unauthorized))
    }

    /// Says something more of each.
    pub(crate) fn each(self, describe: impl FnMut(Operation) -> Operation) -> Self {
        Self { operations: self.operations.into_iter().map(describe).collect(), ..self }
    }

    /// The descriptions, in the order of mounting.
    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The routes alone, ready to be served.
    pub(crate) fn into_router(self, doors: &Doors) -> Router {
        self.router.with_state(doors.clone())
    }
}

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Anyone.
    Nothing,
    /// An operator: the admin token, or a caller straight on a loopback listener.
    Operator,
}

/// What one method of one path does, takes and answers.
pub(crate) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) needs: Needs,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<SchemaOf>,
    pub(super) answers: Vec<Answer>,
}

/// Makes the schema of one type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One thing that the path, the query or a header says.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) description: &'static str,
    pub(super) schema: SchemaOf,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

/// One answer that there may be.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) schema: SchemaOf,
    /// The error that it tells, when it tells one.
    pub(super) error: Option<ApiError>,
}

impl Operation {
    /// Something to read.
    pub(crate) fn get(path: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, summary).error(ApiError::BodyNotAllowed)
    }

    /// Anything. `path` is written as axum and OpenAPI both write it: `/api/v1/components/{name}`; `summary` is one
    /// sentence.
    pub(crate) fn new(method: Method, path: &'static str, summary: &'static str) -> Self {
        let (parameters, answers) = (Vec::new(), Vec::new());
        Self { method, path, summary, needs: Needs::Nothing, parameters, body: None, answers }
    }

    /// A part of the path, in braces there.
    pub(crate) fn segment<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>(Place::Path, name, description)
    }

    /// A part of the query. Always optional.
    pub(crate) fn query<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>(Place::Query, name, description)
    }

    /// A header of the request. Always optional.
    pub(crate) fn header<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.parameter::<T>(Place::Header, name, description)
    }

    /// Takes a body as `Input`, in JSON.
    pub(crate) fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema_of::<T>);
        let unreadable = [ApiError::BodyTooLong, ApiError::BodyTimeout, ApiError::ContentType];
        unreadable.into_iter().fold(self, Self::error).refuses(&[400])
    }

    /// Answers in JSON, with each of these codes.
    pub(crate) fn json<T: JsonSchema>(self, codes: &[u16]) -> Self {
        self.answers::<T>("application/json", codes)
    }

    /// Answers in text of this media type, with each of these codes.
    pub(crate) fn text(self, kind: &'static str, codes: &[u16]) -> Self {
        self.answers::<String>(kind, codes)
    }

    /// Answers in JSON of this media type, with each of these codes.
    pub(crate) fn answers<T: JsonSchema>(mut self, kind: &'static str, codes: &[u16]) -> Self {
        self.answers.extend(codes.iter().map(|code| Answer {
            status: StatusCode::from_u16(*code).expect("codes are written as literals, and a test makes the document"),
            kind,
            schema: schema_of::<T>,
            error: None,
        }));
        self
    }

    /// May refuse with these codes, in words that depend on what was asked.
    pub(crate) fn refuses(self, codes: &[u16]) -> Self {
        self.json::<ErrorBody>(codes)
    }

    /// May answer with this error.
    pub(crate) fn error(mut self, error: ApiError) -> Self {
        let schema = schema_of::<ErrorBody>;
        self.answers.push(Answer { status: error.status(), kind: "application/json", schema, error: Some(error) });
        self
    }

    fn parameter<T: JsonSchema>(mut self, place: Place, name: &'static str, description: &'static str) -> Self {
        self.parameters.push(Parameter { name, place, description, schema: schema_of::<T> });
        self
    }
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).expect("the methods that routes name are the usual ones")
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What every error looks like.
#[derive(JsonSchema)]
#[schemars(rename = "Error")]
#[expect(dead_code, reason = "it describes the body that `ApiError` writes")]
pub(super) struct ErrorBody {
    error: ErrorParts,
}

#[derive(JsonSchema)]
#[schemars(rename = "ErrorParts")]
#[expect(dead_code, reason = "as above")]
struct ErrorParts {
    /// Stable, for programs.
    code: String,
    /// For people.
    message: String,
}
