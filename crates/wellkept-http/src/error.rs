//! What the doors answer when they can't do as asked: a public code and one line.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::doors::answer;

/// An answer of the doors that is none. The body is `{"error":{"code":…,"message":…}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// There is no such route on this door.
    #[error("there is nothing here")]
    NotFound,
    /// The route answers GET and HEAD only.
    #[error("only GET and HEAD are answered here")]
    MethodNotAllowed,
    /// These routes take no request body.
    #[error("no request body is taken here")]
    BodyNotAllowed,
    /// The caller is no operator.
    #[error("details need the admin token: Authorization: Bearer …")]
    Unauthorized,
    /// The query can't be read.
    #[error("the query can't be read: component=NAME&limit=NUMBER")]
    BadQuery,
    /// Too many ask for the same at once, or what answers is slow.
    #[error("busy: ask again in a moment")]
    Busy,
    /// A fault of this program.
    #[error("this is a fault of the program; its log says more")]
    Internal,
}

impl ApiError {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "http.not_found",
            Self::MethodNotAllowed => "http.method_not_allowed",
            Self::BodyNotAllowed => "http.body_not_allowed",
            Self::Unauthorized => "http.unauthorized",
            Self::BadQuery => "http.bad_query",
            Self::Busy => "http.busy",
            Self::Internal => "http.internal",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyNotAllowed => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BadQuery => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code(), "message": self.to_string() } });
        let mut response = answer(self.status(), "application/json", body.to_string());
        match self {
            Self::Unauthorized => {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::MethodNotAllowed => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            _ => {}
        }
        response
    }
}
