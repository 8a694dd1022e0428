//! What the doors answer when they can't do as asked: a public code and one line.

use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
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
    /// The route answers other methods only; the header `Allow` names them.
    #[error("this method is not answered here")]
    MethodNotAllowed,
    /// These routes take no request body.
    #[error("no request body is taken here")]
    BodyNotAllowed,
    /// The caller is no operator.
    #[error("details need the admin token: Authorization: Bearer …")]
    Unauthorized,
    /// The query can't be read.
    #[error("the query can't be read: /openapi.json on the admin door describes it")]
    BadQuery,
    /// There is no such format.
    #[error(
        "there is no such format; there are health+json, spring, microprofile, aspnet, aspnet-plain, terminus, v1, nagios, plain"
    )]
    UnknownFormat,
    /// A page of another origin sent the request: a browser then acts for someone else.
    #[error("this comes from a page of another origin")]
    ForeignOrigin,
    /// The body is not announced as JSON, which a form in a browser can't do.
    #[error("the body must be JSON: Content-Type: application/json")]
    ContentType,
    /// The body is longer than is taken.
    #[error("the body is too long")]
    BodyTooLong,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    BodyTimeout,
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
            Self::UnknownFormat => "http.unknown_format",
            Self::ForeignOrigin => "http.foreign_origin",
            Self::ContentType => "http.content_type",
            Self::BodyTooLong => "http.body_too_long",
            Self::BodyTimeout => "http.body_timeout",
            Self::Busy => "http.busy",
            Self::Internal => "http.internal",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyNotAllowed | Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BadQuery | Self::UnknownFormat => StatusCode::BAD_REQUEST,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Refusal::from(self).into_response();
        if self == Self::Unauthorized {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Why what an operator asked for was not done: as [`ApiError`], in words that depend on what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Stable.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal with this status code, stable code and one line for the caller.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The query can't be read, for this reason.
    pub(crate) fn bad_query(why: impl Into<String>) -> Self {
        let error = ApiError::BadQuery;
        Self::new(error.status(), error.code(), why)
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::new(error.status(), error.code(), error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        answer(self.status, "application/json", body.to_string())
    }
}
